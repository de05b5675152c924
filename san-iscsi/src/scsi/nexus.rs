//! A nexus: one initiator port's use of the target through one portal, and the tasks in it.
//!
//! [`Nexus::begin`] makes every check that needs no data, so that a refused command never asks for any, and
//! answers at once what needs no storage. What is left is a [`Task`]. The order of checks is SAM-5's: a LUN
//! that is not there, an unknown command, a reservation of another, a unit attention, and then the rest.

use super::command::{Cdb, Command, LunField, Response, Status, TaskAttribute};
use super::copy::Copies;
use super::deadline::Deadline;
use super::inquiry::{absent, inquiry, Way};
use super::inventory::PortalId;
use super::limits::COMMAND_TIME;
use super::lu::{Path, LUNS_CHANGED, RESET};
use super::opcodes::{self, Access, Data, Entry, Kind};
use super::port::Ports;
use super::runtime::Runtime;
use super::sense::Sense;
use super::task::Task;
use super::tasks::Stop;
use super::{mode, plan, report, reserve_in};
use crate::lun::LogicalUnit;
use bytes::Bytes;
use rustc_hash::FxHashMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use tokio::sync::{oneshot, Notify};

/// What a transport must do for a nexus unasked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The LUN inventory changed: an asynchronous message tells it (event 0).
    LunsChanged,
    /// The session must end: its host is gone, or what it was admitted by changed.
    Ended,
}

/// What is to be done with a command.
pub enum Begin<L: LogicalUnit> {
    /// It was answered without any data being moved.
    Answer(Response),
    /// It may go on, once its Data-Out is here.
    Proceed(Task<L>),
}

/// Task management functions that concern more than one task. ABORT TASK is the transport's, which knows the
/// tags: it drops a task that waits for its data, and lets one that is executed end before it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskManagement {
    /// All tasks of this nexus in the logical unit.
    AbortTaskSet,
    /// All tasks in the task set: here the same, since each nexus has a task set of its own.
    ClearTaskSet,
    /// All tasks in the logical unit, and its SPC-2 reservation.
    LogicalUnitReset,
    /// Logical unit reset of all that the nexus sees.
    TargetWarmReset,
    /// The same; the transport ends the sessions.
    TargetColdReset,
}

/// The answer to task management.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskManagementResponse {
    /// Done: none of the tasks runs.
    Complete,
    /// No such LUN.
    LunDoesNotExist,
}

/// What a target is to all its nexuses.
pub(crate) struct Face {
    pub(crate) name: String,
    pub(crate) portals: Vec<PortalId>,
    pub(crate) runtime: Arc<dyn Runtime>,
}

/// LUN by number.
pub(crate) type Luns<L> = FxHashMap<u16, Arc<Path<L>>>;

/// What a nexus shares with its tasks.
pub(crate) struct Core<L: LogicalUnit> {
    pub(crate) face: Arc<Face>,
    pub(crate) ports: Arc<Ports>,
    pub(crate) luns: RwLock<Luns<L>>,
    pub(crate) copies: Mutex<Copies>,
    events: Mutex<Events>,
    happened: Notify,
}

#[derive(Default)]
struct Events {
    luns_changed: bool,
    /// Its session must end: somebody wants it to.
    ended: bool,
    /// It never gets a LUN again.
    closed: bool,
}

/// An I_T nexus.
pub struct Nexus<L: LogicalUnit> {
    pub(crate) core: Arc<Core<L>>,
}

impl<L: LogicalUnit> Nexus<L> {
    pub(crate) fn new(face: &Arc<Face>, ports: Arc<Ports>) -> Nexus<L> {
        let core = Core {
            face: Arc::clone(face),
            ports,
            luns: RwLock::new(Luns::default()),
            copies: Mutex::new(Copies::default()),
            events: Mutex::new(Events::default()),
            happened: Notify::new(),
        };
        Nexus { core: Arc::new(core) }
    }

    /// Checks a command and takes its place among others. Called in the order of CmdSN.
    #[must_use]
    pub fn begin(&self, command: &Command) -> Begin<L> {
        match self.check(command) {
            Ok(begin) => begin,
            Err(refusal) => Begin::Answer(refusal),
        }
    }

