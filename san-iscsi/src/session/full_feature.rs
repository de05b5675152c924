//! The full feature phase (RFC 7143 4.2, 11): every request after the login, and what it leads to.
//!
//! Invariants: requests act in the order of CmdSN, immediate ones at once; a tag names one task at a time; a
//! status number is taken when its PDU is queued, so numbers and bytes have the same order; what was aborted
//! is never answered. Read next: `commands` (a command's way), `management` (aborts and resets), `text`
//! (SendTargets), `window` (order).

use super::commands::Task;
use super::io::{End, Io, Work, WorkId};
use super::limits::{LOGOUT_TIME, TIME_TO_WAIT};
use super::login::Peer;
use super::management::Managing;
use super::negotiation::Params;
use super::portal::{Ends, Portal};
use super::text::TextExchange;
use super::window::{CommandWindow, Place};
use crate::lun::LogicalUnit;
use crate::memory::Permit;
use crate::scsi::command::LunField;
use crate::scsi::nexus::{Event, Nexus};
use crate::scsi::sense::{Key, Sense};
use crate::scsi::Grant;
use crate::wire::frame::{Head, Sink};
use crate::wire::text::TEXT_MAX;
use crate::wire::{
    AsyncEvent, AsyncMessage, Cid, LogoutReason, LogoutRequest, LogoutResponse, LogoutResult, NopIn, NopOut,
    PduFault, Reject, RejectReason, Request, Sn, TaskManagementRequest, TaskTag, TextRequest, TransferTag,
    Window,
};
use bytes::Bytes;
use rustc_hash::FxHashMap;
use std::collections::VecDeque;
use std::sync::Arc;

/// A session that is logged in.
pub(super) struct FullFeature<L: LogicalUnit> {
    pub(super) portal: Arc<Portal<L>>,
    pub(super) ends: Ends,
    pub(super) grant: Grant,
    /// None in a discovery session.
    pub(super) nexus: Option<Arc<Nexus<L>>>,
    pub(super) cid: Cid,
    pub(super) params: Params,
    pub(super) window: CommandWindow<Ordered>,
    pub(super) tasks: FxHashMap<TaskTag, Task<L>>,
    /// Immediate commands in `tasks`.
    pub(super) immediate: usize,
    /// Commands that wait for memory, in order.
    pub(super) hungry: VecDeque<TaskTag>,
    /// Memory was asked for, for the first of them.
    pub(super) memory_asked: bool,
    /// Memory that was granted and not yet given to a command.
    pub(super) spare: Option<Permit>,
    pub(super) managing: FxHashMap<TaskTag, Managing>,
    /// Immediate task management that waits for the commands before it.
    pub(super) early: Vec<TaskManagementRequest>,
    pub(super) text: TextExchange,
    pub(super) last_transfer: u32,
    /// Unanswered ping.
    ping: Option<TransferTag>,
    leaving: Option<LogoutRequest>,
    /// The initiator was asked to log out.
    asked_to_leave: bool,
}

/// What waits for its turn by CmdSN.
pub(super) enum Ordered {
    Command(WorkId),
    Management(TaskManagementRequest),
    Text(TextRequest, Vec<u8>),
    Nop(NopOut, Bytes),
    Logout(LogoutRequest),
}

/// What is being received.
pub(super) enum Incoming {
    Request(Request),
    Refused(RejectReason),
    Ignored,
}

impl<L: LogicalUnit> FullFeature<L> {
    pub(super) fn new(
        (portal, ends, peer): (Arc<Portal<L>>, Ends, Peer),
        nexus: Option<Arc<Nexus<L>>>,
        params: Params,
        cid: Cid,
        expected: Sn,
    ) -> FullFeature<L> {
        FullFeature {
            portal,
            ends,
            grant: peer.grant,
            nexus,
            cid,
            params,
            window: CommandWindow::new(expected),
            tasks: FxHashMap::default(),
            immediate: 0,
            hungry: VecDeque::new(),
            memory_asked: false,
            spare: None,
            managing: FxHashMap::default(),
            early: Vec::new(),
            text: TextExchange::default(),
            last_transfer: 0,
            ping: None,
            leaving: None,
            asked_to_leave: false,
        }
    }

    /// Numbers of a PDU that carries a status.
    pub(super) fn status(&self, io: &mut Io<L>) -> Window {
        let numbers = self.numbers(io);
        io.stat_sn.take();
        numbers
    }

    /// Numbers of a PDU that carries none.
    pub(super) fn numbers(&self, io: &Io<L>) -> Window {
        let (exp_cmd_sn, max_cmd_sn) = (self.window.expected(), self.window.max());
        Window { stat_sn: io.stat_sn, exp_cmd_sn, max_cmd_sn }
    }

