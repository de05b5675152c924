//! A logged-in session: what is sent, what comes back, and its end.
//!
//! Invariants: a command's task and buffers live until its callback has come *and* the library's queue of
//! PDUs is empty: pieces of Data-Out that are queued refer to them even after the target has answered early.
//! Callbacks only note what happened; the caller sees it when it asks.

use super::command::{Command, CommandId, Completion, Data, Outcome, Sense};
use super::error::Error;
use super::options::{Context, Options};
use super::sys;
use bytes::Bytes;
use rustc_hash::FxHashMap;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::ffi::{c_int, c_void};
use std::ptr::NonNull;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// A task management function (RFC 7143 11.5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// One task, at its LUN.
    AbortTask(CommandId),
    /// All tasks of this session at a LUN.
    AbortTaskSet,
    /// All tasks at a LUN.
    ClearTaskSet,
    /// Logical unit reset.
    LunReset,
    /// Target warm reset.
    WarmReset,
    /// Target cold reset.
    ColdReset,
}

/// The answer to task management.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Managed {
    /// What [`Session::manage`] gave.
    pub number: u64,
    /// The response (RFC 7143 11.6.1: 0 is complete); none if it never came.
    pub response: Option<u8>,
}

/// What callbacks note.
#[derive(Default)]
struct Notes {
    ended: VecDeque<Box<Pending>>,
    managed: VecDeque<Managed>,
    /// Commands that ended because the connection did.
    lost: bool,
}

/// A command that the library has. It is the callback's `private`.
struct Pending {
    id: CommandId,
    task: NonNull<sys::Task>,
    buffer: Vec<u8>,
    /// Kept for the library, which has a pointer to it.
    out: Option<Bytes>,
    status: c_int,
    notes: Rc<RefCell<Notes>>,
}

impl Drop for Pending {
    fn drop(&mut self) {
        // SAFETY: the task was made for this command alone, and the library has let go of it.
        unsafe { sys::scsi_free_scsi_task(self.task.as_ptr()) };
    }
}

/// A task management function under way: the callback's `private`.
struct Managing {
    number: u64,
    notes: Rc<RefCell<Notes>>,
}

/// A session.
pub struct Session {
    context: Option<Context>,
    notes: Rc<RefCell<Notes>>,
    live: FxHashMap<CommandId, NonNull<Pending>>,
    managing: FxHashMap<u64, NonNull<Managing>>,
    /// Ended, but perhaps still in the library's queue.
    retired: Vec<Pending>,
    last: u64,
    lost: Option<String>,
}

impl Session {
    /// Connects to `portal` (`ADDR:PORT`) and logs in to `target`.
    ///
    /// # Errors
    /// [`Error::Connect`], [`Error::Login`], [`Error::Option`].
    pub fn connect(portal: &str, target: &str, options: &Options) -> Result<Session, Error> {
        let context = Context::new(options, Some(target))?;
        context.log_in(portal)?;
        // SAFETY: the context lives. Commands may take as long as they take: callers have their own patience.
        unsafe { sys::iscsi_set_timeout(context.0.as_ptr(), 0) };
        Ok(Session {
            context: Some(context),
            notes: Rc::default(),
            live: FxHashMap::default(),
            managing: FxHashMap::default(),
            retired: Vec::new(),
            last: 0,
            lost: None,
        })
    }

    fn raw(&self) -> *mut sys::Context {
        self.context.as_ref().expect("a session has its context until it ends").0.as_ptr()
    }

