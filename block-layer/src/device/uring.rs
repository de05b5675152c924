//! The io_uring driver: one ring per current-thread runtime, shared by all its disks.
//!
//! A request is queued at once and wakes the driver's task, which the scheduler runs after the tasks that are
//! ready now: so all that they ask for goes to the kernel in one system call. When that is much, it goes
//! there at once: the device works while they prepare more. Completions raise an event
//! counter that the runtime polls beside its sockets. A request from outside such a runtime goes to a ring on
//! a thread of its own.
//!
//! Invariants: what the kernel may touch stays in `requests` until its completion was reaped. When the
//! runtime is dropped, the driver takes no more and waits for what it has; should that fail, it leaks the
//! memory rather than free it under the kernel. The completion queue has room for all that is in flight.
//! The backlog is bounded by the callers, who bound the memory that they hand over.
#![allow(unsafe_code)]

use super::request::{Call, Request};
use super::{sys, threads};
use crate::error::IoCause;
use io_uring::{opcode, squeue, types, IoUring, Probe};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::pin::Pin;
use std::sync::{mpsc, Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::{mem, thread};
use tokio::io::unix::AsyncFd;
use tokio::io::Interest;
use tokio::runtime::{Builder, Handle, Id, RuntimeFlavor};

/// Entries of the submission queue: requests per system call. The completion queue has twice as many.
const ENTRIES: u32 = 256;
/// Bytes of requests that are worth a system call of their own.
const AT_ONCE: usize = 32 << 10;

/// Whether this kernel lets us use io_uring with the operations that the driver needs; asked once.
pub(super) fn available() -> bool {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(|| {
        let mut probe = Probe::new();
        let asked = IoUring::new(2).and_then(|ring| ring.submitter().register_probe(&mut probe));
        let needed = [opcode::Read::CODE, opcode::Write::CODE, opcode::Writev::CODE, opcode::Fsync::CODE];
        asked.is_ok() && needed.iter().all(|code| probe.is_supported(*code))
    })
}

/// Starts `request`: on the ring of the current runtime, else on the process's own, else (no ring can be
/// made: out of descriptors) on the thread pool.
pub(super) fn submit(request: Request) {
    offer(of_current_runtime(), request, true)
        .or_else(|request| offer(of_process(), request, false))
        .unwrap_or_else(threads::submit);
}

fn offer(driver: Option<Arc<Driver>>, request: Request, own: bool) -> Result<(), Request> {
    match driver {
        Some(driver) => driver.push(request, own),
        None => Err(request),
    }
}

/// The drivers of the runtimes that live now, for threads that meet a runtime for the first time.
static DRIVERS: Mutex<Vec<(Id, Arc<Driver>)>> = Mutex::new(Vec::new());

fn drivers() -> MutexGuard<'static, Vec<(Id, Arc<Driver>)>> {
    // A runtime without I/O makes its first caller panic under the lock, the list untouched: the other
    // runtimes go on.
    DRIVERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The driver of the current runtime if that runs on one thread; started by the first request.
///
/// # Panics
/// When that runtime was built without I/O.
fn of_current_runtime() -> Option<Arc<Driver>> {
    thread_local! {
        static LAST: RefCell<Option<(Id, Arc<Driver>)>> = const { RefCell::new(None) };
    }
    let handle = Handle::try_current().ok()?;
    if handle.runtime_flavor() != RuntimeFlavor::CurrentThread {
        return None;
    }
    LAST.with_borrow_mut(|last| {
        if last.as_ref().is_none_or(|(id, _)| *id != handle.id()) {
            *last = Some((handle.id(), found_or_started(&handle)?));
        }
        last.as_ref().map(|(_, driver)| driver.clone())
    })
}

fn found_or_started(handle: &Handle) -> Option<Arc<Driver>> {
    let mut drivers = drivers();
    if let Some((_, driver)) = drivers.iter().find(|(id, _)| *id == handle.id()) {
        return Some(driver.clone());
    }
    let task = Drive::new(handle.id()).ok()?;
    let driver = task.driver.clone();
    drivers.push((handle.id(), driver.clone()));
    // Released first: a runtime that is shutting down drops the task at once, and its drop takes the lock.
    drop(drivers);
    handle.spawn(task);
    Some(driver)
}

/// The driver on a thread of its own, for callers outside of a current-thread runtime.
fn of_process() -> Option<Arc<Driver>> {
    static DRIVER: OnceLock<Option<Arc<Driver>>> = OnceLock::new();
    DRIVER.get_or_init(start_thread).clone()
}

fn start_thread() -> Option<Arc<Driver>> {
    let (started, driver) = mpsc::channel();
    let serve = move || {
        let Ok(runtime) = Builder::new_current_thread().enable_io().build() else { return };
        let inside = runtime.enter();
        let Some(driver) = found_or_started(runtime.handle()) else { return };
        drop(inside);
        started.send(driver).expect("the receiver waits for it");
        runtime.block_on(std::future::pending::<()>());
    };
    thread::Builder::new().name("disk-io".into()).spawn(serve).ok()?;
    driver.recv().ok()
}

/// What the callers and the driver's task share.
struct Driver(Mutex<State>);

struct State {
    ring: IoUring,
    requests: Slots,
    /// Slots whose next call is not with the kernel yet.
    waiting: VecDeque<usize>,
    /// Bytes of the requests that joined them since the kernel was called.
    waiting_bytes: usize,
    in_flight: usize,
    /// The task's, while it sleeps.
    waker: Option<Waker>,
    closed: bool,
}

/// A request that came to its end, with how.
type Finished = (Request, Result<(), IoCause>);

impl Driver {
    /// Queues `request`; gives it back when the runtime is gone. `own`: the caller is on the driver's thread,
    /// and may call the kernel.
    fn push(&self, request: Request, own: bool) -> Result<(), Request> {
        let mut state = self.state();
        if state.closed {
            return Err(request);
        }
        state.waiting_bytes += request.len();
        let slot = state.requests.insert(request);
        state.waiting.push_back(slot);
        if own && state.waiting_bytes >= AT_ONCE {
            state.fill_queue();
            // What the kernel does not take now, the task gives it later.
            state.enter(0);
        }
        let sleeper = state.waker.take();
        drop(state);
        if let Some(task) = sleeper {
            task.wake();
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nothing panics while it is held")
    }
}

impl State {
    fn new() -> io::Result<State> {
        // Completions need no interrupt of the thread: it enters the kernel soon enough by itself.
        let ring =
            IoUring::builder().setup_coop_taskrun().build(ENTRIES).or_else(|_| IoUring::new(ENTRIES))?;
        Ok(State {
            ring,
            requests: Slots::default(),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            in_flight: 0,
            waker: None,
            closed: false,
        })
    }

    /// Whether a request waits that the kernel may have now.
    fn can_submit(&self) -> bool {
        !self.waiting.is_empty() && self.in_flight < self.ring.params().cq_entries() as usize
    }

    /// Gives the kernel what waits and collects what it has done, until neither gives any more.
    /// False: the kernel lacks memory for requests now.
    fn turn(&mut self, finished: &mut Vec<Finished>) -> bool {
        loop {
            self.fill_queue();
            let taken = self.enter(0);
            self.reap(finished);
            if !taken || !self.can_submit() {
                return taken;
            }
        }
    }

    fn fill_queue(&mut self) {
        self.waiting_bytes = 0;
        while self.can_submit() {
            let mut queue = self.ring.submission();
            if queue.is_full() {
                return;
            }
            let Some(slot) = self.waiting.pop_front() else { return };
            let call = self.requests.get(slot).next_call();
            // SAFETY: the request stays in `requests`, unmoved memory and all, until `reap` has its
            // completion, and is asked for no other call before.
            unsafe { queue.push(&entry(&call).user_data(slot as u64)) }.expect("there is room");
            self.in_flight += 1;
        }
    }

    /// Submits the queue and waits for `want` completions. False: try again later.
    fn enter(&mut self, want: usize) -> bool {
        while want > 0 || !self.ring.submission().is_empty() {
            match self.ring.submit_and_wait(want) {
                Ok(_) if want > 0 => return true,
                Ok(_) => {}
                Err(e) => match e.raw_os_error() {
                    Some(libc::EINTR) => {}
                    Some(libc::EAGAIN | libc::EBUSY) => return false,
                    _ => panic!("io_uring_enter refuses what it should take: {e}"),
                },
            }
        }
        true
    }

    fn reap(&mut self, finished: &mut Vec<Finished>) {
        for completion in self.ring.completion() {
            self.in_flight -= 1;
            let slot = completion.user_data() as usize;
            match self.requests.get(slot).advance(completion.result()) {
                Some(result) => finished.push((self.requests.remove(slot), result)),
                None => self.waiting.push_back(slot),
            }
        }
    }

    /// Finishes everything, blocking.
    fn drain(&mut self, finished: &mut Vec<Finished>) {
        self.turn(finished);
        while self.in_flight > 0 {
            self.enter(1);
            self.turn(finished);
        }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        if self.in_flight > 0 {
            // Only after a panic of the driver: the kernel may still write there.
            mem::forget(mem::take(&mut self.requests));
        }
    }
}

fn entry(call: &Call) -> squeue::Entry {
    match *call {
        Call::Read { fd, to, len, at } => opcode::Read::new(types::Fd(fd), to, len).offset(at).build(),
        Call::Write { fd, from, len, at } => opcode::Write::new(types::Fd(fd), from, len).offset(at).build(),
        Call::WriteVectored { fd, pieces, count, at } => {
            opcode::Writev::new(types::Fd(fd), pieces, count).offset(at).build()
        }
        Call::Flush { fd } => opcode::Fsync::new(types::Fd(fd)).flags(types::FsyncFlags::DATASYNC).build(),
    }
}

/// Requests by small numbers that are used again.
#[derive(Default)]
struct Slots {
    all: Vec<Option<Request>>,
    free: Vec<usize>,
}

impl Slots {
    fn insert(&mut self, request: Request) -> usize {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.all.push(None);
            self.all.len() - 1
        });
        self.all[slot] = Some(request);
        slot
    }

    fn get(&mut self, slot: usize) -> &mut Request {
        self.all[slot].as_mut().expect("the slot is taken until its completion")
    }

    fn remove(&mut self, slot: usize) -> Request {
        self.free.push(slot);
        self.all[slot].take().expect("the slot is taken until its completion")
    }
}

