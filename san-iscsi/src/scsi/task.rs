//! A task: a command between its first check and its answer.
//!
//! Invariants (protocol rules 2 and 3): an answer comes in [`COMMAND_TIME`], whatever storage does. A
//! modification that storage was given is never dropped: when its time is over it goes on by itself, the
//! answer is ABORTED COMMAND, and until it has ended the unit is in doubt: it begins no other modification
//! and acknowledges none. BUSY is answered only while storage was given nothing.

use super::command::{Response, Status};
use super::copy::Copy;
use super::deadline::Deadline;
use super::limits::{COMMAND_TIME, SETTLE_TIME};
use super::lu::{Lu, Path};
use super::medium;
use super::mode;
use super::nexus::Core;
use super::opcodes::Access;
use super::plan::{Plan, Range, Work};
use super::port::InitiatorPort;
use super::reservations::Reservations;
use super::reserve_out::{Refusal, Request, Surroundings};
use super::reserve_store;
use super::runtime::Runtime;
use super::sense::Sense;
use super::tasks::{Running, Ticket};
use crate::lun::LogicalUnit;
use bytes::Bytes;
use std::future::Future;
use std::pin::{pin, Pin};
use std::slice;
use std::sync::Arc;

/// A modification: it owns what it needs.
type Modification = Pin<Box<dyn Future<Output = Result<Response, Sense>> + Send>>;

/// A command that passed its first check. It must be executed, or dropped if it was aborted before.
pub struct Task<L: LogicalUnit> {
    pub(crate) core: Arc<Core<L>>,
    pub(crate) path: Arc<Path<L>>,
    pub(crate) ticket: Ticket,
    pub(crate) plan: Plan,
    pub(crate) access: Access,
}

impl<L: LogicalUnit> Task<L> {
    /// Bytes of Data-Out that it needs: none for most. Never more than what the initiator said it has.
    #[must_use]
    pub fn data_out(&self) -> u32 {
        self.plan.data_out
    }

    /// Does it. Ends within [`COMMAND_TIME`], whatever storage does. `data` are the [`Task::data_out`] bytes.
    /// Polled to its end even if the session dies, or writes are left in doubt; the answer is
    /// [`Status::TaskAborted`] for a task that was aborted meanwhile: a transport that itself asked for the
    /// abort does not send it.
    pub async fn execute(self, data: Bytes) -> Response {
        let mut deadline = Deadline::new(Arc::clone(&self.core.face.runtime), COMMAND_TIME);
        let running = match deadline.bound(pin!(self.ticket.run())).await {
            None => return Response::status(Status::Busy),
            Some(Err(stop)) => return stop.into(),
            Some(Ok(running)) => running,
        };
        // All of this was so when the command began; much may have happened since.
        if !self.path.lu.allow(&self.path.ports, self.access) {
            return Response::status(Status::ReservationConflict);
        }
        if data.len() as u64 != u64::from(self.plan.data_out) {
            return Response::check(Sense::DATA_OUT_LENGTH);
        }
        let response = self.work(&mut deadline, data, running).await;
        if self.ticket.is_aborted() {
            return Response::status(Status::TaskAborted);
        }
        match response.status {
            Status::Good if self.plan.transfer > 0 => Response { transfer: self.plan.transfer, ..response },
            _ => response,
        }
    }

    async fn work(&self, deadline: &mut Deadline, data: Bytes, running: Running) -> Response {
        match self.plan.work {
            Work::Read(range) => self.read(deadline, range).await,
            Work::Verify { range, compare } => {
                let verify = medium::verify(&self.path, range, compare, &data);
                let done = deadline.bound(pin!(verify)).await;
                answer(done.map(|result| result.map(|()| Response::written(0))))
            }
            Work::LbaStatus { range, allocation } => {
                let status = medium::lba_status(&self.path, range, allocation);
                let done = deadline.bound(pin!(status)).await;
                answer(done.map(|result| result.map(Response::good)))
            }
            Work::ModeSelect { long } => {
                answer(Some(mode::select(&self.path, long, &data).map(|()| Response::written(0))))
            }
            Work::Flush => {
                let flush = medium::modify(Arc::clone(&self.path), Work::Flush, data);
                // It may go on by itself without any doubt: it changes nothing.
                let mut given: Given<'_, L> =
                    Given { work: Some(Box::pin(flush)), units: &[], runtime: &self.core.face.runtime };
                let done = deadline.bound(pin!(given.done())).await;
                answer(Some(done.unwrap_or(Err(Sense::TIMED_OUT))))
            }
            Work::ReserveOut { service, scope_type } => {
                // It does not run, as far as others wait for this nexus' commands: it may wait for theirs.
                drop(running);
                match Request::parse(service, scope_type, &data) {
                    Ok(request) => {
                        let change = reserve_out(Arc::clone(&self.core), Arc::clone(&self.path), request);
                        self.modify(deadline, slice::from_ref(&self.path.lu), Box::pin(change)).await
                    }
                    Err(sense) => Response::check(sense),
                }
            }
            Work::ExtendedCopy => match Copy::parse(&self.core, &data) {
                Ok(copy) => {
                    let copied = copy.units();
                    let copy = copy.run(Arc::clone(&self.core));
                    self.modify(deadline, &copied, Box::pin(copy)).await
                }
                Err(sense) => Response::check(sense),
            },
            work => {
                let work = medium::modify(Arc::clone(&self.path), work, data);
                self.modify(deadline, slice::from_ref(&self.path.lu), Box::pin(work)).await
            }
        }
    }

