//! The initiator that tests and benchmarks are built on does what it says, against the target in memory:
//! logins of all kinds, many commands at once, task management, and ends of a session, gentle or not.
#![cfg(feature = "libiscsi")]

use ashlar_tests::memory_target::MemoryTarget;
use bytes::Bytes;
use libiscsi::{discover, Command, Error, Function, Isid, Options, Outcome, Sense, Session};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);
const INITIATOR: &str = "iqn.2026-11.test:initiator";

fn connect(target: &MemoryTarget, options: &Options) -> Result<Session, Error> {
    Session::connect(&target.portals[0], &target.name, options)
}

/// A session that has been told of the power-on.
fn ready(target: &MemoryTarget, options: &Options) -> Session {
    let mut session = connect(target, options).expect("it logs in");
    let first = session.execute(Command::plain(0, &[0; 6]), PATIENCE).expect("it is answered");
    assert_eq!(first.sense, Some(Sense { key: 6, asc: 0x29, ascq: 0 }), "power on");
    let second = session.execute(Command::plain(0, &[0; 6]), PATIENCE).expect("it is answered");
    assert!(second.is_good(), "{second:?}");
    session
}

#[test]
fn many_commands_are_under_way_at_once_and_each_gets_its_own_data() {
    let target = MemoryTarget::start(&["--size", "16"]);
    for (immediate_data, initial_r2t) in [(true, false), (false, true)] {
        let options = Options { immediate_data, initial_r2t, ..Options::new(INITIATOR) };
        let mut session = ready(&target, &options);
        for n in 0..32_u8 {
            let data = Bytes::from(vec![n; 65536]);
            session.submit(Command::write16(0, u64::from(n) * 128, 128, data)).expect("queued");
        }
        let written = all(&mut session, 32);
        assert!(written.iter().all(libiscsi::Completion::is_good), "{written:?}");
        let ids: Vec<_> = (0..32_u8)
            .map(|n| {
                let read = Command::read16(0, u64::from(n) * 128, 128, vec![0; 65536]);
                (session.submit(read).expect("queued"), n)
            })
            .collect();
        let read = all(&mut session, 32);
        for (id, n) in ids {
            let answer = read.iter().find(|answer| answer.id == id).expect("answered");
            assert!(answer.is_good() && answer.data.len() == 65536 && answer.data.iter().all(|b| *b == n));
        }
        assert_eq!(session.outstanding(), 0);
        session.logout().expect("it is let go");
    }
}

fn all(session: &mut Session, count: usize) -> Vec<libiscsi::Completion> {
    let deadline = Instant::now() + PATIENCE;
    let mut all = Vec::new();
    while all.len() < count {
        assert!(Instant::now() < deadline, "{} of {count} are answered", all.len());
        session.poll(Duration::from_millis(100)).expect("the connection holds");
        all.extend(std::iter::from_fn(|| session.completion()));
    }
    all
}

#[test]
fn a_short_answer_is_cut_and_a_refusal_has_its_sense() {
    let target = MemoryTarget::start(&["--size", "1"]);
    let mut session = ready(&target, &Options::new(INITIATOR));
    let inquiry = Command::reading(0, &[0x12, 0, 0, 0, 255, 0], 255);
    let answer = session.execute(inquiry, PATIENCE).expect("answered");
    assert!(answer.is_good() && answer.data.len() < 255 && &answer.data[8..14] == b"ASHLAR");
    let beyond = Command::read16(0, 1 << 40, 1, vec![0; 512]);
    let answer = session.execute(beyond, PATIENCE).expect("answered");
    assert_eq!(answer.outcome, Outcome::Status(2));
    assert_eq!(answer.sense, Some(Sense { key: 5, asc: 0x21, ascq: 0 }));
    let beyond = Command::write16(0, 1 << 40, 2048, vec![0; 1 << 20].into());
    let answer = session.execute(beyond, PATIENCE).expect("answered");
    assert_eq!(answer.sense, Some(Sense { key: 5, asc: 0x21, ascq: 0 }));
}

