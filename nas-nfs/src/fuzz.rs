//! What the fuzzers feed: records and heads of calls, the arguments of every procedure, and a whole
//! connection.
//!
//! Each takes any bytes, and panics only over a fault of ours. They run in `make fuzz` and, over a corpus, in
//! the ordinary tests.

mod companions;

pub use companions::{lock_table, nfs_companions, nfs_kept};

use crate::exports::{Clients, Exports, Rule, Share, Squash};
use crate::handle::{HandleKey, ShareId};
use crate::limits::{CALLS, OUTPUT, OUTPUT_UNPERMITTED, SPARE_CALLS};
use crate::mem::MemTree;
use crate::memory::Budget;
use crate::mount::MountProgram;
use crate::nfs3::arguments::*;
use crate::nfs3::procedure::*;
use crate::nfs3::types::Handle;
use crate::nfs3::Nfs3;
use crate::rpc::call::{parse, Head};
use crate::rpc::record::{framed, Framer, Step};
use crate::rpc::{Answer, AuthSys, Credentials, Ends, Outcome, Programs};
use crate::session::Session;
use crate::tree::{Change, FileTree, Name, New, ObjectRef, SetAttributes, Time};
use crate::xdr::{encoded, Array, Reader, Writer, Xdr};
use bytes::Bytes;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

const MEMORY: usize = 4 << 20;
const KEY: [u8; 32] = [7; 32];

/// A stream of records, cut into pieces whose length is the first byte's; and one record, taken apart.
pub fn rpc_records(data: &[u8]) {
    let Some((first, stream)) = data.split_first() else { return };
    let world = World::new();
    let budget = Budget::new(MEMORY);
    let mut framer = Framer::default();
    'stream: for mut piece in stream.chunks(usize::from(*first) + 1) {
        loop {
            match framer.feed(&mut piece, |head| world.programs.payload(head)) {
                Ok(Step::More) => break,
                Ok(Step::Payload(len)) => {
                    let permit = budget.try_take(len).expect("one at a time fits");
                    framer.start_payload(budget.buffer(len, permit));
                }
                Ok(Step::Record(record)) => drop(parse(record.head, record.payload)),
                Err(_) => break 'stream,
            }
        }
    }
    drop(framer);
    assert_eq!(budget.available(), MEMORY);
    if let Ok(call) = parse(Bytes::copy_from_slice(data), None) {
        assert_eq!(encoded(&call.head)[..], data[..Head::LEN]);
        if let Ok(credentials) = call.credentials {
            let again = encoded(&credentials.to_auth());
            assert!(again.len() + Head::LEN <= data.len().next_multiple_of(4), "no more than was there");
        }
    }
}

/// Arguments of NFSv3, behind the number of their procedure: what is read is written as it was understood,
/// and done.
pub fn nfs3_arguments(data: &[u8]) {
    let Some((procedure, arguments)) = data.split_first() else { return };
    let procedure = u32::from(*procedure) % (COMMIT + 2);
    let arguments = Bytes::copy_from_slice(arguments);
    match procedure {
        SETATTR => round::<SetAttr>(&arguments),
        LOOKUP | REMOVE | RMDIR => round::<DirectoryName>(&arguments),
        ACCESS => round::<Access>(&arguments),
        READ => round::<Read>(&arguments),
        WRITE => round::<Write>(&arguments),
        CREATE => round::<Create>(&arguments),
        MKDIR => round::<MkDir>(&arguments),
        SYMLINK => round::<Symlink>(&arguments),
        MKNOD => round::<MkNod>(&arguments),
        RENAME => round::<Rename>(&arguments),
        LINK => round::<Link>(&arguments),
        READDIR => round::<ReadDir>(&arguments),
        READDIRPLUS => round::<ReadDirPlus>(&arguments),
        COMMIT => round::<Commit>(&arguments),
        _ => round::<Handle>(&arguments),
    }
    let world = World::new();
    let arguments = world.with_handles(procedure, arguments);
    let budget = Budget::new(MEMORY);
    for xid in [1, 1, 2] {
        let record = call(100_003, procedure, xid, &arguments);
        let begun = world.programs.begin(record.into(), None, ends(), &budget, Instant::now());
        let (_, Ok(answer)) = begun.expect("it is a call") else { continue };
        if let Outcome::Done(results) = now(answer) {
            assert!(results.output.into_bytes().len() <= MEMORY / 2);
        }
    }
    assert_eq!(budget.available(), MEMORY);
}

