//! The login phase (RFC 7143 6.3): who is there, may it come in, and how the two talk from then on.
//!
//! Invariants: a stage that was left cannot be used again; nothing is looked at before the target knows who
//! speaks; an unknown initiator takes the same steps as one with a wrong secret, and gets the same answer.
//! The text of a whole login is bounded, and a key comes once in it.
//!
//! | transition | from, to | when |
//! |---|---|---|
//! | T4 | free → in login | the connection is there |
//! | security → operational | | the initiator asks, and has proved what it must |
//! | T5 | in login → logged in | the initiator asks for full feature phase, and the registry let it in |
//! | T7 | in login → free | anything else: a refusal, and the connection ends |

use super::chap::{Algorithm, Challenge, Entropy, CHALLENGE_MAX};
use super::negotiation::Negotiation;
use super::portal::{Ends, Portal};
use super::registry::{Claim, SessionKey};
use crate::lun::LogicalUnit;
use crate::scsi::inventory::Credentials;
use crate::scsi::Grant;
use crate::scsi::InitiatorPort;
use crate::wire::text::{self, binary, put, to_hex, Collector};
use crate::wire::{Cid, Isid, LoginRequest, LoginStatus, Stage, TaskTag, Tsih};
use rustc_hash::FxHashSet;
use std::sync::Arc;
use LoginStatus::{AuthenticationFailure, InitiatorError};

/// The longest iSCSI name (RFC 7143 4.2.7.1).
const NAME_MAX: usize = 223;

/// Requests of one login.
const REQUESTS_MAX: u32 = 64;

/// A connection that is logging in.
pub(super) struct Login<L: LogicalUnit> {
    portal: Arc<Portal<L>>,
    ends: Ends,
    entropy: Entropy,
    phase: Phase,
    /// Set by the first request that is complete.
    peer: Option<Peer>,
    /// What each request of the login must repeat.
    same: Option<(Isid, Tsih, Cid, TaskTag)>,
    text: Collector,
    text_len: usize,
    requests: u32,
    keys: FxHashSet<String>,
    negotiation: Negotiation,
}

enum Phase {
    Security(Security),
    Operational,
    /// It has said all; the registry decides.
    Entering,
}

/// Security negotiation; each step consumes the one before.
enum Security {
    Start,
    Method,
    Challenged(Challenge),
    Proved,
}

/// Who is there.
pub(super) struct Peer {
    pub(super) name: String,
    pub(super) discovery: bool,
    pub(super) grant: Grant,
}

/// What a request of the login leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// An answer with these keys; the stage changes if one is named.
    Answer(Vec<u8>, Option<Stage>),
    /// The registry is to be asked; the answer with these keys comes after that.
    Enter(Vec<u8>, Claim),
}

impl<L: LogicalUnit> Login<L> {
    pub(super) fn new(portal: Arc<Portal<L>>, ends: Ends, entropy: Entropy) -> Login<L> {
        Login {
            portal,
            ends,
            entropy,
            phase: Phase::Security(Security::Start),
            peer: None,
            same: None,
            text: Collector::default(),
            text_len: 0,
            requests: 0,
            keys: FxHashSet::default(),
            negotiation: Negotiation::default(),
        }
    }

    /// Handles a request and its text.
    pub(super) fn on_request(&mut self, request: &LoginRequest, data: &[u8]) -> Result<Next, LoginStatus> {
        self.check(request)?;
        self.text_len += data.len();
        if self.text_len > text::TEXT_MAX {
            return Err(InitiatorError);
        }
        let whole = self.text.take(data, request.more).map_err(|_| InitiatorError)?;
        let Some(whole) = whole else { return Ok(Next::Answer(Vec::new(), None)) };
        let pairs = text::parse(&whole).map_err(|_| InitiatorError)?;
        for (key, _) in &pairs {
            if !self.keys.insert((*key).to_owned()) {
                return Err(InitiatorError); // a key twice in a login
            }
        }
        let mut out = Vec::new();
        if self.peer.is_none() {
            self.identify(request, &pairs, &mut out)?;
        }
        self.on_pairs(request, &pairs, &mut out)?;
        self.transit(request, out)
    }

