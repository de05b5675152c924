//! One connection: everything readable in, work done, everything to be sent out in one gathered write.
//!
//! Invariants: a wake-up reads, runs what can run at once, and then writes once for all of it; a future of a
//! command is never dropped before its end; after the peer is gone nothing more is begun, and what runs is
//! fenced and waited for before anybody learns that the connection has finished.

use super::handle::{Handle, Order, SessionInfo};
use super::Shared;
use crate::lun::LogicalUnit;
use crate::memory::Permit;
use crate::scsi::command::Response;
use crate::scsi::nexus::{Event, Nexus, TaskManagementResponse};
use crate::session::registry::{Claim, SessionKey, Verdict};
use crate::session::{Carried, End, Ends, Entropy, Entry, Portal, Session, Work, WorkId};
use crate::wire::{LoginStatus, Tsih};
use futures_util::stream::{FuturesUnordered, StreamExt};
use std::cell::RefCell;
use std::future::{poll_fn, Future};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::task::{ready, Context, Poll};
use std::time::{Duration, Instant, SystemTime};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::Sleep;

/// Bytes that are read at once, into memory that all connections of a thread share.
const READ: usize = 64 << 10;
/// A data segment that lacks this much or more is read straight into its place.
const DIRECT: usize = 16 << 10;
/// Bytes that are read before the answers to what came are sent.
const READ_ROUND: usize = 1 << 20;
/// Bytes to send that do not wait until all that was read has been executed: the peer takes them meanwhile.
const SEND_EARLY: usize = 256 << 10;
/// Pieces of a gathered write.
const SLICES: usize = 128;
/// Rounds of a wake-up, after which other connections have their turn.
const ROUNDS: usize = 16;
/// How often a connection looks at the time, if nothing is due earlier.
const TICK: Duration = Duration::from_secs(1);
/// What a peer gets to take the last answers.
const LINGER: Duration = Duration::from_secs(2);

thread_local! {
    static READ_BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ]);
}

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What a future inside a connection has come to.
enum Done {
    Executed(WorkId, Response),
    Managed(WorkId, TaskManagementResponse),
    Detached,
}

/// A connection and its session.
pub(super) struct Connection<L: LogicalUnit> {
    shared: Arc<Shared<L>>,
    portal: Arc<Portal<L>>,
    handle: Handle<L>,
    number: u64,
    ends: Ends,
    socket: TcpStream,
    session: Session<L>,
    /// Commands and management: polled to their end, whatever happens.
    running: FuturesUnordered<Boxed<Done>>,
    entering: Option<Boxed<Entry<L>>>,
    claim: Option<Claim>,
    /// What the registry knows of the session.
    seat: Option<(Option<SessionKey>, Tsih)>,
    memory: Option<Boxed<Option<Permit>>>,
    event: Option<Boxed<Event>>,
    timer: Pin<Box<Sleep>>,
    hand_over: Option<oneshot::Sender<Carried<L>>>,
    /// When the peer must have taken the last answers.
    linger: Option<Instant>,
}

impl<L: LogicalUnit> Connection<L> {
    /// A connection on the runtime that this is called on.
    pub(super) fn new(
        shared: &Arc<Shared<L>>,
        portal: &Arc<Portal<L>>,
        socket: std::net::TcpStream,
        ends: Ends,
    ) -> io::Result<Connection<L>> {
        let mut entropy = Entropy([0; 33]);
        getrandom::fill(&mut entropy.0).map_err(io::Error::other)?;
        let socket = TcpStream::from_std(socket)?;
        let session = Session::new(Arc::clone(portal), ends, entropy, &shared.budget, now());
        let (handle, number) = (Handle::new(), shared.last.fetch_add(1, Ordering::Relaxed));
        shared.connections().insert(number, handle.clone());
        if *shared.stop.borrow() {
            handle.order(Order::AskToLeave); // the stop began while it was accepted
        }
        Ok(Connection {
            shared: Arc::clone(shared),
            portal: Arc::clone(portal),
            handle,
            number,
            ends,
            socket,
            session,
            running: FuturesUnordered::new(),
            entering: None,
            claim: None,
            seat: None,
            memory: None,
            event: None,
            timer: Box::pin(tokio::time::sleep(TICK)),
            hand_over: None,
            linger: None,
        })
    }

    /// Lives until nothing of it is left.
    pub(super) async fn serve(mut self) {
        poll_fn(|cx| self.poll(cx)).await;
        let initiator = self.session.initiator().unwrap_or("unknown").to_owned();
        let (peer, portal) = (self.ends.peer, self.portal.id.0);
        match self.session.ended() {
            Some(End::Logout) | None => tracing::info!(initiator, %peer, portal, "logged out"),
            Some(end) => tracing::info!(initiator, %peer, portal, "session ended: {end}"),
        }
        self.finish().await;
    }

