//! The history: every operation in commit order, and the state of the model after each.
//!
//! Invariants: `states[n]` is the model after the first `n` operations; what was answered is never taken
//! back; `acked` and `durable` say how long the prefix is that the death of the process, and a power cut,
//! must spare.

use super::model::{Command, Model};
use block_layer::Seq;
use snapshots::machine::observe::Observer;
use snapshots::machine::op::{Admin, Op, Reply};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// An operation that has its place.
struct Entry {
    seq: Seq,
    /// Which: a command's number, or an administrative operation's text.
    what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    Command(u64),
    Admin(String),
}

/// See the module.
pub(super) struct History {
    states: Vec<Arc<Model>>,
    entries: Vec<Entry>,
    /// Operations that lost their place after a failed write, each with the state after it. Until the place
    /// holds a durable void record, a crash may bring them back; none was answered.
    abandoned: Vec<(Entry, Arc<Model>)>,
    commands: BTreeMap<u64, Command>,
    fenced: BTreeSet<u64>,
    next_number: u64,
    acked: usize,
    durable: usize,
    /// Operations that clients sent and that got a place, over the whole run.
    pub(super) ordered: u64,
}

/// A history that the engine tells its commit order.
#[derive(Clone)]
pub(super) struct Recorder(Arc<Mutex<History>>);

impl Recorder {
    /// A history that begins with `model`.
    #[must_use]
    pub(super) fn new(model: Model) -> Recorder {
        Recorder(Arc::new(Mutex::new(History {
            states: vec![Arc::new(model)],
            entries: Vec::new(),
            abandoned: Vec::new(),
            commands: BTreeMap::new(),
            fenced: BTreeSet::new(),
            next_number: 1,
            acked: 0,
            durable: 0,
            ordered: 0,
        })))
    }

    /// The history. Its lock is inside the engine's: nobody calls the engine while holding it.
    pub(super) fn lock(&self) -> MutexGuard<'_, History> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Recorder {
    fn ordered(&self, seq: Seq, op: &Op, reply: &Reply) {
        let mut history = self.lock();
        // Nothing is ordered again before the void record is durable.
        history.abandoned.clear();
        let mut model = Model::clone(history.now());
        let what = match op {
            Op::Io(io) | Op::Admin(Admin::Cut { io, .. }) => {
                let Some(number) = io.session.as_ref().map(|s| s.number()).filter(|n| *n > 0) else { return };
                assert!(!history.fenced.contains(&number), "command {number} took effect behind its fence");
                let command = &history.commands[&number];
                let merged = match command {
                    Command::Sum { .. } | Command::Cut { .. } => model.sum(command),
                    _ => model.command(command).map(|()| Vec::new()),
                };
                if let (Reply::Merged(answer), Ok(merged)) = (reply, &merged) {
                    assert_eq!(answer, merged, "{seq}: command {number} {command:?}");
                }
                let done = merged.map(drop);
                done.unwrap_or_else(|e| panic!("{seq}: command {number} {command:?}: {e}"));
                What::Command(number)
            }
            Op::Admin(admin) => match model.admin(admin, reply) {
                Ok(true) => What::Admin(text_of(admin)),
                Ok(false) => return,
                Err(e) => panic!("{seq}: {admin:?}: {e}"),
            },
        };
        assert!(history.entries.last().is_none_or(|last| last.seq <= seq), "{what:?} goes back in time");
        history.ordered += 1;
        history.entries.push(Entry { seq, what });
        history.states.push(Arc::new(model));
    }

    fn discarded(&self, visible: Seq) {
        let mut history = self.lock();
        let kept = history.entries.partition_point(|entry| entry.seq <= visible);
        assert!(kept >= history.acked, "operations that were answered are taken back");
        let states = history.states.split_off(kept + 1);
        history.abandoned = history.entries.split_off(kept).into_iter().zip(states).collect();
    }
}

impl History {
    /// The state after everything that has its place.
    #[must_use]
    pub(super) fn now(&self) -> &Arc<Model> {
        self.states.last().expect("there is a first state")
    }

    /// The state after everything that was answered.
    #[must_use]
    pub(super) fn answered(&self) -> &Arc<Model> {
        &self.states[self.acked]
    }

    /// How many operations must be visible, and may be, to whoever looks now.
    #[must_use]
    pub(super) fn bounds(&self) -> (usize, usize) {
        (self.acked, self.entries.len())
    }

    /// The states between an earlier lower bound and now.
    pub(super) fn window(&self, from: usize) -> &[Arc<Model>] {
        &self.states[from.min(self.entries.len())..]
    }

