//! The lock table: what is held stays held, what waits gets its turn, and nothing grows without bound.

use super::ranges::{Held, Range, LAST};
use super::table::*;
use crate::handle::ShareId;
use crate::nsm::{MemState, Monitors};
use crate::tree::ObjectRef;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

type Locks = Table<u32>;

const NOW: Ask = Ask { wait: false, reclaim: false };
const WAIT: Ask = Ask { wait: true, reclaim: false };
const RECLAIM: Ask = Ask { wait: false, reclaim: true };

fn file(inode: u64) -> FileId {
    (ShareId(1), ObjectRef { view: 0, inode, generation: 1 })
}

fn address(host: u8) -> IpAddr {
    [10, 0, 0, host].into()
}

fn host(host: u8) -> Host {
    Host { address: address(host), name: Bytes::from(format!("host-{host}")) }
}

fn lock(of: u8, process: u32, first: u64, last: u64, exclusive: bool) -> Held<Owner> {
    Held { owner: Owner { host: host(of), process }, range: Range { first, last }, exclusive, life: 1 }
}

fn whole(of: u8, process: u32) -> Held<Owner> {
    lock(of, process, 0, LAST, true)
}

fn free(_: &Host) -> bool {
    false
}

fn table() -> (Locks, Instant) {
    let now = Instant::now();
    (Table::new(now, Vec::new()), now)
}

#[test]
fn a_lock_stands_against_others_until_it_is_released() {
    let (mut table, now) = table();
    assert_eq!(table.lock(now, file(1), lock(1, 7, 0, 9, false), NOW, 0), Status::Granted);
    assert_eq!(table.lock(now, file(1), lock(1, 7, 0, 9, false), NOW, 0), Status::Granted, "again");
    assert_eq!(table.lock(now, file(1), lock(2, 7, 5, 14, false), NOW, 0), Status::Granted, "shared");
    assert_eq!(table.lock(now, file(1), lock(2, 7, 9, 9, true), NOW, 0), Status::Denied);
    assert_eq!(table.lock(now, file(2), lock(2, 7, 9, 9, true), NOW, 0), Status::Granted, "another file");
    let (status, held) = table.test(now, file(1), &lock(2, 7, 0, 0, true)).unwrap_err();
    assert_eq!((status, held.map(|held| held.owner)), (Status::Denied, Some(lock(1, 7, 0, 0, true).owner)));
    assert_eq!(
        table.unlock(now, file(1), &whole(1, 7).owner, Range { first: 0, last: LAST }),
        Status::Granted
    );
    assert!(table.test(now, file(1), &lock(2, 7, 0, 0, true)).is_ok());
    assert_eq!(
        table.unlock(now, file(1), &whole(1, 7).owner, Range { first: 0, last: LAST }),
        Status::Granted
    );
    assert!(!table.knows(&host(1)) && table.knows(&host(2)));
}

#[test]
fn who_waits_is_called_in_turn_and_again_until_it_answers() {
    let (mut table, now) = table();
    table.lock(now, file(1), whole(1, 1), NOW, 0);
    assert_eq!(table.lock(now, file(1), whole(2, 1), WAIT, 20), Status::Blocked);
    assert_eq!(table.lock(now, file(1), whole(3, 1), WAIT, 30), Status::Blocked);
    assert_eq!(table.lock(now, file(1), whole(2, 1), WAIT, 21), Status::Blocked, "asked again");
    assert_eq!(table.size(), (1, 2, 0));
    assert_eq!(table.poll_grant(now, free), None);
    table.unlock(now, file(1), &whole(1, 1).owner, Range { first: 0, last: LAST });
    let grant = table.poll_grant(now, free).expect("the first that waited");
    assert_eq!((grant.call, &grant.host), (21, &host(2)));
    assert_eq!(table.poll_grant(now, free), None);
    let later = table.poll_timeout(free).expect("it is told again");
    assert_eq!(table.poll_grant(later, |host| host.address == address(2)), None, "busy");
    assert_eq!(table.poll_grant(later, free), Some(grant.clone()));
    table.answered(later, grant.id, address(3), false);
    table.answered(later, grant.id + 1, address(2), false);
    assert_eq!(table.size(), (1, 1, 1), "only its own answer counts");
    table.answered(later, grant.id, address(2), true);
    assert_eq!((table.size(), table.poll_timeout(free)), ((1, 1, 0), None));
    table.unlock(now, file(1), &whole(2, 1).owner, Range { first: 0, last: LAST });
    assert_eq!(table.poll_grant(now, free).map(|grant| grant.call), Some(30));
}

