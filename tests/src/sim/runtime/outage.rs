//! The death of the process, and the power.
//!
//! Invariants: after [`SimRuntime::kill`] no code of the old process runs; while the power is lost nothing
//! runs at all; requests that destructors of the dying make, or that come after the cut, never happen.

use super::{lock, Event, SimRuntime, MAIN};
use std::collections::BTreeMap;

/// The power went away ([`SimRuntime::cut_at_write`]): nothing runs until it is back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PowerLost;

impl std::fmt::Display for PowerLost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the simulated power is off")
    }
}

impl std::error::Error for PowerLost {}

impl SimRuntime {
    /// The death of the process: drops every task, timer and blocking job at once, in order of birth. What
    /// their destructors spawn is dropped as well, and requests they make to devices go nowhere. The clock,
    /// the devices and what they still have to do stay.
    ///
    /// # Panics
    /// When called by a spawned task: only the harness kills.
    pub fn kill(&self) {
        let (tasks, events) = {
            let mut state = lock(&self.shared.state);
            assert!(!state.polling, "seed {}: a task cannot kill its own process", self.seed());
            state.dying = true;
            state.note(b'k', 0, 0);
            let (device, process) = std::mem::take(&mut state.events)
                .into_iter()
                .partition::<BTreeMap<_, _>, _>(|(_, event)| matches!(event, Event::Device(_)));
            state.events = device;
            (std::mem::take(&mut state.tasks), process)
        };
        drop(tasks);
        drop(events);
        let mut state = lock(&self.shared.state);
        state.dying = false;
        // The harness may have lost a timer of its own above: polled again, it sets it again.
        *lock(&self.shared.ready) = vec![MAIN];
    }

    /// The power goes away at the moment when the `n`-th device write is issued, counted over all disks
    /// since the start (from 1): that write is in flight at the cut, later ones never happen.
    pub fn cut_at_write(&self, n: u64) {
        lock(&self.shared.state).cut_at = Some(n);
    }

    /// The power goes away now.
    pub fn lose_power(&self) {
        let mut state = lock(&self.shared.state);
        state.power_lost = true;
        state.note(b'p', 0, 0);
    }

    /// Whether the power is lost: nothing runs and nothing is answered until [`SimRuntime::restore_power`].
    #[must_use]
    pub fn has_cut(&self) -> bool {
        lock(&self.shared.state).power_lost
    }

    /// The power is back, and no cut is planned. The harness has killed the process and cut the disks.
    pub fn restore_power(&self) {
        let mut state = lock(&self.shared.state);
        (state.power_lost, state.cut_at) = (false, None);
    }

    /// Device writes issued since the start, over all disks.
    #[must_use]
    pub fn device_writes(&self) -> u64 {
        lock(&self.shared.state).device_writes
    }

    /// Counts a device write and gives its ordinal, from 1; `None` when it comes too late to happen.
    pub(in crate::sim) fn count_device_write(&self) -> Option<u64> {
        let mut state = lock(&self.shared.state);
        if state.power_lost || state.dying {
            return None;
        }
        state.device_writes += 1;
        state.power_lost = state.cut_at == Some(state.device_writes);
        Some(state.device_writes)
    }

    /// Whether a request made now comes from a living process on a powered machine.
    pub(in crate::sim) fn accepts_requests(&self) -> bool {
        let state = lock(&self.shared.state);
        !state.power_lost && !state.dying
    }
}
