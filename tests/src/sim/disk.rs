//! A disk that lies like real disks do: requests take their time, overtake each other, fail as planned, and
//! lose what no flush has covered. What is on it survives the process; see `medium` for what survives what.
//!
//! Invariants: a request is answered once, after a delay and never at once; a write is seen whole by every
//! read issued after its answer; a flush covers the writes answered before it was issued. What is not
//! aligned to sectors is a bug of the engine and panics; what is beyond the end is answered with EIO.
//!
//! Locks: the disk's state before the runtime's; requests are answered with neither held.

mod outage;

use super::medium::Medium;
use super::{lock, FaultPlan, Rng, SimRuntime};
use block_layer::device::IoAnswer;
use block_layer::error::IoCause;
use block_layer::{Buf, Bytes, Disk, DiskError, Geometry, Io, Runtime, BLOCK};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;
use tokio::sync::Notify;

/// Linux' number of "Input/output error".
const EIO: i32 = 5;

/// What was asked of a disk since it was made, failures and all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Reads issued.
    pub reads: u64,
    /// Writes issued.
    pub writes: u64,
    /// Flushes issued.
    pub flushes: u64,
    /// Bytes asked for by reads.
    pub read_bytes: u64,
    /// Bytes given to writes.
    pub written_bytes: u64,
    /// Flushes that failed: what they should have covered may be lost, whether anybody heard of it or not.
    pub failed_flushes: u64,
}

/// One write as it was issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoggedWrite {
    /// Its number among the writes of all disks: what [`SimRuntime::cut_at_write`] takes.
    pub ordinal: u64,
    /// First byte on the device.
    pub at: u64,
    /// Bytes.
    pub len: u64,
    /// Virtual time of issue.
    pub issued: Duration,
}

/// A simulated disk. Opened by handing out the `Arc`; it survives whoever uses it.
pub struct SimDisk {
    me: Weak<SimDisk>,
    name: Arc<str>,
    geometry: Geometry,
    runtime: SimRuntime,
    state: Mutex<State>,
    drained: Notify,
}

struct State {
    medium: Medium,
    rng: Rng,
    plan: FaultPlan,
    counters: Counters,
    log: Vec<LoggedWrite>,
    next_request: u64,
    in_flight: BTreeMap<u64, Request>,
    /// While the disk hangs: the requests whose time has come.
    held: Option<Vec<u64>>,
    /// Requests of the dead: never answered, kept only so that their futures stay pending.
    void: Vec<Job>,
}

struct Request {
    at: u64,
    len: u64,
    fails: bool,
    job: Job,
}

enum Job {
    Read(Buf, IoAnswer<Buf>),
    Write(Bytes, IoAnswer<()>),
    /// Covers the landings up to this mark.
    Flush(u64, IoAnswer<()>),
    /// A write whose process was killed: it lands, perhaps torn, and nobody hears of it.
    Ghost(Bytes),
}

impl SimDisk {
    /// An empty disk on the machine of `runtime`.
    ///
    /// # Panics
    /// When the length is not a multiple of the sector, or the sector does not divide 4096.
    #[must_use]
    pub fn new(runtime: &SimRuntime, name: &str, geometry: Geometry, plan: FaultPlan) -> Arc<SimDisk> {
        let state = State {
            medium: Medium::new(geometry.sector),
            rng: runtime.fork_rng(),
            plan,
            counters: Counters::default(),
            log: Vec::new(),
            next_request: 0,
            in_flight: BTreeMap::new(),
            held: None,
            void: Vec::new(),
        };
        assert!(geometry.len.is_multiple_of(u64::from(geometry.sector)), "a disk ends at a sector's end");
        Arc::new_cyclic(|me| SimDisk {
            me: me.clone(),
            name: name.into(),
            geometry,
            runtime: runtime.clone(),
            state: Mutex::new(state),
            drained: Notify::new(),
        })
    }

