//! Locks of objects: a change of an object holds it alone, writes of a file hold it together.
//!
//! Invariant: whoever takes several takes them in the order of their numbers, all at once; so nobody waits in
//! a circle. A lock exists only while somebody has it or waits for it.

use rustc_hash::FxHashMap;
use std::sync::{Arc, Mutex};
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

type Table = Mutex<FxHashMap<u64, Arc<RwLock<()>>>>;

/// The locks of a share's objects.
#[derive(Default)]
pub(super) struct Locks {
    table: Arc<Table>,
}

enum Guard {
    Alone { _guard: OwnedRwLockWriteGuard<()> },
    Together { _guard: OwnedRwLockReadGuard<()> },
}

/// An object that is held.
pub(super) struct Held {
    number: u64,
    guard: Option<Guard>,
    table: Arc<Table>,
}

impl Locks {
    fn lock(&self, number: u64) -> Arc<RwLock<()>> {
        let mut table = self.table.lock().expect("no holder of the table panics");
        table.entry(number).or_default().clone()
    }

    /// Holds an object together with other writers.
    pub(super) async fn together(&self, number: u64) -> Held {
        let waits = Waits { number, table: &self.table };
        let guard = Some(Guard::Together { _guard: self.lock(number).read_owned().await });
        std::mem::forget(waits);
        Held { number, guard, table: self.table.clone() }
    }

    /// Holds objects alone.
    pub(super) async fn alone(&self, numbers: impl IntoIterator<Item = u64>) -> Vec<Held> {
        let mut numbers: Vec<u64> = numbers.into_iter().collect();
        numbers.sort_unstable();
        numbers.dedup();
        let mut all = Vec::with_capacity(numbers.len());
        for number in numbers {
            let waits = Waits { number, table: &self.table };
            let guard = Some(Guard::Alone { _guard: self.lock(number).write_owned().await });
            std::mem::forget(waits);
            all.push(Held { number, guard, table: self.table.clone() });
        }
        all
    }
}

/// Tidies up when the wait for a lock is given up.
struct Waits<'a> {
    number: u64,
    table: &'a Table,
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        tidy(self.table, self.number);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.guard = None;
        tidy(&self.table, self.number);
    }
}

/// Removes a lock that nobody has. Who wants it gets it under the table's lock, so nobody can come between.
fn tidy(table: &Table, number: u64) {
    let mut table = table.lock().expect("no holder of the table panics");
    if table.get(&number).is_some_and(|lock| Arc::strong_count(lock) == 1) {
        table.remove(&number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_alone_or_many_together_and_nothing_stays() {
        let locks = Locks::default();
        let (a, b) = (locks.together(1).await, locks.together(1).await);
        let mut alone = Box::pin(locks.alone([2, 1]));
        let soon = std::time::Duration::from_millis(1);
        assert!(tokio::time::timeout(soon, &mut alone).await.is_err());
        drop((a, b));
        drop(alone.await);
        let held = locks.alone([3]).await;
        assert!(tokio::time::timeout(soon, locks.together(3)).await.is_err());
        drop(held);
        assert!(locks.table.lock().unwrap().is_empty());
    }
}
