//! A logical unit: what all nexuses that see a device share of it, and one nexus' way to it.
//!
//! Locks: each is held for a few steps and none across an await. A unit's state may be locked before a task
//! set, never after it. The path of a plain read or write touches atomics only, unless something is reserved.

use super::inventory::{BlockSize, Device, Identity, Mapping};
use super::opcodes::Access;
use super::port::Ports;
use super::reservations::Reservations;
use super::reserve_out::Effects;
use super::reserve_store;
use super::runtime::Runtime;
use super::tasks::TaskSet;
use crate::lun::LogicalUnit;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::sync::{oneshot, Notify};

/// 29/00: everything about the unit may have changed.
pub(crate) const POWER_ON: (u8, u8) = (0x29, 0x00);
/// 29/03: a logical unit reset.
pub(crate) const RESET: (u8, u8) = (0x29, 0x03);
/// 2A/01.
pub(crate) const MODE_CHANGED: (u8, u8) = (0x2a, 0x01);
/// 2A/09.
pub(crate) const CAPACITY_CHANGED: (u8, u8) = (0x2a, 0x09);
/// 38/07: a soft threshold of thin provisioning was reached.
pub(crate) const THRESHOLD: (u8, u8) = (0x38, 0x07);
/// 3F/0E.
pub(crate) const LUNS_CHANGED: (u8, u8) = (0x3f, 0x0e);

struct State<L: LogicalUnit> {
    storage: Option<Arc<L>>,
    content: u64,
    /// Bytes, as hosts were last told.
    capacity: u64,
    reservations: Reservations,
    paths: Vec<Weak<Path<L>>>,
}

/// What all nexuses share of a device.
pub(crate) struct Lu<L: LogicalUnit> {
    pub(crate) identity: Identity,
    pub(crate) block_size: BlockSize,
    state: Mutex<State<L>>,
    /// Whether anything can conflict.
    reserved: AtomicBool,
    /// Software write protect (control mode page, SWP).
    write_protected: AtomicBool,
    /// Modifications that were answered, or whose nexus ended, while they could still take effect.
    doubts: AtomicUsize,
    settled: Notify,
    /// Held while reservations change and are saved.
    pub(crate) changing: tokio::sync::Mutex<()>,
}