fn round<T: Xdr + PartialEq + std::fmt::Debug>(arguments: &Bytes) {
    let Ok(value) = T::get(&mut Reader::new(arguments.clone())) else { return };
    let again = T::get(&mut Reader::new(encoded(&value).into()));
    assert_eq!(again.as_ref(), Ok(&value));
}

/// A connection: the bytes are steps, each of a kind, a length and so many bytes.
///
/// | kind | step |
/// |---|---|
/// | 0 | bytes as they are |
/// | 1 | a record of them, in fragments |
/// | 2 | a call of NFS: its procedure, its number, its arguments |
/// | 3 | a call of MOUNT, alike |
/// | 4 | the tree hangs, or works again |
/// | 5 | seconds pass |
/// | other | what waits is sent |
pub fn nfs_connection(data: &[u8]) {
    let world = World::new();
    let budget = Budget::new(MEMORY);
    let mut now = Instant::now();
    let mut session = Session::new(world.programs.clone(), ends(), &budget, now);
    let mut running = Vec::new();
    let mut wanted = None;
    let mut rest = data;
    while let [kind, len, more @ ..] = rest {
        let (step, after) = more.split_at(usize::from(*len).min(more.len()));
        rest = after;
        match (kind % 7, step) {
            (0, _) => session.receive(now, step),
            (1, _) => session.receive(now, &framed(step, usize::from(kind / 7) + 1)),
            (2, [procedure, xid, arguments @ ..]) => {
                let procedure = u32::from(*procedure);
                let arguments = world.with_handles(procedure, Bytes::copy_from_slice(arguments));
                session.receive(now, &framed(&call(100_003, procedure, (*xid).into(), &arguments), 1000));
            }
            (3, [procedure, xid, arguments @ ..]) => {
                let record = call(crate::mount::PROGRAM, (*procedure).into(), (*xid).into(), arguments);
                session.receive(now, &framed(&record, usize::MAX));
            }
            (4, _) => world.tree.hang(len % 2 == 0),
            (5, _) => {
                now += Duration::from_secs((*len).into());
                session.tick(now);
            }
            _ => take_output(&mut session, now),
        }
        run(&mut session, &mut running, &mut wanted, now);
        assert!(running.len() <= CALLS + SPARE_CALLS);
        let bound = OUTPUT + OUTPUT_UNPERMITTED + MEMORY;
        assert!(session.output().pending() <= bound, "answers pile up");
    }
    world.tree.hang(false);
    while !running.is_empty() || wanted.is_some() {
        take_output(&mut session, now);
        run(&mut session, &mut running, &mut wanted, now);
    }
    drop(session);
    assert_eq!(budget.available(), MEMORY, "memory is left");
}

/// Polls what runs, begins what was asked for, and takes the memory that is wanted when it is there.
fn run(session: &mut Session, running: &mut Vec<(u32, Answer)>, wanted: &mut Option<usize>, now: Instant) {
    let mut context = Context::from_waker(Waker::noop());
    loop {
        running.extend(std::iter::from_fn(|| session.next_call()));
        let mut any = false;
        let mut at = 0;
        while let Some((xid, answer)) = running.get_mut(at) {
            match answer.as_mut().poll(&mut context) {
                Poll::Pending => at += 1,
                Poll::Ready(outcome) => {
                    let xid = *xid;
                    drop(running.swap_remove(at));
                    session.answered(now, xid, outcome);
                    any = true;
                }
            }
        }
        *wanted = wanted.or_else(|| session.memory_wanted());
        if let Some(permit) = wanted.and_then(|bytes| session.budget().try_take(bytes)) {
            *wanted = None;
            session.granted(now, permit);
            any = true;
        }
        if !any {
            return;
        }
    }
}

fn take_output(session: &mut Session, now: Instant) {
    while session.output().pending() > 0 {
        let n = session.output().pending();
        session.sent(now, n);
    }
}

/// A share for everybody, with a directory, a file and a link in it.
struct World {
    programs: Programs,
    tree: Arc<MemTree>,
    handles: Vec<Handle>,
}

