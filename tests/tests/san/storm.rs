//! Ten thousand connections, at most 500 at once, opened and dropped in every state: the daemon's descriptors
//! and memory end where they were.

use ashlar_tests::daemon::Daemon;
use ashlar_tests::initiator::host::{holds, login, read, san, write, LEN, ME, PATIENCE};
use ashlar_tests::initiator::{cdb, Data, Handshake, Initiator, Link, Who};
use san_iscsi::wire::Stage;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// Threads, each from a source address of its own (a source may have 64 connections), and what each has open
/// at once.
const THREADS: u8 = 10;
const AT_ONCE: u16 = 50;
/// Rounds of all threads before and after memory is looked at: 1,000 and 9,000 connections.
const WARM_UP: u32 = 2;
const ROUNDS: u32 = 18;
/// Descriptors that the process itself may open late: rings of its threads, files of its index.
pub(crate) const OWN: usize = 12;
/// Bytes that the process may grow by between the two: what allocators keep, and no more.
const TOLERANCE: u64 = 16 << 20;

/// Waits until something is so.
pub(crate) fn wait_for(is_so: impl Fn() -> bool, what: &str) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A connection that is left in some state; whatever it is, it is dropped by the caller.
enum Left {
    Raw(#[expect(dead_code)] Box<Link>),
    LoggedIn(#[expect(dead_code)] Box<Initiator>),
}

/// Opens the `nth` connection of a source and leaves it in one of seven states.
fn open(source: Ipv4Addr, port: u16, target: &str, nth: u16) -> Left {
    let mut link = Link::connect_from(source, port).expect("the portal listens");
    let isid = u16::from(source.octets()[3]) << 8 | nth;
    let who = Who { isid, ..Who::named(ME) };
    let state = nth % 7;
    if state < 3 {
        let handshake = Handshake::new(link, isid);
        let keys = format!("InitiatorName={ME} TargetName={target} SessionType=Normal");
        let (request, text) = handshake.request(Stage::Operational, None, &keys);
        link = handshake.link;
        let bytes = link.encode(&request, &text);
        match state {
            0 => {}                           // connected
            1 => link.send_raw(&bytes[..20]), // half a header
            _ => {
                link.send_raw(&bytes); // in login: answered, and not finished
                let _ = link.receive();
            }
        }
        return Left::Raw(Box::new(link));
    }
    let mut session = Initiator::login_over(link, target, &who).expect("a login");
    match state {
        3 => {} // logged in
        4 => {
            session.settle(0);
            for n in 0..4 {
                let _ = session.start(0, &cdb::read(n * 64, 64), Data::In(32 << 10));
                // in flight
            }
        }
        5 => {
            session.settle(0);
            let data = vec![1; 256 << 10];
            let task = session.start_by_hand(0, &cdb::write(64, 512), Data::Out(&data));
            let r2t = session.r2t(task).expect("its data is asked for");
            let pieces = session.pieces(&r2t);
            session.link.send_raw(&pieces[0]);
            session.link.send_raw(&pieces[1][..30_000]); // in Data-Out
        }
        _ => {
            session.settle(0);
            assert!(session.run(0, &cdb::write(64, 8), Data::Out(&[1; LEN])).expect("an answer").is_good());
        }
    }
    Left::LoggedIn(Box::new(session))
}

fn rounds(daemon: &Daemon, target: &str, rounds: u32) {
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || {
                let source = Ipv4Addr::new(127, 0, 1, 1 + thread);
                let port = daemon.ports[usize::from(thread) % 2];
                for _ in 0..rounds {
                    let all: Vec<Left> = (0..AT_ONCE).map(|nth| open(source, port, target, nth)).collect();
                    drop(all);
                }
            });
        }
    });
}

#[test]
fn ten_thousand_connections_leave_nothing_behind() {
    let connections = u32::from(THREADS) * u32::from(AT_ONCE) * (WARM_UP + ROUNDS);
    assert_eq!((connections, u32::from(THREADS) * u32::from(AT_ONCE)), (10_000, 500));
    let daemon = san(Daemon::start("storm", 2));
    let target = daemon.target();
    let mut session = login(&daemon, 0, 1);
    assert!(write(&mut session, 0, 7).is_good());
    let (_, open) = daemon.footprint();
    let settled = || {
        wait_for(|| daemon.footprint().1 <= open + OWN, "descriptors come back");
        daemon.footprint()
    };
    rounds(&daemon, &target, WARM_UP);
    let (before, _) = settled();
    rounds(&daemon, &target, ROUNDS);
    let (after, descriptors) = settled();
    println!("memory {} -> {} MiB, {descriptors} descriptors", before >> 20, after >> 20);
    assert!(after <= before + TOLERANCE, "memory grew from {before} to {after} bytes");
    assert!(holds(&read(&mut session, 0), 7), "a session that was there all the time still works");
}
