//! What a seed decides before anything runs: the machine, the budgets, the mix of operations and of faults.

use super::extras::Extras;
use crate::sim::{FaultPlan, Faults, Rng};
use block_layer::store::Config;
use block_layer::Geometry;
use snapshots::engine::Budget;
use snapshots::EngineConfig;
use std::time::Duration;

/// The main trouble of a seed, beside crashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// None.
    Nothing,
    /// Disks of very different speed.
    Slow,
    /// Writes fail now and then.
    WriteErrors,
    /// Reads fail now and then.
    ReadErrors,
    /// A flush fails.
    FlushErrors,
    /// The index fails to write or to flush.
    IndexErrors,
    /// Data space is short.
    Full,
    /// Index space is short.
    IndexFull,
    /// Bits flip in the data area.
    Rot,
}

/// The options of a seed.
#[derive(Clone, Debug)]
pub struct Options {
    /// The seed.
    pub seed: u64,
    /// The disks.
    pub disks: Vec<Geometry>,
    /// Lives of the process.
    pub generations: u64,
    /// Clients at a time.
    pub clients: u64,
    /// Commands of a client in one generation.
    pub commands: u64,
    /// The trouble.
    pub trouble: Trouble,
    /// Budgets.
    pub config: EngineConfig,
    /// Bytes of a volume.
    pub volume: u64,
    /// Whether commands are spread over the whole volume, or crowd in a few places.
    pub wide: bool,
    /// What seeds from [`Extras::FROM`] on do besides.
    pub extras: Extras,
}

/// Bytes before the data area: superblocks and ring. Rot keeps away from it.
pub(super) const DATA_AT: u64 = (1 << 20) + (1 << 20);

pub(super) const KIB: u64 = 1 << 10;
pub(super) const MIB: u64 = 1 << 20;

impl Trouble {
    /// Whether reads may fail: by themselves, by rot, or since a failed flush has lost what it should have
    /// saved.
    #[must_use]
    pub fn hurts_reads(self) -> bool {
        matches!(self, Trouble::ReadErrors | Trouble::Rot | Trouble::FlushErrors)
    }
}

impl Options {
    /// The options of `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Options {
        let mut rng = Rng::new(seed ^ 0x6173_686c_6172);
        let trouble = trouble(&mut rng);
        let count = 1 + rng.below(3);
        let data = match trouble {
            Trouble::Full => 2 * MIB / count + rng.below(2 * MIB / 512) * 512,
            _ => 8 * MIB + rng.below(24) * MIB,
        };
        let sector = *rng.pick(&[512, 512, 4096]);
        let disk = |_| {
            let len = (DATA_AT + data.max(MIB)) / 4096 * 4096;
            Geometry { len, sector, sparse: false }
        };
        let wide = rng.chance(0.2);
        let options = Options {
            seed,
            disks: (0..count).map(disk).collect(),
            generations: 1 + rng.below(4),
            clients: 1 + rng.below(5),
            commands: 8 + rng.below(40),
            trouble,
            config: config(&mut rng),
            volume: if wide { (64 + rng.below(256)) * MIB } else { (1 + rng.below(12)) * MIB },
            wide,
            extras: Extras::default(),
        };
        // Drawn last, and not for every seed: earlier seeds stay what they were.
        if seed < Extras::FROM {
            return options;
        }
        let extras = Extras::new(&mut rng, trouble);
        extras.fit(options, &mut rng)
    }

    /// How the disks misbehave while clients run.
    #[must_use]
    pub fn plan(&self, rng: &mut Rng) -> FaultPlan {
        let mut plan = FaultPlan::default();
        match self.trouble {
            Trouble::Slow => {
                plan.delay_ns = 1_000..(1 + rng.below(2_000)) * 1_000;
                plan.slow = 0.1;
            }
            Trouble::WriteErrors => plan.write = Faults::with_probability(0.01),
            Trouble::ReadErrors => plan.read = Faults::with_probability(0.02),
            Trouble::FlushErrors => plan.flush = Faults::with_probability(0.01),
            _ => {}
        }
        plan
    }
}

fn trouble(rng: &mut Rng) -> Trouble {
    *rng.pick(&[
        Trouble::Nothing,
        Trouble::Nothing,
        Trouble::Nothing,
        Trouble::Nothing,
        Trouble::Nothing,
        Trouble::Nothing,
        Trouble::Slow,
        Trouble::WriteErrors,
        Trouble::ReadErrors,
        Trouble::FlushErrors,
        Trouble::IndexErrors,
        Trouble::Full,
        Trouble::Full,
        Trouble::IndexFull,
        Trouble::Rot,
        Trouble::Rot,
    ])
}

fn config(rng: &mut Rng) -> EngineConfig {
    let pauses = [Duration::ZERO, Duration::from_millis(2), Duration::from_millis(50)];
    EngineConfig {
        store: Config {
            inflight_bytes: *rng.pick(&[64 * KIB, MIB, 64 * MIB]) as usize,
            cache_bytes: *rng.pick(&[0, 256 * KIB, 2 * MIB]) as usize,
            dirty_bytes: *rng.pick(&[32 * KIB, 256 * KIB, 256 * MIB]),
            flush_bytes: *rng.pick(&[64 * KIB, MIB, 256 * MIB]),
            flush_after: Duration::from_millis(*rng.pick(&[10, 100, 1000])),
            checkpoint_after: Duration::from_millis(*rng.pick(&[20, 500, 60_000])),
            reserve_bytes: *rng.pick(&[64 * KIB, 256 * KIB]),
            ref_entries: *rng.pick(&[1, 64, 1 << 20]),
            index_reserve_bytes: 64 * KIB,
        },
        page_cache_bytes: 0,
        entry_cache_bytes: *rng.pick(&[0, 2 * KIB, MIB]),
        entry_rules: super::sums::RULES,
        background: Budget { step_pages: 1 + rng.below(16) as usize, pause: *rng.pick(&pauses) },
    }
}