    fn check(&self, command: &Command) -> Result<Begin<L>, Response> {
        let cdb = &command.cdb;
        let Some(path) = self.core.path(command.lun) else {
            return Ok(Begin::Answer(self.core.absent(command)));
        };
        if command.attribute == TaskAttribute::Aca {
            // There is never such an allegiance (NORMACA is 0), and so nothing to belong to (SAM-5 8.6.5).
            return Err(Response::check(Sense::INVALID_MESSAGE));
        }
        let entry = opcodes::entry(cdb).map_err(Response::check)?;
        let access = access(entry, cdb);
        if !path.lu.allow(&path.ports, access) {
            return Err(Response::status(Status::ReservationConflict));
        }
        if access != Access::Free {
            if let Some(attention) = path.tasks.take_attention() {
                return Err(Response::check(attention));
            }
        }
        if path.storage.is_none() && needs_storage(entry.kind) {
            return Err(Response::check(Sense::NOT_READY));
        }
        if let Some(answer) = self.core.inform(&path, entry, cdb) {
            return Ok(Begin::Answer(answer));
        }
        if entry.writes && path.is_read_only() {
            return Err(Response::check(Sense::WRITE_PROTECTED));
        }
        // Data-Out that a command does not know is not asked for.
        let offered = if entry.data == Data::Out { command.data_out } else { 0 };
        let plan = plan::plan(&path, entry, cdb, offered)?;
        let ticket = path.tasks.begin(command.attribute).map_err(Response::from)?;
        Ok(Begin::Proceed(Task { core: Arc::clone(&self.core), path, ticket, plan, access }))
    }

    /// Does a task management function. It answers when none of the affected tasks can still have an effect,
    /// or, if storage hangs, when the unit refuses writes until that is so.
    pub async fn task_management(&self, function: TaskManagement, lun: LunField) -> TaskManagementResponse {
        use TaskManagement::{
            AbortTaskSet, ClearTaskSet, LogicalUnitReset, TargetColdReset, TargetWarmReset,
        };
        let paths: Vec<Arc<Path<L>>> = match function {
            TargetWarmReset | TargetColdReset => self.core.luns().values().cloned().collect(),
            _ => self.core.path(lun).into_iter().collect(),
        };
        if paths.is_empty() && !matches!(function, TargetWarmReset | TargetColdReset) {
            return TaskManagementResponse::LunDoesNotExist;
        }
        // All are stopped before any is waited for: each ends in its own time.
        let mut fences = Vec::new();
        for path in &paths {
            match function {
                AbortTaskSet | ClearTaskSet => fences.push(path.tasks.abort()),
                LogicalUnitReset | TargetWarmReset | TargetColdReset => {
                    path.lu.reserve(|state| state.legacy = None);
                    path.lu.set_write_protected(false);
                    path.lu.raise(RESET, None);
                    fences.extend(path.lu.paths().iter().map(|path| path.tasks.abort()));
                }
            }
        }
        for fence in fences {
            fence.await;
        }
        TaskManagementResponse::Complete
    }

    /// Ends the nexus: no command begins any more, and when it returns none of its commands can still have an
    /// effect, or the units refuse writes until that is so. Tasks that are executed are still polled to
    /// their end.
    pub async fn detach(&self) {
        let fences = self.core.close();
        let runtime = &self.core.face.runtime;
        let mut deadline = Deadline::new(Arc::clone(runtime), COMMAND_TIME);
        for fence in fences {
            if deadline.bound(pin!(fence)).await.is_none() {
                return;
            }
        }
    }

    /// The next event. One waits at a time; events of a kind are merged, and the end is told for ever.
    pub async fn event(&self) -> Event {
        loop {
            let mut happened = pin!(self.core.happened.notified());
            happened.as_mut().enable();
            {
                let mut events = lock(&self.core.events);
                if events.ended {
                    return Event::Ended;
                }
                if std::mem::take(&mut events.luns_changed) {
                    return Event::LunsChanged;
                }
            }
            happened.await;
        }
    }
}

