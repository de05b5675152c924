//! A daemon on devices that hang and fail when a test says so.
//!
//! Invariant: it is `ashlar-faulty`, built on first use with a cargo feature that no other build of the tests
//! has: the shipped binary beside it stays as it is.

use crate::daemon::Daemon;
use crate::source;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// How long a state that must come may take to come.
const PATIENCE: Duration = Duration::from_secs(60);

/// The daemon on obedient devices.
///
/// # Panics
/// When it cannot be built.
fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let shipped = crate::daemon::binary();
        let profile = shipped.parent().expect("a profile's directory");
        let target = profile.parent().expect("cargo's target directory");
        // The whole workspace is named so that dependencies have the same features as in other builds.
        let built = Command::new(env!("CARGO"))
            .current_dir(source::root())
            .args(["build", "--quiet", "--workspace", "--bin", "ashlar-faulty"])
            .args(["--features", "ashlar-cli/fault-injection"])
            .args(if profile.ends_with("release") { &["--release"][..] } else { &[] })
            .arg("--target-dir")
            .arg(target)
            .status();
        assert!(built.expect("cargo runs").success(), "ashlar-faulty does not build");
        profile.join("ashlar-faulty")
    })
}

/// The devices of a daemon, to be ordered about.
pub struct Faults {
    stream: BufReader<UnixStream>,
}

/// Requests that a daemon's devices hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Reads.
    pub reads: usize,
    /// Writes.
    pub writes: usize,
    /// Flushes.
    pub flushes: usize,
}

/// As [`Daemon::start`], on devices that obey.
///
/// # Panics
/// When it does not start.
#[must_use]
pub fn start(test: &str, portals: usize) -> Daemon {
    Daemon::start_program(binary().to_owned(), test, portals)
}

impl Faults {
    /// The devices of a daemon that [`start`] has started, until it ends.
    ///
    /// # Panics
    /// When it does not listen.
    #[must_use]
    pub fn of(daemon: &Daemon) -> Faults {
        let stream = UnixStream::connect(daemon.faults_socket()).expect("the daemon's devices listen");
        Faults { stream: BufReader::new(stream) }
    }

    /// Gives an order, as `block-layer/src/device/faults.rs` has them; it is in force on return.
    ///
    /// # Panics
    /// When it is not understood, or the daemon is gone.
    pub fn order(&mut self, line: &str) -> Held {
        self.stream.get_mut().write_all(format!("{line}\n").as_bytes()).expect("the daemon lives");
        let mut answer = String::new();
        self.stream.read_line(&mut answer).expect("the daemon lives");
        let numbers: Vec<usize> =
            answer.split_whitespace().skip(1).map(|n| n.parse().expect("a number")).collect();
        match (answer.starts_with("ok "), &numbers[..]) {
            (true, [reads, writes, flushes]) => Held { reads: *reads, writes: *writes, flushes: *flushes },
            _ => panic!("{line}: {answer:?}"),
        }
    }

    /// Waits until what is held satisfies `enough`.
    ///
    /// # Panics
    /// When it does not.
    pub fn wait_held(&mut self, enough: impl Fn(Held) -> bool) -> Held {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let held = self.order("held");
            if enough(held) {
                return held;
            }
            assert!(Instant::now() < deadline, "still {held:?}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}
