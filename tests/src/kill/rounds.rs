//! The parent: rounds of open, verify, load, kill.

use super::child::{Child, Heard};
use super::model::{Found, ImageName, World};
use super::{pattern, plan, Command, Listing, Setup, VOLUME_SECTORS};
use crate::sim::Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

/// Data commands in flight: the clients.
const CLIENTS: usize = 16;
/// Answers between two administrative commands, at most.
const ADMIN_REST: u64 = 60;

/// What a run did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Summary {
    /// Kills, those while a pool was being opened or verified included.
    pub kills: usize,
    /// Kills while a pool was being opened or verified.
    pub early: usize,
    /// Commands that were answered under load.
    pub answered: u64,
    /// Writes that were in flight at a kill.
    pub in_flight: usize,
    /// Milliseconds of the slowest open: the wait for the lock, the index, the replay.
    pub slowest_open_ms: u64,
}

/// Kills children of `program` `kills` times under load, by the choices of `seed`, and verifies after each.
///
/// # Panics
/// When the pool breaks a promise: the message says which.
pub fn run(program: &Path, setup: &Setup, seed: u64, kills: usize) -> Summary {
    let mut run = Run {
        world: World::default(),
        rng: Rng::new(seed),
        next_id: 1,
        rest: 0,
        unread: Vec::new(),
        summary: Summary::default(),
    };
    let mut child = Child::start(program, setup);
    while run.summary.kills < kills {
        let early = run.summary.answered > 0 && run.rng.chance(0.15);
        let moment = early.then(|| child.started + Duration::from_millis(run.rng.below(300)));
        if run.verify(&mut child, moment) {
            run.load(&mut child);
        } else {
            run.summary.early += 1;
        }
        child.kill();
        // At once: what the dead one had in flight may still be on its way to the devices.
        let dead = std::mem::replace(&mut child, Child::start(program, setup));
        for (id, result) in dead.last_words() {
            run.heard(id, result);
        }
        run.summary.in_flight += run.world.died();
        run.unread.clear();
        run.summary.kills += 1;
    }
    assert!(run.verify(&mut child, None), "the last verification has no end set");
    run.summary
}

struct Run {
    world: World,
    rng: Rng,
    next_id: u64,
    /// Answers until the next administrative command.
    rest: u64,
    /// Snapshots that were just taken and are being read back, as far as they are.
    unread: Vec<(u64, ImageName, Option<Vec<u64>>)>,
    summary: Summary,
}

impl Drop for Run {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("kill: at {:?}", self.summary);
        }
    }
}

impl Run {
    fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Has the child read everything back; `false` when `moment` came first.
    fn verify(&mut self, child: &mut Child, moment: Option<Instant>) -> bool {
        let wait = |child: &mut Child, wanted: u64| loop {
            match child.hear(moment) {
                Heard::Nothing => return None,
                Heard::Answer((id, result)) => {
                    let payload = result.unwrap_or_else(|e| panic!("verification failed: {e}"));
                    if id == wanted {
                        return Some(payload);
                    }
                }
            }
        };
        let Some(opened) = wait(child, 0) else { return false };
        let took = opened.parse().expect("the child says milliseconds");
        self.summary.slowest_open_ms = self.summary.slowest_open_ms.max(took);
        let id = self.id();
        child.send(id, &Command::List);
        let Some(listing) = wait(child, id).map(|text| listing_of(&text)) else { return false };
        let mut found = Found::new();
        for (volume, names) in &listing {
            for snapshot in names.iter().cloned().map(Some).chain([None]) {
                let (id, name) = (self.id(), (volume.clone(), snapshot));
                child.send(id, &whole(&name));
                let Some(text) = wait(child, id) else { return false };
                found.insert(name, pattern::of_runs(&text).expect("a read answers runs"));
            }
        }
        let id = self.id();
        child.send(id, &Command::Audit);
        if wait(child, id).is_none() {
            return false;
        }
        self.world.verify(&listing, &found);
        true
    }

    /// Load, for 10 to 500 ms from the first answer on.
    fn load(&mut self, child: &mut Child) {
        let time = Duration::from_millis(10 + self.rng.below(490));
        let mut moment = None;
        loop {
            self.send_some(child);
            match child.hear(moment) {
                Heard::Nothing => return,
                Heard::Answer((id, result)) => {
                    moment.get_or_insert_with(|| Instant::now() + time);
                    for (id, command) in self.heard(id, result) {
                        child.send(id, &command);
                    }
                }
            }
            if moment.is_some_and(|moment| Instant::now() >= moment) {
                return;
            }
        }
    }

    fn send_some(&mut self, child: &mut Child) {
        while self.world.in_flight() < CLIENTS {
            let Some(command) = plan::data(&mut self.rng, &self.world) else { break };
            let id = self.id();
            self.world.sent(id, &command);
            child.send(id, &command);
            if command == Command::Flush {
                break;
            }
        }
        if self.rest == 0 && !self.world.has_admin() && self.unread.is_empty() {
            let id = self.id();
            if let Some(command) = plan::admin(&mut self.rng, &mut self.world, id) {
                self.world.sent(id, &command);
                child.send(id, &command);
                self.rest = self.rng.below(ADMIN_REST);
            }
        }
    }

    /// Takes an answer in; gives what is to be asked because of it.
    fn heard(&mut self, id: u64, result: Result<String, String>) -> Vec<(u64, Command)> {
        let payload = result.unwrap_or_else(|e| panic!("command {id} failed: {e}"));
        self.summary.answered += 1;
        self.rest = self.rest.saturating_sub(1);
        let tags = pattern::of_runs(&payload);
        if let Some((_, _, read)) = self.unread.iter_mut().find(|(asked, ..)| *asked == id) {
            *read = tags;
            if self.unread.iter().all(|(_, _, read)| read.is_some()) {
                let read = self.unread.drain(..).map(|(_, name, tags)| (name, tags.unwrap_or_default()));
                self.world.settle(&read.collect());
            }
            return Vec::new();
        }
        let images = self.world.answered(id, tags.as_deref());
        let mut asked = Vec::new();
        for name in images {
            let id = self.id();
            asked.push((id, whole(&name)));
            self.unread.push((id, name, None));
        }
        asked
    }
}

fn whole((volume, snapshot): &ImageName) -> Command {
    Command::Read { volume: volume.clone(), snapshot: snapshot.clone(), at: 0, count: VOLUME_SECTORS }
}

/// The inverse of the child's `list`.
fn listing_of(text: &str) -> Listing {
    let volumes = text.split_whitespace().map(|volume| {
        let mut names = volume.split(':').map(str::to_owned);
        (names.next().unwrap_or_default(), names.collect::<BTreeSet<_>>())
    });
    volumes.collect::<BTreeMap<_, _>>()
}
