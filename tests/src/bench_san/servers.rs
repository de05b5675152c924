//! The servers that are measured: each a process of its own on 127.0.0.1, which ends with its value.

use super::generator::Endpoint;
use super::Settings;
use crate::bench::Failure;
use crate::daemon::{binary, free_port};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take to start and to stop.
const PATIENCE: Duration = Duration::from_secs(60);
/// Portals of each.
const PORTALS: usize = 2;
/// Whose writes are acknowledged when they are committed.
pub const CACHED: &str = "iqn.2026-11.test:cached";
/// Whose writes are acknowledged when they are durable.
pub const UNCACHED: &str = "iqn.2026-11.test:uncached";

/// A server.
pub struct Server {
    child: Child,
    /// Whether it ends when it is asked to; tgtd does not while it has a target.
    polite: bool,
    /// Its portals, as `ADDR:PORT`.
    pub portals: Vec<String>,
    /// Its target's name.
    pub target: String,
    /// The LUN with the data.
    pub lun: u16,
}

impl Server {
    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// One session at its first portal.
    #[must_use]
    pub fn endpoint(&self, initiator: &str) -> Endpoint {
        Endpoint {
            portals: vec![self.portals[0].clone()],
            target: self.target.clone(),
            lun: self.lun,
            initiator: initiator.into(),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.pid().to_string()).status();
        let deadline = Instant::now() + PATIENCE;
        while self.polite && Instant::now() < deadline {
            if matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An Ashlar daemon's directory.
pub struct Ashlar(PathBuf);

impl Ashlar {
    /// The one of this name.
    #[must_use]
    pub fn new(settings: &Settings, name: &str) -> Ashlar {
        Ashlar(settings.dir.join(name))
    }

    /// Starts it with the shipped configuration, and waits until it is ready; how long that took.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(&self) -> Result<(Server, Duration), Failure> {
        std::fs::create_dir_all(&self.0)?;
        let _ = std::fs::remove_file(self.socket());
        let portals: Vec<String> = (0..PORTALS).map(|_| format!("127.0.0.1:{}", free_port())).collect();
        let mut command = Command::new(binary());
        command.arg("serve").arg("--state-dir").arg(self.0.join("state"));
        for portal in &portals {
            command.arg("--iscsi-listen").arg(portal);
        }
        let log = std::fs::File::create(self.0.join("log"))?;
        let begun = Instant::now();
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn()?;
        let socket = self.socket();
        wait(&mut child, "ashlar", || std::os::unix::net::UnixStream::connect(&socket).is_ok())?;
        let took = begun.elapsed();
        let mut server = Server { child, polite: true, portals, target: String::new(), lun: 0 };
        let status = self.cli("status")?;
        let line = status.lines().find(|line| line.starts_with("Target")).ok_or("no target in status")?;
        server.target = line.split_whitespace().nth(1).ok_or("a target without a name")?.into();
        Ok((server, took))
    }

    fn socket(&self) -> PathBuf {
        self.0.join("state/ashlar.sock")
    }

    /// Runs a command of the command line; each word is an argument.
    ///
    /// # Errors
    /// It fails.
    pub fn cli(&self, line: &str) -> Result<String, Failure> {
        let mut command = Command::new(binary());
        command.env("ASHLAR_SOCKET", self.socket()).current_dir(&self.0).args(line.split_whitespace());
        let output = command.stdin(Stdio::null()).output()?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => Err(format!("ashlar {line}: {}", String::from_utf8_lossy(&output.stderr)).into()),
        }
    }

    /// Makes a pool of `pool` bytes with a volume `b/v0` of `volume` bytes, mapped as LUN 0 to a host whose
    /// writes are cached and to one whose writes are not.
    ///
    /// # Errors
    /// A command fails.
    pub fn furnish(&self, pool: u64, volume: u64) -> Result<(), Failure> {
        self.cli(&format!("pool create b --device {}:{}M", self.0.join("disk").display(), pool >> 20))?;
        self.cli(&format!("volume create b/v0 --size {}M", volume >> 20))?;
        for (name, iqn, os) in [("cached", CACHED, "linux"), ("uncached", UNCACHED, "esxi")] {
            self.cli(&format!("host create {name} --iqn {iqn} --os {os}"))?;
            self.cli(&format!("lun map b/v0 --host {name} --lun 0"))?;
        }
        Ok(())
    }
}

/// Starts our target without storage, with as many threads as Ashlar has.
///
/// # Errors
/// It does not start.
pub fn null(settings: &Settings) -> Result<Server, Failure> {
    use std::io::BufRead;
    let exe = std::env::current_exe()?;
    let program = exe.with_file_name("memory_target");
    let threads = std::thread::available_parallelism()?.to_string();
    let mut child = Command::new(&program)
        .args(["--null", "--threads", &threads, "--size", &(settings.volume >> 20).to_string()])
        .args(["--listen", "127.0.0.1:0", "--listen", "127.0.0.1:0"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| format!("{}: {e}", program.display()))?;
    let mut line = String::new();
    std::io::BufReader::new(child.stdout.take().ok_or("no output")?).read_line(&mut line)?;
    let mut words = line.split_whitespace().skip(1).map(str::to_owned);
    let target = words.next().ok_or("the null target does not start")?;
    Ok(Server { child, polite: true, target, portals: words.collect(), lun: 0 })
}

/// Starts Debian's `tgt` on `file`. `TGTD` and `TGTADM` name its programs, if they are not on the path.
///
/// # Errors
/// It does not start.
pub fn tgt(settings: &Settings, file: &Path) -> Result<Server, Failure> {
    let program = |name: &str, usual: &str| std::env::var(name).unwrap_or_else(|_| usual.into());
    let (tgtd, tgtadm) = (program("TGTD", "/usr/sbin/tgtd"), program("TGTADM", "/usr/sbin/tgtadm"));
    let ports: Vec<u16> = (0..PORTALS).map(|_| free_port()).collect();
    let portals: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    let control = (ports[0] % 30_000 + 100).to_string();
    let socket = settings.dir.join("tgt.sock");
    let log = std::fs::File::create(settings.dir.join("tgt.log"))?;
    let mut child = Command::new(&tgtd)
        .args(["-f", "-C", &control, "--iscsi", &format!("portal={}", portals[0])])
        .env("TGT_IPC_SOCKET", &socket)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .map_err(|e| format!("{tgtd}: {e} (Debian package tgt)"))?;
    let admin = |line: &str| -> Result<bool, Failure> {
        let mut command = Command::new(&tgtadm);
        command.args(["-C", &control, "--lld", "iscsi"]).args(line.split_whitespace());
        command.env("TGT_IPC_SOCKET", &socket).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(command.status()?.success())
    };
    wait(&mut child, "tgtd", || admin("--op show --mode sys").unwrap_or(false))?;
    let target = "iqn.2026-11.test:tgt";
    let server = Server { child, polite: false, target: target.into(), lun: 1, portals: portals.clone() };
    for line in [
        format!("--op new --mode portal --param portal={}", portals[1]),
        format!("--op new --mode target --tid 1 -T {target}"),
        format!("--op new --mode logicalunit --tid 1 --lun 1 -b {}", file.display()),
        "--op bind --mode target --tid 1 -I ALL".to_owned(),
    ] {
        if !admin(&line)? {
            return Err(format!("tgtadm {line} failed").into());
        }
    }
    Ok(server)
}

/// Waits until a server is ready.
fn wait(child: &mut Child, name: &str, ready: impl Fn() -> bool) -> Result<(), Failure> {
    let deadline = Instant::now() + PATIENCE;
    while !ready() {
        if let Some(status) = child.try_wait()? {
            return Err(format!("{name} ended: {status}").into());
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("{name} is not ready").into());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}
