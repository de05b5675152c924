//! Full is an honest state (promise P7): a pool is filled to the last block, emptied in every way that there
//! is, and filled again; and the same, shorter, with an index that is nearly full.
//!
//! Checked: what finds no space fails and has done nothing; reads go on; whatever frees space succeeds; what
//! is freed can be written again, to the block; all data is intact.

use super::check;
use super::client::{Client, Flow};
use super::content::SECTORS;
use super::model::{Command, Target};
use super::options::KIB;
use super::work::resize;
use block_layer::BLOCK;
use snapshots::engine::{EntryCondition, EntryEdit};
use snapshots::machine::op::Admin;
use snapshots::{ObjectId, PageNo, Session};
use std::time::Duration;

/// Most sectors of one write.
const LARGE: u64 = 2048;
/// Time in which the engine surely looks at the index's space.
const LOOK: Duration = Duration::from_millis(1500);
/// Bytes of the index that are missing to its reserve: what is done meanwhile may give some back.
const INDEX_SHORT: u64 = 24 << 10;

impl Client {
    /// Fills the pool, frees in every way, and fills it again. Nobody else works meanwhile.
    pub(super) async fn fill_up(&mut self) -> Flow {
        if self.settle().await == Flow::Stop {
            return Flow::Stop;
        }
        let name = format!("filler-{}", self.history().serial());
        let blocks = 2 * self.engine.stats().store.space.capacity + 64;
        let size = blocks * BLOCK as u64;
        let create = Admin::Create { name: name.clone(), kind: 1, size, attributes: Vec::new() };
        if self.send_admin(create).await == Flow::Stop {
            return Flow::Stop;
        }
        let Ok(filler) = self.engine.find_dataset(&name) else { return Flow::Stop };
        let at = Target { dataset: filler, object: 0, snapshot: None };
        let mut end = 0;
        if self.write_until_full(at, &mut end).await == Flow::Stop {
            return Flow::Stop;
        }
        self.is_intact().await;
        if end < 64 * SECTORS {
            return Flow::On; // others have the space
        }
        let before = self.space();
        if self.free_some(at, end).await == Flow::Stop || self.settle().await == Flow::Stop {
            return Flow::Stop;
        }
        let freed = self.space() - before;
        self.is_intact().await;
        let mut again = end;
        if self.write_until_full(at, &mut again).await == Flow::Stop {
            return Flow::Stop;
        }
        let written = (again - end) / SECTORS;
        assert_eq!(written, freed, "{freed} blocks were freed, and there is room for {written}");
        self.is_intact().await;
        self.send_admin(Admin::Delete { dataset: filler, snapshots: true }).await
    }

    /// Blocks that writes may still take.
    fn space(&self) -> u64 {
        let reserve = self.options.config.store.reserve_bytes / BLOCK as u64;
        self.engine.stats().store.space.free.saturating_sub(reserve)
    }

    /// Writes from sector `end` on until not one block finds room.
    async fn write_until_full(&mut self, at: Target, end: &mut u64) -> Flow {
        let mut count = LARGE;
        while count >= SECTORS {
            let space = self.engine.stats().store.space;
            let command = Command::Write { at, sector: *end, stamps: self.stamps(count) };
            match self.is_done(command).await {
                Some(true) => *end += count,
                Some(false) => {
                    assert_eq!(
                        self.engine.stats().store.space.free,
                        space.free,
                        "a refused write took space"
                    );
                    count /= 2;
                }
                None => return Flow::Stop,
            }
        }
        Flow::On
    }

    /// Sends a command when nobody else does; whether it was done. `None`: the pool has stopped.
    async fn is_done(&mut self, command: Command) -> Option<bool> {
        let before = self.history().ordered;
        match self.send(command, Session::new(), false).await {
            Flow::On => Some(self.history().ordered > before),
            Flow::Stop => None,
        }
    }

