//! The restart contract over iSCSI (end of the protocol rules): `kill -9` of the daemon again and again under
//! verified load, over two paths, with CHAP and a held reservation that survives. In the ordinary tests three
//! kills; `make soak-san` runs it for ten minutes.
//!
//! Invariants that are checked all the time: I/O goes on within 5 s of readiness; no answer but those after
//! which a host tries again by itself; what was acknowledged is there; the reservation and all registrations
//! are there, and keep others out; descriptors and memory stay flat.

use ashlar_tests::daemon::Daemon;
use ashlar_tests::initiator::host::{holds, is_transient, BLOCKS, LEN, PATIENCE};
use ashlar_tests::initiator::{cdb, Answer, Data, Initiator, Refused, Who};
use san_iscsi::wire::LoginStatus;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const NAME: &str = "iqn.2026-11.io.test:soak";
const FOREIGN: &str = "iqn.2026-11.io.test:foreign";
const CHAP: (&str, &str) = ("soak", "a-secret-for-the-soak");
/// Writers, each with two paths and blocks of its own.
const WRITERS: u32 = 4;
/// Blocks of a writer, each with a fill of its own.
const OWN: u32 = 64;
/// Write exclusive, registrants only.
const KIND: u8 = 5;
/// I/O goes on in this time after the daemon is ready.
const RESUME: Duration = Duration::from_secs(5);
/// Rest before a path is tried again.
const REST: Duration = Duration::from_millis(20);
/// What memory may grow by between the first and the last life.
const TOLERANCE: u64 = 64 << 20;

/// The daemon, as its clients know it.
struct Place {
    ports: Vec<u16>,
    target: String,
    stop: AtomicBool,
    /// Answers of each writer, so that progress can be seen.
    done: Vec<AtomicU64>,
}

/// A path: a session, or none now.
struct Path {
    port: u16,
    isid: u16,
    session: Option<Initiator>,
}

impl Path {
    /// A session, if the daemon lives. A key that is registered already stays.
    fn session(&mut self, place: &Place) -> Option<&mut Initiator> {
        if self.session.is_none() {
            let who = Who { isid: self.isid, chap: Some(CHAP), ..Who::named(NAME) };
            let link = ashlar_tests::initiator::Link::connect_from([127, 0, 0, 1].into(), self.port).ok()?;
            match Initiator::login_over(link, &place.target, &who) {
                Ok(session) => self.session = Some(session),
                Err(Refused::Gone(_) | Refused::Status(LoginStatus::ServiceUnavailable)) => return None,
                Err(refused) => panic!("a host would give this device up: {refused:?}"),
            }
        }
        self.session.as_mut()
    }
}

/// A host's driver: two paths, the one after the other.
struct Driver<'a> {
    place: &'a Place,
    paths: [Path; 2],
    turn: usize,
}

impl<'a> Driver<'a> {
    fn new(place: &'a Place, nth: u32) -> Driver<'a> {
        let path = |port| Path { port, isid: 10 + nth as u16, session: None };
        Driver { place, paths: [path(place.ports[0]), path(place.ports[1])], turn: 0 }
    }

    /// Has a command done, over whatever path there is, as often as it takes.
    fn run(&mut self, block: &[u8], data: Data<'_>) -> Answer {
        let deadline = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < deadline, "no path comes back");
            self.turn += 1;
            let path = &mut self.paths[self.turn % 2];
            let Some(session) = path.session(self.place) else {
                std::thread::sleep(REST);
                continue;
            };
            match session.run(0, block, data) {
                Err(_) => path.session = None,
                Ok(answer) if is_transient(&answer) => {}
                Ok(answer) => return answer,
            }
        }
    }

    /// Registers both paths' keys, to survive a restart.
    fn register(&mut self, key: u64) {
        for path in [0, 1] {
            self.turn = path + 1; // the next one is `path`
            let list = cdb::reserve_list(0, key, true);
            // 6: register and ignore the existing key, so that a retry is no conflict.
            let answer = self.run(&cdb::reserve_out(6, 0), Data::Out(&list));
            assert!(answer.is_good(), "{answer:?}");
        }
    }
}

/// Writes, flushes, reads and compares until it is told to stop.
fn writer(place: &Place, nth: u32) {
    let mut driver = Driver::new(place, nth);
    let mut fills = vec![0_u8; OWN as usize];
    let base = (1 + nth) * OWN * u32::from(BLOCKS);
    let mut round = 0_u32;
    while !place.stop.load(Ordering::Relaxed) {
        round = round.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let (at, look) = ((round >> 8) % OWN, (round >> 16) % OWN);
        let fill = fills[at as usize].wrapping_add(1);
        let lba = base + at * u32::from(BLOCKS);
        let answer = driver.run(&cdb::write(lba, BLOCKS), Data::Out(&[fill; LEN]));
        assert!(answer.is_good(), "write: {answer:?}");
        fills[at as usize] = fill;
        let lba = base + look * u32::from(BLOCKS);
        let answer = driver.run(&cdb::read(lba, BLOCKS), Data::In(LEN as u32));
        let found = &answer.data[..4];
        assert!(holds(&answer, fills[look as usize]), "writer {nth}, block {look}: {found:?}");
        if round.is_multiple_of(16) {
            let answer = driver.run(&cdb::FLUSH, Data::None);
            assert!(answer.is_good(), "flush: {answer:?}");
        }
        place.done[nth as usize].fetch_add(1, Ordering::Relaxed);
    }
}

