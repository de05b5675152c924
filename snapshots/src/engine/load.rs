//! Loading pages: single-flight, off the connection's thread (design rule 10).
//!
//! A load notes itself before it reads the index, so that what is applied meanwhile is laid over the page
//! before anyone uses it. All loads that the ready tasks ask for go to the index as one job: it looks them up
//! in order, in one pass, and comes back once. While the cache has room, or when pages are asked for one
//! after the other, a page's neighbours come with it: in the index they lie side by side.
//!
//! Read next: `versions` (what a page is made of).

use super::versions::{resolve, Levels, Resolved};
use super::Engine;
use crate::catalogue::SnapshotId;
use crate::error::Error;
use crate::generation::PageKey;
use crate::ids::{BranchId, Epoch, ObjectId, PageNo};
use crate::machine::{no_snapshot, pieces, Keyspace, Loading, State};
use crate::map::{Page, Partial, Pointer};
use crate::pages::{Cached, View};
use block_layer::runtime::unblock;
use block_layer::{IndexError, Store};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::oneshot;

/// Pages that are loaded together, aligned to as many: 16 MiB of an object.
const NEIGHBOURS: u64 = 16;
/// Pages that one job looks up, so that several can share the work.
const JOB: usize = 16;

enum Plan {
    There,
    Wait(oneshot::Receiver<Result<(), IndexError>>),
}

/// Loads that are noted and not begun.
#[derive(Default)]
pub(super) struct Loads(Mutex<Queue>);

#[derive(Default)]
struct Queue {
    wanted: Vec<Wanted>,
    /// Whether a task is on its way to take them.
    called: bool,
}

struct Wanted {
    note: Note,
    levels: Levels,
    /// Nobody asked for it: of use only if there is something of it.
    beside: bool,
}

/// The note that a page is being loaded; taken back when the load ends in any way.
struct Note {
    space: Arc<Keyspace>,
    key: PageKey,
    view: View,
    open: bool,
}

impl Drop for Note {
    fn drop(&mut self) {
        if self.open {
            // The waiters' channels close with it: they look again.
            self.space.lock().loading.remove(&(self.key, self.view));
        }
    }
}

impl Loads {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().expect("nothing panics while it is held")
    }
}

/// A task that is on its way to take a job. Its runtime may end before it has run: then nobody else would.
struct Turn {
    loads: Arc<Loads>,
    space: Arc<Keyspace>,
    store: Arc<Store<Keyspace>>,
    called: bool,
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.called {
            let mut queue = self.loads.lock();
            queue.called = false;
            let orphans = std::mem::take(&mut queue.wanted);
            drop(queue);
            drop(orphans);
        }
    }
}

impl Turn {
    /// Has a task called unless one is on its way.
    fn call(loads: &Arc<Loads>, space: &Arc<Keyspace>, store: &Arc<Store<Keyspace>>) {
        let mut queue = loads.lock();
        if queue.wanted.is_empty() || std::mem::replace(&mut queue.called, true) {
            return;
        }
        drop(queue);
        let turn = Turn { loads: loads.clone(), space: space.clone(), store: store.clone(), called: true };
        store.runtime().spawn(Box::pin(turn.run()));
    }

    async fn run(mut self) {
        let mut job = self.take();
        Turn::call(&self.loads, &self.space, &self.store);
        // In the order of the index's keys.
        job.sort_unstable_by_key(|wanted| (wanted.note.key, wanted.note.view));
        let (mut notes, mut levels) = (Vec::with_capacity(job.len()), Vec::with_capacity(job.len()));
        for Wanted { note, levels: of_page, beside } in job {
            notes.push((note, beside));
            levels.push(of_page);
        }
        match self.resolve(levels).await {
            Ok(pages) => self.end(notes, pages),
            Err(e) if notes.len() == 1 => notes.into_iter().for_each(|(note, _)| note.fail(&e)),
            // What is damaged is damaged for those alone who need it.
            Err(_) => {
                for (note, beside) in notes {
                    let levels = Levels::of(&mut self.space.lock(), note.key, note.view);
                    match self.resolve(vec![levels]).await {
                        Ok(pages) => self.end(vec![(note, beside)], pages),
                        Err(e) => note.fail(&e),
                    }
                }
            }
        }
    }

    /// Takes a job out of the queue.
    fn take(&mut self) -> Vec<Wanted> {
        let mut queue = self.loads.lock();
        (self.called, queue.called) = (false, false);
        let rest = queue.wanted.len().saturating_sub(JOB);
        queue.wanted.split_off(rest)
    }

    async fn resolve(&self, levels: Vec<Levels>) -> Result<Vec<Resolved>, IndexError> {
        let index = self.store.index().clone();
        unblock(&**self.store.runtime(), move || resolve(&*index, levels)).await
    }

