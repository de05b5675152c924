//! The lock manager over its borders: calls in, answers and calls back out, against a client of our own that
//! listens on UDP and knows no more than the protocol.

use super::procedures::number::*;
use super::table::Status;
use super::wire::*;
use super::*;
use crate::exports::{Clients, Rule, Share};
use crate::handle::{HandleKey, ShareId, KEY_LEN};
use crate::mem::MemTree;
use crate::memory::Budget;
use crate::nsm::{self, MemState, Nsm, Restart};
use crate::portmap::{Portmap, Service, Transport};
use crate::rpc::program::{Answer, Program};
use crate::rpc::{AuthSys, Call, Credentials, Ends, Outcome, Programs};
use crate::suite::name;
use crate::tree::{Change, New, SetAttributes, Time};
use crate::udp;
use crate::xdr::{encoded, Array, Reader, Xdr};
use bytes::Bytes;
use std::future::ready;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

/// The other side: the lock and status programs of a client, which say what they were called for.
struct Peer {
    program: u32,
    versions: RangeInclusive<u32>,
    heard: mpsc::UnboundedSender<(u32, Bytes)>,
}

impl Program for Peer {
    fn number(&self) -> u32 {
        self.program
    }

    fn versions(&self) -> RangeInclusive<u32> {
        self.versions.clone()
    }

    fn call(self: Arc<Self>, call: Call) -> Answer {
        let arguments = Bytes::copy_from_slice(call.arguments.rest());
        let reply = Reply { cookie: Opaque::default(), status: Status::Granted };
        let outcome = if call.procedure == GRANTED { Outcome::done(&reply) } else { Outcome::done(&()) };
        self.heard.send((call.procedure, arguments)).unwrap();
        Box::pin(ready(outcome))
    }
}

struct Client {
    portmap: u16,
    locks: mpsc::UnboundedReceiver<(u32, Bytes)>,
    status: mpsc::UnboundedReceiver<(u32, Bytes)>,
}

impl Client {
    async fn start() -> Client {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let port = socket.local_addr().unwrap().port();
        let service = |program, version| Service { program, version, transport: Transport::Udp, port };
        let (to_locks, locks) = mpsc::unbounded_channel();
        let (to_status, status) = mpsc::unbounded_channel();
        let programs = Programs::new(vec![
            Arc::new(Portmap::new(vec![service(PROGRAM, VERSION), service(nsm::PROGRAM, nsm::VERSION)])),
            Arc::new(Peer { program: PROGRAM, versions: 4..=4, heard: to_locks }),
            Arc::new(Peer { program: nsm::PROGRAM, versions: 1..=1, heard: to_status }),
        ]);
        tokio::spawn(udp::serve(socket, programs, |_| true));
        Client { portmap: port, locks, status }
    }

    async fn hears<T: Xdr>(from: &mut mpsc::UnboundedReceiver<(u32, Bytes)>) -> (u32, T) {
        let heard = tokio::time::timeout(Duration::from_secs(20), from.recv()).await;
        let (procedure, bytes) = heard.expect("a call comes").expect("the server runs");
        (procedure, T::get(&mut Reader::new(bytes)).expect("it can be read"))
    }
}

type Locks = Nlm<MemTree, MemState>;

struct Server {
    tree: Arc<MemTree>,
    exports: Arc<Exports<MemTree>>,
    handle: Bytes,
    nlm: Arc<Locks>,
}

fn share(tree: &Arc<MemTree>, rules: Vec<Rule>) -> Share<MemTree> {
    let key = HandleKey::new(&[1; KEY_LEN]);
    Share { id: ShareId(1), path: "/p/s".to_owned(), tree: Some((Arc::clone(tree), key)), rules }
}

fn loopback() -> Rule {
    Rule::new(Clients::Network("127.0.0.0/8".parse().unwrap()))
}

