//! A command's way: its data comes in, it is executed, its answer goes out (RFC 7143 11.3, 11.4, 11.7, 11.8).
//!
//! | stage | it waits for |
//! |---|---|
//! | Held | its turn by CmdSN |
//! | Begun | its data, or memory for data or answer |
//! | Running | the logical unit |
//! | Answered | the end of data that is on its way, which no status may overtake |
//!
//! Invariants: a command is executed when all of its data is here, and memory for its answer is granted; no
//! status leaves before the initiator has said what it had to say.

use super::full_feature::FullFeature;
use super::gather::{DataFault, Gather, Place, DAMAGED, UNEXPECTED};
use super::io::{Io, Work, WorkId};
use super::limits::IMMEDIATE_COMMANDS;
use super::output::INLINE_MAX;
use crate::lun::LogicalUnit;
use crate::memory::Permit;
use crate::scsi::command::{Command, Response, Status};
use crate::scsi::nexus::Begin;
use crate::scsi::sense::{Key, Sense};
use crate::scsi::{self, limits};
use crate::wire::frame::Sink;
use crate::wire::{DataIn, DataOut, R2t, RejectReason, Residual, ScsiCommand, ScsiResponse, Sn, TaskTag};
use bytes::Bytes;
use std::time::Instant;

/// Data of one command, either way.
const TRANSFER_MAX: u32 = limits::TRANSFER_MAX as u32;

/// A command of a session.
pub(super) struct Task<L: LogicalUnit> {
    pub(super) id: WorkId,
    pub(super) immediate: bool,
    pub(super) cmd_sn: Sn,
    pub(super) command: Command,
    pub(super) stage: Stage<L>,
    pub(super) fate: Fate,
    gather: Gather,
    /// For the answer's data.
    permit: Option<Permit>,
    hungry_since: Option<Instant>,
    /// Data came last.
    data_at: Instant,
}

pub(super) enum Stage<L: LogicalUnit> {
    Held,
    Begun(scsi::Task<L>),
    Running,
    Answered(Response),
}

/// What becomes of a command's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Sent,
    /// It was aborted.
    Dropped,
    /// It was aborted by this request, which is answered when the command has ended.
    AbortedBy(TaskTag),
}

/// An answer of this layer: nothing of the command was done.
fn refusal(status: Status, sense: Option<Sense>) -> Response {
    Response { status, sense, data_in: Bytes::new(), transfer: 0 }
}

fn failure(fault: DataFault) -> Response {
    match fault {
        DataFault::Sense(sense) => refusal(Status::CheckCondition, Some(sense)),
        DataFault::NoMemory => refusal(Status::Busy, None),
    }
}

/// Memory that was granted before, or that is free now.
fn take<L: LogicalUnit>(spare: &mut Option<Permit>, bytes: usize, io: &Io<L>) -> Option<Permit> {
    spare.take_if(|spare| spare.bytes() >= bytes).or_else(|| io.budget.try_take(bytes))
}

impl<L: LogicalUnit> FullFeature<L> {
    /// A command's header is here, with `len` bytes of immediate data to come.
    pub(super) fn command_head(
        &mut self,
        pdu: &ScsiCommand,
        len: u32,
        io: &mut Io<L>,
    ) -> Result<Sink, RejectReason> {
        let unasked = len > 0 || !pdu.last;
        if self.nexus.is_none() || (unasked && !pdu.write) {
            return Err(RejectReason::Protocol);
        }
        if self.tasks.contains_key(&pdu.task) || self.managing.contains_key(&pdu.task) {
            return Err(RejectReason::TaskInProgress);
        }
        if pdu.order.immediate && self.immediate >= IMMEDIATE_COMMANDS {
            return Err(RejectReason::Immediate);
        }
        let mut gather = Gather::default();
        let most = self.params.first_burst.min(pdu.expected);
        gather.start(len.min(pdu.expected), (!pdu.last).then_some(most));
        let forbidden = (len > 0 && !self.params.immediate_data) || (!pdu.last && self.params.initial_r2t);
        if forbidden || len > most {
            gather.fail(DataFault::Sense(UNEXPECTED));
        } else if unasked {
            let size = pdu.expected.min(TRANSFER_MAX) as usize;
            match io.budget.try_take(size) {
                Some(permit) => gather.buffer = Some(io.budget.buffer(size, permit)),
                None => gather.fail(DataFault::NoMemory),
            }
        }
        let sink = match gather.buffer.take_if(|_| len > 0) {
            Some(buffer) => Sink::Stage(buffer, 0),
            None => Sink::Discard,
        };
        if pdu.order.immediate {
            self.immediate += 1;
        } else {
            self.window.begin();
        }
        let task = Task {
            id: io.next_id(pdu.task),
            immediate: pdu.order.immediate,
            cmd_sn: pdu.order.cmd_sn,
            command: Command {
                lun: pdu.lun,
                cdb: pdu.cdb,
                attribute: pdu.attribute,
                data_out: if pdu.write { pdu.expected } else { 0 },
                data_in: if pdu.read { pdu.expected } else { 0 },
            },
            stage: Stage::Held,
            fate: Fate::Sent,
            gather,
            permit: None,
            hungry_since: None,
            data_at: io.now,
        };
        self.tasks.insert(pdu.task, task);
        Ok(sink)
    }

