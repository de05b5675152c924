//! What is told of a file system: FSSTAT, FSINFO, PATHCONF.

use super::at::{bare, At, Caller};
use super::results::{FsInfo, FsStat, PathConf};
use super::types::{Failure, Handle, PostAttributes};
use super::Nfs3;
use crate::limits::{FILE_MAX, LINKS_MAX, LISTING_MAX, TRANSFER_MAX};
use crate::tree::{FileTree, Name, Time};

/// What reads and writes should be a multiple of.
const MULTIPLE: u32 = 4096;
/// Hard links, symbolic links, PATHCONF is the same for all objects, SETATTR can set times.
const PROPERTIES: u32 = 0x01 | 0x02 | 0x08 | 0x10;
/// The least space that an inode takes, for telling how many may come.
const INODE_BYTES: u64 = 4096;

impl<T: FileTree> Nfs3<T> {
    /// FSSTAT (RFC 1813 3.3.18).
    pub(super) async fn fs_stat(
        &self,
        caller: Caller,
        root: Handle,
    ) -> Result<FsStat, Failure<PostAttributes>> {
        let at = At::open(&self.exports, &caller, &root).map_err(bare)?;
        let told = async {
            let room = at.tree().room().await?;
            let free_files = room.free / INODE_BYTES;
            Ok(FsStat {
                attributes: at.post().await,
                total_bytes: room.total,
                free_bytes: room.free,
                available_bytes: room.free,
                total_files: room.inodes.saturating_add(free_files),
                free_files,
                available_files: free_files,
                invariant_s: 0,
            })
        };
        at.explain(told.await).await
    }

    /// FSINFO (3.3.19).
    pub(super) async fn fs_info(
        &self,
        caller: Caller,
        root: Handle,
    ) -> Result<FsInfo, Failure<PostAttributes>> {
        let at = At::open(&self.exports, &caller, &root).map_err(bare)?;
        let attributes = at.attributes().await.map_err(bare)?;
        Ok(FsInfo {
            attributes: Some(at.told(&attributes)),
            read_max: TRANSFER_MAX,
            read_preferred: TRANSFER_MAX,
            read_multiple: MULTIPLE,
            write_max: TRANSFER_MAX,
            write_preferred: TRANSFER_MAX,
            write_multiple: MULTIPLE,
            names_preferred: LISTING_MAX,
            file_max: FILE_MAX,
            time_delta: Time { seconds: 0, nanos: 1 },
            properties: PROPERTIES,
        })
    }

    /// PATHCONF (3.3.20).
    pub(super) async fn path_conf(
        &self,
        caller: Caller,
        object: Handle,
    ) -> Result<PathConf, Failure<PostAttributes>> {
        let at = At::open(&self.exports, &caller, &object).map_err(bare)?;
        let attributes = at.attributes().await.map_err(bare)?;
        Ok(PathConf {
            attributes: Some(at.told(&attributes)),
            links_max: LINKS_MAX,
            name_max: Name::MAX as u32,
            no_truncation: true,
            chown_restricted: true,
            case_insensitive: false,
            case_preserving: true,
        })
    }
}