    async fn read(&self, deadline: &mut Deadline, range: Range) -> Response {
        let Some((unit, _)) = &self.path.storage else { return Response::check(Sense::NOT_READY) };
        if range.len == 0 {
            return Response::good(Bytes::new());
        }
        // A read has no effect, so that it may be dropped when its time is over.
        let read = deadline.bound(pin!(unit.read(range.offset, range.len))).await;
        answer(read.map(|result| result.map(Response::good).map_err(Sense::of)))
    }

    /// Has a modification done, if the units are not in doubt, and acknowledges it, if they are not in doubt
    /// then.
    async fn modify(&self, deadline: &mut Deadline, units: &[Arc<Lu<L>>], work: Modification) -> Response {
        let runtime = &self.core.face.runtime;
        let mut patience = Deadline::new(Arc::clone(runtime), SETTLE_TIME);
        if deadline.bound(pin!(settled(units, &mut patience))).await != Some(true) {
            return Response::status(Status::Busy);
        }
        let mut given = Given { work: Some(work), units, runtime };
        let Some(done) = deadline.bound(pin!(given.done())).await else {
            return Response::check(Sense::TIMED_OUT);
        };
        // One that was aborted is not acknowledged, and must not wait for the doubt that waits for its end.
        if done.is_ok() && !self.ticket.is_aborted() && !settled(units, deadline).await {
            return Response::check(Sense::TIMED_OUT);
        }
        answer(Some(done))
    }
}

/// A modification that storage was given. If it is dropped before it has ended, because its time is over or
/// its transport has died, it goes on by itself, and its units are in doubt until it ends.
struct Given<'a, L: LogicalUnit> {
    work: Option<Modification>,
    units: &'a [Arc<Lu<L>>],
    runtime: &'a Arc<dyn Runtime>,
}

impl<L: LogicalUnit> Given<'_, L> {
    async fn done(&mut self) -> Result<Response, Sense> {
        let done = match &mut self.work {
            Some(work) => work.as_mut().await,
            None => Err(Sense::TIMED_OUT),
        };
        self.work = None;
        done
    }
}

impl<L: LogicalUnit> Drop for Given<'_, L> {
    fn drop(&mut self) {
        if let Some(work) = self.work.take() {
            let doubts: Vec<_> = self.units.iter().map(Lu::doubt).collect();
            self.runtime.spawn(Box::pin(async move {
                drop(work.await);
                drop(doubts);
            }));
        }
    }
}

/// Waits until none of the units is in doubt; false if time runs out first.
async fn settled<L: LogicalUnit>(units: &[Arc<Lu<L>>], deadline: &mut Deadline) -> bool {
    for unit in units.iter().filter(|unit| !unit.is_settled()) {
        if deadline.bound(pin!(unit.settled())).await.is_none() {
            return false;
        }
    }
    true
}

/// The answer to something without effect, which may have run out of time.
fn answer(done: Option<Result<Response, Sense>>) -> Response {
    match done {
        Some(Ok(response)) => response,
        Some(Err(sense)) => Response::check(sense),
        None => Response::status(Status::Busy),
    }
}

/// PERSISTENT RESERVE OUT: changes a copy, saves it if it must survive a restart, and puts it into effect.
/// The answer comes when those who lost their rights have no command left that they began with them.
async fn reserve_out<L: LogicalUnit>(
    core: Arc<Core<L>>,
    path: Arc<Path<L>>,
    request: Request,
) -> Result<Response, Sense> {
    let lu = &path.lu;
    let effects = {
        let _changing = lu.changing.lock().await;
        let mut state = lu.reservations();
        let saved = reserve_store::encode(&state);
        let initiators: Vec<InitiatorPort> = lu.paths().iter().map(|p| p.ports.initiator.clone()).collect();
        let around = Surroundings { portals: &core.face.portals, initiators: &initiators };
        let effects = match state.out(&path.ports, &request, &around) {
            Ok(effects) => effects,
            Err(Refusal::Conflict) => return Ok(Response::status(Status::ReservationConflict)),
            Err(Refusal::Check(sense)) => return Err(sense),
        };
        let save = reserve_store::encode(&state);
        if save != saved {
            let (unit, _) = path.storage.as_ref().ok_or(Sense::NOT_READY)?;
            unit.save_reservations(save).await.map_err(Sense::of)?;
        }
        // A RESERVE may have come while the state was saved: it stays in force beside it.
        lu.reserve(|current| *current = Reservations { legacy: current.legacy.take(), ..state });
        effects
    };
    lu.effect(&effects).await;
    Ok(Response::written(0))
}