#[test]
fn logins_of_all_kinds() {
    let secrets = ["--chap", "user:twelve-and-more", "--mutual", "target:another-secret"];
    let target = MemoryTarget::start(&secrets);
    let plain = Options::new(INITIATOR);
    let status = |options: &Options| match connect(&target, options) {
        Err(Error::Login { status, .. }) => status,
        other => panic!("{:?}", other.err()),
    };
    assert_eq!(status(&plain), Some(0x0201));
    assert_eq!(status(&plain.clone().with_chap("user", "not-the-secret")), Some(0x0201));
    let mut proven = plain.clone().with_chap("user", "twelve-and-more");
    ready(&target, &proven).logout().expect("it is let go");
    proven.mutual = Some(("target".into(), "another-secret".into()));
    proven.header_digest = true;
    ready(&target, &proven).logout().expect("it is let go");
    let found = discover(&target.portals[0], &proven).expect("it may discover");
    assert_eq!(found.len(), 1);
    assert!(found[0].target == target.name && found[0].portals[0].starts_with(&target.portals[0]));
    proven.mutual = Some(("target".into(), "not-its-secret".into()));
    assert!(connect(&target, &proven).is_err(), "the target has not proved itself");
}

#[test]
fn task_management_is_answered() {
    let target = MemoryTarget::start(&[]);
    let mut session = ready(&target, &Options::new(INITIATOR));
    let number = session.manage(0, Function::AbortTaskSet).expect("queued");
    let other = session.manage(9, Function::LunReset).expect("queued");
    let deadline = Instant::now() + PATIENCE;
    let mut answers = Vec::new();
    while answers.len() < 2 {
        assert!(Instant::now() < deadline);
        session.poll(Duration::from_millis(100)).expect("the connection holds");
        answers.extend(std::iter::from_fn(|| session.managed()));
    }
    let response = |number| answers.iter().find(|a| a.number == number).expect("answered").response;
    assert_eq!((response(number), response(other)), (Some(0), Some(2)));
}

#[test]
fn a_session_that_is_replaced_is_lost_and_one_that_is_dropped_leaves_nothing() {
    let target = MemoryTarget::start(&[]);
    let options = Options { isid: Some(Isid { random: 7, qualifier: 1 }), ..Options::new(INITIATOR) };
    let mut first = ready(&target, &options);
    let second = connect(&target, &options).expect("the same ISID reinstates");
    let deadline = Instant::now() + PATIENCE;
    while first.poll(Duration::from_millis(50)).is_ok() {
        assert!(Instant::now() < deadline, "the first session lives on");
    }
    assert!(matches!(first.submit(Command::flush(0)), Err(Error::Lost(_))));
    drop(first);
    second.abandon();
    let mut third = ready(&target, &options);
    for lba in 0..64 {
        third.submit(Command::write16(0, lba * 8, 8, vec![1; 4096].into())).expect("queued");
        third.submit(Command::read16(0, lba * 8, 8, vec![1; 4096])).expect("queued");
    }
    third.send().expect("sent");
    drop(third); // with everything under way
}

#[test]
fn the_benchmarks_load_does_what_it_is_told() {
    use ashlar_tests::bench_san::generator::{run, sweep, Endpoint, Load};
    let target = MemoryTarget::start(&["--size", "16", "--listen", "127.0.0.1:0"]);
    let portals = target.portals.clone();
    let endpoint = Endpoint { portals, target: target.name.clone(), lun: 0, initiator: INITIATOR.into() };
    let data = Bytes::from(vec![7; 2 << 20]);
    sweep(&endpoint, 16 << 20, Some(&data)).expect("it is written");
    sweep(&endpoint, 16 << 20, None).expect("it is read");
    let load =
        Load { write: true, random: false, len: 4096, depth: 4, range: 16 << 20, flush_every: Some(8) };
    for (write, random) in [(true, false), (true, true), (false, true)] {
        let load = Load { write, random, ..load };
        let outcome = run(&endpoint, load, Duration::from_millis(50), &data, 1).expect("all is answered");
        assert!(outcome.sessions.len() == 2 && outcome.sessions.iter().all(|count| *count > 0));
        assert!(outcome.count == outcome.sessions.iter().sum::<u64>());
        assert!(outcome.latency.quantile(0.5) > Duration::ZERO && outcome.wall >= Duration::from_millis(50));
    }
}