    /// Gives a command its number before it is sent.
    pub(super) fn send(&mut self, command: Command) -> u64 {
        let number = self.serial();
        self.commands.insert(number, command);
        number
    }

    /// A number that was never given before.
    pub(super) fn serial(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number - 1
    }

    /// A command was answered with success.
    ///
    /// # Panics
    /// When it never got a place.
    pub(super) fn succeeded(&mut self, number: u64, durable: bool) {
        let at = self.place(&What::Command(number));
        let at = at.unwrap_or_else(|| panic!("command {number} was answered and not committed"));
        self.answer(at + 1, durable);
    }

    /// A command was answered with an error that promises that nothing was done.
    ///
    /// # Panics
    /// When it was done.
    pub(super) fn failed(&mut self, number: u64) {
        let what = What::Command(number);
        let command = &self.commands[&number];
        assert!(self.place(&what).is_none(), "command {number} {command:?} failed and was committed");
    }

    /// A command's session was fenced: if it has no place now, it must never get one; if it has, it has taken
    /// effect, unless the pool has stopped meanwhile.
    pub(super) fn fence(&mut self, number: u64, stopped: bool) {
        match self.place(&What::Command(number)) {
            None => drop(self.fenced.insert(number)),
            Some(at) if !stopped => self.answer(at + 1, false),
            Some(_) => {}
        }
    }

    /// An administrative operation that was sent when `from` operations were answered has succeeded: it is
    /// durable.
    ///
    /// # Panics
    /// When it never got a place.
    pub(super) fn administered(&mut self, admin: &Admin, from: usize) {
        // The first of its kind since it was sent: another client may have sent the same again.
        let what = What::Admin(text_of(admin));
        let at = self.entries[from..].iter().position(|entry| entry.what == what);
        let at = at.unwrap_or_else(|| panic!("{admin:?} was answered and not committed"));
        self.answer(from + at + 1, true);
    }

    fn answer(&mut self, len: usize, durable: bool) {
        self.acked = self.acked.max(len);
        if durable {
            self.flushed(len);
        }
    }

    /// A flush that began when the first `len` operations were answered has succeeded.
    pub(super) fn flushed(&mut self, len: usize) {
        self.durable = self.durable.max(len);
    }

    fn place(&self, what: &What) -> Option<usize> {
        self.entries.iter().rposition(|entry| entry.what == *what)
    }

    /// The lengths that a prefix may have after a crash, longest first: whole commits, and what was promised.
    #[must_use]
    pub(super) fn survivors(&self, power_cut: bool) -> Vec<usize> {
        self.prefixes(if power_cut { self.durable } else { self.acked })
    }

    /// The lengths of the prefixes that end with a whole commit, from `least` operations on, longest first.
    #[must_use]
    pub(super) fn prefixes(&self, least: usize) -> Vec<usize> {
        let seqs: Vec<Seq> =
            self.entries.iter().chain(self.abandoned.iter().map(|(entry, _)| entry)).map(|e| e.seq).collect();
        let whole = |len: &usize| *len == 0 || seqs.get(*len) != Some(&seqs[len - 1]);
        (least..=seqs.len()).rev().filter(whole).collect()
    }

    /// The model after `len` operations, those that lost their place last included.
    #[must_use]
    pub(super) fn state(&self, len: usize) -> &Arc<Model> {
        match len.checked_sub(self.states.len()) {
            None => &self.states[len],
            Some(lost) => &self.abandoned[lost].1,
        }
    }

    /// What the last operations were, for people.
    #[must_use]
    pub(super) fn tail(&self, count: usize) -> Vec<String> {
        let entries = self.entries.iter().enumerate().rev().take(count).rev();
        entries
            .map(|(at, entry)| match &entry.what {
                What::Command(n) => format!("{at} {} {n} {:.300?}", entry.seq, self.commands[n]),
                What::Admin(text) => format!("{at} {} {text:.300}", entry.seq),
            })
            .collect()
    }

    /// A new generation begins after a crash that spared `len` operations.
    pub(super) fn restart(&mut self, len: usize) {
        self.states = vec![self.state(len).clone()];
        self.entries.clear();
        self.abandoned.clear();
        self.fenced.clear();
        self.commands.clear();
        (self.acked, self.durable) = (0, 0);
    }
}

/// What an administrative operation asks for: the size that a resize starts from is the engine's affair.
fn text_of(admin: &Admin) -> String {
    match admin {
        Admin::Resize { dataset, to, .. } => format!("resize {dataset:?} to {to}"),
        other => format!("{other:?}"),
    }
}