    /// Queues a command; [`Session::send`] or the next [`Session::poll`] sends it.
    ///
    /// # Errors
    /// [`Error::Lost`], [`Error::Queue`].
    pub fn submit(&mut self, command: Command) -> Result<CommandId, Error> {
        self.check()?;
        let Command { lun, cdb, data } = command;
        if cdb.len() > 16 {
            return Err(Error::Queue(format!("a CDB of {} bytes", cdb.len())));
        }
        let (direction, len) = match &data {
            Data::None => (sys::XFER_NONE, 0),
            Data::In(buffer) => (sys::XFER_READ, buffer.len()),
            Data::Out(out) => (sys::XFER_WRITE, out.len()),
        };
        let len = c_int::try_from(len).map_err(|_| Error::Queue("too much data".into()))?;
        // SAFETY: the CDB is copied, and at most the 16 bytes that a task has room for.
        let task = unsafe { sys::scsi_create_task(cdb.len() as c_int, cdb.as_ptr(), direction, len) };
        let task = NonNull::new(task).ok_or_else(|| Error::Queue("no memory".into()))?;
        self.last += 1;
        let id = CommandId(self.last);
        let notes = Rc::clone(&self.notes);
        let mut pending =
            Box::new(Pending { id, task, buffer: Vec::new(), out: None, status: sys::STATUS_ERROR, notes });
        // SAFETY: the task is new; the buffers are not moved on the heap, and live as long as `pending`. The
        // library only reads what is to be sent, though C does not say so.
        let added = unsafe {
            match data {
                Data::In(buffer) if len > 0 => {
                    pending.buffer = buffer;
                    sys::scsi_task_add_data_in_buffer(task.as_ptr(), len, pending.buffer.as_mut_ptr())
                }
                Data::Out(out) if len > 0 => {
                    let at = out.as_ptr().cast_mut();
                    pending.out = Some(out);
                    sys::scsi_task_add_data_out_buffer(task.as_ptr(), len, at)
                }
                _ => 0,
            }
        };
        if added != 0 {
            return Err(Error::Queue("no memory".into()));
        }
        self.queue(lun, pending)
    }

    fn queue(&mut self, lun: u16, pending: Box<Pending>) -> Result<CommandId, Error> {
        let (id, task) = (pending.id, pending.task);
        let private = NonNull::from(Box::leak(pending));
        // SAFETY: context and task live; `private` is a leaked box, which the callback, called once, owns.
        let queued = unsafe {
            sys::iscsi_scsi_command_async(
                self.raw(),
                c_int::from(lun),
                task.as_ptr(),
                ended,
                std::ptr::null_mut(),
                private.as_ptr().cast(),
            )
        };
        if queued != 0 {
            // SAFETY: the library refused it, and will not call back.
            drop(unsafe { Box::from_raw(private.as_ptr()) });
            return Err(Error::Queue(self.last_error()));
        }
        self.live.insert(id, private);
        Ok(id)
    }

    /// Queues a task management function at a LUN; the number is that of its answer. A command that is
    /// aborted by it gets no answer: [`Session::forget`] it.
    ///
    /// # Errors
    /// [`Error::Lost`]; [`Error::Queue`] also if the task to abort has ended.
    pub fn manage(&mut self, lun: u16, function: Function) -> Result<u64, Error> {
        self.check()?;
        let (code, itt, cmdsn) = match function {
            Function::AbortTask(id) => {
                let pending = self.under_way(id).ok_or_else(|| Error::Queue("it has ended".into()))?;
                // SAFETY: what is under way belongs to a callback that runs only inside the library's calls.
                let task = unsafe { pending.as_ref().task.as_ref() };
                (1, task.itt, task.cmdsn)
            }
            Function::AbortTaskSet => (2, u32::MAX, 0),
            Function::ClearTaskSet => (4, u32::MAX, 0),
            Function::LunReset => (5, u32::MAX, 0),
            Function::WarmReset => (6, u32::MAX, 0),
            Function::ColdReset => (7, u32::MAX, 0),
        };
        self.last += 1;
        let number = self.last;
        let managing = Box::new(Managing { number, notes: Rc::clone(&self.notes) });
        let private = NonNull::from(Box::leak(managing));
        // SAFETY: as for a command.
        let queued = unsafe {
            let private = private.as_ptr().cast();
            sys::iscsi_task_mgmt_async(self.raw(), c_int::from(lun), code, itt, cmdsn, managed, private)
        };
        if queued != 0 {
            // SAFETY: as for a command.
            drop(unsafe { Box::from_raw(private.as_ptr()) });
            return Err(Error::Queue(self.last_error()));
        }
        self.managing.insert(number, private);
        Ok(number)
    }

    /// A command whose callback has not come.
    fn under_way(&self, id: CommandId) -> Option<NonNull<Pending>> {
        let ended = self.notes.borrow().ended.iter().any(|pending| pending.id == id);
        self.live.get(&id).copied().filter(|_| !ended)
    }

    /// Gives a command up without telling the target: its completion is [`Outcome::Cancelled`].
    pub fn forget(&mut self, id: CommandId) {
        let Some(pending) = self.under_way(id) else { return };
        // SAFETY: the command is under way, so its task lives; the callback comes inside this call.
        unsafe {
            let task = pending.as_ref().task;
            sys::iscsi_scsi_cancel_task(self.raw(), task.as_ptr());
        }
        self.notes.borrow_mut().lost = false; // it was this, not the connection
    }

