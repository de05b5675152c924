//! `ashlar pool`.

use clap::{Args, Subcommand};
use std::path::PathBuf;
use std::str::FromStr;
use volume_manager::manager::DeviceRequest;
use volume_manager::{Name, Size};

#[derive(Subcommand)]
pub(crate) enum PoolCommand {
    /// Make a pool of devices: block devices, or files
    #[command(after_help = "Examples:
  ashlar pool create fast --device /dev/nvme0n1 --device /dev/nvme1n1
  ashlar pool create test --device /srv/ashlar/disk0:50G     (the file is made)")]
    Create {
        /// Its name
        name: Name,
        #[command(flatten)]
        devices: Devices,
    },
    /// List pools
    List,
    /// Show a pool, its devices and its scrub
    #[command(after_help = "Example:\n  ashlar pool show fast")]
    Show {
        /// The pool
        name: Name,
    },
    /// Add devices to a pool in use
    #[command(after_help = "Example:\n  ashlar pool add-device fast --device /dev/nvme2n1")]
    AddDevice {
        /// The pool
        name: Name,
        #[command(flatten)]
        devices: Devices,
    },
    /// Let a pool in use have the whole of a device that became longer
    #[command(after_help = "Examples:
  ashlar pool grow-device fast --device /dev/nvme0n1             (after the disk was enlarged)
  ashlar pool grow-device test --device /srv/ashlar/disk0:80G    (the file is made so long)")]
    GrowDevice {
        /// The pool
        name: Name,
        /// The device; with a size, a file that is made so long
        #[arg(long, value_name = "PATH[:SIZE]")]
        device: DeviceArg,
    },
    /// Verify everything that is stored, in the background
    #[command(after_help = "Examples:
  ashlar pool scrub fast --rate 200M
  ashlar pool scrub fast --pause
  ashlar pool scrub fast --resume")]
    Scrub {
        /// The pool
        name: Name,
        /// Bytes a second at most
        #[arg(long, value_name = "SIZE", default_value = "100M")]
        rate: Size,
        /// Hold the one that runs
        #[arg(long, conflicts_with_all = ["rate", "resume"])]
        pause: bool,
        /// Let the one that is held go on
        #[arg(long, conflicts_with = "rate")]
        resume: bool,
    },
    /// Delete a pool and all that is in it
    #[command(after_help = "Example:\n  ashlar pool delete test --force")]
    Delete {
        /// The pool
        name: Name,
        /// Delete its volumes too
        #[arg(long)]
        force: bool,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Args)]
pub(crate) struct Devices {
    /// A block device or file; with a size, a file that is made
    #[arg(long = "device", value_name = "PATH[:SIZE]", required = true)]
    pub devices: Vec<DeviceArg>,
    /// Overwrite what the devices hold
    #[arg(long)]
    pub force: bool,
}

/// `PATH[:SIZE]`.
#[derive(Clone)]
pub(crate) struct DeviceArg(pub DeviceRequest);

impl FromStr for DeviceArg {
    type Err = String;

    fn from_str(text: &str) -> Result<DeviceArg, String> {
        // Names of devices have colons too (/dev/disk/by-path/pci-0000:00...): only a size behind the last
        // counts.
        let sized = text.rsplit_once(':').and_then(|(path, size)| Some((path, size.parse::<Size>().ok()?)));
        let (path, size) = match sized {
            Some((path, size)) if !PathBuf::from(text).exists() => (path, Some(size.0)),
            _ => (text, None),
        };
        let path = std::path::absolute(path).map_err(|e| e.to_string())?;
        Ok(DeviceArg(DeviceRequest { path, size }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_what_stands_behind_the_last_colon() {
        let parse = |text: &str| text.parse::<DeviceArg>().map(|d| (d.0.path, d.0.size));
        assert_eq!(parse("/srv/disk:10G"), Ok(("/srv/disk".into(), Some(10 << 30))));
        let by_path = "/dev/disk/by-path/pci-0000:00:1f.2-ata";
        assert_eq!(parse(by_path), Ok((by_path.into(), None)));
    }
}
