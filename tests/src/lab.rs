//! The lab: the shipped daemon, and the initiator of a real Linux kernel in a guest (`tests/lab`).
//!
//! A test starts a [`Lab`], prepares the server with `ashlar` commands, and runs guest scripts, each in a new
//! guest. A script administers the server too, with the function `host` of `guest-lib.sh`: it leaves a file
//! in a directory that both sides see, and this side answers it.
//!
//! Invariants: daemon and guest live in a network namespace of their own, which is gone when this value is
//! dropped or its process dies. Where the lab cannot run, nothing is started, and the skip is said.

use crate::daemon::{installed, Daemon};
use crate::skip::skip;
use crate::source;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// The name of the guest's initiator.
pub const INITIATOR: &str = "iqn.2026-11.io.test:guest";

/// How long a guest may take, in seconds, on a machine that is busy with other tests.
const GUEST_SECONDS: u32 = 400;

/// A daemon in a network of its own, and what a guest needs to reach it.
pub struct Lab {
    /// The server.
    pub daemon: Daemon,
    net: Namespace,
    share: PathBuf,
    links: u16,
}

impl Lab {
    /// A daemon named after `test` with `portals` portals: on ports 3260, 3261, … of every address. A guest
    /// has as many links. None where the lab cannot run; that is said then.
    ///
    /// # Panics
    /// When the daemon or the namespace cannot be made.
    #[must_use]
    pub fn start(test: &str, portals: u16) -> Option<Lab> {
        if let Some(reason) = missing() {
            skip(test, &reason);
            return None;
        }
        let net = Namespace::new();
        let ports = (0..portals).map(|n| 3260 + n).collect();
        let daemon = Daemon::start_inside(test, ports, net.launcher());
        let share = daemon.dir().join("share");
        std::fs::create_dir(&share).expect("the directory is the test's own");
        Some(Lab { daemon, net, share, links: portals })
    }

    /// The directory that guests can write: files that both sides use.
    #[must_use]
    pub fn share(&self) -> &Path {
        &self.share
    }

    /// A command that runs what follows it in the network of daemon and guest.
    #[must_use]
    pub fn launcher(&self) -> Vec<String> {
        self.net.launcher()
    }

    /// Runs `tests/lab/guest/SCRIPT` in a new guest, and answers what it asks of [`Daemon`]; returns its
    /// output.
    ///
    /// # Panics
    /// When the script fails: the message has what it said, and the end of the daemon's log.
    pub fn guest(&mut self, script: &str) -> String {
        self.guest_with(script, |_, request| panic!("nobody knows the request {request:?}"))
    }

