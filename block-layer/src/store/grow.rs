//! The pool as its owner changes it: made, given devices, made larger, deleted.
//!
//! A change of membership is a record like any other: planned against the present members, prepared (a device
//! that joins carries a durable superblock before the record is written), committed alone, and then put
//! into all superblocks by a checkpoint. One change at a time: a plan reckons with the tables as they are.

use super::machine::Machine;
use super::open::{format_index, OpenError, Parts};
use super::state::Work;
use super::{CommitError, FailReason, Store};
use crate::device::Disk;
use crate::format::Ordinal;
use crate::pool::{create, CreateOptions, Layout, MembershipChange, PoolError};
use crate::runtime::unblock;
use std::sync::Arc;

/// Why the pool's members were not changed.
#[derive(Debug, thiserror::Error)]
pub enum MemberError {
    /// The device or the pool does not allow it; nothing was changed.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// The pool has failed; whether the change was made shows after the next open, which must be given
    /// the device.
    #[error("the pool has stopped: {0}; reopen it")]
    Failed(#[from] FailReason),
    /// The pool is being closed; nothing was changed.
    #[error("the pool is closed")]
    Closed,
}

impl<M: Machine> Store<M> {
    /// Makes a pool of `parts.disks` with an empty index; it is opened by [`Store::open`].
    ///
    /// # Errors
    /// As [`create`] and [`format_index`]; then it must be made again, with force.
    pub async fn create_pool(parts: &Parts, options: &CreateOptions) -> Result<(), OpenError> {
        let runtime = parts.runtime.clone();
        let membership = create(&parts.disks, options, &mut || runtime.random()).await?;
        format_index(parts, &membership).await
    }

    /// Adds a device to the pool; `force` overwrites what it holds. Its space can be used when this returns.
    ///
    /// # Errors
    /// See [`MemberError`].
    pub async fn add_device(
        self: &Arc<Self>,
        disk: Arc<dyn Disk>,
        layout: Layout,
        force: bool,
    ) -> Result<(), MemberError> {
        let _turn = self.joining.lock().await;
        let joining = self.membership().plan_add(disk, layout, &mut || self.runtime.random())?;
        let joined = joining.format(force).await?;
        let change = self.membership().expect_member(joined);
        self.change_members(change).await
    }

    /// Lets the pool use the whole of a device that has become longer. A file that is shorter than `len`
    /// bytes is made so long first.
    ///
    /// # Errors
    /// See [`MemberError`].
    pub async fn grow_device(self: &Arc<Self>, ordinal: Ordinal, len: u64) -> Result<(), MemberError> {
        let _turn = self.joining.lock().await;
        let disk = self.membership().disk(ordinal).cloned();
        let mut wanted = len;
        if let Some(disk) = disk {
            let extended = unblock(&*self.runtime, move || disk.extend(len).map(|()| disk.geometry().len));
            wanted = len.max(extended.await.map_err(PoolError::Disk)?);
        }
        let change = self.membership().plan_grow(ordinal, wanted)?;
        self.change_members(change).await
    }

    async fn change_members(self: &Arc<Self>, change: MembershipChange) -> Result<(), MemberError> {
        match self.enqueue(Work::Membership(change)).await {
            Ok(_) => Ok(self.checkpoint().await?),
            Err(CommitError::PoolFailed(reason)) => Err(MemberError::Failed(reason)),
            Err(_) => Err(MemberError::Closed),
        }
    }

    /// Closes the pool and wipes the superblocks of its devices. The data stays as it is, and so does the
    /// index, whose directory is the caller's to remove.
    ///
    /// # Errors
    /// [`MemberError::Failed`] when it does not close: nothing was wiped; [`MemberError::Pool`] when a device
    /// fails: some may still carry a superblock of a pool that is not whole.
    pub async fn delete(self: &Arc<Self>) -> Result<(), MemberError> {
        self.close().await?;
        let wipe = self.membership().wipe();
        Ok(wipe.await?)
    }
}