    pub(super) fn next_transfer(&mut self) -> TransferTag {
        self.last_transfer = self.last_transfer.wrapping_add(1) & (u32::MAX >> 1);
        TransferTag(self.last_transfer)
    }

    /// Looks at a header, and says where its data goes.
    pub(super) fn on_head(&mut self, head: &Head, io: &mut Io<L>) -> (Incoming, Sink) {
        if self.leaving.is_some() {
            return (Incoming::Ignored, Sink::Discard);
        }
        let request = match Request::parse(&head.bhs, &head.ahs) {
            Ok(request) => request,
            Err(fault) => return (Incoming::Refused(reason(fault)), Sink::Discard),
        };
        let order = Request::order(&head.bhs).filter(|order| !order.immediate);
        if order.is_some_and(|order| self.window.place(order.cmd_sn) == Place::Ignored) {
            return (Incoming::Ignored, Sink::Discard);
        }
        let sink = match request {
            Request::ScsiCommand(command) => self.command_head(&command, head.data_len as u32, io),
            Request::DataOut(piece) => self.data_head(&piece, head.data_len as u32),
            Request::Text(_) if head.data_len > TEXT_MAX => Err(RejectReason::Protocol),
            // Over one connection requests come in their order, so that text need not be held for its turn.
            Request::Text(_) if order.is_some_and(|order| order.cmd_sn != self.window.expected()) => {
                Err(RejectReason::Protocol)
            }
            Request::Text(_) => Ok(Sink::Text(Vec::new())),
            Request::NopOut(_) if head.data_len > 0 => Ok(match io.budget.try_take(head.data_len) {
                Some(permit) => Sink::Stage(io.budget.buffer(head.data_len, permit), 0),
                None => Sink::Discard,
            }),
            Request::TaskManagement(request) => self.management_head(&request),
            Request::NopOut(_) | Request::Logout(_) => Ok(Sink::Discard),
            Request::Login(_) | Request::Snack(_) => Err(RejectReason::Protocol),
        };
        match sink {
            Ok(sink) => (Incoming::Request(request), sink),
            Err(reason) => (Incoming::Refused(reason), Sink::Discard),
        }
    }

    /// Acts on a PDU that is here completely; its data is `intact`, or was damaged on its way.
    pub(super) fn on_pdu(
        &mut self,
        head: &Head,
        incoming: Incoming,
        sink: Sink,
        intact: bool,
        io: &mut Io<L>,
    ) {
        match incoming {
            Incoming::Ignored => {}
            Incoming::Refused(why) => {
                self.reject(head, why, io);
                // It has been received, though nothing comes of it: what follows must not wait for it.
                if let Some(order) = Request::order(&head.bhs).filter(|order| !order.immediate) {
                    self.window.void(order.cmd_sn);
                }
            }
            Incoming::Request(Request::DataOut(piece)) => {
                if !intact {
                    self.reject(head, RejectReason::DataDigest, io);
                }
                self.on_data_out(&piece, sink, head.data_len as u32, intact, io);
            }
            Incoming::Request(Request::ScsiCommand(command)) if !intact => {
                self.remove(command.task);
                self.reject(head, RejectReason::DataDigest, io);
            }
            Incoming::Request(_) if !intact => self.reject(head, RejectReason::DataDigest, io),
            Incoming::Request(request) => self.on_request(request, sink, io),
        }
        self.deliver(io);
    }

    fn on_request(&mut self, request: Request, sink: Sink, io: &mut Io<L>) {
        let text = |sink| match sink {
            Sink::Text(text) => text,
            Sink::Stage(..) | Sink::Discard => Vec::new(),
        };
        // A ping's data holds its permit until it has gone back.
        let staged = |sink| match sink {
            Sink::Stage(buffer, len) => buffer.freeze(len),
            Sink::Text(_) | Sink::Discard => Bytes::new(),
        };
        let (order, item) = match request {
            Request::ScsiCommand(command) => {
                let Some(id) = self.command_arrived(&command, sink) else { return };
                (command.order, Ordered::Command(id))
            }
            Request::TaskManagement(request) => (request.order, Ordered::Management(request)),
            Request::Text(request) => (request.order, Ordered::Text(request, text(sink))),
            Request::NopOut(request) => (request.order, Ordered::Nop(request, staged(sink))),
            Request::Logout(request) => (request.order, Ordered::Logout(request)),
            Request::Login(_) | Request::DataOut(_) | Request::Snack(_) => return,
        };
        if order.immediate {
            self.act(item, io);
        } else {
            self.window.hold(order.cmd_sn, item);
        }
    }

