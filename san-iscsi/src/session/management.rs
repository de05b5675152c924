//! Task management (RFC 7143 4.2.3, 11.5, 11.6): which tasks a function touches, and when it may be answered.
//!
//! Invariants: only commands before the request, by CmdSN, are touched; an immediate request waits for those
//! before it that are still on their way; the answer leaves when none of the touched commands can have an
//! effect any more, and none of them is answered itself.

use super::commands::{Fate, Stage};
use super::full_feature::FullFeature;
use super::io::{End, Io, Work, WorkId};
use super::limits::IMMEDIATE_COMMANDS;
use super::window::Place;
use crate::lun::LogicalUnit;
use crate::scsi::nexus::{TaskManagement, TaskManagementResponse as Managed};
use crate::wire::frame::Sink;
use crate::wire::{
    RejectReason, Sn, TaskFunction, TaskManagementRequest, TaskManagementResponse, TaskManagementResult,
    TaskTag,
};
use TaskManagementResult as R;

/// A request that is not answered yet.
pub(super) struct Managing {
    request: TaskManagementRequest,
    /// What the target does; none for ABORT TASK, which waits for a command.
    id: Option<WorkId>,
}

impl<L: LogicalUnit> FullFeature<L> {
    /// A request's header is here.
    pub(super) fn management_head(&mut self, pdu: &TaskManagementRequest) -> Result<Sink, RejectReason> {
        if self.nexus.is_none() {
            return Err(RejectReason::Protocol);
        }
        let early = self.early.iter().any(|request| request.task == pdu.task);
        if early || self.tasks.contains_key(&pdu.task) || self.managing.contains_key(&pdu.task) {
            return Err(RejectReason::TaskInProgress);
        }
        if self.managing.len() + self.early.len() >= IMMEDIATE_COMMANDS {
            return Err(RejectReason::Immediate);
        }
        Ok(Sink::Discard)
    }

    /// A request has its turn.
    pub(super) fn manage(&mut self, request: TaskManagementRequest, io: &mut Io<L>) {
        if request.order.immediate && self.window.expected().is_before(request.order.cmd_sn) {
            // ABORT TASK may be about the very command that is missing, which never comes then.
            if request.function == TaskFunction::AbortTask && self.fill_gap(&request) {
                return self.put_managed(&request, R::Complete, io);
            }
            self.early.push(request);
            return;
        }
        let function = match request.function {
            TaskFunction::AbortTask => return self.abort_task(request, io),
            TaskFunction::TaskReassign => return self.put_managed(&request, R::NoReassignment, io),
            TaskFunction::ClearAca | TaskFunction::Unknown(_) => {
                return self.put_managed(&request, R::NotSupported, io);
            }
            TaskFunction::AbortTaskSet => TaskManagement::AbortTaskSet,
            TaskFunction::ClearTaskSet => TaskManagement::ClearTaskSet,
            TaskFunction::LogicalUnitReset => TaskManagement::LogicalUnitReset,
            TaskFunction::TargetWarmReset => TaskManagement::TargetWarmReset,
            TaskFunction::TargetColdReset => TaskManagement::TargetColdReset,
        };
        self.give_up(&request);
        let Some(nexus) = self.nexus.clone() else { return };
        let id = io.next_id(request.task);
        self.managing.insert(request.task, Managing { request, id: Some(id) });
        io.work.push_back(Work::Manage { id, nexus, function, lun: request.lun });
    }

    /// Acts on immediate requests whose predecessors are here now.
    pub(super) fn manage_early(&mut self, io: &mut Io<L>) {
        let expected = self.window.expected();
        while let Some(at) = self.early.iter().position(|r| !expected.is_before(r.order.cmd_sn)) {
            let request = self.early.remove(at);
            self.manage(request, io);
        }
    }