impl World {
    fn new() -> World {
        let tree = Arc::new(MemTree::new(1, Time::default));
        let key = HandleKey::new(&KEY);
        let rules = vec![Rule { squash: Squash::None, ..Rule::new(Clients::Any) }];
        let exported = Some((Arc::clone(&tree), key.clone()));
        let share = Share { id: ShareId(1), path: "/p/s".into(), tree: exported, rules };
        let exports = Arc::new(Exports::default());
        exports.replace(vec![share]);
        let set = SetAttributes::default();
        let make = |text: &'static [u8], new| {
            let name = Name::new(Bytes::from_static(text)).expect("a name");
            let change = Change::Make { directory: tree.root(), name, new };
            let made = now(tree.change(change, None)).expect("nothing is there yet");
            made.object.expect("it was made").0
        };
        let objects = [
            make(b"d", New::Directory(set)),
            make(b"f", New::FileOnly(set)),
            make(b"l", New::Symlink(Bytes::from_static(b"f"), set)),
            tree.root(),
        ];
        let handle = |object: &ObjectRef| Handle(Bytes::copy_from_slice(&key.seal(ShareId(1), *object)));
        let handles = objects.iter().map(handle).collect();
        let nfs = Arc::new(Nfs3::new(Arc::clone(&exports)));
        let programs = Programs::new(vec![nfs, Arc::new(MountProgram::new(exports))]);
        World { programs, tree, handles }
    }

    /// Arguments whose handles lead somewhere: one of ours stands for one of each length.
    fn with_handles(&self, procedure: u32, arguments: Bytes) -> Vec<u8> {
        let mut input = Reader::new(arguments);
        let mut output = Writer::default();
        let mut next = |input: &mut Reader| {
            let Ok(Handle(found)) = Handle::get(input) else { return None };
            self.handles[found.len() % self.handles.len()].put(&mut output);
            Some(())
        };
        let mut replaced = next(&mut input);
        if procedure == LINK && replaced.is_some() {
            replaced = next(&mut input);
        }
        if procedure == RENAME && replaced.is_some() {
            if let Ok(name) = Bytes::get(&mut input) {
                name.put(&mut output);
                if let Ok(Handle(found)) = Handle::get(&mut input) {
                    self.handles[found.len() % self.handles.len()].put(&mut output);
                }
            }
        }
        let mut bytes = output.into_bytes();
        bytes.extend_from_slice(input.rest());
        bytes
    }
}

/// A call by a user with all groups.
fn call(program: u32, procedure: u32, xid: u32, arguments: &[u8]) -> Vec<u8> {
    let head = Head { xid, kind: 0, rpc_version: 2, program, version: 3, procedure };
    let user = AuthSys {
        stamp: 0,
        machine: Bytes::from_static(b"fuzz"),
        uid: 0,
        gid: 0,
        groups: Array((0..16).collect()),
    };
    let mut record = encoded(&head);
    record.extend(encoded(&Credentials::Sys(user).to_auth()));
    record.extend(encoded(&Credentials::None.to_auth()));
    record.extend_from_slice(arguments);
    record
}

fn ends() -> Ends {
    let peer = SocketAddr::from(([192, 0, 2, 1], 700));
    Ends::new(peer, peer)
}

/// What nothing holds up.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("something waits though nothing hangs"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xdr::Payload;

    #[test]
    fn arguments_reach_the_procedures() {
        let world = World::new();
        let file = Handle(Bytes::from_static(&[0]));
        let data = Payload(Bytes::from_static(b"hello"));
        let stable = crate::nfs3::types::StableHow::FileSync;
        let ask = encoded(&Write { file, offset: 0, count: 5, stable, data });
        let arguments = world.with_handles(WRITE, ask.into());
        let budget = Budget::new(MEMORY);
        let record = call(100_003, WRITE, 1, &arguments);
        let begun = world.programs.begin(record.into(), None, ends(), &budget, Instant::now());
        let (_, Ok(answer)) = begun.expect("a call") else { panic!("it is begun") };
        let Outcome::Done(results) = now(answer) else { panic!("it is done") };
        assert_eq!(results.output.into_bytes()[..4], [0; 4], "it succeeds");
    }
}
