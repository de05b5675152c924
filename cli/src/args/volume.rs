//! `ashlar volume`, `ashlar snapshot`, `ashlar clone`.

use clap::{Args, Subcommand, ValueEnum};
use volume_manager::{Name, Size, SnapshotPath, VolumePath, WriteCache};

#[derive(Subcommand)]
pub(crate) enum VolumeCommand {
    /// Make an empty volume; it takes no space until it is written
    #[command(after_help = "Examples:
  ashlar volume create fast/db1 --size 200G
  ashlar volume create fast/vm7 --size 40G --block-size 4096")]
    Create {
        /// POOL/VOLUME
        path: VolumePath,
        /// Its size
        #[arg(long, value_name = "SIZE")]
        size: Size,
        /// Bytes of its logical blocks
        #[arg(long, value_name = "BYTES", default_value_t = 512)]
        block_size: u32,
        /// When writes are acknowledged: `auto` is off for ESXi hosts and on for the others
        #[arg(long, value_enum, default_value_t = CacheArg::Auto)]
        write_cache: CacheArg,
    },
    /// List volumes
    #[command(after_help = "Example:\n  ashlar volume list fast")]
    List {
        /// Only those of this pool
        pool: Option<Name>,
    },
    /// Show a volume
    #[command(after_help = "Example:\n  ashlar volume show fast/db1")]
    Show {
        /// POOL/VOLUME
        path: VolumePath,
    },
    /// Change a volume's size; hosts see it
    #[command(after_help = "Example:\n  ashlar volume resize fast/db1 --size 300G")]
    Resize {
        /// POOL/VOLUME
        path: VolumePath,
        /// Its new size
        #[arg(long, value_name = "SIZE")]
        size: Size,
        #[command(flatten)]
        danger: Danger,
    },
    /// Give a volume another name; hosts do not notice
    #[command(after_help = "Example:\n  ashlar volume rename fast/db1 orders")]
    Rename {
        /// POOL/VOLUME
        path: VolumePath,
        /// The new name, without the pool
        to: Name,
    },
    /// Delete a volume
    #[command(after_help = "Example:\n  ashlar volume delete fast/db1 --snapshots")]
    Delete {
        /// POOL/VOLUME
        path: VolumePath,
        /// Delete its snapshots too
        #[arg(long)]
        snapshots: bool,
        #[command(flatten)]
        danger: Danger,
    },
}

#[derive(Subcommand)]
pub(crate) enum SnapshotCommand {
    /// Take a snapshot, or several at one instant
    #[command(after_help = "Examples:
  ashlar snapshot create fast/db1@monday
  ashlar snapshot create fast/data@v2 fast/log@v2     (one instant)")]
    Create {
        /// POOL/VOLUME@SNAPSHOT
        #[arg(required = true)]
        paths: Vec<SnapshotPath>,
    },
    /// List snapshots
    #[command(after_help = "Example:\n  ashlar snapshot list fast/db1")]
    List {
        /// Only those of this volume
        volume: Option<VolumePath>,
    },
    /// Delete a snapshot; its space comes back in the background
    #[command(after_help = "Example:\n  ashlar snapshot delete fast/db1@monday")]
    Delete {
        /// POOL/VOLUME@SNAPSHOT
        path: SnapshotPath,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Make the volume what it was then; later snapshots stay
    #[command(after_help = "Example:\n  ashlar snapshot rollback fast/db1@monday")]
    Rollback {
        /// POOL/VOLUME@SNAPSHOT
        path: SnapshotPath,
        #[command(flatten)]
        danger: Danger,
    },
    /// List the ranges that changed since a snapshot
    #[command(after_help = "Examples:
  ashlar snapshot diff fast/db1@monday               (until now)
  ashlar snapshot diff fast/db1@monday --to tuesday --json")]
    Diff {
        /// POOL/VOLUME@SNAPSHOT
        from: SnapshotPath,
        /// A later snapshot of the same volume, instead of now
        #[arg(long, value_name = "SNAPSHOT")]
        to: Option<Name>,
    },
}

#[derive(Args)]
#[command(after_help = "Example:\n  ashlar clone golden/debian12@v3 golden/vm42")]
pub(crate) struct CloneArgs {
    /// POOL/VOLUME@SNAPSHOT
    pub snapshot: SnapshotPath,
    /// POOL/NEW
    pub to: VolumePath,
}

#[derive(Args)]
pub(crate) struct Danger {
    /// End the sessions of hosts that use the volume
    #[arg(long)]
    pub force: bool,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum CacheArg {
    Auto,
    On,
    Off,
}

impl From<CacheArg> for WriteCache {
    fn from(arg: CacheArg) -> WriteCache {
        match arg {
            CacheArg::Auto => WriteCache::Auto,
            CacheArg::On => WriteCache::On,
            CacheArg::Off => WriteCache::Off,
        }
    }
}
