//! A session without a server, for tests and fuzzers: one disk in memory, bytes in, bytes out, time by hand.
//!
//! Invariants: everything runs on the caller's thread, in the order of its coming, and stops where the disk
//! hangs; the same calls give the same bytes.

use super::registry::{Registry, Verdict};
use super::{Ends, Entropy, Entry, Portal, PortalAddress, Session, Work, WorkId};
use crate::mem::MemLun;
use crate::memory::Budget;
use crate::scsi::command::Response;
use crate::scsi::inventory::{
    BlockSize, Credentials, Device, Host, Identity, Initiators, Inventory, Mapping, Naa, PortalId,
};
use crate::scsi::nexus::{Event, TaskManagementResponse};
use crate::scsi::runtime::{Detached, Runtime};
use crate::scsi::Target;
use bytes::Bytes;
use std::future::Future;
use std::io::IoSlice;
use std::net::SocketAddr;
use std::pin::{pin, Pin};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// The target's name.
pub(crate) const TARGET: &str = "iqn.2026-11.io.ashlar:test";
/// The portal's number.
pub(crate) const PORTAL: PortalId = PortalId(7);

enum Done {
    Executed(WorkId, Response),
    Managed(WorkId, TaskManagementResponse),
    Detached,
}

type Running = Pin<Box<dyn Future<Output = Done> + Send>>;

/// Runs what is spawned when the driver does; its clock stands still.
#[derive(Default)]
struct Still(Mutex<Vec<Detached>>);

impl Runtime for Still {
    fn spawn(&self, task: Detached) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(task);
    }

    fn sleep(&self, _time: Duration) -> Detached {
        Box::pin(std::future::pending())
    }
}

impl Still {
    /// Runs what can run.
    fn poll(&self, cx: &mut Context<'_>) {
        let mut tasks = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        tasks.retain_mut(|task| task.as_mut().poll(cx).is_pending());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).append(&mut tasks);
    }
}

/// A target with one disk and one host, which anybody is.
pub(crate) struct World {
    pub(crate) target: Arc<Target<MemLun>>,
    pub(crate) disk: Arc<MemLun>,
    pub(crate) portal: Arc<Portal<MemLun>>,
    pub(crate) budget: Budget,
    runtime: Arc<Still>,
}

impl World {
    /// A world with a disk of `len` bytes and a budget of `memory`.
    pub(crate) fn new(len: u64, memory: usize, credentials: Option<Credentials>) -> World {
        let (runtime, disk) = (Arc::new(Still::default()), Arc::new(MemLun::new(len)));
        let other = PortalId(8);
        let target =
            Target::new(TARGET.into(), vec![PORTAL, other], Arc::clone(&runtime) as Arc<dyn Runtime>);
        let address = |port| SocketAddr::from(([0, 0, 0, 0], port));
        let addresses = [
            PortalAddress { id: PORTAL, bound: address(3260), advertised: Vec::new() },
            PortalAddress { id: other, bound: address(3261), advertised: Vec::new() },
        ];
        let portal = Portal {
            id: PORTAL,
            target: Arc::clone(&target),
            addresses: Arc::new(addresses),
            open: Arc::new(AtomicBool::new(true)),
        };
        let world = World { target, disk, portal: Arc::new(portal), budget: Budget::new(memory), runtime };
        world.give(credentials, &[0]);
        world
    }

    /// Gives the host these LUNs, all of them the one disk.
    pub(crate) fn give(&self, credentials: Option<Credentials>, luns: &[u16]) {
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
            unit: Some(Arc::clone(&self.disk)),
            block_size: BlockSize::B512,
            content: 0,
            saved_reservations: Bytes::new(),
        };
        let mapping = Mapping { device: naa, read_only: false, write_cache: true };
        let host = Host {
            name: "host".into(),
            initiators: Initiators::Named(vec!["iqn.2026-11.io.ashlar:initiator".into()]),
            networks: Vec::new(),
            portals: Vec::new(),
            credentials,
            luns: luns.iter().map(|lun| (*lun, mapping)).collect(),
        };
        let inventory = Inventory { devices: vec![device], hosts: vec![host] };
        let mut apply = pin!(self.target.apply(inventory));
        let mut cx = Context::from_waker(Waker::noop());
        let mut applied = false;
        for _ in 0..100 {
            self.runtime.poll(&mut cx);
            applied = apply.as_mut().poll(&mut cx).is_ready();
            if applied {
                break;
            }
        }
        debug_assert!(applied, "nothing hangs while an inventory is applied");
    }
}

/// A session of such a world, and everything that runs for it.
pub(crate) struct Driver {
    pub(crate) session: Session<MemLun>,
    pub(crate) now: Instant,
    pub(crate) registry: Registry<()>,
    runtime: Arc<Still>,
    running: Vec<Running>,
    event: Option<Pin<Box<dyn Future<Output = Event> + Send>>>,
}

