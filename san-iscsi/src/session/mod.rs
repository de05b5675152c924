//! A session as a value (RFC 7143, error recovery level 0): bytes and results in; bytes, work and deadlines
//! out.
//!
//! Invariants: no I/O, no clock, no randomness in here: the time comes with each event. Nothing that a peer
//! sends makes a session panic, or hold more than [`limits`] allow. What does not fit the state is the peer's
//! fault: it is answered, or ends this session, never another.
//!
//! | module | job |
//! |---|---|
//! | [`login`](self), `negotiation`, `chap` | who is there, and how the two talk |
//! | `full_feature`, `commands`, `gather`, `management`, `text`, `window` | what comes after |
//! | [`output`] | what is to be sent |
//! | [`registry`] | which sessions live |

mod chap;
mod commands;
pub(crate) mod driver;
mod full_feature;
mod gather;
mod io;
pub mod limits;
mod login;
mod management;
mod negotiation;
pub mod output;
mod portal;
pub mod registry;
#[cfg(test)]
mod tests;
mod text;
mod window;

pub use chap::Entropy;
pub use io::{End, Work, WorkId};
pub use negotiation::Params;
pub use portal::{Ends, Portal, PortalAddress};

use crate::lun::LogicalUnit;
use crate::memory::{Budget, Permit};
use crate::scsi::command::Response;
use crate::scsi::nexus::{Event, Nexus, TaskManagementResponse};
use crate::scsi::InitiatorPort;
use crate::wire::frame::{Framer, Head, Sink, Step};
use crate::wire::{LoginRequest, LoginResponse, LoginStatus, Sn, Stage, Tsih, Window};
use full_feature::{FullFeature, Incoming};
use io::Io;
use limits::{
    COMMANDS, DATA_TIME, DEFAULT_SEGMENT, LOGIN_TIME, LOGOUT_TIME, MEMORY_TIME, OUTPUT, OUTPUT_UNPERMITTED,
    PING_TIME, SESSION_MEMORY, STALL_TIME,
};
use login::{Login, Next};
use output::Output;
use std::sync::Arc;
use std::time::Instant;

/// One connection, and so one session, of an initiator.
pub struct Session<L: LogicalUnit> {
    phase: Phase<L>,
    framer: Framer,
    current: Option<(Head, Incoming)>,
    /// Too much waited to be sent when it was looked at last: what came since then is in the backlog.
    paused: bool,
    backlog: Option<(Vec<u8>, Option<Permit>)>,
    io: Io<L>,
    started: Instant,
    heard: Instant,
    pinged: Option<Instant>,
    /// Since when nothing of what waits was taken.
    stalled: Option<Instant>,
    /// When the peer was asked to log out.
    leave_by: Option<Instant>,
    initiator: Option<String>,
    /// The nexus of a session that was to be taken over, and was not.
    orphan: Option<Arc<Nexus<L>>>,
}

enum Phase<L: LogicalUnit> {
    Login(Box<Login<L>>),
    Entering(Box<Login<L>>, LoginRequest, Vec<u8>),
    Full(Box<FullFeature<L>>),
    Over,
}

/// What a session leaves to the connection that takes it over.
pub struct Carried<L: LogicalUnit> {
    nexus: Option<Arc<Nexus<L>>>,
    expected: Sn,
    params: Params,
}

impl<L: LogicalUnit> Carried<L> {
    /// Lets go of the nexus, which is to be detached: nobody took the session over.
    pub fn take_nexus(&mut self) -> Option<Arc<Nexus<L>>> {
        self.nexus.take()
    }
}

/// The registry's answer to [`Work::Enter`].
pub enum Entry<L: LogicalUnit> {
    /// It is a new session.
    New(Tsih),
    /// It goes on.
    Carried(Tsih, Carried<L>),
    /// No.
    Refused(LoginStatus),
}

impl<L: LogicalUnit> Session<L> {
    /// A connection that has just been accepted.
    #[must_use]
    pub fn new(
        portal: Arc<Portal<L>>,
        ends: Ends,
        entropy: Entropy,
        budget: &Budget,
        now: Instant,
    ) -> Session<L> {
        Session {
            phase: Phase::Login(Box::new(Login::new(portal, ends, entropy))),
            framer: Framer::new(DEFAULT_SEGMENT as usize),
            current: None,
            paused: false,
            backlog: None,
            io: Io::new(budget.share(SESSION_MEMORY), now),
            started: now,
            heard: now,
            pinged: None,
            stalled: None,
            leave_by: None,
            initiator: None,
            orphan: None,
        }
    }

    /// Takes bytes that the peer has sent. What follows the session's end is not looked at.
    pub fn receive(&mut self, now: Instant, mut input: &[u8]) {
        self.hear(now);
        self.follow(&mut input);
    }

