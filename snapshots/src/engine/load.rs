//! Loading pages: single-flight, off the connection's thread (design rule 10).
//!
//! A load notes itself before it reads the index, so that what is applied meanwhile is laid over the page
//! before anyone uses it.

use super::versions::{resolve, Levels, Resolved};
use super::Engine;
use crate::catalogue::SnapshotId;
use crate::error::Error;
use crate::generation::PageKey;
use crate::ids::{BranchId, ObjectId};
use crate::machine::{no_snapshot, pieces, Keyspace, Loading};
use crate::map::{Page, Pointer};
use crate::pages::{Cached, View};
use block_layer::runtime::unblock;
use tokio::sync::oneshot;

enum Plan {
    There,
    Wait(oneshot::Receiver<()>),
    Load(Levels),
}

/// Takes the note of a load back when the load ends in any way.
struct Note<'a> {
    space: &'a Keyspace,
    key: PageKey,
    view: View,
}

impl Drop for Note<'_> {
    fn drop(&mut self) {
        // The waiters' channels close with it: they look again.
        self.space.lock().loading.remove(&(self.key, self.view));
    }
}

impl Engine {
    /// Sees to it that a page is in the cache (it may leave it again at any time).
    pub(crate) async fn load(&self, key: PageKey, view: View) -> Result<(), Error> {
        loop {
            match self.plan(key, view) {
                Plan::There => return Ok(()),
                // Whether it was loaded or failed, the next look tells.
                Plan::Wait(loaded) => drop(loaded.await),
                Plan::Load(levels) => return self.run_load(key, view, levels).await,
            }
        }
    }

    fn plan(&self, key: PageKey, view: View) -> Plan {
        let mut state = self.space.lock();
        if state.pages.get(key, view).is_some() {
            return Plan::There;
        }
        state.pages.misses += 1;
        if let Some(loading) = state.loading.get_mut(&(key, view)) {
            let (loaded, wait) = oneshot::channel();
            loading.waiting.push(loaded);
            return Plan::Wait(wait);
        }
        state.loading.insert((key, view), Loading::default());
        Plan::Load(Levels::of(&mut state, key, view))
    }

    async fn run_load(&self, key: PageKey, view: View, levels: Levels) -> Result<(), Error> {
        let _note = Note { space: &self.space, key, view };
        let resolved = self.resolve(levels).await?;
        let mut state = self.space.lock();
        let later = state.loading.get_mut(&(key, view)).map(|l| std::mem::take(&mut l.later));
        let Resolved { mut page, versions, mut newest, .. } = resolved;
        for (epoch, partial) in later.unwrap_or_default() {
            page.apply(&partial);
            newest = newest.max(epoch);
        }
        if view == View::Live && state.is_discarded(key) {
            // Nothing was written since the discard: whatever is written to it is worked off first.
            *page = Page::EMPTY;
        }
        state.pages.insert(key, view, Cached { page, versions, newest });
        Ok(())
    }

    async fn resolve(&self, levels: Levels) -> Result<Resolved, Error> {
        let index = self.store.index().clone();
        if levels.are_in_memory() {
            return resolve(&*index, levels);
        }
        unblock(&**self.store.runtime(), move || resolve(&*index, levels)).await
    }

    /// A page as a view sees it, discards aside, without the cache.
    pub(crate) async fn page_behind(&self, key: PageKey, view: View) -> Result<Box<Page>, Error> {
        self.resolve_behind(key, view).await.map(|resolved| resolved.page)
    }

    /// As [`Engine::page_behind`], and how it came about.
    pub(super) async fn resolve_behind(&self, key: PageKey, view: View) -> Result<Resolved, Error> {
        let levels = Levels::all(&self.space.lock(), key, view);
        self.resolve(levels).await
    }

    /// The pointers of consecutive blocks, loading pages as needed. The pages may be gone again when it
    /// returns.
    pub(crate) async fn pointers(
        &self,
        branch: BranchId,
        object: ObjectId,
        view: View,
        block: u64,
        count: u64,
    ) -> Result<Vec<Option<Pointer>>, Error> {
        let mut pointers = Vec::with_capacity(count as usize);
        for piece in pieces(block, count) {
            let key = PageKey { branch, object, page: piece.page };
            loop {
                {
                    let mut state = self.space.lock();
                    if !state.is_whole(branch, view) {
                        return Err(gone(branch, view));
                    }
                    if let Some(cached) = state.pages.get(key, view) {
                        let first = usize::from(piece.slot);
                        pointers.extend_from_slice(&cached.page.slots()[first..first + piece.count]);
                        break;
                    }
                }
                self.load(key, view).await?;
            }
        }
        Ok(pointers)
    }

    /// Sees to it that the live pages of a range are in the cache.
    pub(crate) async fn load_range(
        &self,
        branch: BranchId,
        object: ObjectId,
        block: u64,
        count: u64,
    ) -> Result<(), Error> {
        for piece in pieces(block, count) {
            self.load(PageKey { branch, object, page: piece.page }, View::Live).await?;
        }
        Ok(())
    }

    /// Sees to it that the reference counts of these blocks are in memory.
    pub(crate) async fn load_refs(&self, pointers: impl Iterator<Item = Pointer>) -> Result<(), Error> {
        for pointer in pointers {
            if self.store.needs_refs(pointer.pba()) {
                self.store.load_refs(pointer.pba()).await?;
            }
        }
        Ok(())
    }

    /// Makes a live range ready to be ordered: discards worked off, pages and counts in memory. Its pointers.
    pub(super) async fn ready(
        &self,
        branch: BranchId,
        object: ObjectId,
        block: u64,
        count: u64,
    ) -> Result<Vec<Option<Pointer>>, Error> {
        self.work_off_range(branch, object, block, count).await?;
        let pointers = self.pointers(branch, object, View::Live, block, count).await?;
        self.load_refs(pointers.iter().flatten().copied()).await?;
        Ok(pointers)
    }
}

/// The error for a view that is being reclaimed.
fn gone(branch: BranchId, view: View) -> Error {
    match view {
        View::Live => Error::NotFound(format!("the live side of branch {}", branch.0)),
        View::At(epoch) => no_snapshot(SnapshotId { branch, epoch }),
    }
}
