//! Scrub: every referenced block is read from its device and checked; damage is reported with its place.
//!
//! Each block is read where it was born: the views of a branch are visited oldest first, and of each only the
//! blocks born in its own interval, on the pages that this interval touched.

use super::Engine;
use crate::catalogue::{DatasetId, Live, SnapshotId};
use crate::error::Error;
use crate::generation::PageKey;
use crate::ids::{BranchId, Epoch, ObjectId, PageNo, PAGE_BLOCKS};
use crate::map::Pointer;
use crate::pages::View;
use block_layer::store::{ReadError, Wanted};
use block_layer::{Buf, BLOCK};
use std::sync::Mutex;
use std::time::Duration;

/// A range that is damaged.
#[derive(Clone, Debug)]
pub struct DamagedRange {
    /// The dataset that sees it, if it still exists.
    pub dataset: Option<DatasetId>,
    /// The oldest snapshot that sees it; `None` = only the live side.
    pub snapshot: Option<SnapshotId>,
    /// The object in the dataset.
    pub object: ObjectId,
    /// Byte offset in the object.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
    /// What is wrong.
    pub error: ReadError,
}

/// How far a scrub has come.
#[derive(Clone, Debug, Default)]
pub struct ScrubProgress {
    /// Whether one is running (or paused).
    pub running: bool,
    /// Whether it is paused.
    pub paused: bool,
    /// Bytes verified.
    pub done_bytes: u64,
    /// Bytes to verify in all, about.
    pub total_bytes: u64,
    /// What was found damaged, the first 10,000 ranges.
    pub damaged: Vec<DamagedRange>,
    /// Blocks found damaged.
    pub damaged_blocks: u64,
}

/// Damaged ranges that are kept for the report.
const REPORT_MAX: usize = 10_000;
/// Blocks read at a time, and places on the devices where they lie: a command meanwhile waits for the device,
/// and for the checksums, of so many.
const BATCH: (usize, usize) = (32, 8);
/// How long a scrub that is paused, or too fast, sleeps before it looks again.
const PAUSE: Duration = Duration::from_millis(20);

#[derive(Default)]
pub(super) struct Scrub {
    progress: Mutex<ScrubProgress>,
}

/// The scrub that runs: it has ended when this is dropped, which a caller that gives up does too.
struct Running<'a>(&'a Engine);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.progress().running = false;
    }
}

/// A view to be scrubbed: what was born after `before`.
#[derive(Clone, Copy)]
struct Seen {
    branch: BranchId,
    first: Epoch,
    before: Epoch,
    epoch: Epoch,
    view: View,
}

impl Engine {
    /// Verifies every referenced block, `bytes_per_second` at most (0 = as fast as it goes). One at a time.
    ///
    /// Damage does not end it: it is in the report, which is also what [`Engine::scrub_progress`] tells
    /// meanwhile. Dropping the future ends it.
    ///
    /// # Errors
    /// One is running already; the index fails; the pool was closed.
    pub async fn scrub(&self, bytes_per_second: u64) -> Result<ScrubProgress, Error> {
        {
            let mut progress = self.progress();
            if progress.running {
                return Err(Error::InUse { what: "the scrub".into(), by: "one that is running".into() });
            }
            let total_bytes = self.store.stats().space.allocated * BLOCK as u64;
            *progress = ScrubProgress { running: true, total_bytes, ..ScrubProgress::default() };
        }
        let running = Running(self);
        let result = self.scrub_all(bytes_per_second).await;
        drop(running);
        result.map(|()| self.scrub_progress())
    }

    /// How far the scrub has come, or what the last one found.
    #[must_use]
    pub fn scrub_progress(&self) -> ScrubProgress {
        self.progress().clone()
    }

    /// Pauses the scrub, or lets it go on.
    pub fn pause_scrub(&self, paused: bool) {
        self.progress().paused = paused;
    }

