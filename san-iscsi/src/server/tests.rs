//! The server over loopback, with an initiator written by hand: sessions that replace each other, connections
//! that die in every state, and what is left of them.

use super::*;
use crate::lun::LogicalUnit;
use crate::mem::{Hang, MemLun};
use crate::scsi::command::{Cdb, LunField, TaskAttribute, CDB_MAX};
use crate::scsi::inventory::{BlockSize, Device, Host, Identity, Initiators, Inventory, Mapping, Naa};
use crate::scsi::runtime::{Detached, Runtime as Driver};
use crate::wire::digest::Digests;
use crate::wire::frame::whole;
use crate::wire::Order;
use crate::wire::*;
use bytes::Bytes;
use std::future::Future;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const TARGET: &str = "iqn.2026-11.io.ashlar:test";
const MEMORY: usize = 32 << 20;
const DISK: u64 = 16 << 20;

struct Tokio;

impl Driver for Tokio {
    fn spawn(&self, task: Detached) {
        tokio::spawn(task);
    }

    fn sleep(&self, time: Duration) -> Detached {
        Box::pin(tokio::time::sleep(time))
    }
}

/// A server with a disk that anybody may use.
struct World {
    server: Server<MemLun>,
    disk: Arc<MemLun>,
}

impl World {
    async fn new() -> World {
        let disk = Arc::new(MemLun::new(DISK));
        let ids = vec![PortalId(1), PortalId(2)];
        let target = Target::new(TARGET.into(), ids.clone(), Arc::new(Tokio));
        let naa = Naa([0x60; 16]);
        let identity = Identity {
            naa,
            serial: "1".into(),
            vendor: "ASHLAR".into(),
            product: "TEST".into(),
            revision: "1".into(),
        };
        let device = Device {
            identity,
            unit: Some(Arc::clone(&disk)),
            block_size: BlockSize::B512,
            content: 0,
            saved_reservations: Bytes::new(),
        };
        let mapping = Mapping { device: naa, read_only: false, write_cache: true };
        let host = Host {
            name: "any".into(),
            initiators: Initiators::Any,
            networks: Vec::new(),
            portals: Vec::new(),
            credentials: None,
            luns: [(0, mapping)].into_iter().collect(),
        };
        let inventory = Inventory { devices: vec![device], hosts: vec![host] };
        target.apply(inventory).await.expect("consistent");
        let portal =
            |id| PortalConfig { id, listen: "127.0.0.1:0".parse().expect("valid"), advertise: vec![] };
        let portals = ids.into_iter().map(portal).collect();
        let workers = vec![Runtime::current()];
        let server = Server::start(&target, Config { portals, memory: MEMORY, workers }).expect("it starts");
        server.open();
        World { server, disk }
    }

    async fn connect(&self, portal: usize) -> Peer {
        let socket = TcpStream::connect(self.server.addresses()[portal].bound).await.expect("it listens");
        Peer { socket, cmd_sn: Sn(1), isid: 1, next: 1, tsih: Tsih(0) }
    }

    async fn logged_in(&self) -> Peer {
        let mut peer = self.connect(0).await;
        peer.log_in(Tsih(0)).await;
        peer.settle().await;
        peer
    }

