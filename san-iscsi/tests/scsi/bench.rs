//! What the tests of SCSI stand on: a target over disks in memory, on a clock that the test sets.

use bytes::Bytes;
use san_iscsi::mem::MemLun;
use san_iscsi::scsi::command::{Cdb, Command, LunField, Response, Status, TaskAttribute};
use san_iscsi::scsi::inventory::{
    BlockSize, Device, Host, Identity, Initiators, Inventory, Mapping, Naa, PortalId,
};
use san_iscsi::scsi::nexus::Begin;
use san_iscsi::scsi::runtime::{Detached, Runtime};
use san_iscsi::scsi::{InitiatorPort, Nexus, Target, Task};
use std::sync::Arc;
use std::time::Duration;

/// Bytes of a disk here.
pub(crate) const DISK: u64 = 64 << 20;
/// The portals of every target here.
pub(crate) const PORTALS: [PortalId; 2] = [PortalId(1), PortalId(2)];

/// Tokio's tasks and its clock, which a test pauses.
pub(crate) struct Tokio;

impl Runtime for Tokio {
    fn spawn(&self, task: Detached) {
        drop(tokio::spawn(task));
    }

    fn sleep(&self, time: Duration) -> Detached {
        Box::pin(tokio::time::sleep(time))
    }
}

/// A target and what its administrator gave it; [`Bench::apply`] gives it again.
pub(crate) struct Bench {
    pub(crate) target: Arc<Target<MemLun>>,
    pub(crate) disks: Vec<Arc<MemLun>>,
    pub(crate) hosts: Vec<Host>,
    pub(crate) block_size: BlockSize,
    pub(crate) content: u64,
}

/// The identifier of disk `n`.
pub(crate) fn naa(n: usize) -> Naa {
    let mut bytes = *b"\x6aashlar-disk-00\0";
    bytes[15] = n as u8;
    Naa(bytes)
}

/// An initiator name.
pub(crate) fn name(n: usize) -> String {
    format!("iqn.2026-11.test:host-{n}")
}

/// LUN `number` of a host is this disk, writable and with a write cache.
pub(crate) fn mapped(disk: usize) -> Mapping {
    Mapping { device: naa(disk), read_only: false, write_cache: true }
}

/// A host of one initiator without secrets.
pub(crate) fn host(n: usize, luns: &[(u16, Mapping)]) -> Host {
    Host {
        name: format!("host-{n}"),
        initiators: Initiators::Named(vec![name(n)]),
        networks: Vec::new(),
        portals: Vec::new(),
        credentials: None,
        luns: luns.iter().copied().collect(),
    }
}

impl Bench {
    /// Two hosts that see disk 0 as LUN 0; the first also has disk 1 as LUN 1.
    pub(crate) async fn new() -> Bench {
        Bench::with(2, vec![host(0, &[(0, mapped(0)), (1, mapped(1))]), host(1, &[(0, mapped(0))])]).await
    }

    pub(crate) async fn with(disks: usize, hosts: Vec<Host>) -> Bench {
        let name = "iqn.2026-11.io.ashlar:test".to_owned();
        let bench = Bench {
            target: Target::new(name, PORTALS.to_vec(), Arc::new(Tokio)),
            disks: (0..disks).map(|_| Arc::new(MemLun::new(DISK))).collect(),
            hosts,
            block_size: BlockSize::B512,
            content: 0,
        };
        bench.apply().await;
        bench
    }

    /// What the administrator gives, as it stands here.
    pub(crate) fn inventory(&self) -> Inventory<MemLun> {
        let device = |(n, disk): (usize, &Arc<MemLun>)| Device {
            identity: Identity {
                naa: naa(n),
                serial: format!("SERIAL{n}"),
                vendor: "ASHLAR".to_owned(),
                product: "VOLUME".to_owned(),
                revision: "1".to_owned(),
            },
            unit: Some(Arc::clone(disk)),
            block_size: self.block_size,
            content: self.content,
            saved_reservations: disk.saved(),
        };
        Inventory { devices: self.disks.iter().enumerate().map(device).collect(), hosts: self.hosts.clone() }
    }

    pub(crate) async fn apply(&self) {
        self.target.apply(self.inventory()).await.expect("the inventory is consistent");
    }

    /// A nexus of host `n` through portal 1, with its first unit attentions cleared.
    pub(crate) async fn login(&self, n: usize) -> Seat {
        let seat = self.try_login(n, PortalId(1)).expect("the host is known");
        let luns: Vec<u16> = self.hosts[n].luns.keys().copied().collect();
        for lun in luns {
            seat.run(lun, &[0x00, 0, 0, 0, 0, 0]).await;
        }
        seat
    }

