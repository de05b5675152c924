//! The NFS server of the daemon: what the catalogue exports, as its table of shares.

use super::beside::Beside;
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
use std::time::Instant;
use volume_manager::border::{Border, Done, ExportedShare, Exports};
use volume_manager::state::{Clients, ExportRecord, Squash, VolumeKey};

/// The server and what it exports.
pub(super) struct Nas {
    table: Arc<exports::Exports<ShareTree>>,
    program: Arc<Nfs3<ShareTree>>,
    server: Server,
    beside: Beside,
    nfs: Vec<SocketAddr>,
    mount: Vec<SocketAddr>,
    /// One for each share that was exported: a new one would be another tree to the server.
    trees: Mutex<BTreeMap<u64, Arc<ShareTree>>>,
}

impl Nas {
    /// Listens; connections wait until [`Nas::open`]. NFS and MOUNT answer on the addresses of both.
    pub(super) async fn start(
        config: &Config,
        workers: Vec<tokio::runtime::Handle>,
    ) -> Result<Arc<Nas>, ServeError> {
        let table = Arc::new(exports::Exports::default());
        let program = Arc::new(Nfs3::new(Arc::clone(&table)));
        let programs = Programs::new(vec![program.clone(), Arc::new(MountProgram::new(Arc::clone(&table)))]);
        let addresses = config.nfs_listen.iter().chain(&config.mount_listen);
        let listeners = addresses.map(|address| Listener { address: *address, programs: programs.clone() });
        let (beside, more) = Beside::start(config, &table).await?;
        let listeners = listeners.chain(more).collect();
        let memory = config.nfs_staging_bytes as usize;
        let server = Server::start(server::Config { listeners, memory, workers })?;
        let (nfs, mount) = server.addresses().split_at(config.nfs_listen.len());
        let mount = &mount[..config.mount_listen.len()];
        let (nfs, mount) = (nfs.to_vec(), mount.to_vec());
        Ok(Arc::new(Nas { table, program, server, beside, nfs, mount, trees: Mutex::default() }))
    }

    /// Answers from now on.
    pub(super) fn open(&self) {
        self.server.open();
        self.beside.open();
    }

    /// Answers what was begun, and ends all connections.
    pub(super) async fn stop(&self) {
        self.beside.stop().await;
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

    async fn apply(&self, shares: &[ExportedShare]) {
        let mut exported = Vec::new();
        for share in shares {
            let tree = match &share.share {
                Some((tree, key)) => Some((self.tree(share.id, tree).await, HandleKey::new(key))),
                None => None,
            };
            exported.push(exports::Share {
                id: ShareId(share.id),
                path: format!("/{}", share.path),
                tree,
                rules: share.rules.iter().map(rule).collect(),
            });
        }
        let mut trees = self.trees.lock().expect("no holder of the trees panics");
        trees.retain(|id, _| shares.iter().any(|share| share.id == *id));
        drop(trees);
        self.table.replace(exported);
        self.beside.exports_changed();
    }

    /// The tree of a share. Before one is exported first, the answers that it has kept are remembered: a call
    /// that comes again after a restart gets them (protocol rule 18).
    async fn tree(&self, id: u64, share: &volume_manager::Share) -> Arc<ShareTree> {
        let known = self.trees.lock().expect("no holder of the trees panics").get(&id).cloned();
        if let Some(tree) = known {
            return tree;
        }
        let tree = Arc::new(ShareTree(share.clone()));
        if let Err(error) = self.program.remember(Instant::now(), &*tree).await {
            tracing::error!(share = id, %error, "calls that come again may be done again");
        }
        let mut trees = self.trees.lock().expect("no holder of the trees panics");
        trees.entry(id).or_insert(tree).clone()
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
        Box::pin(async move {
            self.nas.apply(&exports.shares).await;
            self.san.apply(exports).await;
        })
    }

    fn sessions(&self, volume: &VolumeKey) -> usize {
        self.san.sessions(volume)
    }

    fn end_sessions(&self, volume: &VolumeKey) -> Done<'_> {
        self.san.end_sessions(volume)
    }
}
