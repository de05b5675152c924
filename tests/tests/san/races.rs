//! Two initiators, Debian's libiscsi under each, at one block and at one reservation.

use ashlar_tests::daemon::Daemon;
use ashlar_tests::initiator::cdb;
use ashlar_tests::initiator::host::{san, PATIENCE};
use bytes::Bytes;
use libiscsi::{Command, Completion, Isid, Options, Outcome, Session};
use std::time::Instant;

const RACERS: u32 = 4;
/// Increments of each racer.
const INCREMENTS: u64 = 100;
const CONFLICT: Outcome = Outcome::Status(0x18);

fn connect(daemon: &Daemon, nth: u32) -> Session {
    let isid = Some(Isid { random: 7, qualifier: nth as u16 });
    // Half of them are one host, half are another.
    let initiator = format!("iqn.2026-11.io.test:racer-{}", nth / 2);
    let options = Options { isid, ..Options::new(&initiator) };
    let portal = format!("127.0.0.1:{}", daemon.ports[nth as usize % 2]);
    let mut session = Session::connect(&portal, &daemon.target(), &options).expect("it logs in");
    while !run(&mut session, || Command::plain(0, &cdb::READY)).is_good() {}
    session
}

/// Has a command done, as often as it is refused for now.
fn run(session: &mut Session, command: impl Fn() -> Command) -> Completion {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let done = session.execute(command(), PATIENCE).expect("the connection holds");
        let attention = done.sense.is_some_and(|sense| sense.key == 6 || sense.key == 0xb);
        if done.outcome != Outcome::Status(8) && !attention {
            return done;
        }
        assert!(Instant::now() < deadline, "still {done:?}");
    }
}

fn counter(session: &mut Session) -> (u64, Vec<u8>) {
    let read = run(session, || Command::read16(0, 0, 1, vec![0; 512]));
    assert!(read.is_good(), "{read:?}");
    (u64::from_le_bytes(read.data[..8].try_into().expect("eight bytes")), read.data)
}

fn with_counter(value: u64) -> Vec<u8> {
    let mut block = vec![0; 512];
    block[..8].copy_from_slice(&value.to_le_bytes());
    block
}

fn race(test: &str, racer: impl Fn(Session, u32) + Sync) {
    let daemon = san(Daemon::start(test, 2));
    let iqns = "--iqn iqn.2026-11.io.test:racer-0 --iqn iqn.2026-11.io.test:racer-1";
    daemon.cli(&format!("host create racers {iqns} --network 127.0.0.0/8"));
    daemon.cli("lun map fast/db --host racers");
    std::thread::scope(|scope| {
        for nth in 0..RACERS {
            let (daemon, racer) = (&daemon, &racer);
            scope.spawn(move || racer(connect(daemon, nth), nth));
        }
    });
    let mut session = connect(&daemon, 0);
    assert_eq!(counter(&mut session).0, u64::from(RACERS) * INCREMENTS, "no increment is lost or doubled");
}

#[test]
fn a_counter_incremented_by_compare_and_write_has_the_exact_sum() {
    race("caw", |mut session, _| {
        for _ in 0..INCREMENTS {
            loop {
                let (value, old) = counter(&mut session);
                let both = Bytes::from([old, with_counter(value + 1)].concat());
                let swapped =
                    run(&mut session, || Command::writing(0, &cdb::compare_and_write(0, 1), both.clone()));
                if swapped.is_good() {
                    break;
                }
                let key = swapped.sense.map(|sense| sense.key);
                assert_eq!(key, Some(0xe), "{swapped:?}");
            }
        }
    });
}

/// The counter is read and written without any care: the reservation alone keeps the others out.
#[test]
fn a_counter_under_a_reservation_has_the_exact_sum() {
    race("reserve", |mut session, nth| {
        let key = 0x1000 + u64::from(nth);
        let out = |service, kind, list: [u8; 24]| {
            move || Command::writing(0, &cdb::reserve_out(service, kind), Bytes::copy_from_slice(&list))
        };
        let registered = run(&mut session, out(0, 0, cdb::reserve_list(0, key, false)));
        assert!(registered.is_good(), "{registered:?}");
        let own = cdb::reserve_list(key, 0, false);
        for _ in 0..INCREMENTS {
            loop {
                // Exclusive access: one holder.
                let reserved = run(&mut session, out(1, 3, own));
                if reserved.is_good() {
                    break;
                }
                assert_eq!(reserved.outcome, CONFLICT, "{reserved:?}");
                std::thread::yield_now();
            }
            let (value, _) = counter(&mut session);
            let block = Bytes::from(with_counter(value + 1));
            let written = run(&mut session, || Command::write16(0, 0, 1, block.clone()));
            assert!(written.is_good(), "{written:?}");
            let released = run(&mut session, out(2, 3, own));
            assert!(released.is_good(), "{released:?}");
        }
        let left = run(&mut session, out(0, 0, cdb::reserve_list(key, 0, false)));
        assert!(left.is_good(), "{left:?}");
    });
}
