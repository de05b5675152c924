//! What stands beside NFS: port mapper, lock manager and status monitor; the lock table; and what is kept
//! over restarts.

use super::{ends, now, round, KEY, MEMORY};
use crate::exports::{Clients, Exports, Rule, Share, Squash};
use crate::handle::{self, HandleKey, ShareId};
use crate::mem::MemTree;
use crate::memory::Budget;
use crate::nlm::ranges::{Held, Range, LAST};
use crate::nlm::table::{Ask, Host, Owner, Reservation, Table, GRACE};
use crate::nlm::wire::*;
use crate::nlm::{self, Nlm};
use crate::nsm::{self, MemState, Nsm, Restart, Saved};
use crate::portmap::{self, Portmap, Service, Transport};
use crate::replay;
use crate::rpc::{client, Programs};
use crate::tree::{Change, FileTree, Name, New, ObjectRef, SetAttributes, Time};
use crate::xdr::{encoded, Reader, Xdr};
use bytes::Bytes;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Calls of the companions: which program, version, procedure and how many bytes of arguments follow, call
/// after call. A handle of an even number of bytes stands for one that is ours.
pub fn nfs_companions(data: &[u8]) {
    let tree = Arc::new(MemTree::new(1, Time::default));
    let name = Name::new(Bytes::from_static(b"f")).expect("a name");
    let new = New::FileOnly(SetAttributes::default());
    let made = now(tree.change(Change::Make { directory: tree.root(), name, new }, None));
    let file = made.expect("it is new").object.expect("it was made").0;
    let key = HandleKey::new(&KEY);
    let ours = Bytes::copy_from_slice(&key.seal(ShareId(1), file));
    let rules = vec![Rule { squash: Squash::None, ..Rule::new(Clients::Any) }];
    let exports = Arc::new(Exports::default());
    exports.replace(vec![Share { id: ShareId(1), path: "/p/s".into(), tree: Some((tree, key)), rules }]);
    let time = Instant::now();
    let locks = now(Nlm::start(exports, MemState::default(), 1, time)).expect("memory can be read");
    let service = Service { program: 7, version: 1, transport: Transport::Tcp, port: 9 };
    let programs = Programs::new(vec![
        Arc::new(Portmap::new(vec![service])),
        Arc::new(Nsm::new(Arc::clone(&locks))),
        locks,
    ]);
    let budget = Budget::new(MEMORY);
    let mut rest = data;
    while let [program, version, procedure, len, more @ ..] = rest {
        let (arguments, after) = more.split_at(usize::from(*len).min(more.len()));
        rest = after;
        let arguments = Bytes::copy_from_slice(arguments);
        let (target, arguments) = match program % 3 {
            0 => ((portmap::PROGRAM, u32::from(version % 4) + 2), arguments),
            1 => {
                round::<Restart>(&arguments);
                ((nsm::PROGRAM, nsm::VERSION), arguments)
            }
            _ => ((nlm::PROGRAM, nlm::VERSION), lock_arguments((*procedure).into(), arguments, &ours)),
        };
        let record = client::encode(1, target, (*procedure).into(), &arguments);
        let begun = programs.begin(record.into(), None, ends(), &budget, time).expect("it is a call");
        if let (_, Ok(answer)) = begun {
            assert!(now(answer).into_datagram(1).len() < 4096);
        }
    }
}

/// Arguments of the lock manager, with a handle that leads somewhere.
fn lock_arguments(procedure: u32, arguments: Bytes, ours: &Bytes) -> Bytes {
    fn filled<T: Xdr + PartialEq + std::fmt::Debug>(
        arguments: Bytes,
        ours: &Bytes,
        handle: impl Fn(&mut T) -> &mut Opaque<64>,
    ) -> Bytes {
        round::<T>(&arguments);
        let Ok(mut value) = T::get(&mut Reader::new(arguments.clone())) else { return arguments };
        if handle(&mut value).0.len().is_multiple_of(2) {
            handle(&mut value).0 = ours.clone();
        }
        encoded(&value).into()
    }
    match procedure {
        1 | 5 | 6 | 10 => filled::<TestArguments>(arguments, ours, |a| &mut a.lock.handle),
        2 | 7 | 22 => filled::<LockArguments>(arguments, ours, |a| &mut a.lock.handle),
        3 | 8 => filled::<CancelArguments>(arguments, ours, |a| &mut a.lock.handle),
        4 | 9 => filled::<UnlockArguments>(arguments, ours, |a| &mut a.lock.handle),
        11 => {
            round::<TestReply>(&arguments);
            arguments
        }
        20 | 21 => filled::<ShareArguments>(arguments, ours, |a| &mut a.handle),
        _ => arguments,
    }
}

