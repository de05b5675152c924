//! A client: sends commands, and judges every answer by the history.
//!
//! What is checked: an answer of success means that the command has its place in the commit order, an error
//! that it has none and that some state of the pool meanwhile justifies it; a read gives, for every sector,
//! what some state between the last answer before it and its own end has there.

use super::content::{bytes_of, stamps_of, Stamp, SECTORS};
use super::history::{History, Recorder};
use super::model::{holds, Command, Model, Target};
use super::options::{Options, Trouble};
use super::rot::Rot;
use super::sums::{cut_sectors, edits_of, sums_of};
use crate::sim::Rng;
use block_layer::store::ReadError;
use block_layer::{Buf, Runtime, SECTOR};
use snapshots::engine::{EntryEdit, Volume, WriteOptions};
use snapshots::{Engine, Error, ObjectId, Session};
use std::sync::Arc;

/// Whether a client goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// It does.
    On,
    /// The pool has stopped.
    Stop,
}

/// See the module.
#[derive(Clone)]
pub(super) struct Client {
    /// The engine.
    pub(super) engine: Arc<Engine>,
    /// The history.
    pub(super) recorder: Recorder,
    /// The options.
    pub(super) options: Arc<Options>,
    /// What has rotted.
    pub(super) rot: Rot,
    /// Its own chance.
    pub(super) rng: Rng,
    /// The runtime.
    pub(super) runtime: Arc<dyn Runtime>,
}

impl Client {
    /// The history.
    pub(super) fn history(&self) -> std::sync::MutexGuard<'_, History> {
        self.recorder.lock()
    }

    /// The engine's side of a target.
    #[must_use]
    pub(super) fn volume(&self, at: Target) -> Volume {
        let live = self.engine.object(at.dataset, ObjectId(at.object));
        match at.snapshot {
            Some(id) => live.at(id),
            None => live,
        }
    }

    /// Sends a command and judges its answer.
    pub(super) async fn send(&self, command: Command, session: Session, durable: bool) -> Flow {
        let (number, (from, _)) = {
            let mut history = self.history();
            (history.send(command.clone()), history.bounds())
        };
        self.send_numbered(&command, session.numbered(number), from, durable).await
    }

    /// Sends a command that has its number, and judges its answer.
    pub(super) async fn send_numbered(
        &self,
        command: &Command,
        session: Session,
        from: usize,
        durable: bool,
    ) -> Flow {
        let number = session.number();
        let options = WriteOptions { session: Some(session), durable };
        let durable = durable || matches!(command, Command::Compare { .. });
        match self.call(command, &options).await {
            Ok(()) => {
                self.history().succeeded(number, durable);
                Flow::On
            }
            Err(Error::PoolFailed(_) | Error::Closed) => Flow::Stop,
            Err(error) => {
                let mut history = self.history();
                history.failed(number);
                let fenced = options.session.as_ref().is_some_and(Session::is_fenced);
                let just = match &error {
                    Error::Fenced => fenced,
                    error => self.is_just(error, command, history.window(from)),
                };
                assert!(just, "command {number} {command:?} failed without a reason: {error:?}");
                Flow::On
            }
        }
    }

    async fn call(&self, command: &Command, options: &WriteOptions) -> Result<(), Error> {
        let sectors = |n: &u64| n * SECTOR as u64;
        match command {
            Command::Write { at, sector, stamps } => {
                self.volume(*at).write(sectors(sector), bytes_of(stamps), options).await
            }
            Command::Zero { at, sector, count } => {
                self.volume(*at).write_zeroes(sectors(sector), sectors(count), options).await
            }
            Command::Same { at, sector, count, pattern } => {
                let pattern = bytes_of(pattern);
                self.volume(*at).write_same(sectors(sector), sectors(count), &pattern, options).await
            }
            Command::Compare { at, sector, expected, stamps } => {
                let (expected, data) = (bytes_of(expected), bytes_of(stamps));
                let session = options.session.clone();
                self.volume(*at).compare_and_write(sectors(sector), &expected, &data, session).await
            }
            Command::Clone { at, block, from, from_block, count } => {
                let bytes = |blocks: &u64| blocks * SECTORS * SECTOR as u64;
                let (to, from_at, len) = (bytes(block), bytes(from_block), bytes(count));
                self.volume(*at).clone_range(to, &self.volume(*from), from_at, len, options).await
            }
            Command::Sum { at, sector, stamps, .. } => {
                let (data, edits) = (bytes_of(stamps), edits_of(command));
                self.volume(*at).write_with(sectors(sector), data, options, &edits).await.map(drop)
            }
            Command::Cut { at, from, len, .. } => {
                let edits = edits_of(command);
                self.volume(*at).cut_with(*from, from + len, options, &edits).await.map(drop)
            }
            Command::Edit { dataset, edits } => {
                self.engine.edit(*dataset, edits, options.session.clone()).await?;
                match options.durable {
                    true => self.engine.flush().await.map(drop),
                    false => Ok(()),
                }
            }
        }
    }

    /// Whether a failed flush may have lost what reads still found for a while.
    fn loses_writes(&self) -> bool {
        self.options.trouble == Trouble::FlushErrors
    }

    /// Whether some state justifies an error.
    fn is_just(&self, error: &Error, command: &Command, window: &[Arc<Model>]) -> bool {
        let any = |condition: &dyn Fn(&Model) -> bool| window.iter().any(|model| condition(model));
        match (error, command) {
            (Error::NoSpace, Command::Edit { .. }) => {
                self.options.trouble == Trouble::IndexFull || self.options.extras.fill
            }
            (Error::NoSpace, _) => true,
            (Error::Read(ReadError::Corrupt { .. }), _) if !self.loses_writes() => reach(command)
                .is_some_and(|(at, first, count)| self.rot.explains_range(window, at, first, count)),
            (Error::Read(_), _) => self.options.trouble.hurts_reads(),
            (Error::Index(_), _) => self.options.trouble == Trouble::IndexErrors,
            (Error::OutOfRange { .. }, _) => any(&|model| !fits(command, model)),
            (Error::Miscompare { offset }, Command::Compare { at, sector, expected, .. }) => {
                let nth = offset / SECTOR as u64;
                any(&|model| {
                    let found = model.stamps(*at, sector + nth, 1);
                    found.is_none_or(|found| found[0] != expected[nth as usize])
                })
            }
            (Error::Vetoed(_), _) => {
                let Some((at, sums)) = sums_of(command) else { return false };
                any(&|model| sums.iter().any(|sum| sum.outcome(model, at, 0).is_err()))
            }
            (Error::Exists(_) | Error::NotFound(_), Command::Sum { at, beside, edits, .. }) => {
                any(&|model| {
                    let entries = model.datasets.get(beside).map(|d| &d.content.entries);
                    let holds =
                        |edit: &EntryEdit| entries.is_some_and(|e| holds(&edit.condition, e.get(&edit.name)));
                    model.content(*at).is_none() || !edits.iter().all(holds)
                })
            }
            (Error::Exists(_) | Error::NotFound(_), Command::Edit { dataset, edits }) => any(&|model| {
                let entries = model.datasets.get(dataset).map(|d| &d.content.entries);
                entries.is_none_or(|e| edits.iter().any(|edit| !holds(&edit.condition, e.get(&edit.name))))
            }),
            (Error::NotFound(_), _) => {
                any(&|model| targets(command).into_iter().any(|at| model.content(at).is_none()))
            }
            _ => false,
        }
    }

    /// Reads a range and compares it with the history.
    pub(super) async fn read(&self, at: Target, sector: u64, count: u64) -> Flow {
        let (from, _) = self.history().bounds();
        let (offset, len) = (sector * SECTOR as u64, count as usize * SECTOR);
        let read = self.volume(at).read(offset, Buf::zeroed(len)).await;
        let history = self.history();
        let window = history.window(from);
        match read {
            Ok(bytes) => {
                let found = stamps_of(&bytes);
                let states: Vec<Vec<Stamp>> =
                    window.iter().filter_map(|model| model.stamps(at, sector, count)).collect();
                for (nth, stamp) in found.into_iter().enumerate() {
                    let right = states.iter().any(|state| Some(state[nth]) == stamp);
                    let nth_sector = sector + nth as u64;
                    assert!(right, "{at:?} sector {nth_sector} reads {stamp:x?}, not one of {:x?}", {
                        states.iter().map(|state| state[nth]).collect::<std::collections::BTreeSet<_>>()
                    });
                }
                Flow::On
            }
            Err(Error::PoolFailed(_) | Error::Closed) => Flow::Stop,
            Err(error) => {
                let command = Command::Zero { at, sector, count };
                assert!(self.is_just(&error, &command, window), "reading {command:?}: {error:?}");
                Flow::On
            }
        }
    }

    /// Makes durable what was answered.
    pub(super) async fn flush(&self) -> Flow {
        let (answered, _) = self.history().bounds();
        match self.engine.flush().await {
            Ok(_durable) => {
                self.history().flushed(answered);
                Flow::On
            }
            Err(_) => Flow::Stop,
        }
    }
}

