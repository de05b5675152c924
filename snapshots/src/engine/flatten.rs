//! Clones that become independent, and maps of deep clones that are completed.

use super::Engine;
use crate::catalogue::{DatasetId, Live};
use crate::error::{Error, Retry};
use crate::generation::PageKey;
use crate::ids::{BranchId, Epoch, ObjectId, PageNo, PAGE_BLOCKS};
use crate::key::{prefix_end, MapKey};
use crate::machine::op::{Admin, EntryChange, IoOp, Op, Part, Reach};
use crate::map::Pointer;
use crate::pages::View;
use block_layer::runtime::unblock;
use block_layer::store::Wanted;
use block_layer::{Buf, BLOCK};
use std::ops::ControlFlow;
use std::sync::Arc;

/// Branches above which a page's map is completed in the background.
const DEPTH_MAX: usize = 4;
/// Small entries looked at in one go.
const ENTRIES: usize = 64;

impl Engine {
    /// Makes a clone independent: copies what it shares with its origin, in the background of other commands,
    /// and lets go of the origin. `progress` gets the bytes looked at and the bytes in all, and stops it by
    /// `false`; a flatten that was stopped, or ended by a crash, goes on where the copies end when it is
    /// called again.
    ///
    /// # Errors
    /// No space, a damaged block, or the dataset went away.
    pub async fn flatten(
        self: &Arc<Self>,
        dataset: DatasetId,
        mut progress: impl FnMut(u64, u64) -> bool,
    ) -> Result<(), Error> {
        loop {
            let (branch, size) = {
                let state = self.space.lock();
                let branch = state.live_branch(dataset)?;
                if branch.origin.is_none() || branch.flat.is_some() {
                    return Ok(());
                }
                (branch.id, state.catalogue.datasets[&dataset].size)
            };
            let page_bytes = (PAGE_BLOCKS * BLOCK) as u64;
            let mut from = (ObjectId(0), PageNo(0));
            while let Some((object, page)) = self.mapped_from(branch, from).await? {
                let done =
                    if object == ObjectId(0) { page.0.saturating_mul(page_bytes).min(size) } else { size };
                if !progress(done, size) {
                    return Ok(());
                }
                self.copy_page(dataset, branch, object, page).await?;
                from = match page.0.checked_add(1) {
                    Some(next) => (object, PageNo(next)),
                    None => (ObjectId(object.0.saturating_add(1)), PageNo(0)),
                };
            }
            self.copy_entries(dataset, branch).await?;
            self.resize_edge(dataset, size).await?;
            match self.admin(|| Admin::Flattened(branch)).await {
                // A rollback or a growth may have come between: look again.
                Err(Error::Invalid(_)) => {}
                other => {
                    other?;
                    let _durable = self.flush().await?;
                    self.background.wake();
                    return Ok(());
                }
            }
        }
    }

    /// Unmaps what a shrink left behind the end: it would keep the origin.
    async fn resize_edge(self: &Arc<Self>, dataset: DatasetId, size: u64) -> Result<(), Error> {
        let _turn = self.resizing.lock().await;
        let same = self.space.lock().catalogue.datasets.get(&dataset).is_some_and(|d| d.size == size);
        if same {
            self.clear_edge(dataset, size).await?;
        }
        Ok(())
    }

    /// The first page at or behind `from` that a branch, or one that it starts from, has a version of.
    async fn mapped_from(
        &self,
        branch: BranchId,
        from: (ObjectId, PageNo),
    ) -> Result<Option<(ObjectId, PageNo)>, Error> {
        let mut first: Option<(ObjectId, PageNo)> = None;
        let mut level = Some(branch);
        while let Some(branch) = level {
            {
                let state = self.space.lock();
                for generation in state.frozen.as_deref().into_iter().chain([&state.active]) {
                    let found = generation.all_pages(branch).filter(|page| *page >= from).min();
                    first = first.into_iter().chain(found).min();
                }
                level = state.catalogue.branches.get(&branch).and_then(|b| b.origin).map(|o| o.branch);
            }
            let index = self.store.index().clone();
            let start = MapKey::of_page(branch, from.0, from.1);
            let end = prefix_end(&MapKey::of_branch(branch)).expect("it begins with its kind");
            let found = unblock(&**self.store.runtime(), move || -> Result<_, Error> {
                let mut found = None;
                index.scan(&start, &end, &mut |key, _| {
                    found = Some(MapKey::parse(key));
                    ControlFlow::Break(())
                })?;
                Ok(found.transpose()?.map(|key| (key.object, key.page)))
            });
            first = first.into_iter().chain(found.await?).min();
        }
        Ok(first)
    }

    /// Copies the small entries that a branch has from its origin.
    async fn copy_entries(&self, dataset: DatasetId, branch: BranchId) -> Result<(), Error> {
        let mut from = Vec::new();
        loop {
            let some = self.scan(dataset, None, b"", &from, ENTRIES).await?;
            let Some((last, _)) = some.last() else { return Ok(()) };
            from = [&last[..], &[0]].concat();
            for (name, _) in some {
                if !self.copy_entry(dataset, branch, &name).await? {
                    return Ok(());
                }
            }
        }
    }

