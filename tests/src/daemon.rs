//! The shipped binary as a test drives it: a daemon in a directory of its own, and commands to it.
//!
//! Invariants: the daemon listens on 127.0.0.1 on ports that were free, or in a network namespace of its own.
//! It is stopped by its own pid, also when a test fails. Nothing of it is left when this value is dropped.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// How long a daemon may take to be ready, and to stop.
const PATIENCE: Duration = Duration::from_secs(60);

/// A daemon.
pub struct Daemon {
    dir: PathBuf,
    /// The ports of its portals, in their order.
    pub ports: Vec<u16>,
    address: Ipv4Addr,
    /// The program, after what launches it.
    program: Vec<PathBuf>,
    /// More of its command line, behind `serve`.
    options: Vec<String>,
    child: Option<Child>,
}

/// The binary under test: cargo puts it beside the directory of the tests.
///
/// # Panics
/// When it was not built.
#[must_use]
pub fn binary() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    let dir = test.ancestors().nth(2).expect("tests lie in target/PROFILE/deps");
    let binary = dir.join("ashlar");
    assert!(binary.exists(), "{} is not built: run `cargo build -p ashlar-cli` first", binary.display());
    binary
}

/// A port of 127.0.0.1 that is free now.
#[must_use]
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("some port is free");
    listener.local_addr().expect("a listener has an address").port()
}

impl Daemon {
    /// Starts a new server with `portals` portals in a directory named after `test`, and waits until it is
    /// ready.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(test: &str, portals: usize) -> Daemon {
        Daemon::start_program(binary(), test, portals)
    }

    /// As [`Daemon::start`], of another program than the shipped one; it finds in the environment, as
    /// `ASHLAR_FAULTS`, the path of a socket that it may make.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start_program(program: PathBuf, test: &str, portals: usize) -> Daemon {
        let ports = (0..portals).map(|_| free_port()).collect();
        Daemon::launch(test, ports, Ipv4Addr::LOCALHOST, vec![program], Vec::new())
    }

    /// As [`Daemon::start`] without portals, with more of a command line.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start_with(test: &str, options: Vec<String>) -> Daemon {
        Daemon::launch(test, Vec::new(), Ipv4Addr::LOCALHOST, vec![binary()], options)
    }

    /// As [`Daemon::start`], on `ports` of every address of the network namespace that `launcher` enters: a
    /// command that becomes the daemon's, as `nsenter --net=FILE` does.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start_inside(test: &str, ports: Vec<u16>, launcher: Vec<String>) -> Daemon {
        let program = launcher.into_iter().map(PathBuf::from).chain([binary()]).collect();
        Daemon::launch(test, ports, Ipv4Addr::UNSPECIFIED, program, Vec::new())
    }

    fn launch(
        test: &str,
        ports: Vec<u16>,
        address: Ipv4Addr,
        program: Vec<PathBuf>,
        options: Vec<String>,
    ) -> Daemon {
        let dir = std::env::temp_dir().join(format!("ashlar-{test}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).expect("a temporary directory can be made");
        let mut daemon = Daemon { dir, ports, address, program, options, child: None };
        daemon.run();
        daemon
    }

    /// Where it lives; device files go there too.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What it has written to its log.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    /// Its memory in use (VmRSS), in bytes, and its open descriptors.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    pub fn footprint(&self) -> (u64, usize) {
        let pid = self.child.as_ref().expect("the daemon runs").id();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it has a status");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("it has memory");
        let kib: u64 = line.split_whitespace().nth(1).expect("a number").parse().expect("a number");
        let open = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("it has descriptors").count();
        (kib << 10, open)
    }

    /// Starts it (again), on the same state and ports.
    ///
    /// # Panics
    /// When it is not ready in time; its log is in the message.
    pub fn run(&mut self) {
        let mut command = Command::new(&self.program[0]);
        command
            .env("ASHLAR_FAULTS", self.faults_socket())
            .args(&self.program[1..])
            .arg("serve")
            .arg("--state-dir")
            .arg(self.dir.join("state"))
            .args(["--threads", "2"])
            .args(&self.options);
        for port in &self.ports {
            command.arg("--iscsi-listen").arg(SocketAddr::from((self.address, *port)).to_string());
        }
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.dir.join("log"));
        let log = log.expect("the log can be written");
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        self.child = Some(child.expect("the daemon can be started"));
        let socket = self.socket();
        let ready = || std::os::unix::net::UnixStream::connect(&socket).is_ok();
        let deadline = Instant::now() + PATIENCE;
        while !ready() {
            let child = self.child.as_mut().expect("it was started");
            let ended = child.try_wait().expect("it can be asked");
            assert!(ended.is_none(), "the daemon ended: {}", self.log());
            assert!(Instant::now() < deadline, "the daemon is not ready: {}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// SIGTERM; tells whether it ended well and in time.
    pub fn stop(&mut self) -> bool {
        let Some(mut child) = self.child.take() else { return false };
        let term = Command::new("kill").arg(child.id().to_string()).status();
        let deadline = Instant::now() + PATIENCE;
        while term.is_ok() && Instant::now() < deadline {
            if let Ok(Some(status)) = child.try_wait() {
                return status.success();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = child.kill();
        let _ = child.wait();
        false
    }

    /// Where a program that devices' faults are built into takes orders.
    #[must_use]
    pub fn faults_socket(&self) -> PathBuf {
        self.dir.join("faults.sock")
    }

    fn socket(&self) -> PathBuf {
        self.dir.join("state/ashlar.sock")
    }

    /// Runs a command of the command line; each word of `line` is an argument.
    ///
    /// # Panics
    /// When it cannot be run at all.
    #[must_use]
    pub fn try_cli(&self, line: &str) -> Output {
        let mut command = Command::new(binary());
        command.env("ASHLAR_SOCKET", self.socket()).current_dir(&self.dir).args(line.split_whitespace());
        command.stdin(Stdio::null()).output().expect("the binary can be run")
    }

    /// As [`Daemon::try_cli`], for a command that must succeed; returns what it printed.
    ///
    /// # Panics
    /// When it fails.
    pub fn cli(&self, line: &str) -> String {
        let output = self.try_cli(line);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "ashlar {line}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// As [`Daemon::try_cli`], for a command that must be refused with exit code 1; returns its one line.
    ///
    /// # Panics
    /// When it is not.
    #[must_use]
    pub fn refused(&self, line: &str) -> String {
        let output = self.try_cli(line);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "ashlar {line}: {text}");
        assert_eq!(text.trim_end().lines().count(), 1, "ashlar {line}: {text}");
        text
    }

    /// The target's name.
    #[must_use]
    pub fn target(&self) -> String {
        let status = self.cli("status");
        let line = status.lines().find(|line| line.starts_with("Target")).expect("status names the target");
        line.split_whitespace().nth(1).expect("a name").to_owned()
    }

    /// The URL of a LUN for libiscsi's tools, by the first portal.
    #[must_use]
    pub fn url(&self, lun: u16) -> String {
        format!("iscsi://127.0.0.1:{}/{}/{lun}", self.ports[0], self.target())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Whether a program is installed.
#[must_use]
pub fn installed(program: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths).any(|dir| dir.join(program).exists())
}