    /// As [`Lab::guest`]; `extra` answers the requests that are neither `ashlar …` nor `server …`.
    ///
    /// # Panics
    /// As [`Lab::guest`].
    pub fn guest_with(&mut self, script: &str, mut extra: impl FnMut(&mut Daemon, &str) -> String) -> String {
        let (out, err) = (self.daemon.dir().join("guest.out"), self.daemon.dir().join("guest.err"));
        let file = |path: &Path| std::fs::File::create(path).expect("the directory is the test's own");
        let mut command = self.guest_command(script);
        let mut guest =
            Guest(command.stdout(file(&out)).stderr(file(&err)).spawn().expect("python is there"));
        let status = loop {
            self.answer_all(&mut extra);
            if let Some(status) = guest.0.try_wait().expect("it can be asked") {
                break status;
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        let read =
            |path: &Path| String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned();
        let (said, complaint, log) = (read(&out), read(&err), self.daemon.log());
        println!("{said}");
        let log: Vec<&str> = log.lines().rev().take(30).collect();
        let log: Vec<&str> = log.into_iter().rev().collect();
        assert!(status.success(), "{script}: {status}\n{complaint}\nthe daemon's log:\n{}", log.join("\n"));
        said
    }

    fn guest_command(&self, script: &str) -> Command {
        let lab = source::root().join("tests/lab");
        let mut words = self.net.launcher().into_iter();
        let mut command = Command::new(words.next().expect("a launcher"));
        command.args(words).arg(lab.join("guest-run")).args(["--timeout", &GUEST_SECONDS.to_string()]);
        command.args(["--nics", &self.links.to_string()]).arg("--share").arg(&self.share);
        command.arg("--log").arg(self.daemon.dir().join("guest.log"));
        command.args(["-e", &format!("INITIATOR_NAME={INITIATOR}")]);
        command.args(["-e", &format!("TARGET={}", self.daemon.target())]);
        command.args(["-e", &format!("SHARE={}", self.share.display())]);
        command.env("LAB_NETNS", self.net.inode().to_string()).arg(lab.join("guest").join(script));
        command.stdin(Stdio::null());
        command
    }

    /// Answers every request that lies in the shared directory.
    fn answer_all(&mut self, extra: &mut impl FnMut(&mut Daemon, &str) -> String) {
        let entries = std::fs::read_dir(&self.share).expect("the directory is the test's own");
        let asked = entries.map(|entry| entry.expect("it can be read").path());
        for ask in asked.filter(|path| path.extension().is_some_and(|end| end == "ask")) {
            let request = std::fs::read_to_string(&ask).expect("it is whole, for it was renamed");
            std::fs::remove_file(&ask).expect("the directory is the test's own");
            let (status, text) = self.answer(request.trim_end(), extra);
            std::fs::write(ask.with_extension("out"), text).expect("the directory is the test's own");
            let done = ask.with_extension("done.new");
            std::fs::write(&done, status.to_string()).expect("the directory is the test's own");
            std::fs::rename(&done, ask.with_extension("done")).expect("the directory is the test's own");
        }
    }

    /// The status and the output of one request.
    fn answer(
        &mut self,
        request: &str,
        extra: &mut impl FnMut(&mut Daemon, &str) -> String,
    ) -> (i32, Vec<u8>) {
        match request.split_once(' ') {
            Some(("ashlar", line)) => {
                let Output { status, stdout, stderr } = self.daemon.try_cli(line);
                (status.code().unwrap_or(-1), [stdout, stderr].concat())
            }
            Some(("server", "kill")) => {
                self.daemon.kill();
                (0, Vec::new())
            }
            Some(("server", "stop")) => (i32::from(!self.daemon.stop()), Vec::new()),
            Some(("server", "start")) => {
                self.daemon.run();
                (0, Vec::new())
            }
            _ => (0, extra(&mut self.daemon, request).into_bytes()),
        }
    }
}

/// Where `tests/lab/setup.sh` puts kernels and tools.
#[must_use]
pub fn cache() -> Option<PathBuf> {
    let home = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    home.map(|dir| dir.join("ashlar-lab"))
}

/// What the lab lacks here, if anything.
#[must_use]
pub fn missing() -> Option<String> {
    let root = std::fs::metadata("/proc/self").is_ok_and(|meta| meta.uid() == 0);
    if !root {
        return Some("the lab's guests need root".to_owned());
    }
    if let Some(program) = ["python3", "ip", "unshare", "nsenter"].iter().find(|name| !installed(name)) {
        return Some(format!("no {program}"));
    }
    let there = cache().is_some_and(|dir| dir.join("tools/.packages").exists() && dir.join("uml").exists());
    (!there).then(|| "the lab's guests are not there: run tests/lab/setup.sh".to_owned())
}

/// A running `guest-run`, which ends its guest when it is ended.
struct Guest(Child);

impl Drop for Guest {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        }
        let _ = self.0.wait();
    }
}

/// A network namespace, held by a process that ends with its standard input.
pub struct Namespace(Child);

impl Namespace {
    /// A new one, with nothing but its loopback.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    #[allow(clippy::new_without_default)]
    pub fn new() -> Namespace {
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", "ip link set lo up && echo ready && exec cat"]);
        let mut holder = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("unshare runs");
        let mut ready = [0; 6];
        let said = holder.stdout.as_mut().expect("piped");
        std::io::Read::read_exact(said, &mut ready).expect("a network namespace can be made");
        Namespace(holder)
    }

    fn file(&self) -> String {
        format!("/proc/{}/ns/net", self.0.id())
    }

    /// The number that tells it from others.
    ///
    /// # Panics
    /// When its holder has died.
    #[must_use]
    pub fn inode(&self) -> u64 {
        let meta = std::fs::metadata(self.file()).expect("the holder lives as long as this value");
        meta.ino()
    }

    /// A command that enters it and becomes what follows.
    #[must_use]
    pub fn launcher(&self) -> Vec<String> {
        vec!["nsenter".to_owned(), format!("--net={}", self.file())]
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}