    /// Sends what is queued, as far as window and socket take it.
    ///
    /// # Errors
    /// [`Error::Lost`].
    pub fn send(&mut self) -> Result<(), Error> {
        self.serve(libc::POLLOUT)
    }

    /// Waits for the connection, at most for `timeout`, and does all that can be done at once.
    ///
    /// # Errors
    /// [`Error::Lost`].
    pub fn poll(&mut self, timeout: Duration) -> Result<(), Error> {
        poll_all(std::slice::from_mut(self), timeout)
    }

    fn serve(&mut self, events: i16) -> Result<(), Error> {
        self.check()?;
        let before = self.notes.borrow().ended.len();
        // SAFETY: the context lives; callbacks touch nothing but their own boxes and the notes, which are not
        // borrowed here.
        let failed = unsafe { sys::iscsi_service(self.raw(), c_int::from(events)) } != 0;
        let nothing = self.notes.borrow().ended.len() == before;
        let closed = nothing && events & (libc::POLLIN | libc::POLLHUP) != 0 && self.is_closed();
        if failed || closed || std::mem::take(&mut self.notes.borrow_mut().lost) {
            self.lost = Some(self.last_error());
        }
        self.check()
    }

    /// Whether the peer has closed, which the library does not tell when no command waits.
    fn is_closed(&self) -> bool {
        let mut byte = 0_u8;
        // SAFETY: the descriptor is open as long as the context lives; one byte is room for one byte.
        let n = unsafe {
            let at = std::ptr::from_mut(&mut byte).cast();
            libc::recv(self.fd(), at, 1, libc::MSG_PEEK | libc::MSG_DONTWAIT)
        };
        n == 0 || n < 0 && std::io::Error::last_os_error().kind() != std::io::ErrorKind::WouldBlock
    }

    /// The next answer that is there.
    pub fn completion(&mut self) -> Option<Completion> {
        let pending = self.notes.borrow_mut().ended.pop_front()?;
        self.live.remove(&pending.id);
        Some(self.complete(*pending))
    }

    fn complete(&mut self, mut pending: Pending) -> Completion {
        let outcome = match pending.status {
            sys::STATUS_CANCELLED => Outcome::Cancelled,
            status => u8::try_from(status).map_or(Outcome::Failed, Outcome::Status),
        };
        // SAFETY: the task lives as long as `pending`.
        let task = unsafe { pending.task.as_ref() };
        let sense = (outcome == Outcome::Status(2)).then_some(Sense {
            key: task.sense.key as u8,
            asc: (task.sense.ascq >> 8) as u8,
            ascq: task.sense.ascq as u8,
        });
        let missing = if task.residual_status == sys::RESIDUAL_UNDERFLOW { task.residual } else { 0 };
        let mut data = std::mem::take(&mut pending.buffer);
        data.truncate(data.len().saturating_sub(missing));
        let id = pending.id;
        if pending.out.is_some() {
            self.retire(pending);
        }
        Completion { id, outcome, sense, data }
    }

    /// Frees what the library's queue cannot refer to any more.
    fn retire(&mut self, pending: Pending) {
        self.retired.push(pending);
        // SAFETY: the context lives.
        if unsafe { sys::iscsi_out_queue_length(self.raw()) } == 0 {
            self.retired.clear();
        }
    }

    /// The next answer to task management that is there.
    pub fn managed(&mut self) -> Option<Managed> {
        let managed = self.notes.borrow_mut().managed.pop_front()?;
        self.managing.remove(&managed.number);
        Some(managed)
    }

    /// Sends one command and waits for its answer; others' answers must not be outstanding.
    ///
    /// # Errors
    /// [`Error::Time`] after `timeout`, when the command is given up; [`Error::Lost`], [`Error::Queue`].
    pub fn execute(&mut self, command: Command, timeout: Duration) -> Result<Completion, Error> {
        let (id, end) = (self.submit(command)?, Instant::now() + timeout);
        loop {
            self.poll(end.saturating_duration_since(Instant::now()))?;
            while let Some(completion) = self.completion() {
                if completion.id == id {
                    return Ok(completion);
                }
            }
            if Instant::now() >= end {
                self.forget(id);
                while self.completion().is_some() {}
                return Err(Error::Time);
            }
        }
    }