    /// Where the rest of a large data segment can be received into, so that it need not be copied.
    pub fn body_space(&mut self) -> Option<&mut [u8]> {
        self.framer.body_space()
    }

    /// Says that `n` bytes were received into [`Session::body_space`].
    pub fn body_filled(&mut self, now: Instant, n: usize) {
        self.hear(now);
        self.framer.body_filled(n);
        self.follow(&mut &[][..]);
    }

    fn hear(&mut self, now: Instant) {
        (self.io.now, self.heard, self.pinged) = (now, now, None);
    }

    fn follow(&mut self, input: &mut &[u8]) {
        while self.io.end.is_none() && !matches!(self.phase, Phase::Entering(..)) {
            // What came before has its turn first.
            if self.backlog.is_some() || !self.has_room() {
                self.pause(input);
                break;
            }
            match self.framer.feed(input) {
                Ok(Step::More) => break,
                Ok(Step::Head(head)) => self.on_head(head),
                Ok(Step::Body(sink, intact)) => self.on_pdu(sink, intact),
                Err(fault) => self.io.end(End::Frame(fault)),
            }
        }
        if matches!(self.phase, Phase::Entering(..)) && !input.is_empty() && self.io.end.is_none() {
            // Nobody speaks before the login is answered.
            self.io.end(End::Refused(LoginStatus::InitiatorError));
        }
        self.watch_output();
    }

    /// Whether what was answered leaves room for more answers.
    fn has_room(&self) -> bool {
        let out = &self.io.out;
        out.pending() <= OUTPUT && out.unpermitted() <= OUTPUT_UNPERMITTED
    }

    /// Keeps the rest of the input until the peer has taken what it was sent: requests are short and answers
    /// are long.
    fn pause(&mut self, input: &mut &[u8]) {
        self.paused = true;
        if input.is_empty() {
            return;
        }
        let (mut backlog, permit) = self.backlog.take().unwrap_or_default();
        backlog.extend_from_slice(std::mem::take(input));
        drop(permit);
        let permit = self.io.budget.try_take(backlog.len());
        if permit.is_none() && self.io.out.unpermitted() > OUTPUT_UNPERMITTED {
            // It asks, does not take the answers, and there is no memory left for more of that.
            self.io.end(End::Stalled);
        }
        self.backlog = Some((backlog, permit));
    }

    /// Goes on where it paused, if there is room again.
    fn resume(&mut self) {
        if self.paused && self.has_room() {
            self.paused = false;
            let (backlog, permit) = self.backlog.take().unwrap_or_default();
            self.follow(&mut &backlog[..]);
            drop(permit);
        }
    }

    fn on_head(&mut self, head: Head) {
        let (incoming, sink) = match &mut self.phase {
            Phase::Full(full) => full.on_head(&head, &mut self.io),
            Phase::Login(_) if LoginRequest::is_one(&head.bhs) => (Incoming::Ignored, Sink::Text(Vec::new())),
            _ => (Incoming::Ignored, Sink::Discard),
        };
        self.current = Some((head, incoming));
        self.framer.start_body(sink);
    }

    fn on_pdu(&mut self, sink: Sink, intact: bool) {
        let Some((head, incoming)) = self.current.take() else { return };
        match &mut self.phase {
            Phase::Full(full) => full.on_pdu(&head, incoming, sink, intact, &mut self.io),
            Phase::Login(_) => self.on_login(&head, sink),
            Phase::Entering(..) | Phase::Over => {}
        }
    }

    fn on_login(&mut self, head: &Head, sink: Sink) {
        let Phase::Login(login) = &mut self.phase else { return };
        if !LoginRequest::is_one(&head.bhs) {
            let request = blank_request(head);
            return self.refuse(&request, LoginStatus::InvalidDuringLogin);
        }
        let request = match LoginRequest::parse(&head.bhs) {
            Ok(request) if head.ahs.is_empty() => request,
            _ => return self.refuse(&blank_request(head), LoginStatus::InitiatorError),
        };
        let Sink::Text(data) = sink else { return };
        let result = login.on_request(&request, &data);
        if self.initiator.is_none() {
            self.initiator = login.peer_name().map(str::to_owned);
        }
        match result {
            Ok(Next::Answer(keys, next)) => {
                self.put_login(&request, next, Tsih(0), request.order.cmd_sn, &keys);
            }
            Ok(Next::Enter(keys, claim)) => {
                self.io.work.push_back(Work::Enter(claim));
                if let Phase::Login(login) = std::mem::replace(&mut self.phase, Phase::Over) {
                    self.phase = Phase::Entering(login, request, keys);
                }
            }
            Err(status) => self.refuse(&request, status),
        }
    }

