//! `ashlar serve`: the catalogue, its API and the servers, put together.
//!
//! Threads: the main one has the catalogue, the API and the background work of pools; each of the others has
//! an executor of its own and serves connections, which never move between them.
//!
//! Order of a start: the state directory's lock, the addresses, the pools, the servers, the API socket.
//! Nobody can connect before the pools are open or known to have failed; the socket's appearing says "ready".

mod api;
mod audit;
mod beside;
mod config;
mod nas;
mod reach;
mod socket;
mod space;
mod target;
mod tree;
mod unit;
mod workers;

use crate::args::ServeArgs;
use config::Config;
use nas::{Both, Nas};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use target::San;
use tokio::signal::unix::{signal, SignalKind};
use volume_manager::state::StateDir;
use volume_manager::{Manager, PoolSettings};
use workers::Workers;

/// How long a stop may take (protocol rule 6).
const STOP: Duration = Duration::from_secs(10);

/// Why the daemon does not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    /// The configuration makes no sense.
    #[error(transparent)]
    Config(#[from] config::ConfigError),
    /// The state directory or what it says is of no use.
    #[error(transparent)]
    Manager(#[from] volume_manager::Error),
    /// An address cannot be listened on.
    #[error("cannot listen on {what}: {source}: is another server using it?")]
    Listen {
        /// Address or path.
        what: String,
        /// Why.
        source: std::io::Error,
    },
    /// The iSCSI server does not start.
    #[error("{0}: is another server using it?")]
    Server(#[from] san_iscsi::server::ServerFault),
    /// The NFS server does not start.
    #[error("{0}: is another server using it?")]
    Nfs(#[from] nas_nfs::server::ServerFault),
    /// What is kept of hosts with locks is of no use.
    #[error("the hosts that held locks cannot be read or kept: {0}: see locks.state in the state directory")]
    Locks(#[source] std::io::Error),
    /// The port mapper of this machine does not take what we serve.
    #[error(transparent)]
    Register(#[from] nas_nfs::portmap::register::RegisterFault),
    /// The system refuses threads, signals, time.
    #[error("the system refuses: {0}")]
    System(#[from] std::io::Error),
}

/// Runs the daemon until SIGTERM or SIGINT. `socket` is where the API is, if not in the state directory.
pub(crate) fn serve(args: ServeArgs, socket: Option<PathBuf>) -> Result<(), ServeError> {
    let config = Config::load(args)?;
    tracing_subscriber::fmt()
        .with_max_level(config.log_level)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false)
        .init();
    raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(config, socket))
}

async fn run(config: Config, socket: Option<PathBuf>) -> Result<(), ServeError> {
    let begun = Instant::now();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let dir = StateDir::open(&config.state_dir)?;
    let socket = socket.unwrap_or_else(|| config.state_dir.join("ashlar.sock"));
    let nas = [&config.nfs_listen, &config.mount_listen, &config.nlm_listen, &config.portmap_listen];
    for addresses in nas.into_iter().chain([&config.iscsi_listen]) {
        target::check_free(addresses)?;
    }
    let mut settings = PoolSettings::new(config.state_dir.clone());
    settings.engine = config.engine;
    let manager = Manager::open(dir, settings).await?;
    let ids = manager.portals(&config.iscsi_listen).await?;
    let portals = ids.into_iter().zip(config.iscsi_listen.iter().copied()).collect();
    let workers = Workers::start(config.threads)?;
    let san = San::start(&config, &manager.server_id(), portals, workers.handles())?;
    let nas = Nas::start(&config, workers.handles()).await?;
    manager.attach(Arc::new(Both { san: san.clone(), nas: nas.clone() })).await;
    san.open();
    nas.open();
    let started = Instant::now();
    let api = api::App { manager: manager.clone(), san: san.clone(), nas: nas.clone(), started };
    let watch = tokio::spawn(space::watch(manager.clone(), san.clone()));
    let listener = socket::bind(&socket)?;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let audit = Arc::new(audit::Audit::open(&config.state_dir)?);
    let serving = tokio::spawn(api::serve(listener, Arc::new(api), audit, stopped));
    tracing::info!(socket = %socket.display(), after_ms = begun.elapsed().as_millis() as u64, "ready");
    if let Err(e) = sd_notify::notify(false, &[sd_notify::NotifyState::Ready]) {
        tracing::warn!("the service manager was not told: {e}");
    }
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
    let _ = sd_notify::notify(false, &[sd_notify::NotifyState::Stopping]);
    let _ = std::fs::remove_file(&socket);
    drop(stop);
    watch.abort();
    let end = async {
        tokio::join!(san.stop(), nas.stop());
        let _ = serving.await;
        manager.close().await;
    };
    if tokio::time::timeout(STOP, end).await.is_err() {
        tracing::warn!("not everything ended in time; the next start recovers");
    }
    drop(workers);
    tracing::info!("stopped");
    Ok(())
}

/// Each connection is a descriptor: take as many as the system lets us have.
fn raise_descriptor_limit() {
    use rustix::process::{getrlimit, setrlimit, Resource, Rlimit};
    let limit = getrlimit(Resource::Nofile);
    if let Err(e) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }) {
        tracing::warn!("the limit of open files stays as it is: {e}");
    }
}