    async fn is_left(&self, connections: usize) {
        while self.server.connections() != connections {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// All connections are gone, and with them all memory.
    async fn is_clean(&self) {
        for _ in 0..1000 {
            if self.server.connections() == 0 && self.server.memory_free() == MEMORY {
                assert!(self.server.shared.registry().is_empty());
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let (connections, free) = (self.server.connections(), self.server.memory_free());
        panic!("{connections} connections and {} bytes are left", MEMORY - free);
    }
}

/// An initiator.
struct Peer {
    socket: TcpStream,
    cmd_sn: Sn,
    isid: u8,
    next: u32,
    tsih: Tsih,
}

impl Peer {
    async fn send(&mut self, request: Request, data: &[u8]) {
        let (bhs, ahs) = request.emit();
        self.send_raw(&whole(bhs, &ahs, data, Digests::default())).await;
    }

    async fn send_raw(&mut self, bytes: &[u8]) {
        // A server that has closed already says so at the next read.
        let _ = self.socket.write_all(bytes).await;
    }

    /// The next PDU; none when the server closed.
    async fn receive(&mut self) -> Option<(Bhs, Vec<u8>)> {
        let mut bhs = [0; BHS_LEN];
        self.socket.read_exact(&mut bhs).await.ok()?;
        let len = u32::from_be_bytes([0, bhs[5], bhs[6], bhs[7]]) as usize;
        let mut data = vec![0; len.next_multiple_of(4)];
        self.socket.read_exact(&mut data).await.ok()?;
        data.truncate(len);
        Some((bhs, data))
    }

    fn login_request(&self, tsih: Tsih) -> Vec<u8> {
        let request = LoginRequest {
            order: Order { immediate: true, cmd_sn: self.cmd_sn, exp_stat_sn: Sn(0) },
            more: false,
            stage: Stage::Operational,
            next: Some(Stage::FullFeature),
            version_max: 0,
            version_min: 0,
            isid: Isid([self.isid; 6]),
            tsih,
            task: TaskTag(0),
            cid: Cid(1),
        };
        let keys = format!("InitiatorName=iqn.2026-11.io.ashlar:i\0TargetName={TARGET}\0");
        whole(request.emit(), &[], keys.as_bytes(), Digests::default())
    }

    async fn try_log_in(&mut self, tsih: Tsih) -> LoginResponse {
        let request = self.login_request(tsih);
        self.send_raw(&request).await;
        let (bhs, _) = self.receive().await.expect("an answer");
        LoginResponse::parse(&bhs).expect("a login response")
    }

    async fn log_in(&mut self, tsih: Tsih) -> LoginResponse {
        let response = self.try_log_in(tsih).await;
        assert_eq!(response.status, LoginStatus::Success);
        (self.tsih, self.cmd_sn) = (response.tsih, response.window.exp_cmd_sn);
        response
    }

    fn command(&mut self, cdb: &[u8], read: u32, write: u32) -> ScsiCommand {
        let mut bytes = [0; CDB_MAX];
        bytes[..cdb.len()].copy_from_slice(cdb);
        self.next += 1;
        ScsiCommand {
            order: Order { immediate: false, cmd_sn: self.cmd_sn.take(), exp_stat_sn: Sn(0) },
            last: true,
            read: read > 0,
            write: write > 0,
            attribute: TaskAttribute::Simple,
            lun: LunField([0; 8]),
            task: TaskTag(self.next),
            expected: read.max(write),
            cdb: Cdb(bytes),
        }
    }

    fn write(&mut self, lba: u8, blocks: u16) -> ScsiCommand {
        let [high, low] = blocks.to_be_bytes();
        self.command(&[0x2a, 0, 0, 0, 0, lba, 0, high, low, 0], 0, u32::from(blocks) * 512)
    }

    fn read(&mut self, lba: u8, blocks: u16) -> ScsiCommand {
        let [high, low] = blocks.to_be_bytes();
        self.command(&[0x28, 0, 0, 0, 0, lba, 0, high, low, 0], u32::from(blocks) * 512, 0)
    }

    async fn ask(&mut self, command: ScsiCommand, data: &[u8]) -> (Bhs, Vec<u8>) {
        self.send(Request::ScsiCommand(command), data).await;
        self.receive().await.expect("an answer")
    }

    /// Goes on to one of the states that a connection may die in.
    async fn reach(&mut self, state: u8) {
        match state {
            0 => {}
            1 => self.send_raw(&self.login_request(Tsih(0))[..70]).await,
            2 => self.send_raw(&[1, 2, 3]).await,
            3 => {
                let write = self.write(0, 4096);
                self.send(Request::ScsiCommand(write), &[]).await;
                self.receive().await.expect("an R2T");
            }
            4 => {
                let write = self.write(0, 4096);
                self.send(Request::ScsiCommand(write), &[]).await;
                let r2t = R2t::parse(&self.receive().await.expect("an R2T").0).expect("an R2T");
                let pdu = DataOut {
                    task: write.task,
                    transfer: Some(r2t.transfer),
                    last: false,
                    data_sn: 0,
                    offset: 0,
                    exp_stat_sn: Sn(0),
                };
                let (bhs, _) = Request::DataOut(pdu).emit();
                self.send_raw(&whole(bhs, &[], &[7; 100_000], Digests::default())[..70_000]).await;
            }
            5 => {
                let write = self.write(0, 8);
                self.send(Request::ScsiCommand(write), &[1; 4096]).await;
            }
            6 => {
                for _ in 0..64 {
                    let read = self.read(0, 2048);
                    self.send(Request::ScsiCommand(read), &[]).await;
                }
            }
            7 => {
                let write = self.write(0, 8);
                self.send(Request::ScsiCommand(write), &[1; 2000]).await;
                self.send_raw(&[0xff; 48]).await;
            }
            _ => {
                let write = self.write(0, 1);
                self.send(Request::ScsiCommand(write), &[1; 512]).await;
                let order = Order { immediate: true, cmd_sn: self.cmd_sn, exp_stat_sn: Sn(0) };
                let reset = TaskManagementRequest {
                    order,
                    function: TaskFunction::LogicalUnitReset,
                    lun: LunField([0; 8]),
                    task: TaskTag(99),
                    referenced: TaskTag(0),
                    ref_cmd_sn: Sn(0),
                };
                self.send(Request::TaskManagement(reset), &[]).await;
            }
        }
    }

    /// Clears the unit attention of a new nexus.
    async fn settle(&mut self) {
        let ready = self.command(&[0; 6], 0, 0);
        let (bhs, _) = self.ask(ready, &[]).await;
        assert_eq!(ScsiResponse::parse(&bhs).expect("a response").status, 2);
    }
}

/// Runs a test on a runtime of one thread, as a server's worker is.
fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(60), test).await.expect("in time") });
}

