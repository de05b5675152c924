//! One connection: everything readable in, calls answered, everything to be sent out in one gathered write.
//!
//! Invariants: a wake-up reads, answers what can be answered at once, and then writes once for all of it; an
//! answer is never dropped before its end, so that what a retransmission joins has an end; after the peer is
//! gone nothing more is begun, and what runs is waited for.

use super::handle::Handle;
use super::Shared;
use crate::memory::Permit;
use crate::rpc::{Answer, Ends, Outcome, Programs};
use crate::session::{End, Session};
use futures_util::stream::{FuturesUnordered, StreamExt};
use std::cell::RefCell;
use std::future::{poll_fn, Future};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::task::{ready, Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

/// Bytes that are read at once, into memory that all connections of a thread share.
const READ: usize = 64 << 10;
/// Bytes that are read before the answers to what came are sent.
const READ_ROUND: usize = 1 << 20;
/// Pieces of a gathered write.
const SLICES: usize = 128;
/// Rounds of a wake-up, after which other connections have their turn.
const ROUNDS: usize = 16;
/// How often a connection looks at the time, if nothing is due earlier.
const TICK: Duration = Duration::from_secs(1);

thread_local! {
    static READ_BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ]);
}

/// A call that is being answered.
struct Running {
    xid: u32,
    answer: Answer,
}

impl Future for Running {
    type Output = (u32, Outcome);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<(u32, Outcome)> {
        let outcome = ready!(self.answer.as_mut().poll(cx));
        Poll::Ready((self.xid, outcome))
    }
}

/// A connection and its session.
pub(super) struct Connection {
    shared: Arc<Shared>,
    handle: Handle,
    number: u64,
    ends: Ends,
    socket: TcpStream,
    session: Session,
    /// Polled to their end, whatever happens.
    running: FuturesUnordered<Running>,
    memory: Option<Pin<Box<dyn Future<Output = Option<Permit>> + Send>>>,
    timer: Pin<Box<Sleep>>,
}

impl Connection {
    /// A connection on the runtime that this is called on.
    pub(super) fn new(
        shared: &Arc<Shared>,
        programs: &Programs,
        socket: std::net::TcpStream,
        ends: Ends,
    ) -> io::Result<Connection> {
        let socket = TcpStream::from_std(socket)?;
        let session = Session::new(programs.clone(), ends, &shared.budget, now());
        let (handle, number) = (Handle::new(ends), shared.last.fetch_add(1, Ordering::Relaxed));
        shared.connections().insert(number, handle.clone());
        if *shared.stop.borrow() {
            handle.leave(); // the stop began while it was accepted
        }
        let timer = Box::pin(tokio::time::sleep(TICK));
        let (shared, running) = (Arc::clone(shared), FuturesUnordered::new());
        Ok(Connection { shared, handle, number, ends, socket, session, running, memory: None, timer })
    }

    /// Lives until nothing of it is left.
    pub(super) async fn serve(mut self) {
        let end = poll_fn(|cx| self.poll(cx)).await;
        match end {
            End::PeerClosed | End::Stopped => {
                tracing::debug!(peer = %self.ends.peer, "connection over: {end}")
            }
            _ => tracing::info!(peer = %self.ends.peer, "connection ended: {end}"),
        }
        drop(self.socket);
        drop(self.session);
        while self.running.next().await.is_some() {}
        self.shared.connections().remove(&self.number);
        self.handle.finish();
    }

    /// One wake-up: ready when the session is over.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        for _ in 0..ROUNDS {
            let now = now();
            if self.handle.must_leave(cx.waker()) {
                self.session.leave();
            }
            let mut busy = self.poll_running(cx, now);
            busy |= self.poll_read(cx, now);
            busy |= self.begin(cx, now);
            busy |= self.poll_write(cx, now);
            self.poll_timer(cx, now);
            if let Some(end) = self.session.ended() {
                return Poll::Ready(end);
            }
            if !busy {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Takes the results of what runs; whether there were any.
    fn poll_running(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let mut any = false;
        while let Poll::Ready(Some((xid, outcome))) = self.running.poll_next_unpin(cx) {
            any = true;
            self.session.answered(now, xid, outcome);
        }
        if let Some(Poll::Ready(permit)) = self.memory.as_mut().map(|memory| memory.as_mut().poll(cx)) {
            any = true;
            self.memory = None;
            if let Some(permit) = permit {
                self.session.granted(now, permit);
            }
        }
        any
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
        if let Some(space) = self.session.payload_space() {
            let mut space = ReadBuf::new(space);
            ready!(socket.poll_read(cx, &mut space))?;
            let n = space.filled().len();
            self.session.payload_filled(now, n);
            return Poll::Ready(Ok(n));
        }
        READ_BUFFER.with_borrow_mut(|buffer| {
            let len = self.session.read_hint().min(buffer.len());
            let mut buffer = ReadBuf::new(&mut buffer[..len]);
            ready!(socket.poll_read(cx, &mut buffer))?;
            self.session.receive(now, buffer.filled());
            Poll::Ready(Ok(buffer.filled().len()))
        })
    }

    /// Begins what was asked for; whether there was anything. Most answers are there at once, and never see
    /// the queue.
    fn begin(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let mut any = false;
        while let Some((xid, answer)) = self.session.next_call() {
            any = true;
            let mut running = Running { xid, answer };
            match Pin::new(&mut running).poll(cx) {
                Poll::Ready((xid, outcome)) => self.session.answered(now, xid, outcome),
                Poll::Pending => self.running.push(running),
            }
        }
        if let Some(bytes) = self.session.memory_wanted() {
            any = true;
            let budget = self.session.budget().clone();
            self.memory = Some(Box::pin(async move { budget.take(bytes).await.ok() }));
        }
        any
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
        let earlier = self.session.deadline().filter(|due| *due < self.timer.deadline().into_std());
        if let Some(due) = earlier {
            self.timer.as_mut().reset(due.into());
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            self.session.tick(now);
            let due = self.session.deadline().map_or(TICK, |at| at.saturating_duration_since(now).min(TICK));
            self.timer.as_mut().reset(tokio::time::Instant::now() + due.max(Duration::from_millis(1)));
            cx.waker().wake_by_ref(); // what the tick has begun or put out is not done yet
        }
    }
}

/// The time, as the runtime has it.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