    /// What holds for every request.
    fn check(&mut self, request: &LoginRequest) -> Result<(), LoginStatus> {
        if !self.portal.is_open() {
            return Err(LoginStatus::ServiceUnavailable);
        }
        self.requests += 1;
        if self.requests > REQUESTS_MAX {
            return Err(InitiatorError);
        }
        if request.version_min > 0 {
            return Err(LoginStatus::UnsupportedVersion);
        }
        let same = (request.isid, request.tsih, request.cid, request.task);
        if *self.same.get_or_insert(same) != same {
            return Err(InitiatorError);
        }
        let stage = match self.phase {
            Phase::Security(_) => Stage::Security,
            Phase::Operational => Stage::Operational,
            Phase::Entering => return Err(InitiatorError),
        };
        // A login may begin with either stage.
        let begins = self.peer.is_none() && request.stage == Stage::Operational;
        if request.stage == stage || begins {
            Ok(())
        } else {
            Err(InitiatorError)
        }
    }

    /// The first request says who is there, and what it is after.
    fn identify(
        &mut self,
        request: &LoginRequest,
        pairs: &[(&str, &str)],
        out: &mut Vec<u8>,
    ) -> Result<(), LoginStatus> {
        let value = |name: &str| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
        let name = value("InitiatorName").ok_or(LoginStatus::MissingParameter)?;
        if name.is_empty() || name.len() > NAME_MAX {
            return Err(InitiatorError);
        }
        // Names are the same whatever their case: they are prepared as by RFC 3722, and known in lower case.
        let name = name.to_lowercase();
        let discovery = match value("SessionType") {
            None | Some("Normal") => false,
            Some("Discovery") => true,
            Some(_) => return Err(LoginStatus::SessionTypeNotSupported),
        };
        match value("TargetName") {
            Some(target) if target.eq_ignore_ascii_case(self.portal.target.name()) => {}
            Some(_) => return Err(LoginStatus::NotFound),
            None if discovery => {}
            None => return Err(LoginStatus::MissingParameter),
        }
        let grant = self.portal.target.admit(&name, self.ends.source(), self.portal.id);
        if request.stage == Stage::Operational {
            if grant.credentials().is_some() {
                return Err(AuthenticationFailure);
            }
            self.phase = Phase::Operational;
        }
        if !discovery {
            put(out, "TargetPortalGroupTag", self.portal.id.0);
        }
        self.negotiation.discovery = discovery;
        self.peer = Some(Peer { name, discovery, grant });
        Ok(())
    }

    fn on_pairs(
        &mut self,
        request: &LoginRequest,
        pairs: &[(&str, &str)],
        out: &mut Vec<u8>,
    ) -> Result<(), LoginStatus> {
        let credentials = self.peer.as_ref().and_then(|peer| peer.grant.credentials());
        let is_security = |key: &str| key == "AuthMethod" || key.starts_with("CHAP_");
        let (security, rest): (Vec<_>, Vec<_>) = pairs.iter().partition(|(key, _)| is_security(key));
        match std::mem::replace(&mut self.phase, Phase::Entering) {
            Phase::Security(step) => {
                self.phase = Phase::Security(step.on_keys(&security, credentials, &self.entropy, out)?);
            }
            other if security.is_empty() => self.phase = other,
            _ => return Err(InitiatorError),
        }
        let names = ["InitiatorName", "TargetName", "SessionType"];
        let rest: Vec<_> = rest.into_iter().copied().filter(|(key, _)| !names.contains(key)).collect();
        self.negotiation.on_keys(&rest, out);
        if request.stage == Stage::Operational {
            self.negotiation.declare(out);
        }
        Ok(())
    }

    /// Goes to the stage that the initiator asks for, if it may.
    fn transit(&mut self, request: &LoginRequest, out: Vec<u8>) -> Result<Next, LoginStatus> {
        let peer = self.peer.as_ref().ok_or(InitiatorError)?;
        let Some(next) = request.next else { return Ok(Next::Answer(out, None)) };
        if let Phase::Security(step) = &self.phase {
            match step {
                Security::Proved => {}
                Security::Start if peer.grant.credentials().is_none() => {}
                Security::Start => return Err(AuthenticationFailure),
                Security::Method | Security::Challenged(_) => return Ok(Next::Answer(out, None)),
            }
        }
        if next == Stage::Operational {
            self.phase = Phase::Operational;
            return Ok(Next::Answer(out, Some(next)));
        }
        self.phase = Phase::Entering;
        let port = InitiatorPort { name: peer.name.clone(), isid: request.isid.0 };
        let key = (!peer.discovery).then_some(SessionKey { port, portal: self.portal.id });
        Ok(Next::Enter(out, Claim { key, tsih: request.tsih, cid: request.cid }))
    }

