//! The command line: nouns, verbs, long flags. Every help text ends with examples.

mod host;
mod pool;
mod serve;
mod share;
mod volume;

pub(crate) use host::{HostArgs, HostCommand, LunCommand};
pub(crate) use pool::PoolCommand;
pub(crate) use serve::ServeArgs;
pub(crate) use share::{ExportArgs, ExportCommand, FileCommand, Settings, ShareCommand};
pub(crate) use volume::{CloneArgs, SnapshotCommand, VolumeCommand};

use clap::{Parser, Subcommand};
use std::path::PathBuf;

/// Where the packaged daemon listens.
const SOCKET: &str = "/run/ashlar/ashlar.sock";

const EXAMPLES: &str = "Examples:
  ashlar serve --state-dir /var/lib/ashlar --iscsi-listen 0.0.0.0:3260
  ashlar pool create fast --device /dev/nvme0n1
  ashlar volume create fast/db1 --size 200G
  ashlar host create web1 --iqn iqn.1993-08.org.debian:01:ab12 --network 10.0.0.0/24
  ashlar lun map fast/db1 --host web1
  ashlar share create fast/images
  ashlar export add fast/images --client 10.0.0.0/24
  ashlar snapshot create fast/db1@before-upgrade
  ashlar clone fast/db1@before-upgrade fast/db1-test

Names are POOL, POOL/VOLUME and POOL/VOLUME@SNAPSHOT. Sizes are binary: 10G, 1.5T.";

/// Storage for hypervisors: thin volumes and shares, snapshots and clones, served over iSCSI and NFS.
#[derive(Parser)]
#[command(name = "ashlar", version, after_help = EXAMPLES, propagate_version = true)]
pub(crate) struct Args {
    /// The daemon's socket
    #[arg(long, global = true, env = "ASHLAR_SOCKET", default_value = SOCKET, value_name = "PATH")]
    pub socket: PathBuf,
    /// Answer in JSON
    #[arg(long, global = true)]
    pub json: bool,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Run the daemon
    Serve(ServeArgs),
    /// Pools of devices
    #[command(subcommand)]
    Pool(PoolCommand),
    /// Volumes: the disks of virtual machines
    #[command(subcommand)]
    Volume(VolumeCommand),
    /// Snapshots of volumes and shares
    #[command(subcommand)]
    Snapshot(SnapshotCommand),
    /// Make a volume or a share that starts as a snapshot, in no time
    Clone(CloneArgs),
    /// Hosts that may use volumes
    #[command(subcommand)]
    Host(HostCommand),
    /// Which host sees which volume
    #[command(subcommand)]
    Lun(LunCommand),
    /// Shares: trees of files, for NFS
    #[command(subcommand)]
    Share(ShareCommand),
    /// Which clients may mount which share
    #[command(subcommand)]
    Export(ExportCommand),
    /// Single files of shares
    #[command(subcommand)]
    File(FileCommand),
    /// The daemon, its pools and listeners, and what needs attention
    Status,
    /// Print completions for a shell
    #[command(after_help = "Example:\n  ashlar completions bash > /etc/bash_completion.d/ashlar")]
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn every_command_with_arguments_teaches_by_example() {
        fn check(command: &clap::Command, path: &str) {
            for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
                let path = format!("{path} {}", sub.get_name());
                let takes = sub.get_positionals().next().is_some();
                assert!(!takes || sub.get_after_help().is_some(), "{path} has no example");
                check(sub, &path);
            }
        }
        check(&Args::command(), "ashlar");
    }
}