    /// Puts what was loaded into the cache, and answers who waits.
    fn end(&self, notes: Vec<(Note, bool)>, pages: Vec<Resolved>) {
        let mut answers = Vec::with_capacity(notes.len());
        let mut state = self.space.lock();
        for ((mut note, beside), page) in notes.into_iter().zip(pages) {
            note.open = false;
            let Some(loading) = state.loading.remove(&(note.key, note.view)) else { continue };
            let nothing = page.versions == 0 && loading.later.is_empty();
            if !(beside && loading.waiting.is_empty() && nothing) {
                state.put_loaded(note.key, note.view, page, loading.later);
            }
            answers.extend(loading.waiting);
        }
        drop(state);
        answers.into_iter().for_each(|answer| drop(answer.send(Ok(()))));
    }
}

impl Note {
    fn fail(mut self, error: &IndexError) {
        self.open = false;
        let loading = self.space.lock().loading.remove(&(self.key, self.view));
        // Who waits may have gone away.
        loading.into_iter().flat_map(|l| l.waiting).for_each(|answer| drop(answer.send(Err(error.clone()))));
    }
}

impl State {
    /// A page was resolved as of some time ago; `later` was applied since.
    fn put_loaded(&mut self, key: PageKey, view: View, page: Resolved, later: Vec<(Epoch, Partial)>) {
        let Resolved { mut page, versions, mut newest, .. } = page;
        for (epoch, partial) in later {
            page.apply(&partial);
            newest = newest.max(epoch);
        }
        if view == View::Live && self.is_discarded(key) {
            // Nothing was written since the discard: whatever is written to it is worked off first.
            *page = Page::EMPTY;
        }
        self.pages.insert(key, view, Cached { page, versions, newest });
    }

    /// Notes that a page is being loaded, unless it is, or is there.
    fn note_load(&mut self, space: &Arc<Keyspace>, key: PageKey, view: View, beside: bool) -> Option<Wanted> {
        if self.pages.peek(key, view).is_some() || self.loading.contains_key(&(key, view)) {
            return None;
        }
        let levels = Levels::of(self, key, view);
        if beside && levels.are_in_memory() {
            return None; // Quickly had when it is needed.
        }
        self.loading.insert((key, view), Loading::default());
        Some(Wanted { note: Note { space: space.clone(), key, view, open: true }, levels, beside })
    }
}

impl Engine {
    /// Sees to it that a page is in the cache (it may leave it again at any time).
    pub(crate) async fn load(&self, key: PageKey, view: View) -> Result<(), Error> {
        loop {
            match self.plan(key, view)? {
                Plan::There => return Ok(()),
                // Unless the load was given up with its runtime.
                Plan::Wait(answered) => {
                    if let Ok(answer) = answered.await {
                        return Ok(answer?);
                    }
                }
            }
        }
    }

    fn plan(&self, key: PageKey, view: View) -> Result<Plan, Error> {
        let mut state = self.space.lock();
        if state.pages.get(key, view).is_some() {
            return Ok(Plan::There);
        }
        let follows = state.pages.miss(key, view);
        let (answer, answered) = oneshot::channel();
        if let Some(loading) = state.loading.get_mut(&(key, view)) {
            loading.waiting.push(answer);
            return Ok(Plan::Wait(answered));
        }
        let levels = Levels::of(&mut state, key, view);
        if levels.are_in_memory() {
            let mut resolved = resolve(&**self.store.index(), vec![levels])?;
            state.put_loaded(key, view, resolved.remove(0), Vec::new());
            return Ok(Plan::There);
        }
        state.loading.insert((key, view), Loading { waiting: vec![answer], later: Vec::new() });
        let note = Note { space: self.space.clone(), key, view, open: true };
        let mut wanted = vec![Wanted { note, levels, beside: false }];
        if follows || state.pages.has_room(NEIGHBOURS as usize + state.loading.len()) {
            let first = key.page.0 / NEIGHBOURS * NEIGHBOURS;
            let pages = (first..=first | (NEIGHBOURS - 1)).map(|page| PageKey { page: PageNo(page), ..key });
            wanted.extend(pages.filter_map(|key| state.note_load(&self.space, key, view, true)));
        }
        drop(state);
        self.loads.lock().wanted.extend(wanted);
        Turn::call(&self.loads, &self.space, &self.store);
        Ok(Plan::Wait(answered))
    }

    async fn resolve(&self, levels: Levels) -> Result<Resolved, Error> {
        let index = self.store.index().clone();
        let mut resolved = match levels.are_in_memory() {
            true => resolve(&*index, vec![levels])?,
            false => unblock(&**self.store.runtime(), move || resolve(&*index, vec![levels])).await?,
        };
        Ok(resolved.remove(0))
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
