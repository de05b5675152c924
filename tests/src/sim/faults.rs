//! The plan of a disk's misbehaviour: which requests fail, and how long they take.

use super::Rng;
use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

/// How many times longer than others a straggler takes.
const SLOW_FACTOR: u64 = 100;

/// When requests of one kind fail with EIO.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// These fail, counted over the disk's life from 1 (see [`super::Counters`]).
    pub ordinals: BTreeSet<u64>,
    /// Any fails with this probability.
    pub probability: f64,
}

impl Faults {
    /// The `n`-th request fails.
    #[must_use]
    pub fn at(n: u64) -> Faults {
        Faults { ordinals: [n].into(), probability: 0.0 }
    }

    /// Each request fails with probability `probability`.
    #[must_use]
    pub fn with_probability(probability: f64) -> Faults {
        Faults { ordinals: BTreeSet::new(), probability }
    }

    /// Whether this request fails; `ordinal` from 1.
    pub(super) fn strike(&self, ordinal: u64, rng: &mut Rng) -> bool {
        self.ordinals.contains(&ordinal) || (self.probability > 0.0 && rng.chance(self.probability))
    }
}

/// How a disk misbehaves. Changed at run time by [`super::SimDisk::set_plan`].
#[derive(Clone, Debug)]
pub struct FaultPlan {
    /// Reads that fail.
    pub read: Faults,
    /// Writes that fail; a failed write leaves any of its sectors.
    pub write: Faults,
    /// Flushes that fail; a failed flush loses some of what it should have covered, for good.
    pub flush: Faults,
    /// How long a request takes, in nanoseconds of virtual time.
    pub delay_ns: Range<u64>,
    /// The probability that a request takes a hundred times as long.
    pub slow: f64,
}

impl FaultPlan {
    /// How long the next request takes.
    pub(super) fn delay(&self, rng: &mut Rng) -> Duration {
        let Range { start, end } = self.delay_ns;
        let ns = start + rng.below(end.saturating_sub(start).max(1));
        Duration::from_nanos(if rng.chance(self.slow) { ns * SLOW_FACTOR } else { ns })
    }
}

impl Default for FaultPlan {
    /// A disk without faults: 5 to 200 µs a request, one in fifty a straggler.
    fn default() -> FaultPlan {
        let none = Faults::default();
        FaultPlan {
            read: none.clone(),
            write: none.clone(),
            flush: none,
            delay_ns: 5_000..200_000,
            slow: 0.02,
        }
    }
}