    /// Acts on all that has its turn.
    fn deliver(&mut self, io: &mut Io<L>) {
        while let Some(item) = self.window.next() {
            self.act(item, io);
        }
        self.manage_early(io);
    }

    fn act(&mut self, item: Ordered, io: &mut Io<L>) {
        match item {
            Ordered::Command(id) => self.begin(id, io),
            Ordered::Management(request) => self.manage(request, io),
            Ordered::Text(request, data) => self.on_text(&request, &data, io),
            Ordered::Nop(request, data) => self.on_nop(&request, data, io),
            Ordered::Logout(request) => self.on_logout(request, io),
        }
    }

    /// Refuses a PDU, whose header goes back.
    pub(super) fn reject(&mut self, head: &Head, reason: RejectReason, io: &mut Io<L>) {
        let window = self.status(io);
        io.out.put(Reject { window, reason }.emit(), &head.bhs);
    }

    fn on_nop(&mut self, nop: &NopOut, mut data: Bytes, io: &mut Io<L>) {
        if nop.transfer.is_some() && nop.transfer == self.ping {
            self.ping = None;
        }
        if nop.task.is_some() {
            let window = self.status(io);
            let answer = NopIn { window, lun: nop.lun, task: nop.task, transfer: None };
            data.truncate(self.params.send_segment as usize);
            io.out.put_shared(answer.emit(), data, None);
        }
    }

    /// Asks the peer whether it lives.
    pub(super) fn ping(&mut self, io: &mut Io<L>) {
        let transfer = Some(self.next_transfer());
        self.ping = transfer;
        let ping = NopIn { window: self.numbers(io), lun: LunField([0; 8]), task: None, transfer };
        io.out.put(ping.emit(), &[]);
    }

    fn on_logout(&mut self, request: LogoutRequest, io: &mut Io<L>) {
        let own = request.reason == LogoutReason::CloseSession || request.cid == self.cid;
        let refused = match request.reason {
            LogoutReason::RemoveForRecovery => Some(LogoutResult::RecoveryNotSupported),
            _ if !own => Some(LogoutResult::CidNotFound),
            _ => None,
        };
        if let Some(result) = refused {
            self.put_logout(&request, result, io);
            return;
        }
        self.leaving = Some(request);
        self.drop_tasks();
        match self.nexus.take() {
            Some(nexus) => io.work.push_back(Work::Detach(nexus)),
            None => self.detached(io),
        }
    }

    /// The nexus has ended: nothing of the session can have an effect any more.
    pub(super) fn detached(&mut self, io: &mut Io<L>) {
        if let Some(request) = self.leaving {
            self.put_logout(&request, LogoutResult::Closed, io);
            io.end(End::Logout);
        }
    }

    fn put_logout(&mut self, request: &LogoutRequest, result: LogoutResult, io: &mut Io<L>) {
        let window = self.status(io);
        let response = LogoutResponse { window, task: request.task, result, wait: TIME_TO_WAIT, retain: 0 };
        io.out.put(response.emit(), &[]);
    }

    /// What the target did not wait to be asked for.
    pub(super) fn on_event(&mut self, event: Event, io: &mut Io<L>) {
        match event {
            Event::LunsChanged => {
                let sense = Sense::new(Key::UnitAttention, 0x3f, 0x0e).fixed();
                let mut data = (sense.len() as u16).to_be_bytes().to_vec();
                data.extend(sense);
                self.message(AsyncEvent::Scsi, &data, io);
            }
            // A logout ends the nexus, too, and is answered by itself.
            Event::Ended if self.leaving.is_some() => {}
            Event::Ended => {
                self.message(AsyncEvent::DropSession { wait: TIME_TO_WAIT, retain: 0 }, &[], io);
                io.end(End::Withdrawn);
            }
        }
    }

    /// Asks the initiator to log out, once.
    pub(super) fn ask_to_leave(&mut self, io: &mut Io<L>) {
        if !std::mem::replace(&mut self.asked_to_leave, true) {
            let within = LOGOUT_TIME.as_secs() as u16;
            self.message(AsyncEvent::LogoutRequest { within }, &[], io);
        }
    }

    fn message(&mut self, event: AsyncEvent, data: &[u8], io: &mut Io<L>) {
        let window = self.status(io);
        io.out.put(AsyncMessage { window, lun: LunField([0; 8]), event }.emit(), data);
    }
}

/// What a header is refused with.
fn reason(fault: PduFault) -> RejectReason {
    match fault {
        PduFault::Unsupported(_) => RejectReason::NotSupported,
        PduFault::Field { .. } | PduFault::Ahs => RejectReason::InvalidField,
        PduFault::Opcode(_) => RejectReason::NotSupported,
    }
}