    pub(crate) fn try_login(&self, n: usize, portal: PortalId) -> Option<Seat> {
        let source = [192, 0, 2, n as u8].into();
        let grant = self.target.admit(&name(n), source, portal);
        let port = InitiatorPort { name: name(n), isid: [0, 2, 0x3d, 0, 0, n as u8] };
        Some(Seat { nexus: self.target.attach(&grant, port)? })
    }
}

/// One nexus, and shorthands for what is sent through it.
pub(crate) struct Seat {
    pub(crate) nexus: Arc<Nexus<MemLun>>,
}

impl Seat {
    /// Begins a command; `data` is all the Data-Out that it announces.
    pub(crate) fn begin(&self, lun: u16, cdb: &[u8], data: usize) -> Begin<MemLun> {
        self.begin_as(TaskAttribute::Simple, lun, cdb, data)
    }

    pub(crate) fn begin_as(
        &self,
        attribute: TaskAttribute,
        lun: u16,
        cdb: &[u8],
        data: usize,
    ) -> Begin<MemLun> {
        self.nexus.begin(&Command {
            lun: LunField::from_number(lun),
            cdb: Cdb::from_bytes(cdb),
            attribute,
            data_out: data as u32,
            data_in: 0,
        })
    }

    /// A task that has begun.
    pub(crate) fn task(&self, lun: u16, cdb: &[u8], data: usize) -> Task<MemLun> {
        match self.begin(lun, cdb, data) {
            Begin::Proceed(task) => task,
            Begin::Answer(answer) => panic!("{cdb:02x?} was answered at once: {answer:02x?}"),
        }
    }

    pub(crate) async fn run(&self, lun: u16, cdb: &[u8]) -> Response {
        self.send(lun, cdb, &[]).await
    }

    pub(crate) async fn send(&self, lun: u16, cdb: &[u8], data: &[u8]) -> Response {
        match self.begin(lun, cdb, data.len()) {
            Begin::Answer(answer) => answer,
            Begin::Proceed(task) => {
                let data = Bytes::copy_from_slice(&data[..task.data_out() as usize]);
                task.execute(data).await
            }
        }
    }

    /// Key and codes of a command that fails.
    pub(crate) async fn fails(&self, lun: u16, cdb: &[u8], data: &[u8]) -> (u8, u8, u8) {
        codes(&self.send(lun, cdb, data).await)
    }

    /// Data-In of a command that succeeds.
    pub(crate) async fn good(&self, lun: u16, cdb: &[u8]) -> Bytes {
        let answer = self.run(lun, cdb).await;
        assert_eq!(answer.status, Status::Good, "{cdb:02x?}: {:02x?}", answer.sense);
        answer.data_in
    }

    pub(crate) async fn write(&self, lun: u16, lba: u8, data: &[u8]) -> Response {
        self.send(lun, &write10(lba, (data.len() / 512) as u8), data).await
    }

    pub(crate) async fn read(&self, lun: u16, lba: u8, blocks: u8) -> Bytes {
        self.good(lun, &read10(lba, blocks)).await
    }
}

/// READ(10).
pub(crate) fn read10(lba: u8, blocks: u8) -> [u8; 10] {
    [0x28, 0, 0, 0, 0, lba, 0, 0, blocks, 0]
}

/// WRITE(10).
pub(crate) fn write10(lba: u8, blocks: u8) -> [u8; 10] {
    [0x2a, 0, 0, 0, 0, lba, 0, 0, blocks, 0]
}

/// Key and codes of an answer that is a check condition.
pub(crate) fn codes(answer: &Response) -> (u8, u8, u8) {
    let sense = answer.sense.unwrap_or_else(|| panic!("no check condition: {answer:02x?}"));
    assert_eq!(answer.status, Status::CheckCondition);
    (sense.key as u8, sense.asc, sense.ascq)
}

/// A number, big-endian.
pub(crate) fn be(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |n, byte| n << 8 | u64::from(*byte))
}

/// A CDB with these bytes at `at`.
pub(crate) fn with<const N: usize>(mut cdb: [u8; N], at: usize, bytes: &[u8]) -> [u8; N] {
    cdb[at..at + bytes.len()].copy_from_slice(bytes);
    cdb
}

/// CDBs of 16 bytes: LBA and count.
pub(crate) fn long(opcode: u8, flags: u8, lba: u64, count: u32) -> [u8; 16] {
    let cdb = with([0; 16], 0, &[opcode, flags]);
    with(with(cdb, 2, &lba.to_be_bytes()), 10, &count.to_be_bytes())
}

/// A CDB of 10 bytes.
pub(crate) fn short(opcode: u8, flags: u8) -> [u8; 10] {
    with([0; 10], 0, &[opcode, flags])
}
