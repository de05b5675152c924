//! Numbers of inodes and cookies: never given twice, whatever is rolled back, cloned or crashes.
//!
//! They come from one counter a share, kept beside its versioned content, which is raised by a commit before
//! any number below it is used: whatever survives a crash has its number below the counter that survives with
//! it. A new opening of the pool goes on behind everything that was ever reserved.

use super::format::{decode_numbers, encode_numbers, numbers_key};
use super::Tree;
use snapshots::engine::{EntryCondition, EntryEdit};
use snapshots::Error;
use std::sync::Mutex;

/// Numbers that one commit reserves.
const STEP: u64 = 1 << 14;

/// What is reserved and not used.
#[derive(Default)]
pub(super) struct Numbers {
    left: Mutex<std::ops::Range<u64>>,
    turn: tokio::sync::Mutex<()>,
}

impl Numbers {
    fn next(&self) -> Option<u64> {
        self.left.lock().expect("no holder of the range panics").next()
    }
}

impl Tree {
    /// A number that was never given.
    pub(super) async fn number(&self) -> Result<u64, Error> {
        loop {
            if let Some(number) = self.numbers.next() {
                return Ok(number);
            }
            let _turn = self.numbers.turn.lock().await;
            if let Some(number) = self.numbers.next() {
                return Ok(number);
            }
            self.reserve().await?;
        }
    }

    async fn reserve(&self) -> Result<(), Error> {
        let name = numbers_key(self.dataset);
        let old = self.engine.get(self.system, None, &name).await?;
        let damaged = |_| Error::Invalid("the share's numbers are damaged");
        let stored = old.as_deref().map(decode_numbers).transpose().map_err(damaged)?;
        let first = stored.unwrap_or(0).max(self.first_number);
        let value = Some(encode_numbers(first + STEP));
        let condition = old.map_or(EntryCondition::Absent, EntryCondition::Is);
        self.engine.edit(self.system, &[EntryEdit { name, value, condition }], None).await?;
        *self.numbers.left.lock().expect("no holder of the range panics") = first..first + STEP;
        Ok(())
    }

    /// A number above all that were ever given: what a clone begins with.
    ///
    /// # Errors
    /// The engine's.
    pub async fn number_behind_all(&self) -> Result<u64, Error> {
        let stored = self.engine.get(self.system, None, &numbers_key(self.dataset)).await?;
        let stored = stored.as_deref().map(decode_numbers).transpose();
        let stored = stored.map_err(|_| Error::Invalid("the share's numbers are damaged"))?;
        Ok(stored.unwrap_or(0).max(self.first_number))
    }
}