    /// What the login has come to.
    pub(super) fn into_parts(self) -> (Arc<Portal<L>>, Ends, Option<Peer>, super::Params) {
        (self.portal, self.ends, self.peer, self.negotiation.finish())
    }

    /// Who is there, as far as it is known.
    pub(super) fn peer_name(&self) -> Option<&str> {
        self.peer.as_ref().map(|peer| &*peer.name)
    }
}

impl Security {
    /// The security keys of one request.
    fn on_keys(
        self,
        pairs: &[&(&str, &str)],
        credentials: Option<&Credentials>,
        entropy: &Entropy,
        out: &mut Vec<u8>,
    ) -> Result<Security, LoginStatus> {
        let value = |name: &str| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
        match (self, value("AuthMethod")) {
            (step, None) if pairs.is_empty() => Ok(step),
            (Security::Start, Some(methods)) => Security::choose(methods, credentials, out),
            (Security::Method, None) => {
                let list = value("CHAP_A").ok_or(InitiatorError)?;
                let algorithm = Algorithm::strongest(list).ok_or(AuthenticationFailure)?;
                let challenge = Challenge::new(algorithm, entropy);
                put(out, "CHAP_A", algorithm.code());
                put(out, "CHAP_I", challenge.id);
                put(out, "CHAP_C", to_hex(&challenge.bytes));
                Ok(Security::Challenged(challenge))
            }
            (Security::Challenged(challenge), None) => {
                let credentials = credentials.ok_or(AuthenticationFailure)?;
                let name = value("CHAP_N").ok_or(InitiatorError)?;
                let response = value("CHAP_R").and_then(|r| binary(r, 64)).ok_or(InitiatorError)?;
                let proved = challenge.is_answered(&credentials.initiator, name, &response);
                let answer = match (value("CHAP_I"), value("CHAP_C")) {
                    (None, None) => None,
                    (Some(id), Some(other)) => Some((id, other)),
                    _ => return Err(InitiatorError),
                };
                if !proved {
                    return Err(AuthenticationFailure);
                }
                answer.map_or(Ok(()), |(id, other)| prove(&challenge, credentials, id, other, out))?;
                Ok(Security::Proved)
            }
            _ => Err(InitiatorError),
        }
    }

    /// One of the initiator's methods: CHAP where it is needed, else none.
    fn choose(
        methods: &str,
        credentials: Option<&Credentials>,
        out: &mut Vec<u8>,
    ) -> Result<Security, LoginStatus> {
        let (needed, step) = match credentials {
            Some(_) => ("CHAP", Security::Method),
            None => ("None", Security::Proved),
        };
        if !methods.split(',').any(|method| method == needed) {
            return Err(AuthenticationFailure);
        }
        put(out, "AuthMethod", needed);
        Ok(step)
    }
}

/// Mutual CHAP: the target answers the initiator's challenge, never its own come back.
fn prove(
    ours: &Challenge,
    credentials: &Credentials,
    id: &str,
    theirs: &str,
    out: &mut Vec<u8>,
) -> Result<(), LoginStatus> {
    let target = credentials.target.as_ref().ok_or(AuthenticationFailure)?;
    let id = text::number(id).and_then(|id| u8::try_from(id).ok()).ok_or(InitiatorError)?;
    let theirs = binary(theirs, CHALLENGE_MAX).ok_or(InitiatorError)?;
    if theirs == ours.bytes || target.secret == credentials.initiator.secret {
        return Err(AuthenticationFailure);
    }
    put(out, "CHAP_N", &target.user);
    put(out, "CHAP_R", to_hex(&ours.algorithm.respond(id, target, &theirs)));
    Ok(())
}
