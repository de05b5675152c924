//! The daemon on devices that hang and fail: what hosts see, and what is there afterwards (protocol rules 1,
//! 2, 3, 5).
//!
//! The clock is the real one: what must come "in time" is shown to come while the device still hangs. That
//! it comes within 4 s is shown on a clock that tests set, in `san-iscsi/tests/scsi/hanging.rs`.

use ashlar_tests::daemon::{binary, Daemon};
use ashlar_tests::faults::{self, Faults};
use ashlar_tests::initiator::host::{
    flush, holds, is_transient, login, read, san, send, until_taken, write, BLOCKS, LEN, PATIENCE,
};
use ashlar_tests::initiator::{cdb, Data, Initiator};
use san_iscsi::wire::{TaskFunction, TaskManagementResult, TaskTag};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Barrier;
use std::time::{Duration, Instant};

/// Given up while storage hung.
const TIMED_OUT: (u8, u8, u8) = (0xb, 0x2e, 2);
/// Acknowledged writes may be lost.
const WRITES_LOST: (u8, u8, u8) = (3, 0x0c, 0);

fn small_san(test: &str) -> Daemon {
    san(faults::start(test, 2))
}

/// How the first path gives its command up.
#[derive(Clone, Copy, Debug)]
enum Way {
    Waits,
    Aborts,
    Resets,
    Leaves,
}

/// The device hangs, a write is given up, the retry runs over the second path, the device is released: the
/// content is the last acknowledged, then and after a crash.
#[test]
fn a_write_given_up_never_takes_effect_after_a_later_one() {
    let mut daemon = small_san("late");
    let mut faults = Faults::of(&daemon);
    let mut second = login(&daemon, 1, 1);
    let ways = [Way::Waits, Way::Aborts, Way::Resets, Way::Leaves];
    for (n, way) in ways.into_iter().enumerate() {
        let lba = n as u32 * 64;
        let mut first = login(&daemon, 0, 1);
        assert!(write(&mut first, lba, 1).is_good());
        faults.order("hang write");
        let task = send(&mut first, &cdb::write(lba, BLOCKS), &[2; LEN]);
        faults.wait_held(|held| held.writes > 0);
        give_up(first, task, way);
        let answer = write(&mut second, lba, 3);
        assert!(
            is_transient(&answer),
            "{way:?}: {answer:?}: nothing is acknowledged while a write is in doubt"
        );
        faults.order("pass write");
        assert!(until_taken(|| write(&mut second, lba, 4)).is_good());
        let answer = until_taken(|| read(&mut second, lba));
        assert!(holds(&answer, 4), "{way:?}");
    }
    assert!(until_taken(|| flush(&mut second)).is_good());
    daemon.kill();
    daemon.run();
    let mut again = login(&daemon, 0, 1);
    for (n, way) in ways.iter().enumerate() {
        assert!(holds(&read(&mut again, n as u32 * 64), 4), "{way:?}");
    }
}

fn give_up(mut first: Initiator, task: TaskTag, way: Way) {
    match way {
        Way::Waits => assert_eq!(first.finish(task).expect("an answer").sense, Some(TIMED_OUT)),
        Way::Aborts | Way::Resets => {
            let function = match way {
                Way::Aborts => TaskFunction::AbortTask,
                _ => TaskFunction::LogicalUnitReset,
            };
            let result = first.manage(function, 0, task).expect("an answer");
            assert_eq!(result, TaskManagementResult::Complete);
            assert!(first.heard(task).is_none(), "what was aborted is not answered");
        }
        Way::Leaves => drop(first),
    }
}