    fn put_login(&mut self, request: &LoginRequest, next: Option<Stage>, tsih: Tsih, sn: Sn, keys: &[u8]) {
        let max_cmd_sn = sn.plus(COMMANDS - 1);
        let window = Window { stat_sn: self.io.stat_sn.take(), exp_cmd_sn: sn, max_cmd_sn };
        let tsih = if tsih == Tsih(0) { request.tsih } else { tsih };
        let (isid, task, status) = (request.isid, request.task, LoginStatus::Success);
        let response =
            LoginResponse { window, more: false, stage: request.stage, next, isid, tsih, task, status };
        self.io.out.put(response.emit(), keys);
    }

    /// Ends a login; the answer is the same whatever was found out before it.
    fn refuse(&mut self, request: &LoginRequest, status: LoginStatus) {
        let window = Window { stat_sn: self.io.stat_sn.take(), ..Window::default() };
        let (isid, tsih, task) = (request.isid, request.tsih, request.task);
        let (stage, next) = (request.stage, None);
        let response = LoginResponse { window, more: false, stage, next, isid, tsih, task, status };
        self.io.out.put(response.emit(), &[]);
        self.phase = Phase::Over;
        self.io.end(End::Refused(status));
    }

    /// The registry has decided. None: no session was entered, and the registry must be told so.
    pub fn entered(&mut self, now: Instant, entry: Entry<L>) -> Option<()> {
        self.io.now = now;
        let Phase::Entering(login, request, keys) = std::mem::replace(&mut self.phase, Phase::Over) else {
            return None;
        };
        let (portal, ends, peer, params) = login.into_parts();
        let peer = peer?;
        let (tsih, carried) = match entry {
            Entry::Refused(status) => {
                self.refuse(&request, status);
                return None;
            }
            Entry::New(tsih) => (tsih, None),
            Entry::Carried(tsih, carried) => {
                self.orphan.clone_from(&carried.nexus); // until somebody has it
                (tsih, Some(carried))
            }
        };
        if self.io.end.is_some() {
            return None; // it ended while the registry decided
        }
        if !portal.is_open() {
            self.refuse(&request, LoginStatus::ServiceUnavailable);
            return None;
        }
        let known = portal.target.discover(&peer.grant).is_some();
        let (expected, nexus, params) = match carried {
            // What belongs to the session stays; segments and digests belong to the connection.
            Some(carried) => {
                let Params { digests, send_segment, receive_segment, .. } = params;
                let kept = Params { digests, send_segment, receive_segment, ..carried.params };
                (carried.expected, carried.nexus, kept)
            }
            None if peer.discovery => (request.order.cmd_sn, None, params),
            None => {
                let port = InitiatorPort { name: peer.name.clone(), isid: request.isid.0 };
                (request.order.cmd_sn, portal.target.attach(&peer.grant, port), params)
            }
        };
        if !known || (nexus.is_none() && !peer.discovery) {
            self.refuse(&request, LoginStatus::AuthenticationFailure);
            return None;
        }
        self.put_login(&request, Some(Stage::FullFeature), tsih, expected, &keys);
        self.io.out.negotiated(params.digests);
        self.framer.negotiated(params.digests, params.receive_segment as usize);
        let full = FullFeature::new((portal, ends, peer), nexus, params, request.cid, expected);
        self.phase = Phase::Full(Box::new(full));
        self.orphan = None;
        self.watch_output();
        Some(())
    }

    /// The next piece of work.
    pub fn next_work(&mut self) -> Option<Work<L>> {
        self.io.work.pop_front()
    }

    /// A command was executed.
    pub fn executed(&mut self, now: Instant, id: WorkId, response: Response) {
        self.with_full(now, |full, io| full.executed(id, response, io));
    }

    /// A task management function was done.
    pub fn managed(&mut self, now: Instant, id: WorkId, response: TaskManagementResponse) {
        self.with_full(now, |full, io| full.managed(id, response, io));
    }

    /// Memory is there.
    pub fn granted(&mut self, now: Instant, permit: Permit) {
        self.with_full(now, |full, io| full.granted(permit, io));
    }

    /// The nexus was ended.
    pub fn detached(&mut self, now: Instant) {
        self.with_full(now, |full, io| full.detached(io));
    }

    /// The nexus has news.
    pub fn on_event(&mut self, now: Instant, event: Event) {
        self.with_full(now, |full, io| full.on_event(event, io));
    }

    /// Asks the initiator to log out; after [`LOGOUT_TIME`] the session ends.
    pub fn ask_to_leave(&mut self, now: Instant) {
        match self.phase {
            Phase::Full(_) => {
                self.leave_by.get_or_insert(now + LOGOUT_TIME);
                self.with_full(now, |full, io| full.ask_to_leave(io));
            }
            _ => self.io.end(End::Stopped),
        }
    }

