//! `san-iscsi`'s target over disks in memory, or over none, as a process that ends with this value.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

/// The target, until it is dropped: it ends with its input.
pub struct MemoryTarget {
    child: Child,
    input: Option<ChildStdin>,
    /// Its name.
    pub name: String,
    /// Its portals, as `ADDR:PORT`.
    pub portals: Vec<String>,
}

impl MemoryTarget {
    /// Starts the one that cargo builds beside the running test, on a free port of 127.0.0.1 and on what
    /// `flags` name besides.
    ///
    /// # Panics
    /// When it cannot be built or does not start.
    #[must_use]
    pub fn start(flags: &[&str]) -> MemoryTarget {
        let mut child = Command::new(build())
            .args(["--listen", "127.0.0.1:0"])
            .args(flags)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the target starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("it says so");
        let mut words = line.split_whitespace().map(str::to_owned);
        assert_eq!(words.next().as_deref(), Some("ready"), "{line}");
        let name = words.next().expect("its name");
        MemoryTarget { input: child.stdin.take(), child, name, portals: words.collect() }
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for MemoryTarget {
    fn drop(&mut self) {
        drop(self.input.take());
        self.child.wait().expect("it ends");
    }
}

/// The example of `san-iscsi`, built beside this test.
fn build() -> PathBuf {
    let test = std::env::current_exe().expect("this test has a path");
    let profile = test.parent().and_then(Path::parent).expect("a profile's directory");
    let target = profile.parent().expect("cargo's target directory");
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--package", "san-iscsi", "--example", "memory_target"])
        .args(if profile.ends_with("release") { &["--release"][..] } else { &[] })
        .arg("--target-dir")
        .arg(target)
        .status();
    assert!(built.expect("cargo runs").success());
    profile.join("examples/memory_target")
}
