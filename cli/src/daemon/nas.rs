//! The NFS server of the daemon: what the catalogue exports, as its table of shares.

use super::config::Config;
use super::tree::ShareTree;
use super::ServeError;
use nas_nfs::exports::{self, Rule};
use nas_nfs::handle::{HandleKey, ShareId};
use nas_nfs::mount::MountProgram;
use nas_nfs::nfs3::Nfs3;
use nas_nfs::rpc::Programs;
use nas_nfs::server::{self, Listener, Server};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use volume_manager::border::{Border, Done, ExportedShare, Exports};
use volume_manager::state::{Clients, ExportRecord, Squash, VolumeKey};

/// The server and what it exports.
pub(super) struct Nas {
    table: Arc<exports::Exports<ShareTree>>,
    server: Server,
    nfs: Vec<SocketAddr>,
    mount: Vec<SocketAddr>,
    /// One for each share that was exported: a new one would be another tree to the server.
    trees: Mutex<BTreeMap<u64, Arc<ShareTree>>>,
}

impl Nas {
    /// Listens; connections wait until [`Nas::open`]. NFS and MOUNT answer on the addresses of both.
    pub(super) fn start(
        config: &Config,
        workers: Vec<tokio::runtime::Handle>,
    ) -> Result<Arc<Nas>, ServeError> {
        let table = Arc::new(exports::Exports::default());
        let nfs = Arc::new(Nfs3::new(Arc::clone(&table)));
        let programs = Programs::new(vec![nfs, Arc::new(MountProgram::new(Arc::clone(&table)))]);
        let addresses = config.nfs_listen.iter().chain(&config.mount_listen);
        let listeners = addresses.map(|address| Listener { address: *address, programs: programs.clone() });
        let listeners = listeners.collect();
        let memory = config.nfs_staging_bytes as usize;
        let server = Server::start(server::Config { listeners, memory, workers })?;
        let (nfs, mount) = server.addresses().split_at(config.nfs_listen.len());
        let (nfs, mount) = (nfs.to_vec(), mount.to_vec());
        Ok(Arc::new(Nas { table, server, nfs, mount, trees: Mutex::default() }))
    }

    /// Answers from now on.
    pub(super) fn open(&self) {
        self.server.open();
    }

    /// Answers what was begun, and ends all connections.
    pub(super) async fn stop(&self) {
        self.server.stop().await;
    }

    /// Where NFS is served.
    pub(super) fn nfs(&self) -> &[SocketAddr] {
        &self.nfs
    }

    /// Where MOUNT is served: with NFS, if nowhere else.
    pub(super) fn mount(&self) -> &[SocketAddr] {
        if self.mount.is_empty() {
            &self.nfs
        } else {
            &self.mount
        }
    }

    fn apply(&self, shares: &[ExportedShare]) {
        let mut trees = self.trees.lock().expect("no holder of the trees panics");
        trees.retain(|id, _| shares.iter().any(|share| share.id == *id));
        let shares = shares.iter().map(|exported| exports::Share {
            id: ShareId(exported.id),
            path: format!("/{}", exported.path),
            tree: exported.share.as_ref().map(|(share, key)| {
                let new = || Arc::new(ShareTree(share.clone()));
                (trees.entry(exported.id).or_insert_with(new).clone(), HandleKey::new(key))
            }),
            rules: exported.rules.iter().map(rule).collect(),
        });
        self.table.replace(shares.collect());
    }
}

fn rule(record: &ExportRecord) -> Rule {
    Rule {
        clients: match record.clients {
            Clients::Any => exports::Clients::Any,
            Clients::Network(network) => exports::Clients::Network(network),
        },
        read_only: record.read_only,
        squash: match record.squash {
            Squash::None => exports::Squash::None,
            Squash::Root => exports::Squash::Root,
            Squash::All => exports::Squash::All,
        },
        anonymous_uid: record.anonymous_uid,
        anonymous_gid: record.anonymous_gid,
        secure_port: record.secure_port,
    }
}

/// Both servers: what exports volumes, and what exports shares.
pub(super) struct Both {
    pub(super) san: Arc<super::target::San>,
    pub(super) nas: Arc<Nas>,
}

impl Border for Both {
    fn apply(&self, exports: Exports) -> Done<'_> {
        self.nas.apply(&exports.shares);
        self.san.apply(exports)
    }

    fn sessions(&self, volume: &VolumeKey) -> usize {
        self.san.sessions(volume)
    }

    fn end_sessions(&self, volume: &VolumeKey) -> Done<'_> {
        self.san.end_sessions(volume)
    }
}
