//! The kernels of two clients lock a file against each other (NLM), through a `kill -9` of the server: a lock
//! that waits is granted by a call, no lock is lost, and none is given twice.

use ashlar_tests::daemon::installed;
use ashlar_tests::files::Place;
use ashlar_tests::lab::{self, Namespace};
use ashlar_tests::memory_server::MemoryServer;
use ashlar_tests::skip::skip;
use ashlar_tests::source;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const TEST: &str = "two_kernels_keep_their_locks_through_a_kill";

/// One share on the ports where clients look, with one file that is the same in every life.
fn server(net: &Namespace, state: &Path) -> MemoryServer {
    let state = state.to_str().expect("the test's own path");
    let listen = ["--listen", "0.0.0.0:2049", "--mount-listen", "0.0.0.0:20048"];
    let locks = ["--portmap-listen", "0.0.0.0:111", "--nsm-state", state, "--file", "file"];
    MemoryServer::start_by(&net.launcher(), &[listen.as_slice(), locks.as_slice()].concat())
}

fn guest(net: &Namespace, path: &str, share: &Path, who: &str) -> Child {
    let lab = source::root().join("tests/lab");
    let mut words = net.launcher().into_iter();
    let mut command = Command::new(words.next().expect("a launcher"));
    command.args(words).arg(lab.join("guest-run")).args(["--timeout", "400", "--share"]).arg(share);
    command.arg("--log").arg(share.join(format!("{who}.log")));
    for (key, value) in [("WHO", who), ("NFS_PATH", path), ("DIR", &share.display().to_string())] {
        command.args(["-e", &format!("{key}={value}")]);
    }
    let output = std::fs::File::create(share.join(format!("{who}.out"))).expect("the test's own directory");
    let error = output.try_clone().expect("a second handle");
    command.env("LAB_NETNS", net.inode().to_string()).arg(lab.join("guest/locks.sh"));
    command.stdin(Stdio::null()).stdout(output).stderr(error).spawn().expect("python is there")
}

#[test]
fn two_kernels_keep_their_locks_through_a_kill() {
    if let Some(reason) = lab::missing() {
        return skip(TEST, &reason);
    }
    if let Some(program) = ["mount.nfs", "rpcbind", "rpc.statd"].iter().find(|name| !installed(name)) {
        return skip(TEST, &format!("no {program} (Debian packages nfs-common, rpcbind)"));
    }
    let place = Place::new("nfs-locks");
    let share = place.path("share");
    std::fs::create_dir(&share).expect("the test's own directory");
    let net = Namespace::new();
    let mut running = Some(server(&net, &place.path("state")));
    let path = running.as_ref().map_or(String::new(), |server| server.path.clone());
    let mut guests = ["a", "b"].map(|who| (who, guest(&net, &path, &share, who), None));
    while guests.iter().any(|(_, _, ended)| ended.is_none()) {
        if std::fs::remove_file(share.join("kill")).is_ok() {
            let old = running.take().expect("it runs");
            let pid = old.pid().to_string();
            assert!(Command::new("kill").args(["-9", &pid]).status().expect("kill runs").success());
            drop(old);
            running = Some(server(&net, &place.path("state")));
            std::fs::write(share.join("restarted"), "").expect("the test's own directory");
        }
        for (_, guest, ended) in &mut guests {
            *ended = ended.or(guest.try_wait().expect("it can be asked"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    for (who, _, ended) in guests {
        let said = std::fs::read(share.join(format!("{who}.out"))).unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        assert!(ended.is_some_and(|status| status.success()), "guest {who}:\n{said}");
    }
}