/// Rule 3: whatever the device does, each command is answered; and what needs no device is answered at once.
#[test]
fn every_command_is_answered_while_the_device_hangs() {
    let mut daemon = small_san("silent");
    let mut session = login(&daemon, 0, 1);
    assert!(write(&mut session, 0, 7).is_good() && flush(&mut session).is_good());
    daemon.stop();
    daemon.run(); // nothing is in memory: reads go to the device
    let mut faults = Faults::of(&daemon);
    let mut session = login(&daemon, 0, 1);
    faults.order("hang read,write,flush");
    let unmap: Vec<u8> =
        [&[0, 22, 0, 16, 0, 0, 0, 0][..], &[0, 0, 0, 0, 0, 0, 0, 64, 0, 0, 0, 8], &[0; 4]].concat();
    let mut unmap_block = [0; 10];
    (unmap_block[0], unmap_block[8]) = (0x42, 24);
    let out: Vec<(Vec<u8>, Vec<u8>)> = vec![
        (cdb::write(0, BLOCKS).to_vec(), vec![8; LEN]),
        (cdb::write(1, 1).to_vec(), vec![8; 512]),
        (cdb::write_through(16, BLOCKS).to_vec(), vec![8; LEN]),
        (cdb::compare_and_write(0, 1).to_vec(), [[7; 512], [9; 512]].concat()),
        (cdb::ten(0x41, 32, 8).to_vec(), vec![5; 512]),
        (unmap_block.to_vec(), unmap),
        (cdb::reserve_out(6, 0).to_vec(), cdb::reserve_list(0, 1, true).to_vec()),
    ];
    let mut tasks = Vec::new();
    for (block, data) in &out {
        tasks.push((block[0], send(&mut session, block, data)));
    }
    tasks.push((0x28, session.start(0, &cdb::read(0, BLOCKS), Data::In(LEN as u32))));
    tasks.push((0x35, session.start(0, &cdb::FLUSH, Data::None)));
    tasks.push((0x2f, session.start(0, &cdb::ten(0x2f, 0, 8), Data::None)));
    faults.wait_held(|held| held.reads > 0);
    // What needs no device does not wait for it, and neither does the administrator.
    let asked =
        [session.start(0, &cdb::READY, Data::None), session.start(0, &cdb::inquiry(96), Data::In(96))];
    for task in asked {
        assert!(session.finish(task).expect("an answer").is_good());
    }
    assert!(daemon.cli("status").contains("online"));
    for (code, task) in tasks {
        let answer = session.finish(task).expect("an answer");
        // Nothing was acknowledged since the start: a flush has nothing to do.
        assert!(is_transient(&answer) || (code == 0x35 && answer.is_good()), "{code:#04x}: {answer:?}");
    }
    faults.order("pass read,write,flush");
    assert!(until_taken(|| write(&mut session, 0, 9)).is_good());
    assert!(holds(&until_taken(|| read(&mut session, 0)), 9));
    assert!(until_taken(|| flush(&mut session)).is_good());
}

#[test]
fn a_device_that_cannot_read_is_a_medium_error_and_nothing_else() {
    let mut daemon = small_san("medium");
    let mut session = login(&daemon, 0, 1);
    assert!(write(&mut session, 0, 7).is_good() && flush(&mut session).is_good());
    daemon.stop();
    daemon.run();
    let (mut faults, mut session) = (Faults::of(&daemon), login(&daemon, 0, 1));
    faults.order("fail read");
    assert_eq!(read(&mut session, 0).sense, Some((3, 0x11, 0)));
    assert!(holds(&read(&mut session, 64), 0), "what was never written needs no device");
    assert!(write(&mut session, 64, 8).is_good() && flush(&mut session).is_good());
    faults.order("pass read");
    assert!(holds(&read(&mut session, 0), 7) && holds(&read(&mut session, 64), 8));
    assert!(daemon.cli("status").contains("online"));
}

/// A writer of its own region: after each answer it knows what must be there.
fn load(daemon: &Daemon, nth: u8, begun: &Barrier, stop: &AtomicBool) -> (Initiator, u32, u8) {
    let mut session = login(daemon, usize::from(nth) % 2, 10 + u16::from(nth));
    let (lba, mut fill) = (4096 + u32::from(nth) * 64, 1);
    assert!(write(&mut session, lba, fill).is_good());
    begun.wait();
    while !stop.load(Ordering::Relaxed) {
        fill = fill.wrapping_add(1);
        let answer = until_taken(|| write(&mut session, lba, fill));
        assert!(answer.is_good(), "{answer:?}");
    }
    (session, lba, fill)
}