/// The targets of a command.
fn targets(command: &Command) -> Vec<Target> {
    match command {
        Command::Write { at, .. }
        | Command::Zero { at, .. }
        | Command::Same { at, .. }
        | Command::Compare { at, .. } => vec![*at],
        Command::Sum { at, .. } | Command::Cut { at, .. } => vec![*at],
        Command::Clone { at, from, .. } => vec![*at, *from],
        Command::Edit { dataset, .. } => vec![Target { dataset: *dataset, object: 0, snapshot: None }],
    }
}

/// The sectors that a command may have to read.
pub(super) fn reach(command: &Command) -> Option<(Target, u64, u64)> {
    match command {
        Command::Write { at, sector, stamps }
        | Command::Sum { at, sector, stamps, .. }
        | Command::Compare { at, sector, stamps, .. } => Some((*at, *sector, stamps.len() as u64)),
        Command::Zero { at, sector, count } | Command::Same { at, sector, count, .. } => {
            Some((*at, *sector, *count))
        }
        Command::Cut { at, from, len, .. } => {
            let sectors = cut_sectors(*from, *len);
            Some((*at, sectors.start, (sectors.end - sectors.start).min(2048)))
        }
        Command::Clone { .. } | Command::Edit { .. } => None,
    }
}

/// Whether a command lies inside what a state has.
fn fits(command: &Command, model: &Model) -> bool {
    let inside = |at: &Target, end: u64| {
        let size = model.content(*at).map_or(0, |c| c.size);
        at.object != 0 || end * SECTOR as u64 <= size
    };
    match command {
        Command::Write { at, sector, stamps }
        | Command::Sum { at, sector, stamps, .. }
        | Command::Compare { at, sector, stamps, .. } => inside(at, sector + stamps.len() as u64),
        Command::Zero { at, sector, count } | Command::Same { at, sector, count, .. } => {
            inside(at, sector + count)
        }
        Command::Clone { at, block, from, from_block, count } => {
            inside(at, (block + count) * SECTORS) && inside(from, (from_block + count) * SECTORS)
        }
        Command::Edit { .. } | Command::Cut { .. } => true,
    }
}