impl<L: LogicalUnit> Lu<L> {
    /// A unit that nobody uses yet; none if its saved reservations are damaged.
    pub(crate) fn new(device: &Device<L>) -> Option<Lu<L>> {
        let reservations = reserve_store::decode(&device.saved_reservations)?;
        Some(Lu {
            identity: device.identity.clone(),
            block_size: device.block_size,
            reserved: AtomicBool::new(reservations.is_reserved()),
            state: Mutex::new(State {
                storage: device.unit.clone(),
                content: device.content,
                capacity: device.unit.as_ref().map_or(0, |unit| unit.len()),
                reservations,
                paths: Vec::new(),
            }),
            write_protected: AtomicBool::new(false),
            doubts: AtomicUsize::new(0),
            settled: Notify::new(),
            changing: tokio::sync::Mutex::new(()),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State<L>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a command may be executed, as far as reservations go.
    pub(crate) fn allow(&self, ports: &Ports, access: Access) -> bool {
        !self.reserved.load(Ordering::SeqCst) || self.lock().reservations.allow(ports, access)
    }

    /// Looks at reservations.
    pub(crate) fn reservations(&self) -> Reservations {
        self.lock().reservations.clone()
    }

    /// Changes reservations in one step.
    pub(crate) fn reserve<T>(&self, change: impl FnOnce(&mut Reservations) -> T) -> T {
        let mut state = self.lock();
        let result = change(&mut state.reservations);
        self.reserved.store(state.reservations.is_reserved(), Ordering::SeqCst);
        result
    }

    /// Tells others what a change of reservations means, and fences them.
    pub(crate) async fn effect(&self, effects: &Effects) {
        for (ports, attention) in &effects.attentions {
            self.paths().iter().filter(|p| *p.ports == *ports).for_each(|p| p.tasks.raise(*attention));
        }
        let paths = self.paths();
        let fenced = paths.iter().filter(|path| effects.fenced.contains(&path.ports));
        let fences: Vec<_> = fenced.map(|path| path.tasks.fence(effects.abort)).collect();
        for fence in fences {
            fence.await;
        }
    }

    pub(crate) fn is_write_protected(&self) -> bool {
        self.write_protected.load(Ordering::SeqCst)
    }

    pub(crate) fn set_write_protected(&self, on: bool) {
        self.write_protected.store(on, Ordering::SeqCst);
    }

    /// All ways to it that are open.
    pub(crate) fn paths(&self) -> Vec<Arc<Path<L>>> {
        self.lock().paths.iter().filter_map(Weak::upgrade).collect()
    }

    /// Establishes a unit attention condition for all nexuses but one.
    pub(crate) fn raise(&self, attention: (u8, u8), except: Option<&Ports>) {
        let paths = self.paths();
        paths.iter().filter(|p| Some(&*p.ports) != except).for_each(|p| p.tasks.raise(attention));
    }

    /// Takes over what an administrator says of the device now. Tells whether the storage is another one.
    pub(crate) fn update(&self, device: &Device<L>) -> bool {
        let mut state = self.lock();
        let same = match (&state.storage, &device.unit) {
            (Some(old), Some(new)) => Arc::ptr_eq(old, new),
            (None, None) => true,
            _ => false,
        };
        state.storage.clone_from(&device.unit);
        let capacity = device.unit.as_ref().map_or(state.capacity, |unit| unit.len());
        let resized = std::mem::replace(&mut state.capacity, capacity) != capacity;
        let replaced = std::mem::replace(&mut state.content, device.content) != device.content;
        drop(state);
        if replaced {
            self.raise(POWER_ON, None);
        }
        if resized {
            self.raise(CAPACITY_CHANGED, None);
        }
        !same
    }

    /// A modification that nobody waits for any more may still take effect, until the doubt is dropped.
    pub(crate) fn doubt(self: &Arc<Self>) -> Doubt<L> {
        self.doubts.fetch_add(1, Ordering::SeqCst);
        Doubt(Arc::clone(self))
    }

    /// Whether nothing is in doubt.
    pub(crate) fn is_settled(&self) -> bool {
        self.doubts.load(Ordering::SeqCst) == 0
    }

    /// Ends when nothing is in doubt.
    pub(crate) async fn settled(&self) {
        loop {
            let mut settled = pin!(self.settled.notified());
            settled.as_mut().enable();
            if self.is_settled() {
                return;
            }
            settled.await;
        }
    }
}

/// A modification in doubt.
pub(crate) struct Doubt<L: LogicalUnit>(Arc<Lu<L>>);

impl<L: LogicalUnit> Drop for Doubt<L> {
    fn drop(&mut self) {
        self.0.doubts.fetch_sub(1, Ordering::SeqCst);
        self.0.settled.notify_waiters();
    }
}

/// One nexus' way to one logical unit: a LUN as its host sees it.
pub(crate) struct Path<L: LogicalUnit> {
    pub(crate) lu: Arc<Lu<L>>,
    pub(crate) mapping: Mapping,
    pub(crate) ports: Arc<Ports>,
    /// The storage and this nexus' source in it; none: NOT READY.
    pub(crate) storage: Option<(Arc<L>, L::Source)>,
    pub(crate) tasks: Arc<TaskSet>,
}

impl<L: LogicalUnit> Path<L> {
    /// Opens a way, with these unit attentions to begin with.
    pub(crate) fn open(
        lu: &Arc<Lu<L>>,
        mapping: Mapping,
        ports: &Arc<Ports>,
        attentions: &[(u8, u8)],
    ) -> Arc<Path<L>> {
        let mut state = lu.lock();
        let storage = state.storage.as_ref().map(|unit| (Arc::clone(unit), unit.source()));
        let tasks = Arc::new(TaskSet::default());
        attentions.iter().for_each(|attention| tasks.raise(*attention));
        let path = Arc::new(Path { lu: Arc::clone(lu), mapping, ports: Arc::clone(ports), storage, tasks });
        state.paths.retain(|path| path.strong_count() > 0);
        state.paths.push(Arc::downgrade(&path));
        path
    }

    /// Blocks of the unit; none while there is no storage.
    pub(crate) fn blocks(&self) -> Option<u64> {
        self.storage.as_ref().map(|(unit, _)| unit.len() >> self.lu.block_size.shift())
    }

    pub(crate) fn is_read_only(&self) -> bool {
        self.mapping.read_only || self.lu.is_write_protected()
    }

    /// Closes the way at once: nothing begins any more. What is returned ends when none of its commands can
    /// still take effect. If commands run now they are in doubt until then.
    pub(crate) fn close(self: &Arc<Self>, runtime: &dyn Runtime) -> oneshot::Receiver<()> {
        let (done, ended) = oneshot::channel();
        let doubt = self.tasks.close().then(|| self.lu.doubt());
        let path = Arc::clone(self);
        runtime.spawn(Box::pin(async move {
            if let Some((unit, source)) = &path.storage {
                unit.fence(source).await;
            }
            path.tasks.fence(true).await;
            drop(doubt);
            // Nobody may wait any more, which is no fault.
            let _ = done.send(());
        }));
        ended
    }
}