/// A flush that fails is not retried as if nothing had happened: the pool opens again, every session that
/// wrote hears of it once, and nothing that was flushed before is lost.
#[test]
fn after_a_failed_flush_each_writer_is_told_once() {
    let daemon = small_san("flush");
    let mut faults = Faults::of(&daemon);
    let (mut writer, mut reader) = (login(&daemon, 0, 1), login(&daemon, 1, 2));
    assert!(write(&mut writer, 0, 1).is_good() && flush(&mut writer).is_good());
    assert!(write(&mut writer, 64, 2).is_good());
    let (begun, stop) = (Barrier::new(5), AtomicBool::new(false));
    let loads = std::thread::scope(|scope| {
        let (daemon, begun, stop) = (&daemon, &begun, &stop);
        let threads: Vec<_> = (0..4).map(|nth| scope.spawn(move || load(daemon, nth, begun, stop))).collect();
        begun.wait();
        faults.order("fail flush 1");
        let failed = flush(&mut writer);
        assert!(!failed.is_good(), "a flush that failed is not acknowledged");
        // It may be another's flush that met the fault: the pool's own, above all.
        let told = until_taken(|| flush(&mut writer));
        let once = [failed.sense, told.sense].iter().filter(|s| **s == Some(WRITES_LOST)).count();
        assert_eq!(once, 1, "{failed:?} {told:?}");
        stop.store(true, Ordering::Relaxed);
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect::<Vec<_>>()
    });
    assert!(until_taken(|| flush(&mut writer)).is_good(), "told once");
    assert!(until_taken(|| flush(&mut reader)).is_good(), "it wrote nothing");
    for (mut session, lba, fill) in loads {
        assert_eq!(until_taken(|| flush(&mut session)).sense, Some(WRITES_LOST));
        assert!(until_taken(|| flush(&mut session)).is_good());
        assert!(holds(&read(&mut session, lba), fill));
    }
    assert!(holds(&read(&mut reader, 0), 1));
    assert!(holds(&read(&mut reader, 64), 2), "the server did not die: nothing was lost after all");
    assert!(daemon.cli("status").contains("online") && daemon.log().contains("opening it again"));
}

/// A pool whose device goes on failing says so; its LUNs stay, and are not ready.
#[test]
fn a_device_that_fails_for_good_leaves_its_luns_listed_and_not_ready() {
    let mut daemon = small_san("dead");
    let (mut faults, mut session) = (Faults::of(&daemon), login(&daemon, 0, 1));
    assert!(write(&mut session, 0, 1).is_good() && flush(&mut session).is_good());
    faults.order("fail read,write,flush");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = write(&mut session, 64, 2);
        assert!(!answer.is_good(), "nothing is acknowledged");
        if answer.sense == Some((2, 4, 3)) {
            break;
        }
        assert!(Instant::now() < deadline, "{answer:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
    let listed = session.run(0, &cdb::report_luns(64), Data::In(64)).expect("an answer");
    assert_eq!(listed.data[..4], 8_u32.to_be_bytes(), "the LUN is still there");
    assert!(session.run(0, &cdb::inquiry(96), Data::In(96)).expect("an answer").is_good());
    assert_eq!(read(&mut session, 0).sense, Some((2, 4, 3)));
    assert!(daemon.cli("status").contains("! pool fast: "), "{}", daemon.cli("status"));
    drop(faults);
    daemon.kill();
    daemon.run();
    let mut session = login(&daemon, 0, 1);
    assert!(holds(&read(&mut session, 0), 1));
}

/// The shipped binary has no such devices: it does not know the variable that would name the socket.
#[test]
fn the_shipped_binary_takes_no_orders() {
    let daemon = Daemon::start("shipped", 1);
    assert!(!daemon.faults_socket().exists());
    let shipped = std::fs::read(binary()).expect("it was built");
    let name = b"ASHLAR_FAULTS";
    assert!(!shipped.windows(name.len()).any(|window| window == name));
}
