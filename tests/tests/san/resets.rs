//! Task management under load: whoever was aborted tries again, and no write takes effect after a later one.

use ashlar_tests::daemon::Daemon;
use ashlar_tests::initiator::host::{holds, login, read, san, try_login, until_taken, write, LEN};
use ashlar_tests::initiator::{cdb, Data, Gone};
use san_iscsi::wire::{TaskFunction, TaskManagementResult, TaskTag};
use std::sync::atomic::{AtomicBool, Ordering};

/// Rounds of each function.
const ROUNDS: usize = 25;

/// Writes its own blocks, one fill after the other, and reads each back; how many were done.
fn load(daemon: &Daemon, nth: u8, stop: &AtomicBool) -> usize {
    let mut session = login(daemon, usize::from(nth) % 2, 100 + u16::from(nth));
    let (lba, mut fill, mut done) = (4096 + u32::from(nth) * 64, 0_u8, 0);
    while !stop.load(Ordering::Relaxed) {
        fill = fill.wrapping_add(1);
        let answer = until_taken(|| write(&mut session, lba, fill));
        assert!(answer.is_good(), "{answer:?}");
        let answer = until_taken(|| read(&mut session, lba));
        assert!(answer.is_good() && answer.data == [fill; LEN], "{:02x?}, not {fill:02x}", &answer.data[..4]);
        done += 1;
    }
    done
}

#[test]
fn resets_under_load_lose_and_revive_nothing() {
    let daemon = san(Daemon::start("resets", 2));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (daemon, stop) = (&daemon, &stop);
        let loads: Vec<_> = (0..4).map(|nth| scope.spawn(move || load(daemon, nth, stop))).collect();
        let mut session = login(daemon, 0, 1);
        let functions = [
            TaskFunction::AbortTaskSet,
            TaskFunction::ClearTaskSet,
            TaskFunction::LogicalUnitReset,
            TaskFunction::TargetWarmReset,
        ];
        for round in 0..ROUNDS {
            for function in functions {
                let tasks: Vec<TaskTag> = (0..16)
                    .map(|n| {
                        let fill = [round as u8; LEN];
                        session.start(0, &cdb::write(n * 8, 8), Data::Out(&fill))
                    })
                    .collect();
                let result = session.manage(function, 0, TaskTag(u32::MAX)).expect("an answer");
                assert_eq!(result, TaskManagementResult::Complete, "{function:?}");
                // Those that had ended before were answered before; the others never are.
                tasks.into_iter().for_each(|task| session.forget(task));
                assert!(until_taken(|| write(&mut session, 0, 0xee)).is_good());
                assert!(holds(&until_taken(|| read(&mut session, 0)), 0xee), "{function:?}");
            }
        }
        stop.store(true, Ordering::Relaxed);
        let done: Vec<usize> = loads.into_iter().map(|load| load.join().expect("no panic")).collect();
        assert!(done.iter().all(|done| *done > 0), "{done:?}");
    });
}

/// A cold reset ends every session of the initiator that asks for it, and no other host's (`docs/limits.md`
/// has why).
#[test]
fn a_cold_reset_ends_all_sessions_of_the_initiator_that_asks() {
    let daemon = san(Daemon::start("cold", 2));
    daemon.cli("host create you --iqn iqn.2026-11.io.test:you --network 127.0.0.0/8");
    daemon.cli("lun map fast/db --host you");
    let (mut asks, mut same) = (login(&daemon, 0, 1), login(&daemon, 1, 1));
    let you = ashlar_tests::initiator::Who::named("iqn.2026-11.io.test:you");
    let mut other =
        ashlar_tests::initiator::Initiator::login(daemon.ports[0], &daemon.target(), &you).expect("a login");
    other.settle(0);
    assert!(write(&mut asks, 0, 5).is_good());
    let result = asks.manage(TaskFunction::TargetColdReset, 0, TaskTag(u32::MAX)).expect("an answer");
    assert_eq!(result, TaskManagementResult::Complete);
    for session in [&mut asks, &mut same] {
        let end = loop {
            if let Err(end) = session.pump() {
                break end;
            }
        };
        assert_eq!(end, Gone::Closed);
    }
    // The other host's commands were aborted with the rest, and it is told of the reset; its session lives.
    let told = other.run(0, &cdb::READY, Data::None).expect("an answer");
    assert_eq!(told.sense, Some((6, 0x29, 3)));
    assert!(holds(&read(&mut other, 0), 5));
    let mut again = try_login(&daemon, 0, 1).expect("it may come back at once");
    again.settle(0);
    assert!(holds(&read(&mut again, 0), 5));
}