    /// Copies one entry, unless the branch has it; `false` when the dataset has another branch now.
    async fn copy_entry(&self, dataset: DatasetId, branch: BranchId, name: &[u8]) -> Result<bool, Error> {
        while self.is_live(dataset, branch) {
            let as_of = self.store.visible();
            let Some(value) = self.inherited_entry(branch, name).await? else { return Ok(true) };
            let change = EntryChange { name: name.to_vec(), value: Some(value), old: None, as_of };
            let parts = vec![Part::Entry(change)];
            match self
                .io(IoOp { dataset, branch, session: None, frees: false, reach: Reach::Anywhere, parts })
                .await
            {
                Ok(_) => return Ok(true),
                Err(Retry::Failed(e)) => return Err(e),
                Err(Retry::After(seq)) => self.store.wait_visible(seq).await,
            }
        }
        Ok(false)
    }

    /// Copies the inherited blocks of one page.
    async fn copy_page(
        &self,
        dataset: DatasetId,
        branch: BranchId,
        object: ObjectId,
        page: PageNo,
    ) -> Result<(), Error> {
        let first = page.0 * PAGE_BLOCKS as u64;
        loop {
            self.work_off_range(branch, object, first, PAGE_BLOCKS as u64).await?;
            let _pin = self.store.pin();
            let born = match self.space.lock().catalogue.branches.get(&branch) {
                Some(record) => record.first,
                None => return Ok(()),
            };
            let pointers = match self.pointers(branch, object, View::Live, first, PAGE_BLOCKS as u64).await {
                Err(Error::NotFound(_)) if !self.is_live(dataset, branch) => return Ok(()),
                pointers => pointers?,
            };
            let inherited =
                |(slot, p): (usize, &Option<Pointer>)| Some((slot, (*p)?)).filter(|(_, p)| p.birth() < born);
            let old: Vec<(usize, Pointer)> = pointers.iter().enumerate().filter_map(inherited).collect();
            if old.is_empty() {
                return Ok(());
            }
            let wanted: Vec<Wanted> =
                old.iter().map(|(_, p)| Wanted { pba: p.pba(), crc: p.crc() }).collect();
            let data =
                self.store.read_blocks(&wanted, Buf::zeroed(wanted.len() * BLOCK), false).await?.freeze();
            let mut parts = Vec::new();
            for (nth, (slot, pointer)) in old.iter().enumerate() {
                let block = first + *slot as u64;
                let bytes = data.slice(nth * BLOCK..(nth + 1) * BLOCK);
                parts.push(Part::Expect { object, block, pointers: vec![Some(*pointer)] });
                parts.push(Part::Write { object, block, blocks: vec![(bytes, pointer.crc())] });
            }
            let op = IoOp { dataset, branch, session: None, frees: false, reach: Reach::Anywhere, parts };
            match self.io(op).await {
                Ok(_) => return Ok(()),
                Err(Retry::Failed(e)) => return Err(e),
                Err(Retry::After(seq)) => {
                    self.store.wait_visible(seq).await;
                    if !self.is_live(dataset, branch) {
                        return Ok(());
                    }
                }
            }
        }
    }

    fn is_live(&self, dataset: DatasetId, branch: BranchId) -> bool {
        self.space.lock().catalogue.datasets.get(&dataset).is_some_and(|d| d.branch == branch)
    }

    /// Completes the map of one page that is read through too many branches; whether there was one.
    pub(super) async fn complete_deep_page(&self) -> Result<bool, Error> {
        let Some((branch, from)) = self.deep_branch().filter(|_| !self.store.is_index_full()) else {
            return Ok(false);
        };
        let Some(key) = self.next_inherited_page(branch, from).await? else {
            self.background.mark_complete(branch);
            return Ok(true);
        };
        if self.resolve_behind(key, View::Live).await?.depth <= DEPTH_MAX {
            self.background.move_on(branch, PageNo(key.page.0 + 1));
            return Ok(true);
        }
        self.load(key, View::Live).await?;
        match self.store.commit(Op::Admin(Admin::Materialize(key))).await.map_err(Retry::from) {
            Ok(_) => self.background.move_on(branch, PageNo(key.page.0 + 1)),
            Err(Retry::After(_)) => {}
            Err(Retry::Failed(e)) => return Err(e),
        }
        Ok(true)
    }

    /// A live branch more than [`DEPTH_MAX`] branches above its first origin, and where its completion goes
    /// on.
    fn deep_branch(&self) -> Option<(BranchId, PageNo)> {
        let state = self.space.lock();
        let depth = |id: BranchId| {
            let origin = |id: &BranchId| state.catalogue.branches.get(id)?.origin.map(|o| o.branch);
            std::iter::successors(Some(id), origin).count()
        };
        let live = state.catalogue.branches.values().filter(|b| b.live == Live::Yes && b.flat.is_none());
        let mut deep = live.map(|b| b.id).filter(|id| depth(*id) > DEPTH_MAX);
        deep.find_map(|id| Some((id, self.background.completed_to(id)?)))
    }

    /// The first page at or behind `from` that some origin of a branch has, among the dataset's own data.
    async fn next_inherited_page(&self, branch: BranchId, from: PageNo) -> Result<Option<PageKey>, Error> {
        let (to, epoch) = {
            let state = self.space.lock();
            let dataset = state.catalogue.datasets.values().find(|d| d.branch == branch);
            let size = dataset.map_or(0, |d| d.size);
            (PageNo(size.div_ceil((PAGE_BLOCKS * BLOCK) as u64)), Epoch::ZERO)
        };
        if from >= to {
            return Ok(None);
        }
        let trim = crate::catalogue::Trim { object: ObjectId(0), from, to, epoch };
        let (pages, next) = self.mapped_pages(branch, trim).await?;
        let page = pages.first().copied().or((next < to).then_some(next));
        Ok(page.map(|page| PageKey { branch, object: ObjectId(0), page }))
    }
}
