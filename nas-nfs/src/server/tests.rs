//! The server over loopback, with a program that echoes, waits and talks much, and a client written by hand.

use super::*;
use crate::limits::CALLS;
use crate::memory::ALIGN;
use crate::rpc::call::Head;
use crate::rpc::record::{framed, Find};
use crate::rpc::{Answer, AuthSys, Call, Credentials, Outcome, Program, Results};
use crate::xdr::{encoded, Array, Payload, Reader, Writer, Xdr};
use bytes::Bytes;
use std::future::Future;
use std::ops::RangeInclusive;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;

const MEMORY: usize = 96 << 20;
const PROGRAM: u32 = 300_000;
/// Gives its payload back.
const ECHO: u32 = 1;
/// Waits until it is let go, and then answers 9.
const WAIT: u32 = 2;
/// Gives so many bytes.
const TALK: u32 = 3;

/// The program: `gate` lets those go who wait.
struct Toy {
    gate: Arc<Semaphore>,
}

impl Program for Toy {
    fn number(&self) -> u32 {
        PROGRAM
    }

    fn versions(&self) -> RangeInclusive<u32> {
        3..=4
    }

    fn call(self: Arc<Self>, mut call: Call) -> Answer {
        Box::pin(async move {
            match call.procedure {
                0 => Outcome::done(&()),
                ECHO => match Payload::get(&mut call.arguments) {
                    Ok(payload) => {
                        assert!(payload.0.is_empty() || payload.0.as_ptr().align_offset(ALIGN) == 0);
                        Outcome::done(&payload)
                    }
                    Err(_) => Outcome::GarbageArguments,
                },
                WAIT => {
                    let _permit = self.gate.acquire().await;
                    Outcome::done(&9_u32)
                }
                TALK => {
                    let len = u32::get(&mut call.arguments).expect("a number") as usize;
                    let permit = call.budget.take(len).await.ok();
                    let mut output = Writer::default();
                    Payload(vec![7; len].into()).put(&mut output);
                    Outcome::Done(Results { output, permit })
                }
                _ => Outcome::ProcedureUnavailable,
            }
        })
    }

    fn try_again(&self, _version: u32, procedure: u32) -> Option<Outcome> {
        (procedure != 0).then(|| Outcome::done(&1_u32))
    }

    fn payload(&self, _version: u32, procedure: u32, arguments: &[u8]) -> Find {
        match (procedure, arguments.first_chunk()) {
            (ECHO, Some(len)) => Find::Here(u32::from_be_bytes(*len) as usize),
            (ECHO, None) => Find::Need(4),
            _ => Find::Nothing,
        }
    }
}

struct World {
    server: Server,
    gate: Arc<Semaphore>,
}

impl World {
    fn new() -> World {
        let gate = Arc::new(Semaphore::new(0));
        let programs = Programs::new(vec![Arc::new(Toy { gate: Arc::clone(&gate) })]);
        let address = "127.0.0.1:0".parse().expect("valid");
        let listeners = vec![Listener { address, programs }];
        let workers = vec![Runtime::current()];
        let server = Server::start(Config { listeners, memory: MEMORY, workers }).expect("it starts");
        server.open();
        World { server, gate }
    }

    async fn connect(&self) -> Peer {
        Peer { socket: TcpStream::connect(self.server.addresses()[0]).await.expect("it listens") }
    }

    /// All connections are gone, and with them all memory.
    async fn is_clean(&self) {
        while !self.server.connections().is_empty() || self.server.memory_free() != MEMORY {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

struct Peer {
    socket: TcpStream,
}

fn call(xid: u32, procedure: u32, arguments: &[u8]) -> Vec<u8> {
    let head = Head { xid, kind: 0, rpc_version: 2, program: PROGRAM, version: 3, procedure };
    let groups = Array((0..16).collect());
    let user = AuthSys { stamp: 0, machine: "peer".into(), uid: 1, gid: 2, groups };
    let mut record = encoded(&head);
    record.extend(encoded(&Credentials::Sys(user).to_auth()));
    record.extend(encoded(&Credentials::None.to_auth()));
    record.extend_from_slice(arguments);
    record
}

fn echo(xid: u32, data: &[u8]) -> Vec<u8> {
    call(xid, ECHO, &encoded(&Payload(Bytes::copy_from_slice(data))))
}

impl Peer {
    async fn send(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).await.expect("the server reads");
    }

    /// The next reply: its number, and what comes behind the head of a success; none when the server closed.
    async fn receive(&mut self) -> Option<(u32, Bytes)> {
        let mut mark = [0; 4];
        self.socket.read_exact(&mut mark).await.ok()?;
        let len = u32::from_be_bytes(mark);
        assert!(len & (1 << 31) != 0, "a reply is one fragment");
        let mut reply = vec![0; (len & !(1 << 31)) as usize];
        self.socket.read_exact(&mut reply).await.ok()?;
        let xid = u32::from_be_bytes(*reply.first_chunk().expect("a number"));
        assert_eq!(reply[4..24], Outcome::done(&()).into_datagram(0)[4..], "a success");
        Some((xid, Bytes::from(reply).slice(24..)))
    }
}

/// Runs a test on a runtime of one thread, as a server's worker is.
fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(60), test).await.expect("in time") });
}