impl Driver {
    /// A connection that has just been accepted.
    pub(crate) fn new(world: &World, now: Instant) -> Driver {
        let ends =
            Ends::new(SocketAddr::from(([10, 0, 0, 2], 40_000)), SocketAddr::from(([10, 0, 0, 1], 3260)));
        let entropy = Entropy(std::array::from_fn(|i| i as u8 + 1));
        let session = Session::new(Arc::clone(&world.portal), ends, entropy, &world.budget, now);
        let runtime = Arc::clone(&world.runtime);
        Driver { session, now, registry: Registry::default(), runtime, running: Vec::new(), event: None }
    }

    /// Gives it bytes, and runs what they lead to.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.session.receive(self.now, bytes);
        self.run();
    }

    /// Lets time pass.
    pub(crate) fn pass(&mut self, time: Duration) {
        self.now += time;
        self.session.tick(self.now);
        self.run();
    }

    /// Runs all that can run.
    pub(crate) fn run(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        // What was spawned may be waited for by what runs, and the other way round.
        let mut idle = 0;
        while idle < 8 {
            let mut busy = false;
            while let Some(work) = self.session.next_work() {
                busy = true;
                self.start(work);
            }
            self.runtime.poll(&mut cx);
            let mut done = Vec::new();
            self.running.retain_mut(|running| match running.as_mut().poll(&mut cx) {
                Poll::Ready(result) => {
                    done.push(result);
                    false
                }
                Poll::Pending => true,
            });
            busy |= !done.is_empty();
            for done in done {
                match done {
                    Done::Executed(id, response) => self.session.executed(self.now, id, response),
                    Done::Managed(id, response) => self.session.managed(self.now, id, response),
                    Done::Detached => self.session.detached(self.now),
                }
            }
            busy |= self.poll_event(&mut cx);
            idle = if busy { 0 } else { idle + 1 };
        }
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> bool {
        if self.event.is_none() {
            self.event = self.session.nexus().map(|nexus| {
                let nexus = Arc::clone(nexus);
                Box::pin(async move { nexus.event().await }) as Pin<Box<dyn Future<Output = Event> + Send>>
            });
        }
        let Some(Poll::Ready(event)) = self.event.as_mut().map(|event| event.as_mut().poll(cx)) else {
            return false;
        };
        self.event = None;
        self.session.on_event(self.now, event);
        self.session.ended().is_none()
    }

    fn start(&mut self, work: Work<MemLun>) {
        match work {
            Work::Enter(claim) => {
                let entry = match self.registry.claim(&claim, &()) {
                    Verdict::New(tsih) => Entry::New(tsih),
                    Verdict::Refused(status) => Entry::Refused(status),
                    // The tests of the server have more than one connection.
                    Verdict::Replace(()) | Verdict::Rejoin(..) => return,
                };
                let _entered = self.session.entered(self.now, entry);
            }
            Work::Execute { id, task, data } => {
                self.running.push(Box::pin(async move { Done::Executed(id, task.execute(data).await) }));
            }
            Work::Manage { id, nexus, function, lun } => self
                .running
                .push(Box::pin(async move { Done::Managed(id, nexus.task_management(function, lun).await) })),
            Work::Memory { bytes } => {
                if let Some(permit) = self.session.budget().try_take(bytes) {
                    self.session.granted(self.now, permit);
                }
            }
            Work::Detach(nexus) => self.running.push(Box::pin(async move {
                nexus.detach().await;
                Done::Detached
            })),
        }
    }

    /// Takes all that is to be sent.
    pub(crate) fn take_output(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while self.session.output().pending() > 0 {
            let mut slices = [IoSlice::new(&[]); 16];
            let filled = self.session.output().gather(&mut slices);
            let before = bytes.len();
            slices[..filled].iter().for_each(|slice| bytes.extend_from_slice(slice));
            self.session.sent(self.now, bytes.len() - before);
            self.run();
        }
        bytes
    }

    /// Ends what is left, as a server does, and says whether all of it has ended.
    pub(crate) fn close(mut self) -> bool {
        if let Some(nexus) = self.session.take_nexus() {
            self.start(Work::Detach(nexus));
        }
        self.session.end(super::End::PeerClosed);
        self.run();
        self.running.is_empty()
    }
}

/// What the disk holds.
#[cfg(test)]
pub(crate) fn content(disk: &MemLun, offset: u64, len: u64) -> Bytes {
    use crate::lun::LogicalUnit;
    let mut read = pin!(disk.read(offset, len));
    match read.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(bytes) => bytes.expect("the disk works"),
        Poll::Pending => panic!("the disk hangs"),
    }
}
