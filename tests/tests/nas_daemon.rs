//! Shares of the shipped daemon, with Debian's libnfs as the client: from the command line to files that are
//! read back, through snapshots, clones and a kill of the server.

use ashlar_tests::daemon::{free_port, installed, Daemon};
use ashlar_tests::skip::skip;
use ashlar_tests::source;
use std::path::PathBuf;
use std::process::{Command, Output};

/// Whether libnfs and what runs it are here.
fn can_run(test: &str) -> bool {
    for (program, package) in [("nfs-ls", "libnfs-utils"), ("python3", "python3-minimal")] {
        if !installed(program) {
            skip(test, &format!("no {program} (Debian package {package})"));
            return false;
        }
    }
    true
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A daemon that serves NFS, with a pool and a share that this machine may use as root.
struct Nas {
    daemon: Daemon,
    port: u16,
}

impl Nas {
    fn start(test: &str) -> Nas {
        let port = free_port();
        let daemon = Daemon::start_with(test, vec!["--nfs-listen".into(), format!("127.0.0.1:{port}")]);
        daemon.cli("pool create fast --device disk:1G");
        daemon.cli("share create fast/images");
        daemon.cli("export add fast/images --client 127.0.0.0/8 --squash none");
        Nas { daemon, port }
    }

    fn url(&self, path: &str) -> String {
        let port = self.port;
        format!("nfs://127.0.0.1/fast/{path}?nfsport={port}&mountport={port}&version=3")
    }

    fn copy(&self, from: &str, to: &str) -> Output {
        Command::new("nfs-cp").args([from, to]).output().expect("it runs")
    }

    /// Puts a file of `len` bytes that depend on `seed` onto a share.
    fn put(&self, path: &str, seed: u32, len: u32) {
        let local = self.local("put");
        std::fs::write(&local, content(seed, len)).expect("written");
        let output = self.copy(local.to_str().expect("a path of ASCII"), &self.url(path));
        assert!(output.status.success(), "{path}: {}", said(&output));
    }

    fn get(&self, path: &str) -> Vec<u8> {
        let local = self.local("get");
        let output = self.copy(&self.url(path), local.to_str().expect("a path of ASCII"));
        assert!(output.status.success(), "{path}: {}", said(&output));
        let data = std::fs::read(&local).expect("it was copied");
        std::fs::remove_file(&local).expect("it can be removed");
        data
    }

    fn list(&self, path: &str) -> Output {
        Command::new("nfs-ls").arg(self.url(path)).output().expect("it runs")
    }

    fn local(&self, name: &str) -> PathBuf {
        self.daemon.dir().join(name)
    }
}

fn content(seed: u32, len: u32) -> Vec<u8> {
    (0..len).map(|i| ((i + seed).wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

#[test]
fn libnfs_finds_no_fault_in_a_share() {
    if !can_run("libnfs_finds_no_fault_in_a_share") {
        return;
    }
    let nas = Nas::start("smoke");
    let output = Command::new("python3")
        .arg(source::root().join("tests/scripts/nfs-smoke"))
        .args([&format!("127.0.0.1:{}", nas.port), "/fast/images", "--mountport", &nas.port.to_string()])
        .output()
        .expect("the checks run");
    let report = said(&output);
    assert!(output.status.success() && report.contains("70 passed, 0 failed, 1 skipped"), "{report}");
}

#[test]
fn a_share_is_kept_through_snapshots_clones_and_a_kill() {
    if !can_run("a_share_is_kept_through_snapshots_clones_and_a_kill") {
        return;
    }
    let mut nas = Nas::start("kept");
    nas.put("images/vm.img", 1, 5_000_001);
    nas.daemon.cli("snapshot create fast/images@before");
    nas.daemon.cli("file clone fast/images/vm.img fast/images/vm2.img");
    nas.put("images/later.img", 2, 3_000_000);
    nas.daemon.cli("clone fast/images@before fast/copy");
    nas.daemon.cli("export add fast/copy --client 127.0.0.1 --squash none");
    for round in 0..2 {
        assert!(nas.get("images/later.img") == content(2, 3_000_000), "round {round}");
        assert!(nas.get("images/vm2.img") == content(1, 5_000_001), "round {round}");
        assert!(nas.get("images/.snapshots/before/vm.img") == content(1, 5_000_001), "round {round}");
        assert!(nas.get("copy/vm.img") == content(1, 5_000_001), "round {round}");
        assert!(!said(&nas.list("copy/")).contains("later"), "round {round}");
        nas.daemon.kill();
        nas.daemon.run();
    }
    nas.daemon.cli("snapshot rollback fast/images@before --yes --force");
    assert!(nas.get("images/vm.img") == content(1, 5_000_001));
    let listed = said(&nas.list("images/"));
    assert!(listed.contains("vm.img") && !listed.contains("later") && !listed.contains("vm2"), "{listed}");
    assert!(nas.daemon.stop(), "{}", nas.daemon.log());
}

#[test]
fn who_has_no_rule_learns_nothing() {
    if !can_run("who_has_no_rule_learns_nothing") {
        return;
    }
    let nas = Nas::start("masked");
    nas.put("images/vm.img", 1, 4096);
    nas.daemon.cli("share create fast/secret");
    nas.daemon.cli("export add fast/secret --client 192.0.2.0/24");
    let (hidden, missing) = (said(&nas.list("secret/")), said(&nas.list("nothing/")));
    assert_eq!(hidden.replace("secret", "X"), missing.replace("nothing", "X"));
    let listed = Command::new("nfs-ls").args(["-D", &nas.url("images/")]).output().expect("it runs");
    assert!(!said(&listed).contains("secret"));
    nas.daemon.cli("export remove fast/images --client 127.0.0.0/8 --yes");
    assert!(!nas.list("images/").status.success());
    assert!(nas.daemon.refused("share delete fast/nothing --yes").contains("nothing"));
}
