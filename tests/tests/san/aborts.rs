//! A write given up at every stage that it goes through: the content is the old one where nothing had begun,
//! nothing is answered after the abort, and the session goes on. A write that is being committed is given up
//! in `faults`, where the device can be made to hang.

use ashlar_tests::daemon::Daemon;
use ashlar_tests::initiator::host::{holds, login, read, san, write, LEN};
use ashlar_tests::initiator::{cdb, Data, Initiator};
use san_iscsi::wire::{Request, TaskFunction, TaskManagementResult as R, TaskTag};

/// A write whose data is asked for by one R2T and sent in four pieces.
const LARGE: usize = 256 << 10;

fn abort(session: &mut Initiator, task: TaskTag) -> R {
    session.manage(TaskFunction::AbortTask, 0, task).expect("an answer")
}

/// The session works, the block holds `fill`, and no answer to `task` has come.
fn check(session: &mut Initiator, task: TaskTag, fill: u8) {
    assert!(session.heard(task).is_none(), "what was aborted is not answered");
    assert!(holds(&read(session, 0), fill));
    session.forget(task);
    assert!(write(session, 8, 9).is_good());
}

#[test]
fn a_write_is_aborted_before_and_between_its_data() {
    let daemon = san(Daemon::start("aborts", 1));
    let mut session = login(&daemon, 0, 1);
    assert!(write(&mut session, 0, 1).is_good());
    let large = vec![2; LARGE];
    let block = cdb::write(0, (LARGE / 512) as u16);
    let pieces = 4;
    for sent in 0..pieces {
        let task = session.start_by_hand(0, &block, Data::Out(&large));
        let r2t = session.r2t(task).expect("its data is asked for");
        let all = session.pieces(&r2t);
        assert_eq!(all.len(), pieces);
        all[..sent].iter().for_each(|piece| session.link.send_raw(piece));
        assert_eq!(abort(&mut session, task), R::Complete, "after {sent} pieces");
        // What was on its way when the abort was sent still comes, and goes nowhere.
        all[sent..].iter().for_each(|piece| session.link.send_raw(piece));
        check(&mut session, task, 1);
    }
}

#[test]
fn a_write_is_aborted_while_it_waits_for_its_turn() {
    let daemon = san(Daemon::start("abort-turn", 1));
    let mut session = login(&daemon, 0, 1);
    assert!(write(&mut session, 0, 1).is_good());
    let first = session.command(0, &cdb::READY, Data::None);
    let task = session.start_by_hand(0, &cdb::write(0, 8), Data::Out(&[2; LEN]));
    let request = session.start_managing(TaskFunction::AbortTask, 0, task);
    session.link.send(&Request::ScsiCommand(first), &[]);
    assert_eq!(session.managed(request).expect("an answer"), R::Complete);
    assert!(session.finish(first.task).expect("an answer").is_good());
    check(&mut session, task, 1);
}

/// The command that is to be aborted has not come yet: it counts as received, and when it comes it is
/// ignored (RFC 7143 11.5.5).
#[test]
fn a_write_is_aborted_before_it_comes() {
    let daemon = san(Daemon::start("abort-early", 1));
    let mut session = login(&daemon, 0, 1);
    assert!(write(&mut session, 0, 1).is_good());
    let late = session.command(0, &cdb::write(0, 8), Data::Out(&[2; LEN]));
    assert_eq!(abort(&mut session, late.task), R::Complete);
    session.link.send(&Request::ScsiCommand(late), &[]);
    check(&mut session, late.task, 1);
}

#[test]
fn a_write_that_has_ended_is_no_task() {
    let daemon = san(Daemon::start("abort-late", 1));
    let mut session = login(&daemon, 0, 1);
    let task = session.start(0, &cdb::write(0, 8), Data::Out(&[2; LEN]));
    assert!(session.finish(task).expect("an answer").is_good());
    assert_eq!(abort(&mut session, task), R::NoTask);
    assert!(holds(&read(&mut session, 0), 2));
}