impl Server {
    async fn start(portmap: u16, kept: Option<Bytes>) -> Server {
        let tree = Arc::new(MemTree::new(1, Time::default));
        let attributes = SetAttributes { mode: Some(0o640), uid: Some(7), ..SetAttributes::default() };
        let new = New::FileOnly(attributes);
        let make = Change::Make { directory: tree.root(), name: name("file"), new };
        let object = tree.change(make, None).await.unwrap().object.unwrap().0;
        let exports = Arc::new(Exports::default());
        exports.replace(vec![share(&tree, vec![loopback()])]);
        let handle = HandleKey::new(&[1; KEY_LEN]).seal(ShareId(1), object);
        let state = MemState::with(kept);
        let nlm = Nlm::start(Arc::clone(&exports), state, portmap, Instant::now()).await.unwrap();
        Server { tree, exports, handle: Bytes::copy_from_slice(&handle), nlm }
    }

    fn runs(&self) {
        let nlm = Arc::clone(&self.nlm);
        tokio::spawn(async move { nlm.run().await });
    }

    fn lock(&self, caller: &str, process: u32) -> Lock {
        let caller = Opaque(caller.to_owned().into());
        let (handle, owner) = (Opaque(self.handle.clone()), Opaque(Bytes::from_static(b"owner")));
        Lock { caller, handle, owner, process, offset: 0, len: 0 }
    }

    fn arguments(&self, process: u32, block: bool) -> LockArguments {
        let (cookie, lock) = (Opaque(Bytes::from_static(b"cook")), self.lock("client", process));
        LockArguments { cookie, block, exclusive: true, lock, reclaim: false, state: 1 }
    }

    async fn call_from(&self, from: &str, uid: u32, procedure: u32, arguments: Vec<u8>) -> Outcome {
        let (peer, local): (SocketAddr, SocketAddr) = (from.parse().unwrap(), "127.0.0.1:1".parse().unwrap());
        let sys = AuthSys { stamp: 0, machine: "m".into(), uid, gid: uid, groups: Array(Vec::new()) };
        let call = Call {
            xid: 1,
            version: VERSION,
            procedure,
            credentials: Credentials::Sys(sys),
            ends: Ends::new(peer, local),
            arguments: Reader::new(arguments.into()),
            budget: Budget::new(1 << 20),
            now: Instant::now(),
        };
        Arc::clone(&self.nlm).call(call).await
    }

    async fn status(&self, procedure: u32, arguments: &impl Xdr) -> Status {
        status(self.call_from("127.0.0.1:700", 7, procedure, encoded(arguments)).await)
    }

    async fn unlock(&self, process: u32) -> Status {
        let (cookie, lock) = (Opaque::default(), self.lock("client", process));
        self.status(UNLOCK, &UnlockArguments { cookie, lock }).await
    }
}

fn status(outcome: Outcome) -> Status {
    let Outcome::Done(results) = outcome else { panic!("{outcome:?}") };
    Reply::get(&mut Reader::new(results.output.into_bytes().into())).unwrap().status
}