#[test]
fn a_grant_that_nobody_takes_goes_to_the_next() {
    for refused in [true, false] {
        let (mut table, mut now) = table();
        table.lock(now, file(1), whole(1, 1), NOW, 0);
        table.lock(now, file(1), lock(2, 1, 0, 9, false), NOW, 0);
        table.lock(now, file(1), whole(2, 1), WAIT, 20);
        table.lock(now, file(1), whole(3, 1), WAIT, 30);
        table.unlock(now, file(1), &whole(1, 1).owner, Range { first: 0, last: LAST });
        let first = table.poll_grant(now, free).expect("a grant");
        assert_eq!(first.call, 20);
        if refused {
            table.answered(now, first.id, address(2), false);
        }
        let next = loop {
            let grant = table.poll_grant(now, free);
            match grant {
                Some(grant) if grant.call == 30 => break grant,
                Some(_) => {}
                None => now = table.poll_timeout(free).expect("a grant is on its way"),
            }
        };
        assert_eq!(next.host, host(3));
    }
}

/// Who holds a shared lock and waits to make it exclusive still holds the shared one if it does not answer.
#[test]
fn a_grant_that_is_taken_back_leaves_what_was_held_before() {
    let (mut table, now) = table();
    table.lock(now, file(1), lock(2, 1, 0, 99, false), NOW, 0);
    table.lock(now, file(1), lock(1, 1, 10, 10, false), NOW, 0);
    assert_eq!(table.lock(now, file(1), lock(2, 1, 5, 20, true), WAIT, 20), Status::Blocked);
    table.unlock(now, file(1), &whole(1, 1).owner, Range { first: 0, last: LAST });
    let grant = table.poll_grant(now, free).expect("a grant");
    assert!(table.test(now, file(1), &lock(3, 1, 10, 10, false)).is_err());
    table.answered(now, grant.id, address(2), false);
    assert!(table.test(now, file(1), &lock(3, 1, 0, 99, false)).is_ok());
    assert!(table.test(now, file(1), &lock(3, 1, 10, 10, true)).is_err(), "the shared lock is still held");
    assert_eq!(table.size(), (1, 0, 0));
}

#[test]
fn a_client_that_asks_again_or_unlocks_has_taken_its_grant() {
    for again in [true, false] {
        let (mut table, now) = table();
        table.lock(now, file(1), whole(1, 1), NOW, 0);
        table.lock(now, file(1), whole(2, 1), WAIT, 20);
        table.unlock(now, file(1), &whole(1, 1).owner, Range { first: 0, last: LAST });
        if again {
            assert_eq!(table.lock(now, file(1), whole(2, 1), WAIT, 20), Status::Granted);
        } else {
            table.unlock(now, file(1), &whole(2, 1).owner, Range { first: 0, last: LAST });
        }
        assert_eq!(table.poll_grant(now, free), None);
        assert_eq!(table.size(), (usize::from(again), 0, 0));
    }
}

#[test]
fn cancel_ends_the_wait_and_comes_too_late_for_a_grant() {
    let (mut table, now) = table();
    table.lock(now, file(1), whole(1, 1), NOW, 0);
    table.lock(now, file(1), whole(2, 1), WAIT, 20);
    assert_eq!(table.cancel(now, file(1), &lock(2, 1, 0, 5, true)), Status::Denied, "another range");
    assert_eq!(table.cancel(now, file(1), &whole(2, 1)), Status::Granted);
    assert_eq!(table.cancel(now, file(1), &whole(2, 1)), Status::Denied);
    table.lock(now, file(1), whole(2, 1), WAIT, 20);
    table.unlock(now, file(1), &whole(1, 1).owner, Range { first: 0, last: LAST });
    assert_eq!(table.cancel(now, file(1), &whole(2, 1)), Status::Denied, "it is held: UNLOCK releases it");
}

#[test]
fn a_circle_of_waiting_owners_is_refused() {
    let (mut table, now) = table();
    for n in 0..5 {
        table.lock(now, file(u64::from(n)), whole(n, 1), NOW, 0);
    }
    for n in 0..4 {
        assert_eq!(table.lock(now, file(u64::from(n) + 1), whole(n, 1), WAIT, 0), Status::Blocked);
    }
    assert_eq!(table.lock(now, file(0), whole(4, 1), WAIT, 0), Status::Deadlock);
    assert_eq!(table.lock(now, file(0), whole(4, 2), WAIT, 0), Status::Blocked, "another process");
    table.unlock(now, file(0), &whole(0, 1).owner, Range { first: 0, last: LAST });
}

