//! The client: so many commands in flight on so many sessions, for so long. It verifies nothing, and costs as
//! little as libiscsi lets it: what is answered at once is replaced by commands that leave in one segment.

use super::histogram::Histogram;
use crate::bench::Failure;
use crate::sim::Rng;
use bytes::Bytes;
use libiscsi::{poll_all, Command, CommandId, Completion, Options, Session};
use rustc_hash::FxHashMap;
use std::time::{Duration, Instant};

/// Bytes of a logical block of every server here.
const SECTOR: u64 = 512;
/// What a single answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where the load goes.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// A session for each of them, as `ADDR:PORT`.
    pub portals: Vec<String>,
    /// The target's name.
    pub target: String,
    /// Which LUN.
    pub lun: u16,
    /// Who asks.
    pub initiator: String,
}

/// What is done again and again.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Writes, or reads.
    pub write: bool,
    /// Anywhere, or one after the other (each session in a part of its own).
    pub random: bool,
    /// Bytes of a command.
    pub len: usize,
    /// Commands in flight on each session.
    pub depth: usize,
    /// Bytes of the LUN that are used, from its start.
    pub range: u64,
    /// A flush after so many writes, in the queue with the others.
    pub flush_every: Option<u64>,
}

/// What came of it.
pub struct Outcome {
    /// Reads or writes; flushes are not counted.
    pub count: u64,
    /// How long, until the last answer and, after writes, the flush behind them.
    pub wall: Duration,
    /// What each took.
    pub latency: Histogram,
    /// How many each session did.
    pub sessions: Vec<u64>,
}

/// Puts `load` on `endpoint` for `time`. `data` is what writes take slices of; `seed` decides the places.
///
/// # Errors
/// A connection that is lost, an answer that is not GOOD.
pub fn run(
    endpoint: &Endpoint,
    load: Load,
    time: Duration,
    data: &Bytes,
    seed: u64,
) -> Result<Outcome, Failure> {
    let mut sessions = Vec::new();
    for portal in &endpoint.portals {
        let mut session = Session::connect(portal, &endpoint.target, &Options::new(&endpoint.initiator))?;
        settle(&mut session, endpoint.lun)?;
        sessions.push(session);
    }
    let count = sessions.len();
    let mut rng = Rng::new(seed);
    let mut flows: Vec<Flow<'_>> =
        (0..count).map(|nth| Flow::new(load, endpoint.lun, (nth, count), data, rng.fork())).collect();
    let start = Instant::now();
    for (session, flow) in sessions.iter_mut().zip(&mut flows) {
        flow.fill(session, load.depth)?;
    }
    let mut latency = Histogram::default();
    let mut open = true;
    while flows.iter().any(|flow| !flow.under_way.is_empty()) {
        poll_all(&mut sessions, PATIENCE)?;
        let now = Instant::now();
        open &= now < start + time;
        for (session, flow) in sessions.iter_mut().zip(&mut flows) {
            let mut ended = 0;
            while let Some(completion) = session.completion() {
                flow.take(completion, now, &mut latency)?;
                ended += 1;
            }
            if ended > 0 && open {
                flow.fill(session, ended)?;
            }
        }
        if now > start + time + PATIENCE {
            return Err("a command was not answered".into());
        }
    }
    if load.write {
        good(&sessions[0].execute(Command::flush(endpoint.lun), PATIENCE)?)?;
    }
    let wall = start.elapsed();
    let done: Vec<u64> = flows.iter().map(|flow| flow.done).collect();
    for session in sessions {
        session.logout()?;
    }
    Ok(Outcome { count: done.iter().sum(), wall, latency, sessions: done })
}

