//! Discards (range tombstones): effective at once, worked off here in bounded steps.
//!
//! Until a page is worked off its old pointers stay in the map, hidden from the live view; it is worked off
//! before it is written, before a snapshot is taken, and before anything of its branch is reclaimed.

use super::Engine;
use crate::catalogue::{DatasetId, Trim};
use crate::error::{Error, Retry};
use crate::generation::PageKey;
use crate::ids::{BranchId, ObjectId, PageNo, PAGE_BLOCKS};
use crate::key::{prefix_end, MapKey};
use crate::machine::not_found;
use crate::machine::op::{Admin, IoOp, Op, Part, Reach, WorkOffStep};
use crate::pages::View;
use block_layer::runtime::unblock;
use block_layer::{Seq, BLOCK};
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Pages worked off in one commit.
const STEP: usize = 16;

impl Engine {
    /// Works off all discards that touch a range of blocks.
    pub(crate) async fn work_off_range(
        &self,
        branch: BranchId,
        object: ObjectId,
        block: u64,
        count: u64,
    ) -> Result<(), Error> {
        for piece in crate::machine::pieces(block, count) {
            while let Some((trim, as_of)) = self.discard_over(branch, object, piece.page) {
                self.work_off(branch, trim, as_of).await?;
            }
        }
        Ok(())
    }

    fn discard_over(&self, branch: BranchId, object: ObjectId, page: PageNo) -> Option<(Trim, Seq)> {
        let state = self.space.lock();
        let trims = &state.catalogue.branches.get(&branch)?.trims;
        trims.iter().find(|t| t.covers(object, page)).map(|trim| (*trim, state.applied))
    }

    /// Works off one bounded piece of a branch's discards; whether there was any.
    pub(crate) async fn work_off_some(&self, branch: BranchId) -> Result<bool, Error> {
        let first = {
            let state = self.space.lock();
            let first = state.catalogue.branches.get(&branch).and_then(|b| b.trims.first().copied());
            first.map(|trim| (trim, state.applied))
        };
        match first {
            None => Ok(false),
            Some((trim, as_of)) => self.work_off(branch, trim, as_of).await.map(|()| true),
        }
    }

    /// Works off the first pages of a discard that was there at `as_of`. Several may try at a time: one of
    /// them gets it done.
    async fn work_off(&self, branch: BranchId, trim: Trim, as_of: Seq) -> Result<(), Error> {
        let (pages, to) = self.mapped_pages(branch, trim).await?;
        let mut step = Vec::with_capacity(pages.len());
        for page in pages {
            let key = PageKey { branch, object: trim.object, page };
            let page = self.page_behind(key, View::Live).await?;
            if page.count() > 0 {
                step.push((key, page));
            }
        }
        let own = step.iter().flat_map(|(_, page)| page.iter().map(|(_, p)| p)).collect::<Vec<_>>();
        self.load_refs(own.into_iter()).await?;
        let Trim { object, from, epoch, .. } = trim;
        let step = WorkOffStep { branch, object, epoch, from, to, as_of, pages: step };
        match self.store.commit(Op::Admin(Admin::WorkOff(step))).await.map_err(Retry::from) {
            Ok(_) => Ok(()),
            // Someone else did it, or counts left memory again: the caller looks anew.
            Err(Retry::After(seq)) => {
                self.store.wait_visible(seq).await;
                Ok(())
            }
            Err(Retry::Failed(e)) => Err(e),
        }
    }

    /// The first pages of a discard that may be mapped, and where the next step begins.
    pub(super) async fn mapped_pages(
        &self,
        branch: BranchId,
        trim: Trim,
    ) -> Result<(Vec<PageNo>, PageNo), Error> {
        let mut pages = BTreeSet::new();
        let mut level = Some(branch);
        while let Some(branch) = level {
            {
                let state = self.space.lock();
                for generation in state.frozen.as_deref().into_iter().chain([&state.active]) {
                    pages.extend(generation.pages_in(branch, trim.object, trim.from, trim.to));
                }
                level = state.catalogue.branches.get(&branch).and_then(|b| b.origin).map(|o| o.branch);
            }
            let index = self.store.index().clone();
            let object = trim.object;
            let from = MapKey::of_page(branch, object, trim.from);
            let to = match trim.to {
                PageNo(u64::MAX) => prefix_end(&MapKey::of_object(branch, object)).expect("it has a kind"),
                to => MapKey::of_page(branch, object, to),
            };
            let found = unblock(&**self.store.runtime(), move || -> Result<BTreeSet<PageNo>, Error> {
                let mut found = BTreeSet::new();
                let mut damaged = None;
                index.scan(&from, &to, &mut |key, _| match MapKey::parse(key) {
                    Ok(key) if found.contains(&key.page) || found.len() <= STEP => {
                        found.insert(key.page);
                        ControlFlow::Continue(())
                    }
                    Ok(_) => ControlFlow::Break(()),
                    Err(e) => {
                        damaged = Some(e);
                        ControlFlow::Break(())
                    }
                })?;
                damaged.map_or(Ok(found), |e| Err(e.into()))
            })
            .await?;
            pages.extend(found);
        }
        let step: Vec<PageNo> = pages.iter().copied().take(STEP).collect();
        let next = pages.iter().nth(STEP).copied().unwrap_or(trim.to);
        Ok((step, next))
    }

    /// Unmaps what lies between byte `size` and the end of its page: no caller may reach it now.
    pub(super) async fn clear_edge(self: &Arc<Self>, id: DatasetId, size: u64) -> Result<(), Error> {
        let page = (PAGE_BLOCKS * BLOCK) as u64;
        let end = size.next_multiple_of(page);
        let first = size.div_ceil(BLOCK as u64);
        if !size.is_multiple_of(BLOCK as u64) {
            self.clear_tail(id, size).await?;
        }
        let count = end / BLOCK as u64 - first;
        if count == 0 {
            return Ok(());
        }
        loop {
            if self.size_of(id)? != size {
                // A rollback came between: what lies there may be content now.
                return Ok(());
            }
            let branch = self.space.lock().live_branch(id).map(|b| b.id)?;
            let pointers = match self.ready(branch, ObjectId(0), first, count).await {
                Err(e) if self.volume(id).has_moved(&e, (branch, View::Live)) => continue,
                pointers => pointers?,
            };
            if pointers.iter().all(Option::is_none) {
                return Ok(());
            }
            let parts = vec![Part::Unmap { object: ObjectId(0), block: first, count }];
            let reach = Reach::Behind(size);
            let op = IoOp { dataset: id, branch, session: None, frees: true, reach, parts };
            match self.io(op).await {
                Ok(_) => return Ok(()),
                Err(Retry::After(seq)) => self.store.wait_visible(seq).await,
                Err(Retry::Failed(e)) => return Err(e),
            }
        }
    }

    /// Zeroes the part of the last block behind byte `size`.
    async fn clear_tail(self: &Arc<Self>, id: DatasetId, size: u64) -> Result<(), Error> {
        let len = size.next_multiple_of(BLOCK as u64) - size;
        if !self.space.lock().catalogue.datasets.contains_key(&id) {
            return Err(not_found(id));
        }
        self.volume(id).write_zeroes_beyond(size, len).await
    }
}