#[test]
fn in_the_grace_period_old_locks_only_and_for_those_who_had_some() {
    let now = Instant::now();
    let mut table: Locks = Table::new(now, vec![address(1)]);
    assert_eq!(table.lock(now, file(1), whole(1, 1), NOW, 0), Status::Grace);
    assert_eq!(table.lock(now, file(1), whole(2, 1), RECLAIM, 0), Status::Denied, "it had none");
    assert_eq!(table.lock(now, file(1), whole(1, 1), RECLAIM, 0), Status::Granted);
    assert_eq!(table.lock(now, file(1), whole(1, 1), RECLAIM, 0), Status::Granted, "a retransmission");
    assert_eq!(table.test(now, file(1), &whole(2, 1)), Err((Status::Grace, None)));
    assert_eq!(table.cancel(now, file(1), &whole(2, 1)), Status::Grace);
    assert_eq!(table.unlock(now, file(1), &whole(2, 1).owner, Range { first: 0, last: 0 }), Status::Grace);
    let reservation = Reservation { host: host(1), owner: Bytes::new(), deny: 3, access: 3 };
    assert_eq!(table.share(now, file(2), reservation.clone(), false), Status::Grace);
    assert_eq!(table.share(now, file(2), reservation, true), Status::Granted);
    let after = now + GRACE;
    assert_eq!(table.lock(after, file(1), whole(1, 1), RECLAIM, 0), Status::Grace, "too late");
    assert_eq!(table.lock(after, file(1), whole(2, 1), NOW, 0), Status::Denied);
    let fresh: Locks = Table::new(now, Vec::new());
    assert!(!fresh.in_grace(now), "nobody had locks, nobody waits");
}

/// A notice that comes twice, or after the machine has taken new locks, costs no lock that it still believes
/// in.
#[test]
fn a_restart_releases_what_was_taken_before_it_once() {
    let (mut table, now) = table();
    let in_life =
        |process, life| Held { life, ..lock(1, process, u64::from(process), u64::from(process), true) };
    table.lock(now, file(1), in_life(1, 5), NOW, 0);
    table.lock(now, file(1), in_life(2, 7), NOW, 0);
    table.lock(now, file(1), in_life(3, 0), NOW, 0);
    table.lock(now, file(1), whole(2, 1), WAIT, 0);
    table.restarted(now, address(3), b"host-1", 7);
    assert_eq!(table.size().0, 3, "another address");
    table.restarted(now, address(1), b"host-1", 7);
    assert_eq!(table.size().0, 1, "of life 7");
    table.lock(now, file(1), in_life(3, 0), NOW, 0);
    table.restarted(now, address(1), b"host-1", 7);
    assert_eq!(table.size().0, 2, "a notice that comes twice");
    table.restarted(now, address(1), b"other-name", 9);
    assert_eq!(table.poll_grant(now, free).map(|grant| grant.host), Some(host(2)), "all are released");
    let twin =
        Held { owner: Owner { host: Host { name: "twin".into(), ..host(2) }, process: 1 }, ..whole(2, 1) };
    table.lock(now, file(2), twin.clone(), NOW, 0);
    table.restarted(now, address(2), b"twin", 3);
    assert!(!table.knows(&twin.owner.host) && table.knows(&host(2)), "two machines behind one address");
}

#[test]
fn free_all_and_a_lost_share_release_everything_of_a_host() {
    let (mut table, now) = table();
    for file in [file(1), file(2), (ShareId(2), file(1).1)] {
        table.lock(now, file, whole(1, 1), NOW, 0);
        table.lock(now, file, whole(2, 1), WAIT, 0);
    }
    table.share(now, file(1), Reservation { host: host(1), owner: Bytes::new(), deny: 3, access: 3 }, false);
    table.keep_reachable(now, |host, share| host.address != address(1) || share == ShareId(1));
    assert_eq!(table.size(), (3, 2, 1), "the second share's lock went to the next");
    table.free_all(now, &host(9));
    table.free_all(now, &host(1));
    assert_eq!(table.size(), (3, 0, 3));
    assert!(!table.knows(&host(1)));
}

#[test]
fn reservations_exclude_each_other_as_they_say() {
    let (mut table, now) = table();
    let of = |host: Host, deny, access| Reservation { host, owner: Bytes::from_static(b"oh"), deny, access };
    assert_eq!(table.share(now, file(1), of(host(1), 2, 1), false), Status::Granted, "reads, nobody writes");
    assert_eq!(table.share(now, file(1), of(host(2), 0, 2), false), Status::Denied);
    assert_eq!(table.share(now, file(1), of(host(2), 1, 1), false), Status::Denied, "it would deny reading");
    assert_eq!(table.share(now, file(1), of(host(2), 2, 1), false), Status::Granted);
    assert_eq!(table.share(now, file(1), of(host(1), 0, 1), false), Status::Granted, "its own changes");
    assert_eq!(table.unshare(now, file(1), &host(2), b"oh"), Status::Granted);
    assert_eq!(table.share(now, file(1), of(host(3), 0, 2), false), Status::Granted);
    assert_eq!(table.unshare(now, file(1), &host(2), b"oh"), Status::Granted, "nothing is left of it");
}