    /// One wake-up: ready when the session is over and what could be sent is.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        for _ in 0..ROUNDS {
            let now = now();
            self.take_order(cx, now);
            let mut busy = self.poll_running(cx, now);
            busy |= self.poll_read(cx, now);
            busy |= self.work(cx, now);
            busy |= self.poll_write(cx, now);
            self.poll_timer(cx, now);
            if self.is_over(now) {
                return Poll::Ready(());
            }
            if !busy {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn is_over(&mut self, now: Instant) -> bool {
        let Some(end) = self.session.ended() else { return false };
        let speaks = !matches!(end, End::PeerClosed | End::Stalled | End::Silent | End::Replaced);
        let linger = *self.linger.get_or_insert(now + LINGER);
        !speaks || self.session.output().pending() == 0 || linger <= now
    }

    fn take_order(&mut self, cx: &mut Context<'_>, now: Instant) {
        match self.handle.take_order(cx.waker()) {
            None => {}
            Some(Order::AskToLeave) => self.session.ask_to_leave(now),
            Some(Order::End(end)) => self.session.end(end),
            Some(Order::HandOver(to)) => {
                self.hand_over = Some(to);
                self.session.end(End::Replaced);
            }
        }
    }

    /// Takes the results of what runs; whether there were any.
    fn poll_running(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let mut any = false;
        while let Poll::Ready(Some(done)) = self.running.poll_next_unpin(cx) {
            any = true;
            self.done(now, done);
        }
        if let Some(Poll::Ready(entry)) = self.entering.as_mut().map(|entering| entering.as_mut().poll(cx)) {
            any = true;
            self.entering = None;
            self.entered(now, entry);
        }
        if let Some(Poll::Ready(permit)) = self.memory.as_mut().map(|memory| memory.as_mut().poll(cx)) {
            any = true;
            self.memory = None;
            if let Some(permit) = permit {
                self.session.granted(now, permit);
            }
        }
        while let Some(Poll::Ready(event)) = self.event.as_mut().map(|event| event.as_mut().poll(cx)) {
            any = true;
            self.event = None;
            self.session.on_event(now, event);
            if event != Event::Ended {
                self.event = self.session.nexus().map(next_event);
            }
        }
        any
    }

    fn done(&mut self, now: Instant, done: Done) {
        match done {
            Done::Executed(id, response) => self.session.executed(now, id, response),
            Done::Managed(id, response) => self.session.managed(now, id, response),
            Done::Detached => self.session.detached(now),
        }
    }

    /// The registry has decided.
    fn entered(&mut self, now: Instant, entry: Entry<L>) {
        let claim = self.claim.take();
        if let (Some(claim), Entry::New(tsih) | Entry::Carried(tsih, _)) = (&claim, &entry) {
            self.seat = Some((claim.key.clone(), *tsih));
        }
        if self.session.entered(now, entry).is_none() {
            return;
        }
        let initiator = self.session.initiator().unwrap_or_default().to_owned();
        let (peer, portal) = (self.ends.peer, self.portal.id);
        let discovery = self.session.nexus().is_none();
        tracing::info!(initiator, %peer, portal = portal.0, discovery, "logged in");
        let since = SystemTime::now();
        self.handle.set_info(Some(SessionInfo { initiator, peer, portal, discovery, since }));
        self.event = self.session.nexus().map(next_event);
    }

    /// Reads what is there; whether there was anything.
    fn poll_read(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let mut read = 0;
        while read < READ_ROUND && self.session.wants_input() {
            match self.poll_read_once(cx, now) {
                Poll::Pending => break,
                Poll::Ready(Ok(n)) if n > 0 => read += n,
                Poll::Ready(_) => {
                    self.session.end(End::PeerClosed);
                    return true;
                }
            }
        }
        read > 0
    }

    fn poll_read_once(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<io::Result<usize>> {
        let socket = Pin::new(&mut self.socket);
        if let Some(space) = self.session.body_space().filter(|space| space.len() >= DIRECT) {
            let mut space = ReadBuf::new(space);
            ready!(socket.poll_read(cx, &mut space))?;
            let n = space.filled().len();
            self.session.body_filled(now, n);
            return Poll::Ready(Ok(n));
        }
        READ_BUFFER.with_borrow_mut(|buffer| {
            let mut buffer = ReadBuf::new(buffer);
            ready!(socket.poll_read(cx, &mut buffer))?;
            self.session.receive(now, buffer.filled());
            Poll::Ready(Ok(buffer.filled().len()))
        })
    }

    /// Starts what the session wants done; whether there was anything.
    fn work(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let mut any = false;
        while let Some(work) = self.session.next_work() {
            any = true;
            match work {
                Work::Execute { id, task, data } => {
                    let future = Box::pin(async move { Done::Executed(id, task.execute(data).await) });
                    self.run(cx, now, future);
                }
                Work::Manage { id, nexus, function, lun } => {
                    let manage = async move { Done::Managed(id, nexus.task_management(function, lun).await) };
                    self.run(cx, now, Box::pin(manage));
                }
                Work::Detach(nexus) => self.run(cx, now, Box::pin(detach(nexus))),
                Work::Enter(claim) => {
                    self.claim = Some(claim.clone());
                    let (shared, handle) = (Arc::clone(&self.shared), self.handle.clone());
                    self.entering = Some(Box::pin(enter(shared, claim, handle)));
                }
                Work::Memory { bytes } => {
                    let budget = self.session.budget().clone();
                    self.memory = Some(Box::pin(async move { budget.take(bytes).await.ok() }));
                }
            }
            if self.session.output().pending() >= SEND_EARLY {
                self.poll_write(cx, now);
            }
        }
        any
    }

    /// Runs a future: most end at once, and never see the queue.
    fn run(&mut self, cx: &mut Context<'_>, now: Instant, mut future: Boxed<Done>) {
        match future.as_mut().poll(cx) {
            Poll::Ready(done) => self.done(now, done),
            Poll::Pending => self.running.push(future),
        }
    }

    /// Sends all that waits, as far as the socket takes it; whether it took any.
    fn poll_write(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let mut any = false;
        while self.session.output().pending() > 0 {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let filled = self.session.output().gather(&mut slices);
            match Pin::new(&mut self.socket).poll_write_vectored(cx, &slices[..filled]) {
                Poll::Pending => break,
                Poll::Ready(Ok(n)) if n > 0 => {
                    self.session.sent(now, n);
                    any = true;
                }
                Poll::Ready(_) => {
                    self.session.end(End::PeerClosed);
                    break;
                }
            }
        }
        any
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>, now: Instant) {
        while self.timer.as_mut().poll(cx).is_ready() {
            self.session.tick(now);
            let due = self.session.deadline().map_or(TICK, |at| at.saturating_duration_since(now).min(TICK));
            self.timer.as_mut().reset(tokio::time::Instant::now() + due.max(Duration::from_millis(1)));
            cx.waker().wake_by_ref(); // what the tick has put out is to be sent
        }
    }

    /// The session is over: nothing new begins, and what runs is fenced and waited for.
    async fn finish(mut self) {
        self.handle.set_info(None);
        (self.memory, self.event) = (None, None);
        // One that was on its way in may hold what another connection has let go of.
        if let Some(entering) = self.entering.take() {
            let entry = entering.await;
            self.entered(now(), entry);
            self.event = None;
            self.handle.set_info(None);
        }
        drop(self.socket);
        match self.hand_over.take() {
            Some(to) => {
                // The session goes on: its commands end by themselves, none is fenced.
                while self.running.next().await.is_some() {}
                if let Some(Err(mut left)) = self.session.hand_over().map(|carried| to.send(carried)) {
                    if let Some(nexus) = left.take_nexus() {
                        nexus.detach().await;
                    }
                }
            }
            None => {
                if let Some(nexus) = self.session.take_nexus() {
                    self.running.push(Box::pin(detach(nexus)));
                }
                while self.running.next().await.is_some() {}
            }
        }
        drop(self.session);
        if let Some((key, tsih)) = &self.seat {
            let handle = &self.handle;
            self.shared.registry().leave(key.as_ref(), *tsih, |other| other.is_same(handle));
        }
        self.shared.connections().remove(&self.number);
        self.handle.finish();
    }
}

/// The time, as the runtime has it.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

async fn detach<L: LogicalUnit>(nexus: Arc<Nexus<L>>) -> Done {
    nexus.detach().await;
    Done::Detached
}

fn next_event<L: LogicalUnit>(nexus: &Arc<Nexus<L>>) -> Boxed<Event> {
    let nexus = Arc::clone(nexus);
    Box::pin(async move { nexus.event().await })
}

/// Asks the registry until it has decided; whoever is in the way has ended by then.
async fn enter<L: LogicalUnit>(shared: Arc<Shared<L>>, claim: Claim, handle: Handle<L>) -> Entry<L> {
    loop {
        let verdict = shared.registry().claim(&claim, &handle);
        match verdict {
            Verdict::New(tsih) => return Entry::New(tsih),
            Verdict::Refused(status) => return Entry::Refused(status),
            Verdict::Replace(older) => {
                older.order(Order::End(End::Replaced));
                older.finished().await;
            }
            Verdict::Rejoin(tsih, older) => {
                let (to, from) = oneshot::channel();
                older.order(Order::HandOver(to));
                if let Ok(carried) = from.await {
                    return Entry::Carried(tsih, carried);
                }
                older.finished().await;
                shared.registry().leave(claim.key.as_ref(), tsih, |other| other.is_same(&handle));
                return Entry::Refused(LoginStatus::SessionDoesNotExist);
            }
        }
    }
}