    /// The command is here with its immediate data.
    pub(super) fn command_arrived(&mut self, pdu: &ScsiCommand, sink: Sink) -> Option<WorkId> {
        let task = self.tasks.get_mut(&pdu.task)?;
        if let Sink::Stage(buffer, _) = sink {
            task.gather.buffer = Some(buffer);
        }
        Some(task.id)
    }

    /// A command has its turn.
    pub(super) fn begin(&mut self, id: WorkId, io: &mut Io<L>) {
        let Some(task) = self.tasks.get_mut(&id.task).filter(|task| task.id == id) else {
            return; // it was aborted meanwhile
        };
        let Some(nexus) = &self.nexus else { return };
        task.stage = match task.gather.fault {
            Some(fault) => Stage::Answered(failure(fault)),
            None => match nexus.begin(&task.command) {
                Begin::Answer(response) => Stage::Answered(response),
                Begin::Proceed(begun) if begun.data_out() > TRANSFER_MAX => {
                    let sense = Sense::new(Key::IllegalRequest, 0x24, 0x00);
                    Stage::Answered(refusal(Status::CheckCondition, Some(sense)))
                }
                Begin::Proceed(begun) => Stage::Begun(begun),
            },
        };
        self.advance(id.task, io);
    }

    /// Where the data of a piece goes.
    pub(super) fn data_head(&mut self, piece: &DataOut, len: u32) -> Result<Sink, RejectReason> {
        // A task that was aborted may still be sent data: nobody wants it.
        let Some(task) = self.tasks.get_mut(&piece.task) else { return Ok(Sink::Discard) };
        match task.gather.place(piece, len) {
            Place::NoSuchTransfer => Err(RejectReason::Protocol),
            Place::Bin => Ok(Sink::Discard),
            Place::At(at) => match task.gather.buffer.take() {
                Some(buffer) => Ok(Sink::Stage(buffer, at as usize)),
                None => Ok(Sink::Discard),
            },
        }
    }

    /// A piece of data is here.
    pub(super) fn on_data_out(
        &mut self,
        piece: &DataOut,
        sink: Sink,
        len: u32,
        intact: bool,
        io: &mut Io<L>,
    ) {
        let Some(task) = self.tasks.get_mut(&piece.task) else { return };
        task.data_at = io.now;
        if let Sink::Stage(buffer, _) = sink {
            task.gather.buffer = Some(buffer);
        }
        if !intact {
            task.gather.fail(DataFault::Sense(DAMAGED));
        }
        task.gather.arrived(piece, len);
        self.advance(piece.task, io);
    }

    /// Brings a command as far as it can go now.
    pub(super) fn advance(&mut self, tag: TaskTag, io: &mut Io<L>) {
        let Some(task) = self.tasks.get_mut(&tag) else { return };
        if let (Some(fault), Stage::Begun(_)) = (task.gather.fault, &task.stage) {
            task.stage = Stage::Answered(failure(fault));
        }
        match &task.stage {
            Stage::Held | Stage::Running => {}
            Stage::Answered(_) if task.gather.is_quiet() => {
                if let Some((task, Stage::Answered(response))) = self.remove(tag) {
                    self.answer(tag, task, response, io);
                }
            }
            Stage::Answered(_) => {}
            Stage::Begun(begun) => {
                let need = begun.data_out();
                if task.gather.received() < need {
                    self.ask_for_data(tag, need, io);
                } else if task.gather.is_quiet() {
                    self.execute(tag, need, io);
                }
            }
        }
    }