    /// Whether the task that `request` names is missing; then it counts as received (RFC 7143 11.5.5).
    fn fill_gap(&mut self, request: &TaskManagementRequest) -> bool {
        let sn = request.ref_cmd_sn;
        let missing = !self.tasks.contains_key(&request.referenced)
            && sn.is_before(request.order.cmd_sn)
            && self.window.place(sn) == Place::Free;
        if missing {
            self.window.void(sn);
        }
        missing
    }

    fn abort_task(&mut self, request: TaskManagementRequest, io: &mut Io<L>) {
        let tag = request.referenced;
        let found = self.tasks.get_mut(&tag).filter(|task| {
            task.command.lun == request.lun && (task.immediate || is_before(task.cmd_sn, &request))
        });
        match found {
            None => {
                let result = if self.fill_gap(&request) { R::Complete } else { R::NoTask };
                self.put_managed(&request, result, io);
            }
            Some(task) if matches!(task.stage, Stage::Running) => {
                task.fate = Fate::AbortedBy(request.task);
                self.managing.insert(request.task, Managing { request, id: None });
            }
            Some(_) => {
                self.remove(tag);
                self.put_managed(&request, R::Complete, io);
            }
        }
    }

    /// The command that `request` aborts has ended.
    pub(super) fn aborted(&mut self, request: TaskTag, io: &mut Io<L>) {
        if let Some(managing) = self.managing.remove(&request) {
            self.put_managed(&managing.request, R::Complete, io);
        }
    }

    /// Gives up the commands that a request is about: they are not answered.
    fn give_up(&mut self, request: &TaskManagementRequest) {
        use TaskFunction::{TargetColdReset, TargetWarmReset};
        let all = matches!(request.function, TargetColdReset | TargetWarmReset);
        let mut waiting = Vec::new();
        for (tag, task) in &mut self.tasks {
            let before = task.immediate || is_before(task.cmd_sn, request);
            if !before || !(all || task.command.lun == request.lun) {
                continue;
            }
            match task.stage {
                Stage::Running => task.fate = Fate::Dropped,
                Stage::Held | Stage::Begun(_) | Stage::Answered(_) => waiting.push(*tag),
            }
        }
        for tag in waiting {
            self.remove(tag);
        }
    }

    /// The target has done a function.
    pub(super) fn managed(&mut self, id: WorkId, result: Managed, io: &mut Io<L>) {
        let Some(managing) = self.managing.remove(&id.task).filter(|m| m.id == Some(id)) else { return };
        let request = managing.request;
        // What still runs can have no effect; its tags are free again.
        let done: Vec<TaskTag> =
            self.tasks.iter().filter(|(_, t)| t.fate == Fate::Dropped).map(|(tag, _)| *tag).collect();
        for tag in done {
            self.remove(tag);
        }
        // Aborts of single tasks whose task was given up with others are answered now.
        let aborts: Vec<TaskTag> =
            self.managing.iter().filter(|(_, m)| m.id.is_none()).map(|(tag, _)| *tag).collect();
        for tag in aborts {
            if !self.tasks.values().any(|task| task.fate == Fate::AbortedBy(tag)) {
                self.aborted(tag, io);
            }
        }
        let result = match result {
            Managed::Complete => R::Complete,
            Managed::LunDoesNotExist => R::NoLun,
        };
        self.put_managed(&request, result, io);
        // It concerns all sessions of whoever asks for it: those of others are not theirs to end.
        if request.function == TaskFunction::TargetColdReset {
            io.end(End::ColdReset);
            self.portal.target.end_initiator(self.grant.initiator());
        }
    }

    fn put_managed(&mut self, request: &TaskManagementRequest, result: R, io: &mut Io<L>) {
        let window = self.status(io);
        io.out.put(TaskManagementResponse { window, task: request.task, result }.emit(), &[]);
    }
}

/// Whether a command comes before a request.
fn is_before(cmd_sn: Sn, request: &TaskManagementRequest) -> bool {
    cmd_sn.is_before(request.order.cmd_sn)
}