#[test]
fn what_is_held_and_what_waits_is_bounded() {
    let (mut table, now) = table();
    let mut granted = 0;
    'full: for inode in 0.. {
        for n in 0..FILE_LOCKS as u64 {
            match table.lock(now, file(inode), lock(1, 1, 2 * n, 2 * n, true), NOW, 0) {
                Status::Granted => granted += 1,
                Status::NoLocks if n + 2 >= FILE_LOCKS as u64 => continue 'full,
                status => {
                    assert_eq!(status, Status::NoLocks);
                    break 'full;
                }
            }
        }
    }
    assert!(granted <= HOST_LOCKS && granted + 2 > HOST_LOCKS, "{granted}");
    assert_eq!(table.lock(now, file(9999), whole(2, 1), NOW, 0), Status::Granted, "another host still can");
    let mut waiting = 0;
    while table.lock(now, file(9999), whole(3, waiting), WAIT, 0) == Status::Blocked {
        waiting += 1;
    }
    assert_eq!(waiting as usize, FILE_WAITING);
    table.free_all(now, &host(3));
    assert_eq!(table.size().1, 0);
}

/// What two clients believe to hold.
type Beliefs = BTreeMap<(u8, u32, u64, u64), bool>;

/// Two clients lock and unlock, the server is killed a thousand times, also in the grace period: every lock
/// that a client believes in is there when the grace period is over, and nobody else got it.
#[tokio::test]
async fn a_thousand_restarts_under_two_clients_lose_no_lock() {
    let mut random = Random(42);
    let (mut beliefs, mut kept, mut now) = (Beliefs::new(), None, Instant::now());
    for life in 0..1000 {
        let (monitors, before) = Monitors::start(MemState::with(kept)).await.unwrap();
        let mut table: Locks = Table::new(now, before.iter().map(|m| m.host.address).collect());
        assert_eq!(table.in_grace(now), !before.is_empty(), "life {life}");
        let mut to_claim: Vec<_> = beliefs.clone().into_iter().collect();
        while !to_claim.is_empty() {
            let ((of, process, inode, at), exclusive) =
                to_claim.swap_remove(random.below(to_claim.len() as u64) as usize);
            monitors.add(&host(of), address(0), |host| table.knows(host)).await.unwrap();
            let claim = lock(of, process, at, at, exclusive);
            assert_eq!(table.lock(now, file(inode), claim, RECLAIM, 0), Status::Granted, "life {life}");
            assert_eq!(table.lock(now, file(inode), lock(3, 1, at, at, true), RECLAIM, 0), Status::Denied);
            assert_eq!(table.lock(now, file(inode), lock(3, 1, at, at, true), NOW, 0), Status::Grace);
            now += Duration::from_millis(1);
            if random.below(200) == 0 {
                break;
            }
        }
        if to_claim.is_empty() {
            now += GRACE;
            monitors.prune(|host| table.knows(host)).await.unwrap();
            check(&table, now, &beliefs);
            for _ in 0..20 {
                act(&mut table, &monitors, now, &mut beliefs, &mut random).await;
            }
            check(&table, now, &beliefs);
        }
        kept = monitors.store().bytes();
    }
    assert!(beliefs.len() > 10, "the clients held something");
}

async fn act(
    table: &mut Locks,
    monitors: &Monitors<MemState>,
    now: Instant,
    beliefs: &mut Beliefs,
    random: &mut Random,
) {
    let (of, process, inode) = (1 + random.below(2) as u8, random.below(3) as u32, random.below(3));
    let (at, exclusive) = (random.below(40), random.below(2) == 0);
    let wanted = lock(of, process, at, at, exclusive);
    if random.below(3) == 0 {
        table.unlock(now, file(inode), &wanted.owner, wanted.range);
        beliefs.remove(&(of, process, inode, at));
        return;
    }
    monitors.add(&host(of), address(0), |host| table.knows(host)).await.unwrap();
    if table.lock(now, file(inode), wanted, NOW, 0) == Status::Granted {
        beliefs.insert((of, process, inode, at), exclusive);
    }
}

fn check(table: &Locks, now: Instant, beliefs: &Beliefs) {
    for (&(_, _, inode, at), &exclusive) in beliefs {
        assert!(table.test(now, file(inode), &lock(3, 1, at, at, true)).is_err());
        assert_eq!(table.test(now, file(inode), &lock(3, 1, at, at, false)).is_err(), exclusive);
    }
    for (inode, at) in (0..3).flat_map(|inode| (0..40).map(move |at| (inode, at))) {
        let held = beliefs.keys().any(|key| (key.2, key.3) == (inode, at));
        assert_eq!(table.test(now, file(inode), &lock(3, 1, at, at, true)).is_err(), held);
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}