#[test]
fn data_goes_out_and_comes_back_whatever_its_size() {
    run(async {
        let world = World::new().await;
        let mut peer = world.logged_in().await;
        for blocks in [1_u16, 8, 64, 129, 2048, 8192] {
            let data: Vec<u8> =
                (0..usize::from(blocks) * 512).map(|i| (i / 3) as u8 ^ blocks as u8).collect();
            let write = peer.write(0, blocks);
            peer.send(Request::ScsiCommand(write), &[]).await;
            loop {
                let (bhs, _) = peer.receive().await.expect("an answer");
                if bhs[0] == 0x21 {
                    assert_eq!(ScsiResponse::parse(&bhs).expect("a response").status, 0);
                    break;
                }
                let r2t = R2t::parse(&bhs).expect("an R2T");
                let bytes = &data[r2t.offset as usize..][..r2t.len as usize];
                for (n, piece) in bytes.chunks(200_000).enumerate() {
                    let (start, end) = (n * 200_000, n * 200_000 + piece.len());
                    let pdu = DataOut {
                        task: write.task,
                        transfer: Some(r2t.transfer),
                        last: end == bytes.len(),
                        data_sn: n as u32,
                        offset: r2t.offset + start as u32,
                        exp_stat_sn: Sn(0),
                    };
                    peer.send(Request::DataOut(pdu), piece).await;
                }
            }
            let read = peer.read(0, blocks);
            peer.send(Request::ScsiCommand(read), &[]).await;
            let mut back = Vec::new();
            loop {
                let (bhs, piece) = peer.receive().await.expect("data");
                back.extend(piece);
                if DataIn::parse(&bhs).expect("data").good.is_some() {
                    break;
                }
            }
            assert!(back == data, "{blocks} blocks");
        }
        drop(peer);
        world.is_clean().await;
    });
}

#[test]
fn a_new_login_ends_the_old_session_before_it_is_answered() {
    run(async {
        let world = World::new().await;
        let mut old = world.logged_in().await;
        world.disk.hang(Hang::Ordered);
        let write = old.write(0, 1);
        old.send(Request::ScsiCommand(write), &[1; 512]).await;
        let mut new = world.connect(0).await;
        let answer = {
            let mut login = std::pin::pin!(new.log_in(Tsih(0)));
            let early = tokio::time::timeout(Duration::from_millis(300), login.as_mut()).await;
            assert!(early.is_err(), "the old session's write may still take effect");
            world.disk.hang(Hang::Not);
            login.await
        };
        assert_ne!(answer.tsih, old.tsih);
        assert!(old.receive().await.is_none(), "nothing more is heard of the old one");
        new.settle().await;
        let write = new.write(0, 1);
        new.ask(write, &[2; 512]).await;
        assert_eq!(world.disk.read(0, 512).await.expect("works")[..], [2; 512]);
        assert_eq!(world.server.sessions().len(), 1);
        drop((old, new));
        world.is_clean().await;
    });
}

#[test]
fn one_isid_on_two_portals_is_two_sessions() {
    run(async {
        let world = World::new().await;
        let first = world.logged_in().await;
        let mut second = world.connect(1).await;
        second.log_in(Tsih(0)).await;
        assert_eq!(world.server.sessions().len(), 2);
        drop((first, second));
        world.is_clean().await;
    });
}

#[test]
fn a_session_goes_on_over_a_new_connection() {
    run(async {
        let world = World::new().await;
        let mut old = world.logged_in().await;
        let mut new = world.connect(0).await;
        (new.cmd_sn, new.next) = (old.cmd_sn, old.next);
        let answer = new.log_in(old.tsih).await;
        assert_eq!((answer.tsih, answer.window.exp_cmd_sn), (old.tsih, old.cmd_sn));
        assert!(old.receive().await.is_none());
        let ready = new.command(&[0; 6], 0, 0);
        let (bhs, _) = new.ask(ready, &[]).await;
        let status = ScsiResponse::parse(&bhs).expect("a response").status;
        assert_eq!(status, 0, "the nexus is the same: it has no news");
        let mut unknown = world.connect(0).await;
        unknown.isid = 9;
        let answer = unknown.try_log_in(Tsih(777)).await;
        assert_eq!(answer.status, LoginStatus::SessionDoesNotExist);
        drop((old, new, unknown));
        world.is_clean().await;
    });
}