/// The driver's task; dropped with its runtime.
struct Drive {
    runtime: Id,
    /// Raised by the kernel with each completion. Never read: each raise is an event by itself.
    completions: AsyncFd<OwnedFd>,
    driver: Arc<Driver>,
    /// Kept for its memory; empty between polls.
    finished: Vec<Finished>,
}

impl Drive {
    /// A driver for the current runtime, which is `runtime`.
    fn new(runtime: Id) -> io::Result<Drive> {
        let state = State::new()?;
        let counter = sys::event_counter()?;
        state.ring.submitter().register_eventfd(counter.as_raw_fd())?;
        // SAFETY: `AsyncFd` owns the counter, which keeps its descriptor until it is dropped.
        let completions = unsafe { AsyncFd::register_with_interest(counter, Interest::READABLE) }
            .map_err(io::Error::from)?;
        let driver = Arc::new(Driver(Mutex::new(state)));
        Ok(Drive { runtime, completions, driver, finished: Vec::new() })
    }

    fn answer_finished(&mut self) {
        for (request, result) in self.finished.drain(..) {
            request.finish(result);
        }
    }
}

impl Future for Drive {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        loop {
            let taken = this.driver.state().turn(&mut this.finished);
            this.answer_finished();
            match this.completions.poll_read_ready(cx) {
                Poll::Ready(Ok(mut event)) => {
                    // Cleared before the next reap: a completion after that is a new event.
                    event.clear_ready();
                    continue;
                }
                Poll::Ready(Err(_)) => return Poll::Ready(()), // the runtime is shutting down
                Poll::Pending => {}
            }
            let mut state = this.driver.state();
            if !taken {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if !state.can_submit() {
                state.waker = Some(cx.waker().clone());
                return Poll::Pending;
            }
        }
    }
}

impl Drop for Drive {
    fn drop(&mut self) {
        let mut state = self.driver.state();
        state.closed = true;
        state.drain(&mut self.finished);
        drop(state);
        self.answer_finished();
        drivers().retain(|(id, _)| *id != self.runtime);
    }
}