    /// Sends the R2Ts that may be sent, if there is memory for what they ask for.
    fn ask_for_data(&mut self, tag: TaskTag, need: u32, io: &mut Io<L>) {
        let Some(task) = self.tasks.get_mut(&tag) else { return };
        if task.gather.is_unsolicited() {
            return;
        }
        if task.gather.buffer.is_none() {
            match take(&mut self.spare, need as usize, io) {
                Some(permit) => task.gather.buffer = Some(io.budget.buffer(need as usize, permit)),
                None => return self.wait_for_memory(tag, io),
            }
        }
        loop {
            let transfer = self.next_transfer();
            let window = self.numbers(io);
            let (burst, outstanding) = (self.params.max_burst, self.params.outstanding_r2t);
            let Some(task) = self.tasks.get_mut(&tag) else { return };
            let Some(ask) = task.gather.ask(transfer, need, burst, outstanding) else { return };
            task.data_at = io.now;
            let (lun, r2t_sn) = (task.command.lun, ask.r2t_sn);
            let r2t = R2t { window, lun, task: tag, transfer, r2t_sn, offset: ask.offset, len: ask.len };
            io.out.put(r2t.emit(), &[]);
        }
    }

    /// All data is here: the command goes to its unit, once there is room for the answer.
    fn execute(&mut self, tag: TaskTag, need: u32, io: &mut Io<L>) {
        let Some(task) = self.tasks.get_mut(&tag) else { return };
        let room = task.command.data_in.min(TRANSFER_MAX) as usize;
        if room > 0 && task.permit.is_none() {
            task.permit = take(&mut self.spare, room, io);
            if task.permit.is_none() {
                return self.wait_for_memory(tag, io);
            }
        }
        let Stage::Begun(begun) = std::mem::replace(&mut task.stage, Stage::Running) else { return };
        let data = match task.gather.buffer.take() {
            Some(buffer) if need > 0 => buffer.freeze(need as usize),
            _ => Bytes::new(),
        };
        io.work.push_back(Work::Execute { id: task.id, task: begun, data });
    }

    /// A command was executed.
    pub(super) fn executed(&mut self, id: WorkId, response: Response, io: &mut Io<L>) {
        if self.tasks.get(&id.task).is_none_or(|task| task.id != id) {
            return; // it was given up
        }
        if let Some((task, _)) = self.remove(id.task) {
            self.answer(id.task, task, response, io);
        }
    }

    /// Takes a command out of the session.
    pub(super) fn remove(&mut self, tag: TaskTag) -> Option<(Task<L>, Stage<L>)> {
        let mut task = self.tasks.remove(&tag)?;
        if task.immediate {
            self.immediate -= 1;
        } else {
            self.window.end();
        }
        let stage = std::mem::replace(&mut task.stage, Stage::Running);
        Some((task, stage))
    }

    /// Gives up all commands: those that run do so unheard, the others never will.
    pub(super) fn drop_tasks(&mut self) {
        self.tasks.clear();
        self.hungry.clear();
        self.early.clear();
    }

    fn answer(&mut self, tag: TaskTag, task: Task<L>, response: Response, io: &mut Io<L>) {
        match task.fate {
            Fate::Sent => self.respond(tag, task, response, io),
            Fate::Dropped => {}
            Fate::AbortedBy(request) => self.aborted(request, io),
        }
    }

