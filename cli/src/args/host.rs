//! `ashlar host` and `ashlar lun`.

use clap::{Args, Subcommand, ValueEnum};
use ipnet::IpNet;
use std::path::PathBuf;
use volume_manager::state::OsKind;
use volume_manager::{Name, VolumePath};

#[derive(Subcommand)]
pub(crate) enum HostCommand {
    /// Make a host: it sees nothing until volumes are mapped to it
    #[command(after_help = "Examples:
  ashlar host create web1 --iqn iqn.1993-08.org.debian:01:ab12 --network 10.0.0.0/24
  ashlar host create esx --iqn iqn.1998-01.com.vmware:esx1 --iqn iqn.1998-01.com.vmware:esx2 --os esxi
  ashlar host create db --iqn iqn.1993-08.org.debian:01:db --chap-user db --chap-secret-file ./secret

A cluster whose members share volumes may be one host. A secret has 12 to 255 bytes.")]
    Create(HostArgs),
    /// List hosts
    List,
    /// Show a host
    #[command(after_help = "Example:\n  ashlar host show web1")]
    Show {
        /// The host
        name: Name,
    },
    /// Delete a host; its sessions end at once
    #[command(after_help = "Example:\n  ashlar host delete web1 --force")]
    Delete {
        /// The host
        name: Name,
        /// Although volumes are mapped to it
        #[arg(long)]
        force: bool,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Args)]
pub(crate) struct HostArgs {
    /// Its name
    pub name: Name,
    /// An initiator's name, or `any`; repeatable
    #[arg(long, required = true, value_name = "IQN")]
    pub iqn: Vec<String>,
    /// What it runs
    #[arg(long, value_enum, default_value_t = OsArg::Linux)]
    pub os: OsArg,
    /// Where it may come from; repeatable; anywhere without
    #[arg(long, value_name = "CIDR")]
    pub network: Vec<IpNet>,
    /// A portal that it may use, by the number `ashlar status` shows; repeatable; all without
    #[arg(long, value_name = "ID")]
    pub portal: Vec<u16>,
    /// The name that it proves itself with (CHAP)
    #[arg(long, value_name = "USER", requires = "chap_secret_file")]
    pub chap_user: Option<String>,
    /// A file with its secret; `-` reads standard input
    #[arg(long, value_name = "FILE", requires = "chap_user")]
    pub chap_secret_file: Option<PathBuf>,
    /// The name that we prove ourselves with (mutual CHAP)
    #[arg(long, value_name = "USER", requires_all = ["chap_user", "mutual_secret_file"])]
    pub mutual_user: Option<String>,
    /// A file with our secret
    #[arg(long, value_name = "FILE", requires = "mutual_user")]
    pub mutual_secret_file: Option<PathBuf>,
}

#[derive(Subcommand)]
pub(crate) enum LunCommand {
    /// Give a volume to a host
    #[command(after_help = "Examples:
  ashlar lun map fast/db1 --host web1
  ashlar lun map golden/iso --host web1 --lun 7 --read-only")]
    Map {
        /// POOL/VOLUME
        volume: VolumePath,
        /// The host
        #[arg(long)]
        host: Name,
        /// Its number there; the lowest free one without
        #[arg(long, value_name = "N")]
        lun: Option<u16>,
        /// The host may only read
        #[arg(long)]
        read_only: bool,
    },
    /// Take a volume away from a host; when this returns, none of its I/O runs any more
    #[command(after_help = "Example:\n  ashlar lun unmap fast/db1 --host web1")]
    Unmap {
        /// POOL/VOLUME
        volume: VolumePath,
        /// The host
        #[arg(long)]
        host: Name,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// List what hosts were given
    List {
        /// Only those of this host
        #[arg(long)]
        host: Option<Name>,
    },
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum OsArg {
    Linux,
    Esxi,
    Windows,
    Xen,
    Other,
}

impl From<OsArg> for OsKind {
    fn from(arg: OsArg) -> OsKind {
        match arg {
            OsArg::Linux => OsKind::Linux,
            OsArg::Esxi => OsKind::Esxi,
            OsArg::Windows => OsKind::Windows,
            OsArg::Xen => OsKind::Xen,
            OsArg::Other => OsKind::Other,
        }
    }
}
