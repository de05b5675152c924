//! Protocol rule 18: the same call gets the same answer, and nobody's memory grows without bound.

use super::*;
use crate::mem::MemTree;
use crate::suite::name;
use crate::tree::{Change, Changed, FileTree, New, Record, SetAttributes, Time, TreeFault};

const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

fn key(xid: u32) -> CallKey {
    CallKey::new(xid, 100_003, 3, 8, b"arguments")
}

fn reply(n: u32) -> Bytes {
    Bytes::copy_from_slice(&n.to_be_bytes())
}

fn ticket(begin: Begin) -> Ticket {
    match begin {
        Begin::New(ticket) => ticket,
        other => panic!("it is no new call: {other:?}"),
    }
}

fn known(begin: Begin) -> Bytes {
    match begin {
        Begin::Known(reply) => reply,
        other => panic!("it was not answered: {other:?}"),
    }
}

#[test]
fn a_retransmission_gets_the_answer_for_ten_minutes() {
    let (replays, now) = (Replays::default(), Instant::now());
    ticket(replays.begin(now, CLIENT, key(1))).finish(now, reply(7));
    assert_eq!(known(replays.begin(now + LIFETIME, CLIENT, key(1))), reply(7));
    let mapped = "::ffff:10.0.0.1".parse().unwrap();
    assert_eq!(known(replays.begin(now, mapped, key(1))), reply(7));
    ticket(replays.begin(now + LIFETIME + Duration::from_secs(1), CLIENT, key(1)));
}

#[test]
fn what_differs_in_anything_is_another_call() {
    let (replays, now) = (Replays::default(), Instant::now());
    ticket(replays.begin(now, CLIENT, key(1))).finish(now, reply(7));
    let other_client = "10.0.0.2".parse().unwrap();
    for (client, key) in [
        (other_client, key(1)),
        (CLIENT, key(2)),
        (CLIENT, CallKey { program: 1, ..key(1) }),
        (CLIENT, CallKey { version: 4, ..key(1) }),
        (CLIENT, CallKey { procedure: 9, ..key(1) }),
        (CLIENT, CallKey::new(1, 100_003, 3, 8, b"argumentt")),
    ] {
        ticket(replays.begin(now, client, key));
    }
}

#[tokio::test]
async fn a_call_that_is_executed_is_joined_by_all_that_come_again() {
    let (replays, now) = (Replays::default(), Instant::now());
    let first = ticket(replays.begin(now, CLIENT, key(1)));
    let join = |begin| match begin {
        Begin::Join(receiver) => receiver,
        other => panic!("it is not joined: {other:?}"),
    };
    let (a, b) = (join(replays.begin(now, CLIENT, key(1))), join(replays.begin(now, CLIENT, key(1))));
    first.finish(now, reply(7));
    assert_eq!((a.await, b.await), (Ok(reply(7)), Ok(reply(7))));
    let given_up = ticket(replays.begin(now, CLIENT, key(2)));
    let waits = join(replays.begin(now, CLIENT, key(2)));
    drop(given_up);
    assert!(waits.await.is_err());
    ticket(replays.begin(now, CLIENT, key(2)));
}

#[test]
fn a_client_has_a_ring_and_the_oldest_goes_first() {
    let (replays, now) = (Replays::default(), Instant::now());
    for xid in 0..=SLOTS as u32 {
        ticket(replays.begin(now, CLIENT, key(xid))).finish(now, reply(xid));
    }
    for xid in 1..=SLOTS as u32 {
        assert_eq!(known(replays.begin(now, CLIENT, key(xid))), reply(xid));
    }
    drop(ticket(replays.begin(now, CLIENT, key(0))));
}

#[test]
fn calls_that_run_keep_their_slots() {
    let (replays, now) = (Replays::default(), Instant::now());
    let running: Vec<Ticket> =
        (0..SLOTS as u32).map(|xid| ticket(replays.begin(now, CLIENT, key(xid)))).collect();
    let slots: std::collections::BTreeSet<u16> = running.iter().map(Ticket::slot).collect();
    assert_eq!(slots.len(), SLOTS);
    assert!(matches!(replays.begin(now, CLIENT, key(5000)), Begin::Full));
    let mut running = running.into_iter();
    running.next().expect("many").finish(now, reply(0));
    let again = ticket(replays.begin(now, CLIENT, key(5000)));
    assert_eq!(again.slot(), 0, "the only slot that nothing runs in");
    drop((running, again));
}

