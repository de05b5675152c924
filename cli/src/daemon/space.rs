//! Tells hosts that a pool runs out of space while there is still some: the soft threshold of thin
//! provisioning (38/07, SBC-3 4.7.3).
//!
//! Invariant: it is said once each time that the free space falls below [`SHORT_PERCENT`], and again only
//! after it was above [`ENOUGH_PERCENT`].

use super::target::San;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use volume_manager::view::PoolSpace;
use volume_manager::{Manager, Name};

/// A pool with less free space is short of it.
const SHORT_PERCENT: u64 = 10;
/// A pool with more is not any longer.
const ENOUGH_PERCENT: u64 = 15;
/// How often pools are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Looks at the pools for ever.
pub(super) async fn watch(manager: Arc<Manager>, san: Arc<San>) {
    let mut alarm = Alarm::default();
    loop {
        tokio::time::sleep(LOOK).await;
        for pool in manager.pool_space().iter().filter(|pool| alarm.rings(pool)) {
            tracing::warn!(pool = %pool.name, free = pool.free, "the pool is nearly full");
            for volume in manager.list_volumes(Some(&pool.name)) {
                san.space_is_short(&volume.naa);
            }
        }
    }
}

/// Which pools are known to be short of space.
#[derive(Default)]
struct Alarm(BTreeSet<Name>);

impl Alarm {
    /// Whether the pool has become short just now.
    fn rings(&mut self, pool: &PoolSpace) -> bool {
        let percent = |part: u64| pool.capacity / 100 * part;
        if pool.free > percent(ENOUGH_PERCENT) {
            self.0.remove(&pool.name);
            return false;
        }
        pool.free < percent(SHORT_PERCENT) && self.0.insert(pool.name.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_is_short_once_until_it_has_enough_again() {
        let mut alarm = Alarm::default();
        let pool = |free: u64| PoolSpace { name: "fast".parse().unwrap(), capacity: 1000, free };
        let rung: Vec<bool> =
            [500, 120, 99, 0, 120, 99, 151, 99].map(|free| alarm.rings(&pool(free))).to_vec();
        assert_eq!(rung, [false, false, true, false, false, false, false, true]);
    }
}
