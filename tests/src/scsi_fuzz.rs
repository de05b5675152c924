//! Arbitrary commands of two hosts on small disks in memory: no panic, no command that waits, no write where
//! none is allowed.
//!
//! An input is a sequence of commands, each of them:
//!
//! | bytes  | field | meaning                                                                  |
//! |--------|-------|--------------------------------------------------------------------------|
//! | 0      | who   | bit 0: host; bits 1..3: LUN; bits 4..6: attribute; bit 7: dropped begun  |
//! | 1..3   | data  | bytes of Data-Out that follow, little-endian, at most 8191               |
//! | 3..19  | cdb   |                                                                          |
//! | 19..   |       | Data-Out; what is missing is zero                                        |

use bytes::Bytes;
use san_iscsi::mem::MemLun;
use san_iscsi::scsi::command::{Cdb, Command, LunField, Response, Status, TaskAttribute};
use san_iscsi::scsi::inventory::{
    BlockSize, Device, Host, Identity, Initiators, Inventory, Mapping, Naa, PortalId,
};
use san_iscsi::scsi::nexus::Begin;
use san_iscsi::scsi::runtime::{Detached, Runtime};
use san_iscsi::scsi::{InitiatorPort, Nexus, Target};
use san_iscsi::LogicalUnit;
use std::future::{pending, Future};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

const HEADER: usize = 19;
const DISK: u64 = 256 << 10;
/// The last disk is read-only for everybody.
const DISKS: usize = 3;
const PORTAL: PortalId = PortalId(1);

/// Nothing here ever waits, so that what is spawned ends at once and no time passes.
struct AtOnce;

impl Runtime for AtOnce {
    fn spawn(&self, task: Detached) {
        now(task);
    }

    fn sleep(&self, _time: Duration) -> Detached {
        Box::pin(pending())
    }
}

fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("something waits though storage does not"),
    }
}

/// Runs the commands of an input.
///
/// # Panics
/// On any finding.
pub fn cdb(data: &[u8]) {
    let disks: Vec<Arc<MemLun>> = (0..DISKS).map(|_| Arc::new(MemLun::new(DISK))).collect();
    let target = Target::new("iqn.2026-11.test:target".to_owned(), vec![PORTAL], Arc::new(AtOnce));
    now(target.apply(inventory(&disks))).expect("the inventory is consistent");
    let nexuses: Vec<Arc<Nexus<MemLun>>> = (0..2).map(|n| attach(&target, n)).collect();
    let mut rest = data;
    while let Some((header, next)) = rest.split_first_chunk::<HEADER>() {
        let wanted = usize::from(u16::from_le_bytes([header[1], header[2]]) & 0x1fff);
        let (given, next) = next.split_at(wanted.min(next.len()));
        let mut data_out = given.to_vec();
        data_out.resize(wanted, 0);
        run(&nexuses[usize::from(header[0] & 1)], header, data_out);
        rest = next;
    }
    nexuses.iter().for_each(|nexus| now(nexus.detach()));
    let untouched = now(disks[DISKS - 1].read(0, DISK)).expect("memory does not fail");
    assert!(untouched.iter().all(|byte| *byte == 0), "a read-only disk was written");
}

fn run(nexus: &Nexus<MemLun>, header: &[u8; HEADER], data_out: Vec<u8>) {
    let attributes =
        [TaskAttribute::Simple, TaskAttribute::Ordered, TaskAttribute::HeadOfQueue, TaskAttribute::Aca];
    let command = Command {
        lun: LunField::from_number(u16::from(header[0] >> 1 & 0x07)),
        cdb: Cdb::from_bytes(&header[3..]),
        attribute: attributes[usize::from(header[0] >> 4 & 0x03)],
        data_out: data_out.len() as u32,
        data_in: u32::MAX,
    };
    match nexus.begin(&command) {
        Begin::Answer(answer) => check(&answer),
        Begin::Proceed(_) if header[0] & 0x80 != 0 => {}
        Begin::Proceed(task) => {
            let needed = task.data_out() as usize;
            assert!(needed <= data_out.len(), "more data is wanted than there is");
            check(&now(task.execute(Bytes::from(data_out).slice(..needed))));
        }
    }
}

fn check(answer: &Response) {
    assert_eq!(answer.sense.is_some(), answer.status == Status::CheckCondition);
    assert!(answer.data_in.is_empty() || answer.status == Status::Good);
    assert!(answer.data_in.len() as u64 <= answer.transfer);
}

fn naa(disk: usize) -> Naa {
    Naa([0x60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, disk as u8])
}

fn inventory(disks: &[Arc<MemLun>]) -> Inventory<MemLun> {
    let device = |(n, disk): (usize, &Arc<MemLun>)| Device {
        identity: Identity {
            naa: naa(n),
            serial: "1".to_owned(),
            vendor: "ASHLAR".to_owned(),
            product: "VOLUME".to_owned(),
            revision: "1".to_owned(),
        },
        unit: Some(Arc::clone(disk)),
        block_size: if n == 1 { BlockSize::B4096 } else { BlockSize::B512 },
        content: 0,
        saved_reservations: Bytes::new(),
    };
    let host = |n: usize| Host {
        name: n.to_string(),
        initiators: Initiators::Named(vec![initiator(n)]),
        networks: Vec::new(),
        portals: Vec::new(),
        credentials: None,
        luns: (0..DISKS)
            .map(|disk| {
                let read_only = disk == DISKS - 1;
                (disk as u16, Mapping { device: naa(disk), read_only, write_cache: n == 0 })
            })
            .collect(),
    };
    Inventory { devices: disks.iter().enumerate().map(device).collect(), hosts: vec![host(0), host(1)] }
}

fn initiator(n: usize) -> String {
    format!("iqn.2026-11.test:{n}")
}

fn attach(target: &Arc<Target<MemLun>>, n: usize) -> Arc<Nexus<MemLun>> {
    let grant = target.admit(&initiator(n), [192, 0, 2, 1].into(), PORTAL);
    let port = InitiatorPort { name: initiator(n), isid: [0, 2, 3, 4, 5, n as u8] };
    target.attach(&grant, port).expect("the host is known")
}