    /// Commands whose end has not come.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.live.len() - self.notes.borrow().ended.len()
    }

    /// Gathers what is sent until it is turned off again (TCP_CORK): fewer and larger segments.
    pub fn cork(&self, on: bool) {
        self.set_option(libc::IPPROTO_TCP, libc::TCP_CORK, &c_int::from(on));
    }

    /// Sets an option of the socket. One that fails is a matter of speed, or of how gentle an end is.
    fn set_option<T>(&self, level: c_int, name: c_int, value: &T) {
        // SAFETY: the descriptor is open as long as the context lives; the value is as long as said.
        unsafe {
            let len = size_of::<T>() as libc::socklen_t;
            libc::setsockopt(self.fd(), level, name, std::ptr::from_ref(value).cast(), len);
        }
    }

    /// The socket, for what the library has no words for: options, closing a half. It stays the session's.
    #[must_use]
    pub fn fd(&self) -> c_int {
        // SAFETY: the context lives.
        unsafe { sys::iscsi_get_fd(self.raw()) }
    }

    /// Logs out and ends.
    ///
    /// # Errors
    /// [`Error::Lost`] when the target does not answer.
    pub fn logout(mut self) -> Result<(), Error> {
        self.check()?;
        // SAFETY: a logged-in context; callbacks as ever. Ten seconds are the library's for this one request.
        let failed = unsafe {
            sys::iscsi_set_timeout(self.raw(), 10);
            sys::iscsi_logout_sync(self.raw()) != 0
        };
        if failed {
            self.lost = Some(self.last_error());
        }
        self.check()
    }

    /// Ends at once by a reset of the TCP connection, whatever is under way.
    pub fn abandon(self) {
        self.set_option(libc::SOL_SOCKET, libc::SO_LINGER, &libc::linger { l_onoff: 1, l_linger: 0 });
    }

    fn check(&self) -> Result<(), Error> {
        match &self.lost {
            Some(why) => Err(Error::Lost(why.clone())),
            None => Ok(()),
        }
    }

    fn last_error(&self) -> String {
        self.context.as_ref().map(Context::last_error).unwrap_or_default()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.context = None; // closes the connection; callbacks may come, or be left out
        for pending in std::mem::take(&mut self.notes.borrow_mut().ended) {
            self.live.remove(&pending.id);
        }
        for managed in std::mem::take(&mut self.notes.borrow_mut().managed) {
            self.managing.remove(&managed.number);
        }
        // SAFETY: what is still here was never given to a callback, and there is no library left to call one.
        unsafe {
            self.live.drain().for_each(|(_, pending)| drop(Box::from_raw(pending.as_ptr())));
            self.managing.drain().for_each(|(_, managing)| drop(Box::from_raw(managing.as_ptr())));
        }
    }
}

/// Waits for any of the sessions, at most for `timeout`, and serves all that have something to do.
///
/// # Errors
/// [`Error::Lost`] of the first that is.
pub fn poll_all(sessions: &mut [Session], timeout: Duration) -> Result<(), Error> {
    let mut polled = Vec::with_capacity(sessions.len());
    for session in sessions.iter() {
        session.check()?;
        // SAFETY: the context lives.
        let events = unsafe { sys::iscsi_which_events(session.raw()) } as i16;
        polled.push(libc::pollfd { fd: session.fd(), events, revents: 0 });
    }
    let ms = c_int::try_from(timeout.as_micros().div_ceil(1000)).unwrap_or(c_int::MAX);
    // SAFETY: the list lives through the call, and is as long as said.
    unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, ms) };
    for (session, polled) in sessions.iter_mut().zip(&polled) {
        if polled.revents != 0 {
            session.serve(polled.revents)?;
        }
    }
    Ok(())
}

extern "C" fn ended(_: *mut sys::Context, status: c_int, _: *mut c_void, private: *mut c_void) {
    // SAFETY: `private` is the box that was leaked for this command, and it is called back once.
    let mut pending = unsafe { Box::from_raw(private.cast::<Pending>()) };
    pending.status = status;
    let notes = Rc::clone(&pending.notes);
    let mut notes = notes.borrow_mut();
    notes.lost |= status == sys::STATUS_CANCELLED;
    notes.ended.push_back(pending);
}

extern "C" fn managed(_: *mut sys::Context, status: c_int, data: *mut c_void, private: *mut c_void) {
    // SAFETY: `private` is the box that was leaked for this function, and it is called back once.
    let managing = unsafe { Box::from_raw(private.cast::<Managing>()) };
    // SAFETY: with GOOD the library passes a pointer to the response, valid during the call.
    let response = unsafe { data.cast::<u32>().as_ref() }.filter(|_| status == 0).map(|code| *code as u8);
    let mut notes = managing.notes.borrow_mut();
    notes.lost |= status == sys::STATUS_CANCELLED;
    notes.managed.push_back(Managed { number: managing.number, response });
}
