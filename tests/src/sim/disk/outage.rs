//! What a disk makes of the death of its process and of the loss of power.
//!
//! Invariants: after either, nothing that was asked before is answered; only the ghosts of writes outlive a
//! kill, and they are the lock that the next opener waits for; after a power cut nothing is in flight.

use super::{lock, Job, Request, SimDisk};
use block_layer::Bytes;
use std::collections::BTreeMap;
use std::time::Duration;

/// A write of a killed process lands at most this much virtual time after the death, unless the disk hangs.
const GHOST_NS_MAX: u64 = 50_000_000;

impl SimDisk {
    /// The process died: a write in flight lands now or later, wholly or in part, or never. Reads and flushes
    /// end without effect, and nothing is answered.
    pub fn kill(&self) {
        let mut guard = lock(&self.state);
        let state = &mut *guard;
        let mut dropped = std::mem::take(&mut state.void);
        for (id, request) in std::mem::take(&mut state.in_flight) {
            match request.job {
                Job::Ghost(_) => drop(state.in_flight.insert(id, request)),
                Job::Write(data, answer) => {
                    dropped.push(Job::Write(Bytes::new(), answer));
                    match state.rng.below(4) {
                        0 => {}
                        1 => state.medium.land_torn(request.at, &data, &mut state.rng),
                        _ => {
                            // A new request, since the time of the old one is too near to be nasty.
                            let delay = Duration::from_nanos(state.rng.below(GHOST_NS_MAX));
                            self.start(state, delay, Request { job: Job::Ghost(data), ..request });
                        }
                    }
                }
                job => dropped.push(job),
            }
        }
        self.runtime.note_device(b'K', state.in_flight.len() as u64, 0);
        drop(guard);
        drop(dropped);
    }

    /// Whether a write of a killed process is still in flight: the lock is not free.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        lock(&self.state).is_draining()
    }

    /// Ends when no write of a killed process is in flight: what an opener waits for who takes the lock.
    pub async fn drained(&self) {
        loop {
            let drained = self.drained.notified();
            if !self.is_draining() {
                return;
            }
            drained.await;
        }
    }

    /// Lets every write of a killed process land, torn or whole, or drops it, at once: for a harness that
    /// does not wait for [`SimDisk::drained`].
    pub fn drain(&self) {
        let mut guard = lock(&self.state);
        let state = &mut *guard;
        let (ghosts, living) = std::mem::take(&mut state.in_flight)
            .into_iter()
            .partition::<BTreeMap<_, _>, _>(|(_, request)| matches!(request.job, Job::Ghost(_)));
        state.in_flight = living;
        for request in ghosts.into_values() {
            if let Job::Ghost(data) = request.job {
                state.medium.land_torn(request.at, &data, &mut state.rng);
            }
        }
        drop(guard);
        self.drained.notify_waiters();
    }

    /// The power goes away and comes back: of every write that no flush covered, any sectors survive.
    /// Requests in flight are dropped; kill the process first, or it learns that its disk is gone.
    pub fn power_cut(&self) {
        let mut guard = lock(&self.state);
        let state = &mut *guard;
        let (mut writes, mut dropped) = (Vec::new(), std::mem::take(&mut state.void));
        for request in std::mem::take(&mut state.in_flight).into_values() {
            if let Job::Write(data, _) | Job::Ghost(data) = &request.job {
                writes.push((request.at, data.clone()));
            }
            dropped.push(request.job);
        }
        state.medium.power_cut(writes, &mut state.rng);
        state.held = None;
        self.runtime.note_device(b'P', dropped.len() as u64, 0);
        drop(guard);
        drop(dropped);
        self.drained.notify_waiters();
    }
}