    /// Frees space in every way; each must succeed in a full pool.
    async fn free_some(&mut self, at: Target, end: u64) -> Flow {
        let edge = (end / 2 + self.rng.below(end / 4)) / SECTORS * SECTORS;
        let zeroes = [
            Command::Zero { at, sector: 0, count: SECTORS * (1 + self.rng.below(16)) },
            // Both edges are blocks in part: what is left of them has to be written.
            Command::Zero { at, sector: 24 * SECTORS + 3, count: 2 * SECTORS },
        ];
        for zero in zeroes {
            match self.is_done(zero.clone()).await {
                Some(done) => assert!(done, "{zero:?} was refused in a full pool"),
                None => return Flow::Stop,
            }
        }
        let model = self.history().answered().clone();
        let mut frees = vec![
            Admin::Discard(at.dataset, ObjectId(0), PageNo(0), PageNo(1)),
            resize(at.dataset, edge * 512),
            resize(at.dataset, model.datasets[&at.dataset].content.size),
        ];
        let snapshot = model.snapshots.keys().next();
        frees.extend(snapshot.map(|id| Admin::DeleteSnapshot(*id)));
        let other = model.datasets.keys().find(|id| **id != at.dataset && model.datasets.len() > 2);
        frees.extend(other.map(|id| Admin::Delete { dataset: *id, snapshots: true }));
        for free in frees {
            let (before, text) = (self.history().ordered, format!("{free:?}"));
            if self.send_admin(free).await == Flow::Stop {
                return Flow::Stop;
            }
            assert!(self.history().ordered > before, "{text} was refused in a full pool");
        }
        Flow::On
    }

    /// Reads everything, and walks the accounts.
    async fn is_intact(&self) {
        let model = self.history().answered().clone();
        match check::everything(&self.engine).await {
            Ok(found) => {
                assert!(found.is(&model, &self.rot), "a full pool: {:#?}", model.differences(&found.model));
            }
            Err(error) => panic!("a full pool is not readable: {error}"),
        }
        check::audit(&self.engine).await;
    }

    /// Lets the background come to its end.
    async fn settle(&self) -> Flow {
        loop {
            match self.engine.background_step().await {
                Ok(true) => {}
                Ok(false) => return Flow::On,
                Err(_) => return Flow::Stop,
            }
        }
    }

    /// An index that is nearly full takes no new mappings, and everything that frees.
    pub(super) async fn fill_index(&mut self, limit: impl Fn(u64)) -> Flow {
        let model = self.history().answered().clone();
        let Some((dataset, _)) = model.datasets.iter().find(|(_, d)| d.content.size >= 64 * KIB) else {
            return Flow::On;
        };
        let at = Target { dataset: *dataset, object: 0, snapshot: None };
        let write = |me: &mut Client| Command::Write { at, sector: 0, stamps: me.stamps(8 * SECTORS) };
        let first = write(self);
        match self.is_done(first).await {
            Some(true) => {}
            Some(false) => return Flow::On, // there is no space for data
            None => return Flow::Stop,
        }
        if self.settle().await == Flow::Stop || self.engine.checkpoint().await.is_err() {
            return Flow::Stop;
        }
        limit(self.options.config.store.index_reserve_bytes - INDEX_SHORT);
        self.runtime.sleep(LOOK).await;
        let name = b"one more".to_vec();
        let edits = vec![EntryEdit { name, value: Some(b"value".to_vec()), condition: EntryCondition::Any }];
        let refused = [
            write(self),
            Command::Clone { at, block: 12, from: at, from_block: 0, count: 1 },
            Command::Edit { dataset: *dataset, edits },
        ];
        for command in refused {
            match self.is_done(command.clone()).await {
                Some(done) => assert!(!done, "{command:?} was done though the index is nearly full"),
                None => return Flow::Stop,
            }
        }
        self.is_intact().await;
        let allowed = self.is_done(Command::Zero { at, sector: 3, count: 4 * SECTORS }).await;
        match allowed {
            Some(done) => assert!(done, "a nearly full index refuses to free"),
            None => return Flow::Stop,
        }
        if let Some(id) = model.snapshots.keys().next() {
            if self.send_admin(Admin::DeleteSnapshot(*id)).await == Flow::Stop {
                return Flow::Stop;
            }
        }
        if self.settle().await == Flow::Stop || self.engine.checkpoint().await.is_err() {
            return Flow::Stop;
        }
        limit(u64::MAX);
        self.runtime.sleep(LOOK).await;
        let last = write(self);
        match self.is_done(last).await {
            Some(done) => {
                assert!(done || self.space() < 8, "the index has space again, and nothing is written")
            }
            None => return Flow::Stop,
        }
        self.is_intact().await;
        Flow::On
    }
}