#[test]
fn connections_that_die_in_any_state_leave_nothing() {
    run(async {
        let world = World::new().await;
        for hang in [Hang::Not, Hang::Queued, Hang::Ordered] {
            for state in 0..9 {
                let mut peer = world.connect(0).await;
                peer.isid = state;
                if state > 1 {
                    peer.log_in(Tsih(0)).await;
                    peer.settle().await;
                }
                world.disk.hang(hang);
                peer.reach(state).await;
                tokio::task::yield_now().await;
                drop(peer);
                tokio::time::sleep(Duration::from_millis(5)).await;
                world.disk.hang(Hang::Not);
                world.is_clean().await;
            }
        }
    });
}

#[test]
fn garbage_ends_its_connection_and_no_other() {
    run(async {
        let world = World::new().await;
        let mut good = world.logged_in().await;
        for seed in 0..64_u8 {
            let mut bad = world.connect(0).await;
            if seed % 2 == 0 {
                bad.isid = 100;
                bad.log_in(Tsih(0)).await;
            }
            let bytes: Vec<u8> =
                (0..4000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> (seed % 24)) as u8).collect();
            bad.send_raw(&bytes).await;
            drop(bad);
            let read = good.read(0, 1);
            assert_eq!(good.ask(read, &[]).await.1.len(), 512);
        }
        drop(good);
        world.is_clean().await;
    });
}

#[test]
fn a_source_has_so_many_connections() {
    run(async {
        let world = World::new().await;
        let mut peers = Vec::new();
        for _ in 0..sources::PER_SOURCE {
            peers.push(world.connect(0).await);
        }
        let mut more = world.connect(0).await;
        assert!(more.receive().await.is_none(), "one too many");
        peers.truncate(1);
        world.is_left(1).await;
        peers[0].log_in(Tsih(0)).await;
        peers.clear();
        world.is_clean().await;
    });
}

#[test]
fn a_stop_asks_for_logout_and_leaves_nothing() {
    run(async {
        let world = World::new().await;
        let (mut polite, mut deaf) = (world.logged_in().await, world.connect(1).await);
        deaf.log_in(Tsih(0)).await;
        let late = world.connect(0).await;
        let began = tokio::time::Instant::now();
        let stop = async {
            world.server.stop().await;
            began.elapsed()
        };
        let leave = async {
            let (bhs, _) = polite.receive().await.expect("a message");
            let event = AsyncMessage::parse(&bhs).expect("a message").event;
            assert_eq!(event, AsyncEvent::LogoutRequest { within: 3 });
            let bye = LogoutRequest {
                order: Order { immediate: false, cmd_sn: polite.cmd_sn, exp_stat_sn: Sn(0) },
                reason: LogoutReason::CloseSession,
                task: TaskTag(5),
                cid: Cid(1),
            };
            polite.send(Request::Logout(bye), &[]).await;
            assert_eq!(polite.receive().await.expect("an answer").0[0], 0x26);
        };
        let (took, ()) = futures_util::future::join(stop, leave).await;
        assert!((Duration::from_secs(2)..Duration::from_secs(6)).contains(&took), "{took:?}");
        world.is_clean().await;
        let address = world.server.addresses()[0].bound;
        assert!(TcpStream::connect(address).await.is_err(), "the listeners are closed");
        drop((deaf, late));
    });
}

#[test]
fn logins_before_the_server_opens_are_told_to_come_back() {
    run(async {
        let world = World::new().await;
        world.server.shared.open.store(false, Ordering::Release);
        let mut peer = world.connect(0).await;
        assert_eq!(peer.try_log_in(Tsih(0)).await.status, LoginStatus::ServiceUnavailable);
        assert!(peer.receive().await.is_none());
        world.is_clean().await;
    });
}

#[test]
fn a_session_that_is_disconnected_can_have_no_effect_afterwards() {
    run(async {
        let world = World::new().await;
        let mut peer = world.logged_in().await;
        world.disk.hang(Hang::Queued);
        let write = peer.write(0, 1);
        peer.send(Request::ScsiCommand(write), &[1; 512]).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        world.server.disconnect(|session| session.portal == PortalId(1)).await;
        world.disk.hang(Hang::Not);
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(world.disk.read(0, 512).await.expect("works")[..], [0; 512]);
        world.is_clean().await;
    });
}