#[tokio::test]
async fn a_waiting_lock_is_granted_by_a_call_to_its_client() {
    let mut client = Client::start().await;
    let server = Server::start(client.portmap, None).await;
    server.runs();
    assert_eq!(server.status(LOCK, &server.arguments(1, false)).await, Status::Granted);
    assert_eq!(server.status(LOCK, &server.arguments(2, false)).await, Status::Denied);
    assert_eq!(server.status(LOCK, &server.arguments(2, true)).await, Status::Blocked);
    assert_eq!(server.unlock(1).await, Status::Granted);
    let (procedure, granted): (u32, TestArguments) = Client::hears(&mut client.locks).await;
    assert_eq!((procedure, granted.lock), (GRANTED, server.lock("client", 2)));
    let deadline = Instant::now() + Duration::from_secs(20);
    while server.nlm.size() != (1, 0, 0) {
        assert!(Instant::now() < deadline, "the client's answer was not heard");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The asynchronous form: every question is answered by a call, a grant too, and its answer is one as well.
#[tokio::test]
async fn messages_are_answered_by_messages() {
    let mut client = Client::start().await;
    let server = Server::start(client.portmap, None).await;
    server.runs();
    let send = |procedure, arguments: Vec<u8>| server.call_from("127.0.0.1:700", 7, procedure, arguments);
    let (lock_msg, lock_res) = (LOCK + 5, LOCK + 10);
    for (process, expected) in [(1, Status::Granted), (2, Status::Blocked)] {
        let answer = send(lock_msg, encoded(&server.arguments(process, true))).await;
        assert_eq!(answer, Outcome::done(&()));
        let (procedure, reply): (u32, Reply) = Client::hears(&mut client.locks).await;
        assert_eq!((procedure, reply.status, &reply.cookie.0[..]), (lock_res, expected, &b"cook"[..]));
    }
    let test = TestArguments { cookie: Opaque::default(), exclusive: true, lock: server.lock("client", 3) };
    send(TEST_MSG, encoded(&test)).await;
    let (procedure, reply): (u32, TestReply) = Client::hears(&mut client.locks).await;
    assert_eq!((procedure, reply.holder.map(|holder| holder.process)), (TEST_RES, Some(1)));
    let unlock = UnlockArguments { cookie: Opaque::default(), lock: server.lock("client", 1) };
    send(UNLOCK_MSG, encoded(&unlock)).await;
    let mut heard = Vec::new();
    for _ in 0..2 {
        let call = tokio::time::timeout(Duration::from_secs(20), client.locks.recv()).await;
        heard.push(call.expect("a call comes").expect("the server runs"));
    }
    heard.sort_by_key(|(procedure, _)| *procedure);
    assert_eq!((heard[0].0, heard[1].0), (GRANTED_MSG, UNLOCK_RES));
    let granted = TestArguments::get(&mut Reader::new(heard[0].1.clone())).unwrap();
    let taken = Reply { cookie: granted.cookie, status: Status::Granted };
    server.call_from("127.0.0.9:700", 7, GRANTED_RES, encoded(&taken)).await;
    assert_eq!(server.nlm.size(), (1, 0, 1), "from another address it does not count");
    send(GRANTED_RES, encoded(&taken)).await;
    assert_eq!(server.nlm.size(), (1, 0, 0));
}

#[tokio::test]
async fn after_a_restart_the_client_is_told_and_claims_its_lock() {
    let mut client = Client::start().await;
    let server = Server::start(client.portmap, None).await;
    let first = server.nlm.state_number();
    assert_eq!(server.status(LOCK, &server.arguments(1, false)).await, Status::Granted);
    let kept = server.nlm.store().bytes();
    drop(server);
    let server = Server::start(client.portmap, kept).await;
    assert_eq!(server.status(LOCK, &server.arguments(2, false)).await, Status::Grace);
    server.runs();
    let (procedure, told): (u32, Restart) = Client::hears(&mut client.status).await;
    assert_eq!((procedure, &told.name.0[..]), (6, &b"127.0.0.1"[..]));
    assert!(told.state > first && told.state == server.nlm.state_number() && told.state % 2 == 1);
    let claim = LockArguments { reclaim: true, ..server.arguments(1, false) };
    assert_eq!(server.status(LOCK, &claim).await, Status::Granted);
    assert_eq!(server.nlm.size(), (1, 0, 0));
}

#[tokio::test]
async fn a_lock_that_cannot_outlive_a_restart_is_not_given() {
    let server = Server::start(1, None).await;
    server.nlm.store().set_broken(true);
    assert_eq!(server.status(LOCK, &server.arguments(1, false)).await, Status::NoLocks);
    assert_eq!(server.nlm.size(), (0, 0, 0));
    assert_eq!(server.status(NM_LOCK, &server.arguments(1, false)).await, Status::Granted, "not monitored");
}

#[tokio::test]
async fn who_may_not_reach_a_file_may_not_lock_it() {
    let server = Server::start(1, None).await;
    let lock = encoded(&server.arguments(1, false));
    for (from, uid, expected) in [
        ("192.0.2.1:700", 7, Status::Stale),
        ("127.0.0.1:700", 8, Status::Failed),
        ("127.0.0.1:700", 0, Status::Failed),
        ("127.0.0.1:700", 7, Status::Granted),
    ] {
        let answer = server.call_from(from, uid, LOCK, lock.clone()).await;
        assert_eq!(status(answer), expected, "{from} {uid}");
    }
    let mut forged = server.arguments(2, false);
    forged.lock.handle = Opaque(vec![0; 52].into());
    assert_eq!(server.status(LOCK, &forged).await, Status::Stale);
    let mut far = server.arguments(2, false);
    (far.lock.offset, far.lock.len) = (u64::MAX, 2);
    assert_eq!(server.status(LOCK, &far).await, Status::TooBig);
    server.tree.set_unavailable(true);
    assert_eq!(server.status(LOCK, &server.arguments(1, false)).await, Status::Grace, "try again");
    server.tree.set_unavailable(false);
    let read_only = Rule { read_only: true, ..loopback() };
    server.exports.replace(vec![share(&server.tree, vec![read_only])]);
    assert_eq!(server.status(LOCK, &server.arguments(2, false)).await, Status::ReadOnly);
    server.exports.replace(vec![share(&server.tree, Vec::new())]);
    server.nlm.exports_changed(Instant::now());
    assert_eq!(server.nlm.size(), (0, 0, 0), "who lost the share lost its locks");
}

#[tokio::test]
async fn a_restarted_client_says_so_and_rubbish_is_garbage() {
    let server = Server::start(1, None).await;
    assert_eq!(server.status(LOCK, &server.arguments(1, false)).await, Status::Granted);
    let status_monitor = Arc::new(Nsm::new(Arc::clone(&server.nlm)));
    let tell = |arguments: Vec<u8>, from: &str| {
        let ends = Ends::new(from.parse().unwrap(), "127.0.0.1:1".parse().unwrap());
        let call = Call {
            xid: 1,
            version: 1,
            procedure: 6,
            credentials: Credentials::None,
            ends,
            arguments: Reader::new(arguments.into()),
            budget: Budget::new(1 << 20),
            now: Instant::now(),
        };
        Arc::clone(&status_monitor).call(call)
    };
    let restart = encoded(&Restart { name: Opaque("client".into()), state: 3 });
    assert_eq!(tell(vec![0; 3], "127.0.0.1:1").await, Outcome::GarbageArguments);
    tell(restart.clone(), "127.0.0.2:1").await;
    assert_eq!(server.nlm.size().0, 1, "another address");
    tell(restart, "127.0.0.1:1").await;
    assert_eq!(server.nlm.size().0, 0);
    for procedure in (1..=10).chain([15]).chain(20..=23) {
        let answer = server.call_from("127.0.0.1:700", 7, procedure, vec![0xff; 3]).await;
        let expected = if procedure == GRANTED_MSG { Outcome::done(&()) } else { Outcome::GarbageArguments };
        assert_eq!(answer, expected, "{procedure}");
    }
    for procedure in [16, 19, 24, u32::MAX] {
        let answer = server.call_from("127.0.0.1:700", 7, procedure, Vec::new()).await;
        assert_eq!(answer, Outcome::ProcedureUnavailable);
    }
}

#[tokio::test]
async fn reservations_and_free_all_pass_through() {
    let server = Server::start(1, None).await;
    let share = |caller: &str, mode, access| ShareArguments {
        cookie: Opaque::default(),
        caller: Opaque(caller.to_owned().into()),
        handle: Opaque(server.handle.clone()),
        owner: Opaque::default(),
        mode,
        access,
        reclaim: false,
    };
    assert_eq!(server.status(SHARE, &share("a", 3, 3)).await, Status::Granted);
    assert_eq!(server.status(SHARE, &share("b", 0, 1)).await, Status::Denied);
    assert_eq!(server.status(SHARE, &share("b", 4, 1)).await, Status::Failed);
    assert_eq!(server.status(UNSHARE, &share("a", 3, 3)).await, Status::Granted);
    assert_eq!(server.status(SHARE, &share("b", 0, 1)).await, Status::Granted);
    assert_eq!(server.status(LOCK, &server.arguments(1, false)).await, Status::Granted);
    let free = NotifyArguments { name: Opaque("client".into()), state: 0 };
    let answer = server.call_from("127.0.0.1:700", 7, FREE_ALL, encoded(&free)).await;
    assert_eq!(answer, Outcome::done(&()));
    assert_eq!(server.nlm.size().0, 0);
}
