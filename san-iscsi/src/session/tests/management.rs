//! Task management (RFC 7143 4.2.3, 11.5; protocol rules 2 and 9).

use super::*;
use crate::mem::Hang;
use TaskFunction as F;
use TaskManagementResult as R;

#[test]
fn a_command_that_waits_for_data_is_aborted_at_once() {
    let mut peer = Peer::logged_in("").settle();
    let write = peer.write(0, 8);
    peer.send(Request::ScsiCommand(write), &[]);
    let r2t = peer.one().r2t();
    let abort = peer.management(F::AbortTask, write.task);
    peer.send(Request::TaskManagement(abort), &[]);
    assert_eq!(peer.one().managed(), (abort.task, R::Complete));
    // Its data is late, and not wanted any more.
    peer.send(Request::DataOut(Peer::piece(&write, Some(r2t.transfer), 0, 0)), &pattern(4096, 1));
    assert_eq!(peer.receive().len(), 0);
    assert_eq!(peer.content(0, 4096), vec![0; 4096]);
    peer.close();
}

#[test]
fn an_abort_is_answered_when_the_command_has_ended() {
    for function in [F::AbortTask, F::AbortTaskSet, F::ClearTaskSet, F::LogicalUnitReset, F::TargetWarmReset]
    {
        let mut peer = Peer::logged_in("").settle();
        peer.world.disk.hang(Hang::Ordered);
        let write = peer.write(0, 1);
        peer.send(Request::ScsiCommand(write), &pattern(512, 1));
        let abort = peer.management(function, write.task);
        peer.send(Request::TaskManagement(abort), &[]);
        assert_eq!(peer.receive().len(), 0, "{function:?}: the write may still take effect");
        peer.world.disk.hang(Hang::Not);
        peer.driver.run();
        let answers = peer.receive();
        assert_eq!(answers.len(), 1, "{function:?}: the write itself is not answered");
        assert_eq!(answers[0].managed(), (abort.task, R::Complete));
        peer.close();
    }
}

#[test]
fn only_commands_before_the_request_are_touched() {
    let mut peer = Peer::logged_in("").settle();
    let first = peer.write(0, 1);
    peer.send(Request::ScsiCommand(first), &[]);
    peer.one().r2t();
    // One that comes before a command by its number, and after it on the wire.
    let mut reset = peer.management(F::AbortTask, TaskTag(0));
    reset.order.immediate = false;
    peer.cmd_sn.take();
    let later = peer.write(1, 1);
    peer.send(Request::ScsiCommand(later), &[]);
    reset.referenced = later.task;
    peer.send(Request::TaskManagement(reset), &[]);
    let answers = peer.receive();
    assert_eq!(answers[0].managed(), (reset.task, R::NoTask));
    let r2t = answers[1].r2t();
    assert_eq!(r2t.task, later.task);
    peer.send(Request::DataOut(Peer::piece(&later, Some(r2t.transfer), 0, 0)), &pattern(512, 9));
    assert_eq!(peer.one().response().status, 0);
    peer.close();
}

#[test]
fn an_immediate_request_waits_for_the_commands_before_it() {
    let mut peer = Peer::logged_in("").settle();
    let missing = peer.write(0, 1);
    let abort = peer.management(F::AbortTaskSet, TaskTag(0));
    peer.send(Request::TaskManagement(abort), &[]);
    assert_eq!(peer.receive().len(), 0);
    peer.send(Request::ScsiCommand(missing), &[]);
    let answers = peer.receive();
    assert_eq!(answers.last().expect("an answer").managed(), (abort.task, R::Complete));
    peer.close();
}

#[test]
fn an_abort_of_a_command_that_never_came_counts_it_as_received() {
    let mut peer = Peer::logged_in("").settle();
    let missing = peer.write(0, 1);
    let mut abort = peer.management(F::AbortTask, missing.task);
    abort.ref_cmd_sn = missing.order.cmd_sn;
    peer.send(Request::TaskManagement(abort), &[]);
    assert_eq!(peer.one().managed(), (abort.task, R::Complete));
    let read = peer.read(0, 1);
    peer.send(Request::ScsiCommand(read), &[]);
    assert_eq!(peer.one().data.len(), 512, "nobody waits for it");
    peer.send(Request::ScsiCommand(missing), &pattern(512, 1));
    assert_eq!(peer.receive().len(), 0, "and it is ignored if it comes");
    assert_eq!(peer.content(0, 512), vec![0; 512]);
}

#[test]
fn what_is_not_there_or_not_supported_is_said_so() {
    let mut peer = Peer::logged_in("").settle();
    for (function, result) in [
        (F::AbortTask, R::NoTask),
        (F::ClearAca, R::NotSupported),
        (F::TaskReassign, R::NoReassignment),
        (F::Unknown(99), R::NotSupported),
        (F::ClearTaskSet, R::Complete),
    ] {
        let request = peer.management(function, TaskTag(77));
        peer.send(Request::TaskManagement(request), &[]);
        assert_eq!(peer.one().managed(), (request.task, result));
    }
    let mut request = peer.management(F::LogicalUnitReset, TaskTag(0));
    request.lun = LunField([0, 9, 0, 0, 0, 0, 0, 0]);
    peer.send(Request::TaskManagement(request), &[]);
    assert_eq!(peer.one().managed(), (request.task, R::NoLun));
}

#[test]
fn an_aborted_tag_is_free_again() {
    let mut peer = Peer::logged_in("").settle();
    let write = peer.write(0, 8);
    peer.send(Request::ScsiCommand(write), &[]);
    peer.one().r2t();
    let reset = peer.management(F::LogicalUnitReset, TaskTag(0));
    peer.send(Request::TaskManagement(reset), &[]);
    assert_eq!(peer.one().managed(), (reset.task, R::Complete));
    let mut read = peer.read(0, 1);
    read.task = write.task;
    peer.send(Request::ScsiCommand(read), &[]);
    let answer = peer.one();
    assert_eq!(answer.response().task, write.task);
    assert_eq!(answer.sense().0, 6, "the reset is told");
}

#[test]
fn a_cold_reset_ends_the_session_that_asked_for_it() {
    let mut peer = Peer::logged_in("").settle();
    let reset = peer.management(F::TargetColdReset, TaskTag(0));
    peer.send(Request::TaskManagement(reset), &[]);
    assert_eq!(peer.one().managed(), (reset.task, R::Complete));
    assert_eq!(peer.ended(), Some(End::ColdReset));
    peer.close();
}

#[test]
fn two_aborts_of_one_command_are_both_answered() {
    let mut peer = Peer::logged_in("").settle();
    peer.world.disk.hang(Hang::Ordered);
    let write = peer.write(0, 1);
    peer.send(Request::ScsiCommand(write), &pattern(512, 1));
    let abort = peer.management(F::AbortTask, write.task);
    peer.send(Request::TaskManagement(abort), &[]);
    let again = peer.management(F::AbortTask, write.task);
    peer.send(Request::TaskManagement(again), &[]);
    let reset = peer.management(F::LogicalUnitReset, TaskTag(0));
    peer.send(Request::TaskManagement(reset), &[]);
    peer.world.disk.hang(Hang::Not);
    peer.driver.run();
    let mut answered: Vec<TaskTag> = peer.receive().iter().map(|pdu| pdu.managed().0).collect();
    answered.sort_unstable();
    assert_eq!(answered, [abort.task, again.task, reset.task]);
    peer.close();
}