/// Reads or writes all of the first `range` bytes, one after the other.
///
/// # Errors
/// As [`run`].
pub fn sweep(endpoint: &Endpoint, range: u64, write: Option<&Bytes>) -> Result<(), Failure> {
    let mut session =
        Session::connect(&endpoint.portals[0], &endpoint.target, &Options::new(&endpoint.initiator))?;
    settle(&mut session, endpoint.lun)?;
    // A read of this size goes to the caches of every server; a write is a good load for every disk.
    let len = if write.is_some() { 1 << 20 } else { 64 << 10 };
    let none = Bytes::new();
    let load = Load { write: write.is_some(), random: false, len, depth: 8, range, flush_every: None };
    let mut flow = Flow::new(load, endpoint.lun, (0, 1), write.unwrap_or(&none), Rng::new(7));
    let (mut begun, mut latency) = (0, Histogram::default());
    let total = range / len as u64;
    flow.fill(&mut session, 8)?;
    begun += 8;
    while !flow.under_way.is_empty() {
        session.poll(PATIENCE)?;
        while let Some(completion) = session.completion() {
            flow.take(completion, Instant::now(), &mut latency)?;
            if begun < total {
                flow.fill(&mut session, 1)?;
                begun += 1;
            }
        }
    }
    if write.is_some() {
        good(&session.execute(Command::flush(endpoint.lun), PATIENCE)?)?;
    }
    Ok(session.logout()?)
}

/// Takes the unit attentions that wait for a new session.
fn settle(session: &mut Session, lun: u16) -> Result<(), Failure> {
    for _ in 0..8 {
        if session.execute(Command::plain(lun, &[0; 6]), PATIENCE)?.is_good() {
            return Ok(());
        }
    }
    Err("the unit is not ready".into())
}

fn good(completion: &Completion) -> Result<(), Failure> {
    match completion.is_good() {
        true => Ok(()),
        false => Err(format!("{:?} {:?}", completion.outcome, completion.sense).into()),
    }
}

/// The commands of one session.
struct Flow<'a> {
    load: Load,
    lun: u16,
    /// Bytes of the range that are this session's, for sequential loads.
    part: std::ops::Range<u64>,
    next: u64,
    data: &'a Bytes,
    rng: Rng,
    /// When each began; none for a flush.
    under_way: FxHashMap<CommandId, Option<Instant>>,
    buffers: Vec<Vec<u8>>,
    since_flush: u64,
    done: u64,
}

impl Flow<'_> {
    fn new(load: Load, lun: u16, (nth, count): (usize, usize), data: &Bytes, rng: Rng) -> Flow<'_> {
        let len = load.len as u64;
        let share = load.range / count as u64 / len * len;
        let part = share * nth as u64..share * (nth as u64 + 1);
        let (under_way, next) = (FxHashMap::default(), part.start);
        Flow { load, lun, part, next, data, rng, under_way, buffers: Vec::new(), since_flush: 0, done: 0 }
    }

    /// Begins `count` commands.
    fn fill(&mut self, session: &mut Session, count: usize) -> Result<(), Failure> {
        let now = Instant::now();
        for _ in 0..count {
            let (command, began) = self.command(now);
            let id = session.submit(command)?;
            self.under_way.insert(id, began);
        }
        if count > 1 {
            session.cork(true);
        }
        session.send()?;
        if count > 1 {
            session.cork(false);
        }
        Ok(())
    }

    fn command(&mut self, now: Instant) -> (Command, Option<Instant>) {
        if self.load.flush_every.is_some_and(|every| self.since_flush >= every) {
            self.since_flush = 0;
            return (Command::flush(self.lun), None);
        }
        let len = self.load.len;
        let at = if self.load.random {
            self.rng.below(self.load.range / len as u64) * len as u64
        } else {
            let at = self.next;
            self.next = if at + len as u64 >= self.part.end { self.part.start } else { at + len as u64 };
            at
        };
        let (lba, blocks) = (at / SECTOR, (len as u64 / SECTOR) as u32);
        let command = if self.load.write {
            self.since_flush += 1;
            let from = self.rng.below(((self.data.len() - len) / 4096 + 1) as u64) as usize * 4096;
            Command::write16(self.lun, lba, blocks, self.data.slice(from..from + len))
        } else {
            let buffer = self.buffers.pop().unwrap_or_else(|| vec![0; len]);
            Command::read16(self.lun, lba, blocks, buffer)
        };
        (command, Some(now))
    }

    fn take(&mut self, completion: Completion, now: Instant, latency: &mut Histogram) -> Result<(), Failure> {
        good(&completion)?;
        if let Some(Some(began)) = self.under_way.remove(&completion.id) {
            latency.add(now - began);
            self.done += 1;
        }
        if completion.data.len() == self.load.len {
            self.buffers.push(completion.data);
        }
        Ok(())
    }
}
