//! Which sessions live: reinstatement and TSIHs (RFC 7143 6.3.1, 6.3.4; protocol rules 7 and 8).
//!
//! Invariants: a session is known by initiator name, ISID and portal, and each such name has at most one
//! session; a session leaves the registry only when nothing of it can have an effect any more. TSIHs are used
//! in turn, so that none comes back soon.

use crate::scsi::inventory::PortalId;
use crate::scsi::InitiatorPort;
use crate::wire::{Cid, LoginStatus, Tsih};
use rustc_hash::{FxHashMap, FxHashSet};

/// Sessions that may live at once.
pub const SESSIONS: usize = 1024;

/// The name of a session.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SessionKey {
    /// The initiator's end.
    pub port: InitiatorPort,
    /// The target's.
    pub portal: PortalId,
}

/// A wish to become, or to rejoin, a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Which; none for a discovery session, which replaces no other.
    pub key: Option<SessionKey>,
    /// Zero for a new session.
    pub tsih: Tsih,
    /// The connection.
    pub cid: Cid,
}

/// What becomes of a wish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict<H> {
    /// It is a new session.
    New(Tsih),
    /// An older session of that name must end first; then ask again.
    Replace(H),
    /// The session goes on over the new connection, once the old one has let go of it.
    Rejoin(Tsih, H),
    /// No.
    Refused(LoginStatus),
}

/// The sessions; `H` is how one that lives is reached.
pub struct Registry<H> {
    live: FxHashMap<SessionKey, Live<H>>,
    used: FxHashSet<Tsih>,
    last: Tsih,
    max: usize,
}

struct Live<H> {
    tsih: Tsih,
    cid: Cid,
    handle: H,
}

impl<H> Default for Registry<H> {
    fn default() -> Registry<H> {
        Registry { live: FxHashMap::default(), used: FxHashSet::default(), last: Tsih(0), max: SESSIONS }
    }
}

impl<H: Clone> Registry<H> {
    /// Decides; a new session is entered with `handle`, and one that is rejoined is reached by it from now
    /// on.
    pub fn claim(&mut self, claim: &Claim, handle: &H) -> Verdict<H> {
        let Some(key) = &claim.key else {
            return match claim.tsih {
                Tsih(0) => self.fresh().map_or(Verdict::Refused(LoginStatus::OutOfResources), Verdict::New),
                _ => Verdict::Refused(LoginStatus::SessionDoesNotExist),
            };
        };
        match (self.live.get_mut(key), claim.tsih) {
            (Some(live), Tsih(0)) => Verdict::Replace(live.handle.clone()),
            (Some(live), tsih) if live.tsih == tsih && live.cid == claim.cid => {
                Verdict::Rejoin(tsih, std::mem::replace(&mut live.handle, handle.clone()))
            }
            (Some(live), tsih) if live.tsih == tsih => Verdict::Refused(LoginStatus::TooManyConnections),
            (None, Tsih(0)) => {
                let Some(tsih) = self.fresh() else { return Verdict::Refused(LoginStatus::OutOfResources) };
                let live = Live { tsih, cid: claim.cid, handle: handle.clone() };
                self.live.insert(key.clone(), live);
                Verdict::New(tsih)
            }
            _ => Verdict::Refused(LoginStatus::SessionDoesNotExist),
        }
    }

    /// A session is over; `is_same` tells whether it is still reached by the handle of who says so.
    pub fn leave(&mut self, key: Option<&SessionKey>, tsih: Tsih, is_same: impl FnOnce(&H) -> bool) {
        if let Some(key) = key {
            match self.live.get(key) {
                Some(live) if live.tsih == tsih && is_same(&live.handle) => self.live.remove(key),
                _ => return, // another connection has it now
            };
        }
        self.used.remove(&tsih);
    }

    /// The sessions that are no discovery.
    pub fn live(&self) -> impl Iterator<Item = (&SessionKey, &H)> {
        self.live.iter().map(|(key, live)| (key, &live.handle))
    }

    /// Sessions, discovery included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.used.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.used.is_empty()
    }

    fn fresh(&mut self) -> Option<Tsih> {
        if self.used.len() >= self.max {
            return None;
        }
        loop {
            self.last = Tsih(self.last.0.wrapping_add(1));
            if self.last != Tsih(0) && self.used.insert(self.last) {
                return Some(self.last);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(name: &str, portal: u16, tsih: u16, cid: u16) -> Claim {
        let port = InitiatorPort { name: name.into(), isid: [0; 6] };
        let key = SessionKey { port, portal: PortalId(portal) };
        Claim { key: Some(key), tsih: Tsih(tsih), cid: Cid(cid) }
    }

    #[test]
    fn one_isid_on_two_portals_is_two_sessions() {
        let mut registry = Registry::default();
        assert_eq!(registry.claim(&claim("a", 1, 0, 0), &'x'), Verdict::New(Tsih(1)));
        assert_eq!(registry.claim(&claim("a", 2, 0, 0), &'y'), Verdict::New(Tsih(2)));
        assert_eq!(registry.claim(&claim("a", 1, 0, 0), &'z'), Verdict::Replace('x'));
    }

    #[test]
    fn a_known_session_is_rejoined_by_its_connection_only() {
        let mut registry = Registry::default();
        registry.claim(&claim("a", 1, 0, 7), &'x');
        let refused = |status| Verdict::Refused(status);
        let none = refused(LoginStatus::SessionDoesNotExist);
        assert_eq!(registry.claim(&claim("a", 1, 9, 7), &'y'), none);
        assert_eq!(registry.claim(&claim("b", 1, 1, 7), &'y'), none);
        assert_eq!(registry.claim(&claim("a", 1, 1, 8), &'y'), refused(LoginStatus::TooManyConnections));
        assert_eq!(registry.claim(&claim("a", 1, 1, 7), &'y'), Verdict::Rejoin(Tsih(1), 'x'));
        let key = claim("a", 1, 0, 0).key;
        registry.leave(key.as_ref(), Tsih(1), |handle| *handle == 'x');
        assert_eq!(registry.len(), 1, "the connection that lost it does not end it");
        registry.leave(key.as_ref(), Tsih(1), |handle| *handle == 'y');
        assert!(registry.is_empty());
    }

    #[test]
    fn tsihs_are_not_soon_used_again() {
        let mut registry = Registry::default();
        let mut seen = FxHashSet::default();
        for _ in 0..u16::MAX {
            let Verdict::New(tsih) = registry.claim(&claim("a", 1, 0, 0), &()) else { panic!("a new one") };
            assert!(tsih != Tsih(0) && seen.insert(tsih));
            registry.leave(claim("a", 1, 0, 0).key.as_ref(), tsih, |()| true);
        }
    }

    #[test]
    fn sessions_are_bounded() {
        let mut registry = Registry::default();
        let discovery = Claim { key: None, tsih: Tsih(0), cid: Cid(0) };
        for _ in 0..SESSIONS {
            assert!(matches!(registry.claim(&discovery, &()), Verdict::New(_)));
        }
        let full = Verdict::Refused(LoginStatus::OutOfResources);
        assert_eq!(registry.claim(&discovery, &()), full);
        assert_eq!(registry.claim(&claim("a", 1, 0, 0), &()), full);
    }
}