/// The reservation is held, all are registered, and a stranger is kept out.
fn check_reservation(driver: &mut Driver<'_>, place: &Place) {
    let keys = driver.run(&cdb::reserve_in(0, 512), Data::In(512)).data;
    let registered = u32::from_be_bytes(keys[4..8].try_into().expect("a number")) / 8;
    assert_eq!(registered, 2 * (WRITERS + 1), "registrations");
    let held = driver.run(&cdb::reserve_in(1, 64), Data::In(64)).data;
    assert_eq!((held[7], held[21]), (16, KIND), "the reservation is held");
    let mut stranger =
        Initiator::login(place.ports[0], &place.target, &Who::named(FOREIGN)).expect("a login");
    let write = || cdb::write(0, BLOCKS);
    let mut answer = stranger.run(0, &write(), Data::Out(&[0xbd; LEN])).expect("an answer");
    while is_transient(&answer) {
        answer = stranger.run(0, &write(), Data::Out(&[0xbd; LEN])).expect("an answer");
    }
    assert_eq!(answer.status, 0x18, "reservation conflict: {answer:?}");
}

fn soak_san() -> Daemon {
    let daemon = Daemon::start("soak", 2);
    std::fs::write(daemon.dir().join("secret"), CHAP.1).expect("a test may write there");
    daemon.cli("pool create fast --device disk:2G");
    daemon.cli("volume create fast/db --size 64M");
    let chap = format!("--chap-user {} --chap-secret-file secret", CHAP.0);
    daemon.cli(&format!("host create soak --iqn {NAME} {chap}"));
    daemon.cli(&format!("host create foreign --iqn {FOREIGN} --network 127.0.0.0/8"));
    daemon.cli("lun map fast/db --host soak");
    daemon.cli("lun map fast/db --host foreign");
    daemon
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().expect("a number"))
}

/// Lets writers go on until each has done something more; how long that took.
fn progress(place: &Place) -> Duration {
    let start = Instant::now();
    let before: Vec<u64> = place.done.iter().map(|done| done.load(Ordering::Relaxed)).collect();
    let moved = || place.done.iter().zip(&before).all(|(done, n)| done.load(Ordering::Relaxed) > *n);
    super::storm::wait_for(moved, "I/O goes on");
    start.elapsed()
}

#[test]
fn a_daemon_killed_again_and_again_keeps_its_contract() {
    let (kills, interval) = (number("ASHLAR_SOAK_KILLS", 3), number("ASHLAR_SOAK_INTERVAL_MS", 1000));
    let mut daemon = soak_san();
    let place = Place {
        ports: daemon.ports.clone(),
        target: daemon.target(),
        stop: AtomicBool::new(false),
        done: (0..WRITERS).map(|_| AtomicU64::new(0)).collect(),
    };
    let mut holder = Driver::new(&place, 90);
    holder.register(90);
    (0..WRITERS).for_each(|nth| Driver::new(&place, nth).register(u64::from(nth) + 1));
    let reserved = holder.run(&cdb::reserve_out(1, KIND), Data::Out(&cdb::reserve_list(90, 0, false)));
    assert!(reserved.is_good(), "{reserved:?}");
    let mut lives = Vec::new();
    std::thread::scope(|scope| {
        for nth in 0..WRITERS {
            let place = &place;
            scope.spawn(move || writer(place, nth));
        }
        let stop = Stop(&place.stop);
        for kill in 0..kills {
            std::thread::sleep(Duration::from_millis(interval));
            daemon.kill();
            daemon.run();
            let took = progress(&place);
            assert!(took <= RESUME + REST, "I/O went on only after {took:?}");
            check_reservation(&mut holder, &place);
            let (memory, open) = daemon.footprint();
            println!("kill {kill}: I/O after {took:?}, {} MiB, {open} descriptors", memory >> 20);
            lives.push((memory, open));
        }
        drop(stop);
    });
    let (first, last) = (lives[0], lives[lives.len() - 1]);
    assert!(last.0 <= first.0 + TOLERANCE && last.1 <= first.1 + 8, "{first:?} {last:?}");
    let done: Vec<u64> = place.done.iter().map(|done| done.load(Ordering::Relaxed)).collect();
    println!("operations: {done:?}");
}

/// Ends the writers, also when a check fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