    /// What was asked of it so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        lock(&self.state).counters
    }

    /// Every write so far, in the order of issue.
    #[must_use]
    pub fn log(&self) -> Vec<LoggedWrite> {
        lock(&self.state).log.clone()
    }

    /// From now on it misbehaves like this; requests in flight keep the fate they have.
    pub fn set_plan(&self, plan: FaultPlan) {
        lock(&self.state).plan = plan;
    }

    /// The disk hangs: nothing is done or answered until [`SimDisk::release`].
    pub fn hold(&self) {
        lock(&self.state).held.get_or_insert_default();
    }

    /// The disk works again; what hung is done in any order.
    pub fn release(&self) {
        let mut guard = lock(&self.state);
        let state = &mut *guard;
        for id in state.held.take().unwrap_or_default() {
            let delay = state.plan.delay(&mut state.rng);
            self.schedule(id, delay);
        }
    }

    /// Rot: inverts bit `bit` (0..8) of byte `at`.
    pub fn flip_bit(&self, at: u64, bit: u32) {
        lock(&self.state).medium.flip(at, bit);
    }

    /// Rot in a random sector near data stored at or behind byte `from`; gives the byte that it hits and what
    /// its 4096 bytes were, `None` where nothing is stored.
    pub fn rot(&self, from: u64) -> Option<(u64, Vec<u8>)> {
        let State { medium, rng, .. } = &mut *lock(&self.state);
        let at = medium.random_sector(from, rng)? + rng.below(u64::from(self.geometry.sector));
        let mut before = vec![0; BLOCK];
        medium.read(at / BLOCK as u64 * BLOCK as u64, &mut before);
        medium.flip(at, rng.below(8) as u32);
        Some((at, before))
    }

    /// As [`SimDisk::rot`], anywhere; gives the byte that it hit.
    pub fn flip_random_bit(&self) -> Option<u64> {
        self.rot(0).map(|(at, _)| at)
    }

    /// Whether a write since the one with number `since` (see [`LoggedWrite`]) touched byte `at`.
    pub fn was_written(&self, at: u64, since: u64) -> bool {
        let state = lock(&self.state);
        let mut newest = state.log.iter().rev().take_while(|write| write.ordinal > since);
        newest.any(|write| (write.at..write.at + write.len).contains(&at))
    }

    /// What the disk holds now at `at`, without a request: for tests only, never for the engine.
    pub fn peek(&self, at: u64, into: &mut [u8]) {
        lock(&self.state).medium.read(at, into);
    }
}

impl Disk for SimDisk {
    fn name(&self) -> &str {
        &self.name
    }

    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn mode(&self) -> &'static str {
        "simulated"
    }

    fn read(&self, at: u64, buf: Buf) -> Io<Buf> {
        let (answer, io) = Io::pending(self.name.clone());
        self.submit(at, buf.len() as u64, Job::Read(buf, answer));
        io
    }

    fn write(&self, at: u64, mut data: Vec<Bytes>) -> Io<()> {
        for piece in &data {
            self.assert_aligned(piece.len() as u64);
        }
        let data = if data.len() == 1 { data.remove(0) } else { data.concat().into() };
        let (answer, io) = Io::pending(self.name.clone());
        self.submit(at, data.len() as u64, Job::Write(data, answer));
        io
    }

    fn flush(&self) -> Io<()> {
        let (answer, io) = Io::pending(self.name.clone());
        self.submit(0, 0, Job::Flush(0, answer));
        io
    }
}

