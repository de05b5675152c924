//! Clients: they commit, read, flush, and tell the ledger what they were answered.

use super::ledger::Ledger;
use super::machine::{tag, Toy};
use super::op::{content, Act, Op};
use crate::sim::Rng;
use block_layer::alloc::Purpose;
use block_layer::store::{CommitError, Wanted};
use block_layer::{Buf, Store, BLOCK};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::Arc;
use std::time::Duration;

/// What the clients of a round do.
#[derive(Clone, Debug)]
pub(super) struct Load {
    /// Keys in use.
    pub(super) keys: u32,
    /// Most blocks of one operation.
    pub(super) blocks_max: u32,
    /// Operations of each client.
    pub(super) operations: u32,
    /// Of a hundred operations, how many delete.
    pub(super) deletes: u64,
    /// How probable a flush is after an operation.
    pub(super) flushes: f64,
    /// Most bytes of ballast of one operation.
    pub(super) ballast_max: u64,
    /// Longest rest between two operations, in microseconds.
    pub(super) rest_us: u64,
}

/// A client.
pub(super) struct Client {
    pub(super) store: Arc<Store<Toy>>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) ids: Arc<AtomicU64>,
    pub(super) rng: Rng,
    pub(super) load: Load,
}

/// No commit takes so long, however the devices dawdle.
const STALL: Duration = Duration::from_secs(20);
/// Times that an operation is prepared again before the client gives it up.
const TRIES: u32 = 200;

impl Client {
    /// Works until it is done or the pool has stopped.
    pub(super) async fn run(mut self) {
        for _ in 0..self.load.operations {
            let goes_on = match self.rng.below(100) {
                0..=59 => self.commit().await,
                60..=97 => self.read().await,
                98 => self.store.checkpoint().await.is_ok(),
                _ => {
                    self.store.drain().await;
                    true
                }
            };
            if !goes_on || (self.rng.chance(self.load.flushes) && !self.flush().await) {
                return;
            }
            if self.load.rest_us > 0 {
                let rest = Duration::from_micros(self.rng.below(self.load.rest_us));
                self.store.runtime().sleep(rest).await;
            }
        }
    }

    fn key(&mut self, count: u32) -> u32 {
        self.rng.below(u64::from(self.load.keys.saturating_sub(count).max(1))) as u32
    }

    fn operation(&mut self) -> Op {
        let id = self.ids.fetch_add(1, Relaxed);
        let largest = if self.rng.chance(0.1) { self.load.blocks_max } else { self.load.blocks_max.min(4) };
        let count = 1 + self.rng.below(u64::from(largest)) as u32;
        let key = self.key(count);
        let deletes = self.load.deletes;
        let act = match self.rng.below(100) {
            n if n < deletes => Act::Delete { key, count },
            n if n < deletes + 10 => Act::Share { from: key, to: self.key(1) },
            _ => {
                let purpose = if self.rng.chance(0.05) { Purpose::Reserved } else { Purpose::Write };
                let blocks = (0..count as usize).map(|nth| content(tag(id, nth))).collect();
                Act::Write { key, blocks, purpose }
            }
        };
        let guard = self.rng.chance(0.3).then_some((key, None));
        let ballast = self.rng.below(1 + self.load.ballast_max) as usize;
        let (barrier, late) = (self.rng.chance(0.03), self.rng.chance(0.5));
        Op { id, barrier, guard, late, act, ballast }
    }

    async fn commit(&mut self) -> bool {
        let mut op = self.operation();
        let id = op.id;
        for _ in 0..TRIES {
            if let Some((key, expected)) = &mut op.guard {
                *expected = self.store.machine().get(*key).map(|e| e.pba);
            }
            if !self.load_refs(&op).await {
                return false;
            }
            let begun = self.store.runtime().now();
            let result = self.store.commit(op.clone()).await;
            let took = self.store.runtime().now() - begun;
            assert!(took < STALL, "operation {id} took {took:?}");
            match result {
                Ok(done) => {
                    self.ledger.acknowledged(done.seq(), id, done.reply);
                    return true;
                }
                Err(CommitError::Bounced(seq)) => self.store.wait_visible(seq).await,
                Err(CommitError::NoSpace | CommitError::Refused(_) | CommitError::Closed) => {
                    self.ledger.refused(id);
                    return true;
                }
                Err(CommitError::PoolFailed(_)) => return false,
            }
        }
        self.ledger.refused(id);
        true
    }

    async fn load_refs(&self, op: &Op) -> bool {
        for key in op.keys() {
            let Some(entry) = self.store.machine().get(key) else { continue };
            if self.store.needs_refs(entry.pba) && self.store.load_refs(entry.pba).await.is_err() {
                return false;
            }
        }
        true
    }

    async fn flush(&mut self) -> bool {
        let acknowledged = self.ledger.last_acknowledged();
        let Ok(durable) = self.store.flush().await else { return false };
        assert!(durable.seq() >= acknowledged, "a flush through {}", durable.seq());
        self.ledger.durable(durable.seq());
        true
    }

    /// A reader sees the block that it looked up, whatever is written meanwhile.
    async fn read(&mut self) -> bool {
        let key = self.key(1);
        let store = self.store.clone();
        let _pin = store.pin();
        let Some(entry) = store.machine().get(key) else { return true };
        if self.rng.chance(0.3) {
            let pause = Duration::from_micros(self.rng.below(20_000));
            store.runtime().sleep(pause).await;
        }
        let want = Wanted { pba: entry.pba, crc: entry.crc };
        let block = match store.read(&[Some(want)], Buf::zeroed(BLOCK), true).await {
            Ok(block) => block,
            Err(e) => {
                // A flush that fails loses data at once; the pool stops when all devices have answered.
                store.runtime().sleep(Duration::from_millis(100)).await;
                assert!(store.failure().is_some(), "key {key}: {e}");
                return false;
            }
        };
        assert!(block[..] == content(entry.tag).0[..], "key {key}: not what was written");
        true
    }
}
