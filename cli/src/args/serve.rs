//! `ashlar serve`.

use clap::Args;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Flags that are given win over the configuration file.
#[derive(Args)]
#[command(after_help = "Examples:
  ashlar serve --state-dir /var/lib/ashlar --iscsi-listen 0.0.0.0:3260
  ashlar serve --state-dir ./demo --iscsi-listen 127.0.0.1:33260 --nfs-listen 127.0.0.1:32049

Nothing is served to anyone until a host is created and a volume mapped to it, or a share exported.")]
pub(crate) struct ServeArgs {
    /// Where the daemon keeps what it must know again after a restart; its socket too
    #[arg(long, value_name = "DIR")]
    pub state_dir: PathBuf,
    /// A configuration file (TOML); see docs/ashlar.toml for every option
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Serve iSCSI here; repeatable, each is a portal
    #[arg(long, value_name = "ADDR:PORT")]
    pub iscsi_listen: Vec<SocketAddr>,
    /// Serve NFS here; repeatable
    #[arg(long, value_name = "ADDR:PORT")]
    pub nfs_listen: Vec<SocketAddr>,
    /// Serve MOUNT here too; it always answers beside NFS; repeatable
    #[arg(long, value_name = "ADDR:PORT")]
    pub mount_listen: Vec<SocketAddr>,
    /// Serve locks here (NLM and NSM, TCP and UDP); repeatable
    #[arg(long, value_name = "ADDR:PORT")]
    pub nlm_listen: Vec<SocketAddr>,
    /// Be the port mapper here, usually on port 111; repeatable
    #[arg(long, value_name = "ADDR:PORT")]
    pub portmap_listen: Vec<SocketAddr>,
    /// Register with the rpcbind of this machine instead of being the port mapper
    #[arg(long, conflicts_with = "portmap_listen")]
    pub register_rpcbind: bool,
    /// An address to tell initiators beside those that are listened on; repeatable
    #[arg(long, value_name = "ADDR:PORT")]
    pub advertise: Vec<SocketAddr>,
    /// Threads that serve; one a processor without
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
}