    /// Sends data and status; the status goes with the last data where it can.
    fn respond(&mut self, tag: TaskTag, mut task: Task<L>, response: Response, io: &mut Io<L>) {
        let expected = task.command.data_in.max(task.command.data_out);
        let residual = Residual::between(expected, response.transfer);
        let good = response.status == Status::Good && response.sense.is_none();
        let mut data = response.data_in;
        data.truncate(task.command.data_in as usize);
        if data.len() > INLINE_MAX && task.permit.is_none() {
            // It was answered without storage, so that no memory was taken for it before.
            task.permit = io.budget.try_take(data.len());
            if task.permit.is_none() {
                return self.respond(tag, task, refusal(Status::Busy, None), io);
            }
        }
        let (mut offset, mut data_sn) = (0, 0);
        while !data.is_empty() {
            let in_burst = offset % self.params.max_burst;
            let most = self.params.send_segment.min(self.params.max_burst - in_burst) as usize;
            let piece = data.split_to(most.min(data.len()));
            let (end, len) = (data.is_empty(), piece.len() as u32);
            let last = end || in_burst + len == self.params.max_burst;
            let good = (end && good).then_some(residual);
            let window = if good.is_some() { self.status(io) } else { self.numbers(io) };
            let pdu = DataIn { window, task: tag, last, good, data_sn, offset };
            io.out.put_shared(pdu.emit(), piece, if end { task.permit.take() } else { None });
            offset += len;
            data_sn += 1;
        }
        if good && data_sn > 0 {
            return;
        }
        let mut sense = Vec::new();
        if let Some(why) = response.sense {
            let fixed = why.fixed();
            sense.extend((fixed.len() as u16).to_be_bytes());
            sense.extend(fixed);
        }
        let (window, status) = (self.status(io), response.status as u8);
        let exp_data_sn = data_sn + task.gather.r2ts();
        io.out.put(ScsiResponse { window, task: tag, status, residual, exp_data_sn }.emit(), &sense);
    }

    fn wait_for_memory(&mut self, tag: TaskTag, io: &mut Io<L>) {
        let Some(task) = self.tasks.get_mut(&tag) else { return };
        if task.hungry_since.is_none() {
            task.hungry_since = Some(io.now);
            self.hungry.push_back(tag);
        }
        self.ask_for_memory(io);
    }

    /// Asks for the memory of the command that has waited longest.
    fn ask_for_memory(&mut self, io: &mut Io<L>) {
        while let Some(tag) = self.hungry.front() {
            let wanted = self.tasks.get(tag).filter(|task| task.hungry_since.is_some());
            let Some((task, Stage::Begun(begun))) = wanted.map(|task| (task, &task.stage)) else {
                self.hungry.pop_front(); // it is gone
                continue;
            };
            if !std::mem::replace(&mut self.memory_asked, true) {
                let bytes = match begun.data_out() > task.gather.received() {
                    true => begun.data_out(),
                    false => task.command.data_in.min(TRANSFER_MAX),
                };
                io.work.push_back(Work::Memory { bytes: bytes as usize });
            }
            return;
        }
    }

    /// Memory was granted: commands take it in the order in which they came.
    pub(super) fn granted(&mut self, permit: Permit, io: &mut Io<L>) {
        self.spare = Some(permit);
        self.memory_asked = false;
        for _ in 0..self.hungry.len() {
            let Some(tag) = self.hungry.pop_front() else { break };
            if let Some(task) = self.tasks.get_mut(&tag) {
                let since = task.hungry_since.take();
                self.advance(tag, io);
                // One that still waits keeps its place in time.
                if let Some(task) = self.tasks.get_mut(&tag).filter(|task| task.hungry_since.is_some()) {
                    task.hungry_since = since;
                }
            }
        }
        self.spare = None;
        self.ask_for_memory(io);
    }

    /// Answers BUSY to commands that have waited for memory since `limit` or before.
    pub(super) fn refuse_hungry(&mut self, limit: Instant, io: &mut Io<L>) {
        let waiting: Vec<TaskTag> = self.hungry.iter().copied().collect();
        for tag in waiting {
            let Some(task) = self.tasks.get_mut(&tag) else { continue };
            if task.hungry_since.is_some_and(|since| since <= limit) {
                task.hungry_since = None;
                task.gather.fail(DataFault::NoMemory);
                self.advance(tag, io);
            }
        }
        self.hungry.retain(|tag| self.tasks.get(tag).is_some_and(|task| task.hungry_since.is_some()));
    }

    /// Since when the command that has waited longest waits for memory.
    pub(super) fn hungry_since(&self) -> Option<Instant> {
        let first = self.hungry.iter().find_map(|tag| self.tasks.get(tag)?.hungry_since);
        first.filter(|_| !self.hungry.is_empty())
    }

    /// Since when the initiator owes data that it was asked for, or announced.
    pub(super) fn data_owed_since(&self) -> Option<Instant> {
        let owing = |task: &&Task<L>| task.gather.is_awaited() || task.gather.is_unsolicited();
        self.tasks.values().filter(owing).map(|task| task.data_at).min()
    }
}