impl SimDisk {
    /// Counts a request, decides its fate, and sends it on its way.
    fn submit(&self, at: u64, len: u64, mut job: Job) {
        self.assert_aligned(at);
        self.assert_aligned(len);
        let mut guard = lock(&self.state);
        let state = &mut *guard;
        let accepted = match &job {
            Job::Write(data, _) => self.runtime.count_device_write().map(|ordinal| {
                self.runtime.note_device(b'W', at, u64::from(crc32c::crc32c(data)));
                state.log.push(LoggedWrite { ordinal, at, len, issued: self.runtime.now() });
            }),
            _ => self.runtime.accepts_requests().then(|| self.runtime.note_device(b'R', at, len)),
        };
        if accepted.is_none() {
            return state.void.push(job);
        }
        let (counters, plan) = (&mut state.counters, &state.plan);
        let (faults, ordinal) = match &mut job {
            Job::Read(..) => {
                counters.read_bytes += len;
                (&plan.read, &mut counters.reads)
            }
            Job::Write(..) | Job::Ghost(_) => {
                counters.written_bytes += len;
                (&plan.write, &mut counters.writes)
            }
            Job::Flush(mark, _) => {
                *mark = state.medium.mark();
                (&plan.flush, &mut counters.flushes)
            }
        };
        *ordinal += 1;
        let beyond = at.checked_add(len).is_none_or(|end| end > self.geometry.len);
        if let (true, Job::Write(data, _)) = (beyond, &mut job) {
            data.clear(); // nothing of it can land, whatever becomes of it
        }
        let fails = faults.strike(*ordinal, &mut state.rng) || beyond;
        let delay = plan.delay(&mut state.rng);
        self.start(state, delay, Request { at, len, fails, job });
    }

    fn start(&self, state: &mut State, delay: Duration, request: Request) {
        let id = state.next_request;
        state.next_request += 1;
        state.in_flight.insert(id, request);
        self.schedule(id, delay);
    }

    fn schedule(&self, id: u64, delay: Duration) {
        let me = self.me.clone();
        let complete = move || me.upgrade().into_iter().for_each(|disk| disk.complete(id));
        self.runtime.device_event(delay, Box::new(complete));
    }

    /// The time of request `id` has come, unless it fell to a kill or a power cut.
    fn complete(&self, id: u64) {
        let mut guard = lock(&self.state);
        let state = &mut *guard;
        if let Some(held) = &mut state.held {
            return held.push(id);
        }
        let Some(Request { at, len, fails, job }) = state.in_flight.remove(&id) else { return };
        match job {
            Job::Read(mut buf, answer) => {
                if !fails {
                    state.land_racing(at, len);
                    state.medium.read(at, &mut buf);
                }
                drop(guard);
                answer.answer(if fails { Err(self.eio("read", at, len)) } else { Ok(buf) });
            }
            Job::Write(data, answer) => {
                match fails {
                    false => state.medium.land(at, data),
                    true => state.medium.land_torn(at, &data, &mut state.rng),
                }
                drop(guard);
                answer.answer(if fails { Err(self.eio("write", at, len)) } else { Ok(()) });
            }
            Job::Flush(mark, answer) => {
                match fails {
                    false => state.medium.flush(mark),
                    true => {
                        state.counters.failed_flushes += 1;
                        state.medium.fail_flush(mark, &mut state.rng);
                    }
                }
                drop(guard);
                answer.answer(if fails { Err(self.eio("flush", at, len)) } else { Ok(()) });
            }
            Job::Ghost(data) => {
                state.medium.land_torn(at, &data, &mut state.rng);
                let drained = !state.is_draining();
                drop(guard);
                if drained {
                    self.drained.notify_waiters();
                }
            }
        }
    }

    fn assert_aligned(&self, bytes: u64) {
        let sector = self.geometry.sector;
        assert!(bytes.is_multiple_of(u64::from(sector)), "{}: {bytes} is not in {sector}s", self.name);
    }

    fn eio(&self, op: &'static str, at: u64, len: u64) -> DiskError {
        let cause = IoCause::from(&std::io::Error::from_raw_os_error(EIO));
        DiskError::Io { device: self.name.to_string(), op, at, len, cause }
    }
}

impl State {
    fn is_draining(&self) -> bool {
        self.in_flight.values().any(|request| matches!(request.job, Job::Ghost(_)))
    }

    /// A read that races a write may see any of its sectors: they land before their time.
    fn land_racing(&mut self, at: u64, len: u64) {
        let State { medium, rng, in_flight, .. } = self;
        for request in in_flight.values() {
            match &request.job {
                Job::Write(data, _) | Job::Ghost(data)
                    if request.at < at + len && at < request.at + data.len() as u64 && rng.chance(0.5) =>
                {
                    medium.land_torn(request.at, data, rng);
                }
                _ => {}
            }
        }
    }
}