/// The lock table under steps of six bytes: what to do, who, where, from, how far, and how. In the end
/// everybody is gone, and nothing may be left.
pub fn lock_table(data: &[u8]) {
    let mut time = Instant::now();
    let host = |n: u8| Host { address: [10, 0, 0, n % 4].into(), name: vec![b'a' + n % 2].into() };
    let mut table: Table<u8> = Table::new(time, vec![host(0).address]);
    for step in data.chunks_exact(6) {
        let &[what, who, place, from, length, how] = step else { return };
        let file = (ShareId(u64::from(place >> 4)), object(place & 3));
        let owner = Owner { host: host(who), process: u32::from(who >> 4) };
        let first = u64::from(from);
        let end = if length == 0xff { LAST } else { first + u64::from(length) };
        let range = Range { first, last: end };
        let wanted = Held { owner: owner.clone(), range, exclusive: how & 1 != 0, life: u32::from(how >> 4) };
        let ask = Ask { wait: how & 2 != 0, reclaim: how & 4 != 0 };
        match what % 10 {
            0..=2 => {
                let _done = table.lock(time, file, wanted, ask, who);
            }
            3 => {
                let _done = table.unlock(time, file, &owner, range);
            }
            4 => {
                let _done = table.cancel(time, file, &wanted);
            }
            5 => {
                let _done = table.test(time, file, &wanted);
            }
            6 => {
                let reservation = Reservation {
                    host: owner.host,
                    owner: Bytes::new(),
                    deny: u32::from(how & 3),
                    access: u32::from(how >> 2 & 3),
                };
                let _done = table.share(time, file, reservation, ask.reclaim);
            }
            7 => {
                let _done = table.unshare(time, file, &owner.host, &[]);
            }
            8 => table.restarted(time, owner.host.address, &owner.host.name, wanted.life),
            _ => {
                time += Duration::from_secs(u64::from(length));
                while let Some(grant) = table.poll_grant(time, |host| host.name[..] == [how]) {
                    assert!(grant.id >= 1);
                    table.answered(time, grant.id, grant.host.address, how & 1 != 0);
                }
            }
        }
        let (locks, waiting, pending) = table.size();
        assert!(pending <= locks + waiting + 1, "a grant of nothing");
    }
    for n in 0..8 {
        table.free_all(
            time + GRACE,
            &Host { address: [10, 0, 0, n / 2].into(), name: vec![b'a' + n % 2].into() },
        );
    }
    assert_eq!(table.size(), (0, 0, 0));
}

fn object(inode: u8) -> ObjectRef {
    ObjectRef { view: 0, inode: inode.into(), generation: 1 }
}

/// What outlives a restart: answers that were kept, the list of hosts, handles; and addresses as text.
pub fn nfs_kept(data: &[u8]) {
    let bytes = Bytes::copy_from_slice(data);
    if let Some(stored) = replay::decode_record(&bytes) {
        assert_eq!(replay::encode_record(&stored), data);
    }
    if let Ok(saved) = Saved::decode(bytes) {
        let again = Saved::decode(saved.encode().into()).expect("it was just written");
        assert_eq!(again, saved);
    }
    let key = HandleKey::new(&KEY);
    if let Ok(object) = key.open(data) {
        let share = handle::share(data).expect("it was opened");
        assert_eq!(key.seal(share, object)[..], *data);
    }
    if let Some(address) = std::str::from_utf8(data).ok().and_then(portmap::from_universal) {
        assert_eq!(portmap::from_universal(&portmap::universal(address)), Some(address));
    }
}