#[test]
fn many_clients_cost_bounded_memory_and_the_silent_one_goes() {
    let (replays, now) = (Replays::default(), Instant::now());
    let big = Bytes::from(vec![0; 1000]);
    let address = |n: u32| IpAddr::V6(Ipv6Addr::from(u128::from(n) << 64 | 1));
    for n in 0..3 * CLIENTS as u32 {
        for xid in 0..20 {
            ticket(replays.begin(now, address(n), key(xid))).finish(now, big.clone());
        }
        let (clients, bytes) = replays.size();
        assert!(clients <= CLIENTS && bytes <= MEMORY + 2000, "{clients} clients, {bytes} bytes");
    }
    let last = address(3 * CLIENTS as u32 - 1);
    assert_eq!(known(replays.begin(now, last, key(0))), big, "who was here last is remembered");
    drop(ticket(replays.begin(now, address(0), key(0))));
}

#[test]
fn a_client_with_calls_that_run_is_not_forgotten() {
    let (replays, now) = (Replays::default(), Instant::now());
    let running = ticket(replays.begin(now, CLIENT, key(1)));
    for n in 0..2 * CLIENTS as u32 {
        let address = IpAddr::V6(Ipv6Addr::from(u128::from(n) << 64 | 1));
        ticket(replays.begin(now, address, key(1))).finish(now, reply(n));
    }
    running.finish(now, reply(7));
    assert_eq!(known(replays.begin(now, CLIENT, key(1))), reply(7));
}

async fn make(tree: &MemTree, ticket: &Ticket, text: &str) -> Result<Bytes, TreeFault> {
    let encode_reply = |changed: &Changed| changed.first.after.change.to_be_bytes().to_vec();
    let encode = |changed: &Changed| ticket.record(&encode_reply(changed));
    let record = Record { client: ticket.client(), slot: ticket.slot(), encode: &encode };
    let new = New::FileOnly(SetAttributes::default());
    let make = Change::Make { directory: tree.root(), name: name(text), new };
    Ok(encode_reply(&tree.change(make, Some(record)).await?).into())
}

/// A call whose effect is there is not executed again after a restart, however often the server restarts, and
/// the ring goes on where it was.
#[tokio::test]
async fn after_a_restart_answers_are_still_known() {
    let (tree, now) = (MemTree::new(1, Time::default), Instant::now());
    let mut expected = Vec::new();
    for life in 0..10_u32 {
        let replays = Replays::default();
        replays.load(now, &tree.kept().await.unwrap());
        for (client, xid, reply) in &expected {
            assert_eq!(known(replays.begin(now, *client, key(*xid))), *reply, "life {life}");
        }
        for n in 0..50 {
            let client = IpAddr::from([10, 0, 0, (n % 5) as u8]);
            let xid = life * 1000 + n;
            let call = ticket(replays.begin(now, client, key(xid)));
            let reply = make(&tree, &call, &xid.to_string()).await.unwrap();
            expected.push((client, xid, reply));
            // The server dies before it could say so.
            drop(call);
        }
    }
    assert_eq!(tree.kept().await.unwrap().len(), 500);
}

#[tokio::test]
async fn over_restarts_the_ring_still_forgets_the_oldest() {
    let (tree, now) = (MemTree::new(1, Time::default), Instant::now());
    let mut replays = Replays::default();
    for xid in 0..3000_u32 {
        if xid % 700 == 0 {
            replays = Replays::default();
            replays.load(now, &tree.kept().await.unwrap());
            for old in xid.saturating_sub(SLOTS as u32)..xid {
                known(replays.begin(now, CLIENT, key(old)));
            }
        }
        let call = ticket(replays.begin(now, CLIENT, key(xid)));
        let reply = make(&tree, &call, &xid.to_string()).await.unwrap();
        call.finish(now, reply);
    }
    assert_eq!(tree.kept().await.unwrap().len(), SLOTS);
}

#[tokio::test]
async fn what_failed_is_remembered_in_this_life_and_not_kept() {
    let (tree, now) = (MemTree::new(1, Time::default), Instant::now());
    let replays = Replays::default();
    let call = ticket(replays.begin(now, CLIENT, key(1)));
    tree.fail(TreeFault::NoSpace);
    make(&tree, &call, "a").await.unwrap_err();
    call.finish(now, reply(28));
    assert_eq!(known(replays.begin(now, CLIENT, key(1))), reply(28));
    assert!(tree.kept().await.unwrap().is_empty());
}

#[test]
fn rubbish_that_was_kept_is_passed_over() {
    let (replays, now) = (Replays::default(), Instant::now());
    let good = ticket(replays.begin(now, CLIENT, key(1)));
    let bytes = Bytes::from(good.record(b"ok"));
    let rows = [(u16::MAX, bytes.clone()), (5, bytes.slice(..59)), (6, Bytes::new()), (7, bytes)];
    let kept: Vec<Kept> =
        rows.into_iter().map(|(slot, bytes)| Kept { client: [0xff; 16], slot, bytes }).collect();
    let fresh = Replays::default();
    fresh.load(now, &kept);
    assert_eq!(known(fresh.begin(now, CLIENT, key(1))), Bytes::from_static(b"ok"));
    assert_eq!(fresh.size().0, 1);
}
