//! A server that is an example of its crate, over memory, as a process that ends with this value.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

/// A running example: it ends with its input.
pub struct Example {
    child: Child,
    input: Option<ChildStdin>,
    /// What it says when it is ready, after that word.
    pub words: Vec<String>,
}

impl Example {
    /// Builds the example of a package beside the running test, and starts it; `before` runs it, if there is
    /// anything in it.
    ///
    /// # Panics
    /// When it cannot be built or does not start.
    #[must_use]
    pub fn start(package: &str, example: &str, before: &[String], flags: &[&str]) -> Example {
        let program = build(package, example);
        let mut command = match before {
            [] => Command::new(program),
            [first, rest @ ..] => {
                let mut command = Command::new(first);
                command.args(rest).arg(program);
                command
            }
        };
        let piped = command.args(flags).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = piped.spawn().expect("the example starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("it says so");
        let mut words = line.split_whitespace().map(str::to_owned);
        assert_eq!(words.next().as_deref(), Some("ready"), "{line}");
        Example { input: child.stdin.take(), child, words: words.collect() }
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        drop(self.input.take());
        self.child.wait().expect("it ends");
    }
}

fn build(package: &str, example: &str) -> PathBuf {
    let test = std::env::current_exe().expect("this test has a path");
    let profile = test.parent().and_then(Path::parent).expect("a profile's directory");
    let target = profile.parent().expect("cargo's target directory");
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--package", package, "--example", example])
        .args(if profile.ends_with("release") { &["--release"][..] } else { &[] })
        .arg("--target-dir")
        .arg(target)
        .status();
    assert!(built.expect("cargo runs").success());
    profile.join("examples").join(example)
}