#[test]
fn payloads_go_out_and_come_back_whatever_their_size_and_fragments() {
    run(async {
        let world = World::new();
        let mut peer = world.connect().await;
        for len in [0, 1, 4095, 65_536, 65_537, 1 << 20] {
            let data: Vec<u8> = (0..len).map(|i| (i / 3) as u8).collect();
            for fragment in [usize::MAX, 100_000, 4096, 1 + len / 500] {
                peer.send(&framed(&echo(5, &data), fragment)).await;
                let (xid, reply) = peer.receive().await.expect("an answer");
                let back = Payload::get(&mut Reader::new(reply)).expect("a payload");
                assert!(xid == 5 && back.0 == data, "{len} bytes in fragments of {fragment}");
            }
        }
        drop(peer);
        world.is_clean().await;
    });
}

#[test]
fn payloads_are_copied_once_if_they_are_small_and_not_if_they_are_large() {
    run(async {
        let world = World::new();
        let mut peer = world.connect().await;
        for (len, copies) in [(4096, 1), (65_536, 1), (1 << 20, 0)] {
            peer.send(&framed(&echo(1, &vec![1; len]), usize::MAX)).await;
            peer.receive().await.expect("an answer");
            let before = world.server.copied();
            for n in 0..8 {
                peer.send(&framed(&echo(n, &vec![1; len]), usize::MAX)).await;
                peer.receive().await.expect("an answer");
            }
            let copied = world.server.copied() - before;
            assert!(copied <= 8 * copies * len as u64, "{copied} bytes of payloads of {len} were copied");
        }
    });
}

#[test]
fn a_slow_call_blocks_no_other_and_answers_come_out_of_order() {
    run(async {
        let world = World::new();
        let mut peer = world.connect().await;
        let mut all = framed(&call(1, WAIT, &[]), usize::MAX);
        all.extend(framed(&call(2, 0, &[]), usize::MAX));
        all.extend(framed(&echo(3, b"x"), usize::MAX));
        peer.send(&all).await;
        assert_eq!(peer.receive().await.expect("an answer").0, 2);
        assert_eq!(peer.receive().await.expect("an answer").0, 3);
        world.gate.add_permits(1);
        assert_eq!(peer.receive().await, Some((1, Bytes::from_static(&[0, 0, 0, 9]))));
    });
}

#[test]
fn so_many_calls_are_in_flight_and_the_rest_waits_unread() {
    run(async {
        let world = World::new();
        let mut peer = world.connect().await;
        let more = CALLS as u32 + 44;
        let calls: Vec<u8> = (0..more).flat_map(|xid| framed(&call(xid, WAIT, &[]), usize::MAX)).collect();
        peer.send(&calls).await;
        world.gate.add_permits(1);
        let mut seen: Vec<u32> = Vec::new();
        for _ in 0..more {
            seen.push(peer.receive().await.expect("an answer").0);
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..more).collect::<Vec<_>>());
        drop(peer);
        world.is_clean().await;
    });
}

/// Protocol rule 3, over a socket: see `session` for the rule in detail.
#[test]
fn calls_that_hang_hold_up_no_other() {
    run(async {
        let world = World::new();
        let mut peer = world.connect().await;
        let hanging: Vec<u8> =
            (0..CALLS as u32).flat_map(|xid| framed(&call(xid, WAIT, &[]), usize::MAX)).collect();
        peer.send(&hanging).await;
        peer.send(&framed(&call(5000, WAIT, &[]), usize::MAX)).await;
        peer.send(&framed(&call(5001, 0, &[]), usize::MAX)).await;
        assert_eq!(peer.receive().await, Some((5000, Bytes::from_static(&[0, 0, 0, 1]))), "try again");
        assert_eq!(peer.receive().await.expect("an answer").0, 5001);
        world.gate.add_permits(1);
        for _ in 0..CALLS {
            assert!(peer.receive().await.expect("an answer").0 < 5000);
        }
        drop(peer);
        world.is_clean().await;
    });
}

#[test]
fn who_does_not_read_is_not_read_from() {
    run(async {
        let world = World::new();
        let mut peer = world.connect().await;
        let talk = framed(&call(1, TALK, &encoded(&(1_u32 << 20))), usize::MAX);
        // More than the sockets hold: some call waits for memory that the answers before it hold.
        for _ in 0..CALLS {
            peer.send(&talk).await;
        }
        while world.server.memory_free() > MEMORY - (8 << 20) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let mut other = world.connect().await;
        other.send(&framed(&echo(2, &[1; 100_000]), usize::MAX)).await;
        assert_eq!(other.receive().await.expect("nobody else waits").0, 2);
        for _ in 0..CALLS {
            assert_eq!(peer.receive().await.expect("an answer").1.len(), (1 << 20) + 4);
        }
        drop((peer, other));
        world.is_clean().await;
    });
}