    /// Ends the session from outside.
    pub fn end(&mut self, end: End) {
        self.io.end(end);
    }

    fn with_full(&mut self, now: Instant, act: impl FnOnce(&mut FullFeature<L>, &mut Io<L>)) {
        self.io.now = now;
        if let Phase::Full(full) = &mut self.phase {
            if self.io.end.is_none() {
                act(full, &mut self.io);
            }
        }
        self.watch_output();
    }

    /// What waits to be sent.
    #[must_use]
    pub fn output(&self) -> &Output {
        &self.io.out
    }

    /// Says that the first `n` bytes of it are gone.
    pub fn sent(&mut self, now: Instant, n: usize) {
        self.io.out.sent(n);
        self.stalled = (self.io.out.pending() > 0).then_some(now);
        self.io.now = now;
        self.resume();
    }

    fn watch_output(&mut self) {
        if self.io.out.pending() > 0 {
            self.stalled.get_or_insert(self.io.now);
        }
    }

    /// Whether requests are taken now: not while too much of what was answered still waits to be sent, nor
    /// between the end of a login and its answer.
    #[must_use]
    pub fn wants_input(&self) -> bool {
        let entering = matches!(self.phase, Phase::Entering(..));
        self.io.end.is_none() && !entering && !self.paused && self.has_room()
    }

    /// Why the session is over, once it is. What waits may still be sent.
    #[must_use]
    pub fn ended(&self) -> Option<End> {
        self.io.end
    }

    /// Lets go of the nexus, which is to be detached.
    pub fn take_nexus(&mut self) -> Option<Arc<Nexus<L>>> {
        match &mut self.phase {
            Phase::Full(full) => {
                full.drop_tasks();
                full.nexus.take()
            }
            _ => self.orphan.take(),
        }
    }

    /// Lets go of the session, for the connection that takes it over, when no command runs any more.
    pub fn hand_over(&mut self) -> Option<Carried<L>> {
        match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Full(full) => {
                let (expected, params) = (full.window.expected(), full.params);
                Some(Carried { nexus: full.nexus, expected, params })
            }
            _ => None,
        }
    }

    /// The nexus, while there is one.
    #[must_use]
    pub fn nexus(&self) -> Option<&Arc<Nexus<L>>> {
        match &self.phase {
            Phase::Full(full) => full.nexus.as_ref(),
            _ => None,
        }
    }

    /// Whether it has logged in.
    #[must_use]
    pub fn is_full_feature(&self) -> bool {
        matches!(self.phase, Phase::Full(_))
    }

    /// The initiator's name, as far as it is known.
    #[must_use]
    pub fn initiator(&self) -> Option<&str> {
        self.initiator.as_deref()
    }

    /// What the session's memory comes out of.
    #[must_use]
    pub fn budget(&self) -> &Budget {
        &self.io.budget
    }

    /// When [`Session::tick`] is to be called, at the latest.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        if self.io.end.is_some() {
            return None;
        }
        let Phase::Full(full) = &self.phase else { return Some(self.started + LOGIN_TIME) };
        let life = self.pinged.unwrap_or(self.heard) + PING_TIME;
        [
            Some(life),
            self.leave_by,
            self.stalled.map(|since| since + STALL_TIME),
            full.hungry_since().map(|since| since + MEMORY_TIME),
            full.data_owed_since().map(|since| since + DATA_TIME),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant) {
        self.io.now = now;
        let is_past = |since: Option<Instant>, time| since.is_some_and(|since| since + time <= now);
        let Phase::Full(full) = &mut self.phase else {
            if self.started + LOGIN_TIME <= now {
                self.io.end(End::LoginTime);
            }
            return;
        };
        if is_past(full.data_owed_since(), DATA_TIME) || is_past(self.stalled, STALL_TIME) {
            self.io.end(End::Stalled);
        } else if self.leave_by.is_some_and(|by| by <= now) {
            self.io.end(End::Stopped);
        } else if is_past(self.pinged, PING_TIME) {
            self.io.end(End::Silent);
        } else if self.pinged.is_none() && is_past(Some(self.heard), PING_TIME) {
            self.pinged = Some(now);
            full.ping(&mut self.io);
        }
        if let Some(limit) = now.checked_sub(MEMORY_TIME) {
            if let Phase::Full(full) = &mut self.phase {
                full.refuse_hungry(limit, &mut self.io);
            }
        }
        self.watch_output();
    }
}

/// What can be told of a header that is no valid login request, to answer it.
fn blank_request(head: &Head) -> LoginRequest {
    let mut bhs = head.bhs;
    bhs[1] = 0; // security stage, no transit: the rest of the header is valid whatever it says
    LoginRequest::parse(&bhs).expect("all fields but the flags may have any value")
}