    fn progress(&self) -> std::sync::MutexGuard<'_, ScrubProgress> {
        self.scrub.progress.lock().expect("no holder panics")
    }

    async fn scrub_all(&self, rate: u64) -> Result<(), Error> {
        let branches: Vec<BranchId> = self.space.lock().catalogue.branches.keys().copied().collect();
        for branch in branches {
            let (mut after, mut before) = (Epoch::ZERO, Epoch::ZERO);
            // The views are looked up one by one: they may come and go meanwhile.
            while let Some(seen) = self.next_view(branch, after, before) {
                self.scrub_view(seen, rate).await?;
                match seen.view {
                    // What is left of a snapshot that is being reclaimed belongs to the next view.
                    View::At(epoch) if self.space.lock().is_whole(branch, seen.view) => {
                        (after, before) = (epoch, epoch);
                    }
                    View::At(epoch) => after = epoch,
                    View::Live => break,
                }
            }
        }
        Ok(())
    }

    /// The first view of a branch after `after`; what was born after `before` is to be looked at.
    fn next_view(&self, branch: BranchId, after: Epoch, before: Epoch) -> Option<Seen> {
        let state = self.space.lock();
        let record = state.catalogue.branches.get(&branch)?;
        let seen = |epoch, view| Seen { branch, first: record.first, before, epoch, view };
        match state.catalogue.after(branch, after) {
            Some(snapshot) => Some(seen(snapshot.id.epoch, View::At(snapshot.id.epoch))),
            None => (record.live == Live::Yes).then(|| seen(record.open, View::Live)),
        }
    }

    async fn scrub_view(&self, seen: Seen, rate: u64) -> Result<(), Error> {
        let mut from = (ObjectId(0), 0);
        while let Some(((object, group), touched)) =
            self.touched_group(seen.branch, seen.epoch, from, None).await?
        {
            for place in touched.iter() {
                let page = PageNo::in_group(group, place).expect("it was made from a page");
                self.scrub_page(seen, PageKey { branch: seen.branch, object, page }, rate).await?;
            }
            from = (object, group + 1);
        }
        Ok(())
    }

    async fn scrub_page(&self, seen: Seen, key: PageKey, rate: u64) -> Result<(), Error> {
        self.wait_while(|progress| progress.paused).await?;
        let bytes = self.verify_page(seen, key).await?;
        self.progress().done_bytes += bytes;
        if rate > 0 {
            let now = || self.store.runtime().now();
            let until = now() + Duration::from_secs_f64(bytes as f64 / rate as f64);
            self.wait_while(|_| now() < until).await?;
        }
        Ok(())
    }

    /// Waits, no pin held, in short steps: the pool may be closed meanwhile.
    async fn wait_while(&self, waits: impl Fn(&ScrubProgress) -> bool) -> Result<(), Error> {
        loop {
            if self.background.is_stopped() {
                return Err(Error::Closed);
            }
            if !waits(&self.progress()) {
                return Ok(());
            }
            self.store.runtime().sleep(PAUSE).await;
        }
    }

    /// Reads what a view saw born on a page; gives the bytes.
    async fn verify_page(&self, seen: Seen, key: PageKey) -> Result<u64, Error> {
        let _pin = self.store.pin();
        if seen.view == View::Live && self.space.lock().is_discarded(key) {
            return Ok(0); // Nobody sees what waits to be freed.
        }
        let page = self.page_behind(key, seen.view).await?;
        if !self.space.lock().holds(key, seen.view) {
            // Its reclaim has passed the page: the next view sees what is left of it, though the page counts
            // as touched there only when the whole group is done.
            return match self.next_view(seen.branch, seen.epoch, seen.before) {
                Some(next) => Box::pin(self.verify_page(next, key)).await,
                None => Ok(0),
            };
        }
        let born = |p: &Pointer| p.birth() > seen.before && p.birth() >= seen.first;
        let mut blocks: Vec<(u8, Pointer)> = page.iter().filter(|(_, p)| born(p)).collect();
        blocks.sort_unstable_by_key(|(_, p)| p.pba());
        for batch in batches(&blocks) {
            let wanted: Vec<Wanted> =
                batch.iter().map(|(_, p)| Wanted { pba: p.pba(), crc: p.crc() }).collect();
            let buf = Buf::zeroed(batch.len() * BLOCK);
            if self.store.read_blocks(&wanted, buf, false).await.is_err() {
                for ((slot, _), wanted) in batch.iter().zip(wanted) {
                    self.scrub_block(seen, key, *slot, wanted).await;
                }
            }
        }
        Ok((blocks.len() * BLOCK) as u64)
    }

    /// Reads one block of a batch that failed, and reports it if it is the bad one.
    async fn scrub_block(&self, seen: Seen, key: PageKey, slot: u8, wanted: Wanted) {
        let Err(error) = self.store.read_blocks(&[wanted], Buf::zeroed(BLOCK), false).await else { return };
        let (dataset, snapshot) = {
            let state = self.space.lock();
            match seen.view {
                View::At(epoch) => {
                    let id = SnapshotId { branch: seen.branch, epoch };
                    (state.catalogue.snapshots.get(&id).map(|s| s.dataset), Some(id))
                }
                View::Live => {
                    let own = state.catalogue.datasets.values().find(|d| d.branch == seen.branch);
                    (own.map(|d| d.id), None)
                }
            }
        };
        let offset = (key.page.0 * PAGE_BLOCKS as u64 + u64::from(slot)) * BLOCK as u64;
        let mut progress = self.progress();
        let place = (dataset, snapshot, key.object, offset);
        if progress.damaged.iter().any(|d| (d.dataset, d.snapshot, d.object, d.offset) == place) {
            return; // It was met by way of a view that is being reclaimed.
        }
        progress.damaged_blocks += 1;
        if progress.damaged.len() < REPORT_MAX {
            let (object, len) = (key.object, BLOCK as u64);
            progress.damaged.push(DamagedRange { dataset, snapshot, object, offset, len, error });
        }
    }
}

/// Cuts blocks, in the order of their addresses, into what is read at a time.
fn batches(mut blocks: &[(u8, Pointer)]) -> impl Iterator<Item = &[(u8, Pointer)]> {
    std::iter::from_fn(move || {
        let mut places = 1;
        let within = |two: &&[(u8, Pointer)]| {
            places += usize::from(!two[1].1.follows(two[0].1));
            places <= BATCH.1
        };
        let len = (1 + blocks.windows(2).take(BATCH.0 - 1).take_while(within).count()).min(blocks.len());
        let (batch, rest) = blocks.split_at(len);
        blocks = rest;
        (!batch.is_empty()).then_some(batch)
    })
}
