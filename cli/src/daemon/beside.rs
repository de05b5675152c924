//! What stands beside NFS in the daemon: the lock manager, the status monitor, the port mapper.
//!
//! Each is off until it has an address. What must outlive a restart is one small file of the state directory.
//! Over UDP only clients that some export admits are answered.

use super::config::Config;
use super::tree::ShareTree;
use super::ServeError;
use nas_nfs::exports::Exports;
use nas_nfs::nlm::{self, Nlm};
use nas_nfs::nsm::{self, Nsm, NsmState, Saved};
use nas_nfs::portmap::register::{register, unregister, SOCKET};
use nas_nfs::portmap::{self, Portmap, Service, Transport};
use nas_nfs::rpc::{Program, Programs};
use nas_nfs::server::Listener;
use nas_nfs::udp;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// The file of the state directory.
const FILE: &str = "locks.state";
/// NFS and MOUNT, as the port mapper tells of them: program and version.
const NFS: (u32, u32) = (100_003, 3);
const MOUNT: [(u32, u32); 2] = [(100_005, 1), (100_005, 3)];

/// The companions of the NFS server.
pub(super) struct Beside {
    exports: Arc<Exports<ShareTree>>,
    locks: Option<Arc<Nlm<ShareTree, NsmFile>>>,
    services: Vec<Service>,
    registered: bool,
    sockets: Mutex<Vec<(UdpSocket, Programs)>>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Beside {
    /// Begins a life of the lock manager and binds what speaks UDP; the listeners are for the NFS server.
    pub(super) async fn start(
        config: &Config,
        exports: &Arc<Exports<ShareTree>>,
    ) -> Result<(Beside, Vec<Listener>), ServeError> {
        let (mut locks, mut programs): (_, Vec<Arc<dyn Program>>) = (None, Vec::new());
        if !config.nlm_listen.is_empty() {
            let state = NsmFile(config.state_dir.join(FILE));
            let begun = Nlm::start(Arc::clone(exports), state, portmap::PORT, Instant::now()).await;
            let begun = begun.map_err(ServeError::Locks)?;
            programs = vec![begun.clone(), Arc::new(Nsm::new(begun.clone()))];
            locks = Some(begun);
        }
        let services = services(config);
        if config.register_rpcbind {
            register(Path::new(SOCKET), &services).await?;
        }
        let mapper = Programs::new(vec![Arc::new(Portmap::new(services.clone()))]);
        let programs = Programs::new(programs);
        let nlm = config.nlm_listen.iter().map(|address| (*address, &programs));
        let all = nlm.chain(config.portmap_listen.iter().map(|address| (*address, &mapper)));
        let (mut listeners, mut sockets) = (Vec::new(), Vec::new());
        for (address, programs) in all {
            let refused = |source| ServeError::Listen { what: format!("{address} (UDP)"), source };
            sockets.push((UdpSocket::bind(address).await.map_err(refused)?, programs.clone()));
            listeners.push(Listener { address, programs: programs.clone() });
        }
        let (sockets, registered) = (Mutex::new(sockets), config.register_rpcbind);
        let exports = Arc::clone(exports);
        Ok((Beside { exports, locks, services, registered, sockets, tasks: Mutex::default() }, listeners))
    }

    fn tasks(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.tasks.lock().expect("no holder of the tasks panics")
    }

    /// Answers from now on, and tells hosts that held locks that we have restarted.
    pub(super) fn open(&self) {
        let sockets = std::mem::take(&mut *self.sockets.lock().expect("no holder of the sockets panics"));
        for (socket, programs) in sockets {
            let exports = Arc::clone(&self.exports);
            let serve = udp::serve(socket, programs, move |client| exports.admits(client));
            self.tasks().push(tokio::spawn(serve));
        }
        if let Some(locks) = self.locks.clone() {
            self.tasks().push(tokio::spawn(async move { locks.run().await }));
        }
    }

    /// The exports have changed.
    pub(super) fn exports_changed(&self) {
        if let Some(locks) = &self.locks {
            locks.exports_changed(Instant::now());
        }
    }

    /// Answers nothing more. Locks stay with their hosts, who claim them at the next start.
    pub(super) async fn stop(&self) {
        self.tasks().drain(..).for_each(|task| task.abort());
        if self.registered {
            unregister(Path::new(SOCKET), &self.services).await;
        }
    }
}

/// What clients can find, each program's version once; a port that the system chose is not known here.
fn services(config: &Config) -> Vec<Service> {
    let mount = if config.mount_listen.is_empty() { &config.nfs_listen } else { &config.mount_listen };
    let mut services: Vec<Service> = Vec::new();
    let mut add = |(program, version): (u32, u32), transport, addresses: &[SocketAddr]| {
        if let Some(port) = addresses.iter().map(SocketAddr::port).find(|port| *port != 0) {
            services.push(Service { program, version, transport, port });
        }
    };
    add(NFS, Transport::Tcp, &config.nfs_listen);
    MOUNT.into_iter().for_each(|program| add(program, Transport::Tcp, mount));
    for transport in [Transport::Tcp, Transport::Udp] {
        add((nlm::PROGRAM, nlm::VERSION), transport, &config.nlm_listen);
        add((nsm::PROGRAM, nsm::VERSION), transport, &config.nlm_listen);
    }
    services
}

/// What the status monitor keeps: replaced as a whole, durably.
struct NsmFile(PathBuf);

impl NsmState for NsmFile {
    async fn load(&self) -> io::Result<Saved> {
        match fs::read(&self.0) {
            Ok(bytes) => Saved::decode(bytes.into()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Saved::default()),
            Err(error) => Err(error),
        }
    }

    async fn save(&self, saved: Saved) -> io::Result<()> {
        let path = self.0.clone();
        let write = tokio::task::spawn_blocking(move || replace(&path, &saved.encode()));
        write.await.map_err(io::Error::other)?
    }
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;
    use nas_nfs::nlm::table::Host;
    use nas_nfs::nsm::Monitored;

    #[tokio::test]
    async fn what_is_kept_is_there_again_and_rubbish_is_a_fault() {
        let dir = tempfile::tempdir().unwrap();
        let file = NsmFile(dir.path().join(FILE));
        assert_eq!(file.load().await.unwrap(), Saved::default());
        let host = Host { address: [10, 0, 0, 1].into(), name: "host".into() };
        let saved = Saved { state: 3, monitored: vec![Monitored { host, local: [10, 0, 0, 2].into() }] };
        for saved in [saved.clone(), Saved { state: 5, ..saved }] {
            file.save(saved.clone()).await.unwrap();
            assert_eq!(file.load().await.unwrap(), saved);
        }
        fs::write(&file.0, b"rubbish").unwrap();
        assert_eq!(file.load().await.unwrap_err().kind(), ErrorKind::InvalidData);
    }
}
