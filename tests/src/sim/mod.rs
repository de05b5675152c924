//! The simulated machine: a deterministic runtime, virtual time, and disks that lie like real disks do.
//!
//! A test makes a [`Machine`] of a seed, adds disks, gives `Arc<dyn Runtime>` and `Arc<dyn Disk>` to the
//! engine, and runs it until it is done or the power goes away; then it kills, cuts, starts the engine
//! again on the same disks and compares with its model. The seed decides everything: a failure prints it,
//! and the same seed fails again.
//!
//! Read next: `runtime` (steps and time), `disk` (requests and faults), `medium` (what survives).

mod disk;
mod faults;
mod medium;
mod rng;
mod runtime;

pub use disk::{Counters, LoggedWrite, SimDisk};
pub use faults::{FaultPlan, Faults};
pub use rng::Rng;
pub use runtime::{PowerLost, SimRuntime, PATIENCE, STEPS_MAX};

use block_layer::{Geometry, Runtime};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A computer: one process at a time, its disks and its power.
pub struct Machine {
    runtime: SimRuntime,
    disks: Vec<Arc<SimDisk>>,
}

impl Machine {
    /// A machine without disks, whose every choice comes from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Machine {
        Machine { runtime: SimRuntime::new(seed), disks: Vec::new() }
    }

    /// The simulator's side of the runtime.
    #[must_use]
    pub fn sim(&self) -> &SimRuntime {
        &self.runtime
    }

    /// The engine's side of the runtime.
    #[must_use]
    pub fn runtime(&self) -> Arc<dyn Runtime> {
        Arc::new(self.runtime.clone())
    }

    /// Adds an empty disk; it keeps its contents through kills and power cuts.
    pub fn add_disk(&mut self, name: &str, geometry: Geometry, plan: FaultPlan) -> Arc<SimDisk> {
        let disk = SimDisk::new(&self.runtime, name, geometry, plan);
        self.disks.push(disk.clone());
        disk
    }

    /// The disks, in the order in which they were added.
    #[must_use]
    pub fn disks(&self) -> &[Arc<SimDisk>] {
        &self.disks
    }

    /// Runs until `future` is ready.
    ///
    /// # Errors
    /// [`PowerLost`], see [`SimRuntime::cut_at_write`]; then [`Machine::power_cut`] is due.
    ///
    /// # Panics
    /// As [`SimRuntime::run_until`].
    pub fn run<F: Future>(&self, future: F) -> Result<F::Output, PowerLost> {
        self.runtime.run_until(future)
    }

    /// `kill -9`: the process ends; its writes in flight land now, later, torn or never. A later opener
    /// must wait for [`Machine::drained`], as it would wait for the lock.
    pub fn kill(&self) {
        self.runtime.kill();
        for disk in &self.disks {
            disk.kill();
        }
    }

    /// Ends when no write of a killed process is in flight any more: when the lock is free.
    pub async fn drained(&self) {
        for disk in &self.disks {
            disk.drained().await;
        }
    }

    /// Loss of power and its return: the process ends, the disks lose what they may lose.
    pub fn power_cut(&self) {
        self.runtime.lose_power();
        self.runtime.kill();
        for disk in &self.disks {
            disk.power_cut();
        }
        self.runtime.restore_power();
    }

    /// See [`SimRuntime::digest`].
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.runtime.digest()
    }
}

impl Drop for Machine {
    /// Breaks the circle of tasks that own the runtime that owns them.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.runtime.kill();
        }
    }
}

/// Locks for a single thread: a poisoned lock means that a panic is on its way already.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
