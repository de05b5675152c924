//! `ashlar share` and `ashlar export`.

use clap::{Args, Subcommand, ValueEnum};
use volume_manager::share::SnapshotDir;
use volume_manager::state::{Clients, Squash};
use volume_manager::{FilePath, Name, Size, VolumePath};

#[derive(Subcommand)]
pub(crate) enum ShareCommand {
    /// Make a share: a tree of files, which takes no space until it has some
    #[command(after_help = "Examples:
  ashlar share create fast/images
  ashlar share create fast/home --quota 500G --snapshot-dir visible")]
    Create {
        /// POOL/SHARE
        path: VolumePath,
        #[command(flatten)]
        settings: Settings,
    },
    /// List shares
    List {
        /// Only those of this pool
        #[arg(long)]
        pool: Option<Name>,
    },
    /// Show a share
    #[command(after_help = "Example:\n  ashlar share show fast/images")]
    Show {
        /// POOL/SHARE
        path: VolumePath,
    },
    /// Change what can be set of a share
    #[command(after_help = "Examples:
  ashlar share set fast/home --quota 1T
  ashlar share set fast/home --quota 0            (no limit)
  ashlar share set fast/home --snapshot-dir off")]
    Set {
        /// POOL/SHARE
        path: VolumePath,
        #[command(flatten)]
        settings: Settings,
    },
    /// Give a share another name; clients mount it by the new one from now on
    #[command(after_help = "Example:\n  ashlar share rename fast/images golden")]
    Rename {
        /// POOL/SHARE
        path: VolumePath,
        /// Its new name
        to: Name,
    },
    /// Delete a share and all its files
    #[command(after_help = "Example:\n  ashlar share delete fast/images --snapshots")]
    Delete {
        /// POOL/SHARE
        path: VolumePath,
        /// Delete its snapshots too
        #[arg(long)]
        snapshots: bool,
        /// Although it is exported
        #[arg(long)]
        force: bool,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Args)]
pub(crate) struct Settings {
    /// Bytes that it may take; 0 = no limit
    #[arg(long, value_name = "SIZE")]
    pub quota: Option<Size>,
    /// Whether its root shows `.snapshots`: to who asks for it, in listings too, or not at all
    #[arg(long, value_enum)]
    pub snapshot_dir: Option<SnapshotDirArg>,
}

#[derive(Subcommand)]
pub(crate) enum FileCommand {
    /// Make a file of another by reference: no data is copied
    #[command(after_help = "Examples:
  ashlar file clone fast/images/debian12.img fast/images/vm42.img
  ashlar file clone fast/images@monday/vm42.img fast/images/vm42-monday.img
  ashlar file clone fast/db1 fast/images/db1.img      (a volume as a file)
  ashlar file clone fast/images/vm42.img fast/vm42    (a file as a volume)")]
    Clone {
        /// POOL/SHARE[@SNAPSHOT]/path, or POOL/VOLUME[@SNAPSHOT]
        from: FilePath,
        /// POOL/SHARE/path or POOL/VOLUME, in the same pool; it must not exist
        to: FilePath,
    },
}

#[derive(Subcommand)]
pub(crate) enum ExportCommand {
    /// Let clients mount a share
    #[command(after_help = "Examples:
  ashlar export add fast/images --client 10.0.0.0/24
  ashlar export add fast/images --client 10.0.0.7 --squash none
  ashlar export add fast/iso --client any --read-only")]
    Add(ExportArgs),
    /// Take a share away from clients
    #[command(after_help = "Example:\n  ashlar export remove fast/images --client 10.0.0.0/24")]
    Remove {
        /// POOL/SHARE
        share: VolumePath,
        /// Which clients
        #[arg(long, value_name = "CIDR|any")]
        client: Clients,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// List exports
    List {
        /// Only those of this share
        #[arg(long, value_name = "POOL/SHARE")]
        share: Option<VolumePath>,
    },
}

#[derive(Args)]
pub(crate) struct ExportArgs {
    /// POOL/SHARE
    pub share: VolumePath,
    /// Which clients: an address, a network, or any
    #[arg(long, value_name = "CIDR|any")]
    pub client: Clients,
    /// They may only read
    #[arg(long)]
    pub read_only: bool,
    /// Whose claims are not believed
    #[arg(long, value_enum, default_value_t = SquashArg::Root)]
    pub squash: SquashArg,
    /// The user that squashed callers become; nobody without
    #[arg(long, value_name = "UID")]
    pub anon_uid: Option<u32>,
    /// Their group; nobody's without
    #[arg(long, value_name = "GID")]
    pub anon_gid: Option<u32>,
    /// Calls must come from a port below 1024
    #[arg(long)]
    pub secure_port: bool,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum SquashArg {
    None,
    Root,
    All,
}

impl From<SquashArg> for Squash {
    fn from(arg: SquashArg) -> Squash {
        match arg {
            SquashArg::None => Squash::None,
            SquashArg::Root => Squash::Root,
            SquashArg::All => Squash::All,
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum SnapshotDirArg {
    Hidden,
    Visible,
    Off,
}

impl From<SnapshotDirArg> for SnapshotDir {
    fn from(arg: SnapshotDirArg) -> SnapshotDir {
        match arg {
            SnapshotDirArg::Hidden => SnapshotDir::Hidden,
            SnapshotDirArg::Visible => SnapshotDir::Visible,
            SnapshotDirArg::Off => SnapshotDir::Off,
        }
    }
}