impl<L: LogicalUnit> Drop for Nexus<L> {
    fn drop(&mut self) {
        // Whoever drops a nexus has detached it; its paths and it refer to each other no longer.
        drop(self.core.close());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl From<Stop> for Response {
    fn from(stop: Stop) -> Response {
        match stop {
            Stop::Busy => Response::status(Status::Busy),
            Stop::Aborted => Response::status(Status::TaskAborted),
            Stop::Gone => Response::check(Sense::LUN_NOT_SUPPORTED),
        }
    }
}

/// What reservations make of a command: two depend on more than their operation code (SBC-3 table 13).
fn access(entry: &Entry, cdb: &Cdb) -> Access {
    match entry.kind {
        Kind::StartStop if cdb.0[4] & 0xf1 == 0x01 => Access::Query,
        Kind::PreventAllow if cdb.0[4] & 0x03 == 0 => Access::Query,
        _ => entry.access,
    }
}

/// Whether a command ends with NOT READY while the pool behind the LUN cannot be used.
fn needs_storage(kind: Kind) -> bool {
    !matches!(
        kind,
        Kind::Inquiry
            | Kind::ReportLuns
            | Kind::RequestSense
            | Kind::ReportPortGroups
            | Kind::ReportOpcodes
            | Kind::ReportTaskManagement
            | Kind::ReserveIn
            | Kind::ModeSense
            | Kind::Reserve
            | Kind::Release
    )
}

impl<L: LogicalUnit> Core<L> {
    pub(crate) fn luns(&self) -> std::sync::RwLockReadGuard<'_, Luns<L>> {
        self.luns.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, lun: LunField) -> Option<Arc<Path<L>>> {
        self.luns().get(&lun.number()?).cloned()
    }

    /// Makes known that the LUN inventory changed.
    pub(crate) fn tell_luns_changed(&self) {
        lock(&self.events).luns_changed = true;
        self.happened.notify_waiters();
    }

    /// Whether it was closed: it never gets a LUN again.
    pub(crate) fn is_closed(&self) -> bool {
        lock(&self.events).closed
    }

    /// Ends the nexus against its will, and tells it.
    pub(crate) fn end(&self) -> Vec<oneshot::Receiver<()>> {
        lock(&self.events).ended = true;
        self.happened.notify_waiters();
        self.close()
    }

    /// Takes all LUNs away at once; each of what is returned ends when a LUN's commands are settled.
    pub(crate) fn close(&self) -> Vec<oneshot::Receiver<()>> {
        // First, so that nobody who changes the LUNs afterwards gives it any.
        lock(&self.events).closed = true;
        let luns = std::mem::take(&mut *self.luns.write().unwrap_or_else(PoisonError::into_inner));
        luns.values().map(|path| self.take_away(path)).collect()
    }

    /// Ends this nexus' use of a LUN.
    pub(crate) fn take_away(&self, path: &Arc<Path<L>>) -> oneshot::Receiver<()> {
        path.lu.reserve(|state| state.drop_legacy(&path.ports));
        path.close(&*self.face.runtime)
    }

    /// The answer of a LUN that is not there, or not for this host: nobody can tell which (protocol rule 12).
    fn absent(&self, command: &Command) -> Response {
        let cdb = &command.cdb;
        let refuse = Response::check(Sense::LUN_NOT_SUPPORTED);
        let Ok(entry) = opcodes::entry(cdb) else { return refuse };
        let answer = match entry.kind {
            Kind::Inquiry => absent(cdb).map(|bytes| cut(bytes, u32::from(cdb.be16(3)))),
            Kind::RequestSense => Ok(request_sense(cdb, Sense::LUN_NOT_SUPPORTED)),
            Kind::ReportLuns if command.lun.number() == Some(0) => self.report_luns(cdb),
            _ => return refuse,
        };
        answer.unwrap_or_else(Response::check)
    }

    fn report_luns(&self, cdb: &Cdb) -> Result<Response, Sense> {
        let numbers = {
            let luns = self.luns();
            luns.values().for_each(|path| path.tasks.clear(LUNS_CHANGED));
            luns.keys().copied().collect()
        };
        Ok(cut(report::luns(cdb, numbers)?, cdb.be32(6)))
    }

    /// Answers what needs neither storage nor Data-Out; none for all other commands.
    fn inform(&self, path: &Path<L>, entry: &Entry, cdb: &Cdb) -> Option<Response> {
        let way = Way { target: &self.face.name, portal: path.ports.portal };
        let answer = match entry.kind {
            Kind::TestUnitReady | Kind::StartStop | Kind::PreventAllow => Ok(Response::written(0)),
            Kind::PreFetch => plan::in_range(path, entry, cdb).map(|()| Response::written(0)),
            Kind::Inquiry => inquiry(path, &way, cdb).map(|bytes| cut(bytes, u32::from(cdb.be16(3)))),
            Kind::RequestSense => Ok(request_sense(cdb, path.tasks.take_attention().unwrap_or(Sense::NONE))),
            Kind::ReportLuns => self.report_luns(cdb),
            Kind::ReadCapacity10 => Ok(Response::good(Bytes::from(report::capacity10(path)))),
            Kind::ReadCapacity16 => Ok(cut(report::capacity16(path), cdb.be32(10))),
            Kind::ModeSense => mode::sense(path, entry, cdb).map(|bytes| {
                let long = entry.usage.len() == 10;
                cut(bytes, if long { u32::from(cdb.be16(7)) } else { u32::from(cdb.0[4]) })
            }),
            Kind::LogSense => report::log(path, cdb).map(|bytes| cut(bytes, u32::from(cdb.be16(7)))),
            Kind::ReadDefectData => {
                let long = entry.usage.len() == 12;
                let allocation = if long { cdb.be32(6) } else { u32::from(cdb.be16(7)) };
                Ok(cut(report::defects(entry, cdb), allocation))
            }
            Kind::ReportPortGroups => {
                report::port_groups(cdb, &self.face.portals).map(|bytes| cut(bytes, cdb.be32(6)))
            }
            Kind::ReportOpcodes => report::opcodes(cdb).map(|bytes| cut(bytes, cdb.be32(6))),
            Kind::ReportTaskManagement => Ok(cut(report::task_management(cdb), cdb.be32(6))),
            Kind::CopyResults => lock(&self.copies).results(path, cdb).map(|bytes| cut(bytes, cdb.be32(10))),
            Kind::ReserveIn => return Some(reserve_report(path, cdb)),
            Kind::Reserve => return Some(granted(path.lu.reserve(|state| state.reserve(&path.ports)))),
            Kind::Release => return Some(granted(path.lu.reserve(|state| state.release(&path.ports)))),
            _ => return None,
        };
        Some(answer.unwrap_or_else(Response::check))
    }
}

/// Data-In, cut to the allocation length.
fn cut(mut bytes: Vec<u8>, allocation: u32) -> Response {
    bytes.truncate(allocation as usize);
    Response::good(Bytes::from(bytes))
}

fn granted(granted: bool) -> Response {
    if granted {
        Response::written(0)
    } else {
        Response::status(Status::ReservationConflict)
    }
}

/// REQUEST SENSE, in the format that it asks for.
fn request_sense(cdb: &Cdb, sense: Sense) -> Response {
    let bytes = if cdb.has(1, 0x01) { sense.descriptor().to_vec() } else { sense.fixed().to_vec() };
    cut(bytes, u32::from(cdb.0[4]))
}

/// PERSISTENT RESERVE IN: a RESERVE, of whomever, refuses it.
fn reserve_report<L: LogicalUnit>(path: &Path<L>, cdb: &Cdb) -> Response {
    let state = path.lu.reservations();
    if state.legacy.is_some() {
        return Response::status(Status::ReservationConflict);
    }
    match reserve_in::report(&state, cdb.0[1] & 0x1f) {
        Some(bytes) => cut(bytes, u32::from(cdb.be16(7))),
        None => Response::check(Sense::cdb(1)),
    }
}