#[test]
fn rpc_itself_answers_what_no_program_does() {
    run(async {
        let world = World::new();
        let mut peer = world.connect().await;
        let with = |at: usize, word: u32| {
            let mut record = call(7, 0, &[]);
            record[at..at + 4].copy_from_slice(&word.to_be_bytes());
            framed(&record, usize::MAX)
        };
        for (record, outcome) in [
            (with(8, 3), Outcome::RpcMismatch),
            (with(12, 1), Outcome::ProgramUnavailable),
            (with(16, 5), Outcome::ProgramMismatch(3, 4)),
            (with(20, 99), Outcome::ProcedureUnavailable),
            (with(24, 6), Outcome::Denied(crate::rpc::AuthFault::RejectedCredentials)),
        ] {
            peer.send(&record).await;
            let expected = framed(&outcome.into_datagram(7), usize::MAX);
            let mut reply = vec![0; expected.len()];
            peer.socket.read_exact(&mut reply).await.expect("an answer");
            assert_eq!(reply, expected);
        }
    });
}

#[test]
fn garbage_ends_its_connection_and_no_other() {
    run(async {
        let world = World::new();
        let mut good = world.connect().await;
        for seed in 0..64_u32 {
            let mut bad = world.connect().await;
            let bytes: Vec<u8> =
                (0..40_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> (seed % 24)) as u8).collect();
            let _ended = bad.socket.write_all(&bytes).await;
            drop(bad);
            good.send(&framed(&echo(seed, b"still here"), usize::MAX)).await;
            assert_eq!(good.receive().await.expect("an answer").0, seed);
        }
        drop(good);
        world.is_clean().await;
    });
}

#[test]
fn connections_that_die_in_any_state_leave_nothing() {
    run(async {
        let world = World::new();
        let states = [
            framed(&echo(1, &[1; 300_000]), 1000)[..100_000].to_vec(),
            framed(&echo(1, &[1; 300_000]), usize::MAX)[..70].to_vec(),
            framed(&call(1, TALK, &encoded(&(4_u32 << 20))), usize::MAX),
            framed(&call(1, WAIT, &[]), usize::MAX),
            vec![0x80],
        ];
        for state in &states {
            let mut peer = world.connect().await;
            peer.send(state).await;
            tokio::task::yield_now().await;
        }
        world.gate.add_permits(1);
        world.is_clean().await;
    });
}

#[test]
fn a_peer_that_ends_no_record_is_dropped() {
    run(async {
        let world = World::new();
        let mut peer = world.connect().await;
        peer.send(&framed(&echo(1, &[1; 300_000]), usize::MAX)[..70_000]).await;
        while world.server.memory_free() == MEMORY {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::pause();
        assert!(peer.receive().await.is_none());
        world.is_clean().await;
    });
}

#[test]
fn a_stop_answers_what_was_begun_and_leaves_nothing() {
    run(async {
        let world = World::new();
        let (mut busy, mut idle) = (world.connect().await, world.connect().await);
        busy.send(&framed(&call(1, WAIT, &[]), usize::MAX)).await;
        busy.send(&framed(&call(2, 0, &[]), usize::MAX)).await;
        assert_eq!(busy.receive().await.expect("an answer").0, 2);
        idle.send(&framed(&call(3, 0, &[]), usize::MAX)).await;
        assert_eq!(idle.receive().await.expect("an answer").0, 3);
        let finish = async {
            assert!(idle.receive().await.is_none());
            world.gate.add_permits(1);
            assert_eq!(busy.receive().await.expect("an answer").0, 1);
            assert!(busy.receive().await.is_none());
        };
        futures_util::future::join(world.server.stop(), finish).await;
        world.is_clean().await;
        assert!(TcpStream::connect(world.server.addresses()[0]).await.is_err(), "the listener is closed");
    });
}

#[test]
fn nobody_is_answered_before_the_server_opens() {
    run(async {
        let programs = Programs::new(vec![Arc::new(Toy { gate: Arc::new(Semaphore::new(0)) })]);
        let listeners = vec![Listener { address: "127.0.0.1:0".parse().expect("valid"), programs }];
        let config = Config { listeners, memory: MEMORY, workers: vec![Runtime::current()] };
        let server = Server::start(config).expect("it starts");
        let socket = TcpStream::connect(server.addresses()[0]).await.expect("it listens");
        let mut peer = Peer { socket };
        peer.send(&framed(&call(1, 0, &[]), usize::MAX)).await;
        let early = tokio::time::timeout(Duration::from_millis(100), peer.receive()).await;
        assert!(early.is_err() && server.connections().is_empty());
        server.open();
        assert_eq!(peer.receive().await.expect("an answer").0, 1);
    });
}
