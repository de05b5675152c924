//! PERSISTENT RESERVE OUT: how reservations change (SPC-4 5.13.5 to 5.13.11, 6.16).
//!
//! A request is parsed wholly, then applied to a copy of the state, which takes effect when it is saved.

use super::inventory::PortalId;
use super::limits::REGISTRATIONS;
use super::port::{InitiatorPort, Ports, TransportId};
use super::reservations::{Registration, Reservation, Reservations, Type};
use super::sense::{Key, Sense};

/// 2A/03: a CLEAR took the registrations.
pub(crate) const RESERVATIONS_PREEMPTED: (u8, u8) = (0x2a, 0x03);
/// 2A/04: a reservation that registrants shared is gone.
pub(crate) const RESERVATIONS_RELEASED: (u8, u8) = (0x2a, 0x04);
/// 2A/05: a PREEMPT took a registration.
pub(crate) const REGISTRATIONS_PREEMPTED: (u8, u8) = (0x2a, 0x05);

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Register { ignore: bool },
    Reserve(Type),
    Release(Type),
    Clear,
    Preempt { kind: Type, abort: bool },
    Move { portal: PortalId, unregister: bool },
}

/// A request, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    action: Action,
    key: u64,
    service_key: u64,
    /// SPEC_I_PT's, or the one destination of a move.
    others: Vec<TransportId>,
    all_portals: bool,
    persist: bool,
}

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Conflict,
    Check(Sense),
}

impl From<Sense> for Refusal {
    fn from(sense: Sense) -> Refusal {
        Refusal::Check(sense)
    }
}

/// What a change means for others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Effects {
    /// Unit attentions.
    pub(crate) attentions: Vec<(Ports, (u8, u8))>,
    /// Nexuses whose commands must have ended before the answer.
    pub(crate) fenced: Vec<Ports>,
    /// Those commands are aborted.
    pub(crate) abort: bool,
}

/// What the target knows of its surroundings.
pub(crate) struct Surroundings<'a> {
    /// All target ports.
    pub(crate) portals: &'a [PortalId],
    /// Initiator ports that are logged in.
    pub(crate) initiators: &'a [InitiatorPort],
}

impl Request {
    /// Understands service action, scope and type of the CDB, and the parameter list.
    pub(crate) fn parse(service: u8, scope_type: u8, list: &[u8]) -> Result<Request, Sense> {
        let Some((head, rest)) = list.split_first_chunk::<24>() else {
            return Err(Sense::PARAMETER_LIST_LENGTH);
        };
        let kind = || {
            let kind = Type::parse(scope_type & 0x0f).filter(|_| scope_type & 0xf0 == 0);
            kind.ok_or(Sense::cdb(2))
        };
        let action = match service {
            0x00 => Action::Register { ignore: false },
            0x01 => Action::Reserve(kind()?),
            0x02 => Action::Release(kind()?),
            0x03 => Action::Clear,
            0x04 => Action::Preempt { kind: kind()?, abort: false },
            0x05 => Action::Preempt { kind: kind()?, abort: true },
            0x06 => Action::Register { ignore: true },
            0x07 => Action::Move {
                portal: PortalId(u16::from_be_bytes([head[18], head[19]])),
                unregister: head[17] & 0x02 != 0,
            },
            _ => return Err(Sense::cdb(1)),
        };
        let mut request = Request {
            action,
            key: be64(&head[0..8]),
            service_key: be64(&head[8..16]),
            others: Vec::new(),
            all_portals: false,
            persist: false,
        };
        request.flags(head, rest)?;
        Ok(request)
    }

    fn flags(&mut self, head: &[u8; 24], rest: &[u8]) -> Result<(), Sense> {
        match self.action {
            Action::Move { .. } => {
                self.persist = head[17] & 0x01 != 0;
                let len = u32::from_be_bytes([head[20], head[21], head[22], head[23]]) as usize;
                if len != rest.len() {
                    return Err(Sense::PARAMETER_LIST_LENGTH);
                }
                self.others = transport_ids(rest, 24)?;
                if self.others.len() != 1 {
                    return Err(Sense::parameter(24));
                }
            }
            Action::Register { ignore } => {
                self.persist = head[20] & 0x01 != 0;
                self.all_portals = head[20] & 0x04 != 0;
                let named = head[20] & 0x08 != 0;
                if named && ignore {
                    return Err(Sense::parameter(20));
                }
                if named {
                    let (len, rest) = rest.split_first_chunk::<4>().ok_or(Sense::PARAMETER_LIST_LENGTH)?;
                    if u32::from_be_bytes(*len) as usize != rest.len() {
                        return Err(Sense::PARAMETER_LIST_LENGTH);
                    }
                    self.others = transport_ids(rest, 28)?;
                } else if !rest.is_empty() {
                    return Err(Sense::PARAMETER_LIST_LENGTH);
                }
            }
            _ if head[20] & 0x08 != 0 => return Err(Sense::parameter(20)),
            _ if !rest.is_empty() => return Err(Sense::PARAMETER_LIST_LENGTH),
            _ => {}
        }
        Ok(())
    }
}

fn be64(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// All TransportIDs of a list; `at` is where it stands in the parameter list.
fn transport_ids(mut bytes: &[u8], at: u16) -> Result<Vec<TransportId>, Sense> {
    let mut ids = Vec::new();
    while !bytes.is_empty() {
        let (id, len) = TransportId::parse(bytes).ok_or(Sense::parameter(at))?;
        ids.push(id);
        bytes = &bytes[len..];
    }
    Ok(ids)
}

impl Reservations {
    /// Applies a request of `from`. On refusal nothing of `self` may be used.
    pub(crate) fn out(
        &mut self,
        from: &Ports,
        request: &Request,
        around: &Surroundings<'_>,
    ) -> Result<Effects, Refusal> {
        if self.legacy.is_some() {
            return Err(Refusal::Conflict);
        }
        let registered = self.registration(from).map(|r| r.key);
        let keyed = registered == Some(request.key);
        match request.action {
            Action::Register { ignore } if ignore || registered.unwrap_or(0) == request.key => {
                self.register(from, request, around)
            }
            Action::Reserve(kind) if keyed => self.take(from, kind),
            Action::Release(kind) if keyed => self.give(from, kind),
            Action::Clear if keyed => Ok(self.clear(from)),
            Action::Preempt { kind, abort } if keyed => self.preempt(from, request.service_key, kind, abort),
            Action::Move { portal, unregister } if keyed => {
                self.hand_over(from, request, portal, unregister, around)
            }
            _ => Err(Refusal::Conflict),
        }
    }

    fn register(
        &mut self,
        from: &Ports,
        request: &Request,
        around: &Surroundings<'_>,
    ) -> Result<Effects, Refusal> {
        let known = self.registration(from).is_some();
        if known && !request.others.is_empty() {
            return Err(Sense::parameter(20).into());
        }
        if request.service_key == 0 && !known && request.others.is_empty() {
            return Ok(Effects::default());
        }
        let mut initiators = vec![from.initiator.clone()];
        for id in &request.others {
            initiators.extend(named(id, around).ok_or(Sense::parameter(28))?);
        }
        let portals = if request.all_portals { around.portals } else { std::slice::from_ref(&from.portal) };
        let mut effects = Effects::default();
        for initiator in initiators {
            for portal in portals {
                let ports = Ports { initiator: initiator.clone(), portal: *portal };
                if request.service_key == 0 {
                    self.unregister(from, &ports, &mut effects);
                } else {
                    self.set_key(ports, request.service_key)?;
                }
            }
        }
        self.persist = request.persist;
        self.generation = self.generation.wrapping_add(1);
        Ok(effects)
    }

    fn set_key(&mut self, ports: Ports, key: u64) -> Result<(), Sense> {
        if let Some(known) = self.registrations.iter_mut().find(|r| r.ports == ports) {
            known.key = key;
        } else if self.registrations.len() == REGISTRATIONS {
            return Err(Sense::new(Key::IllegalRequest, 0x55, 0x04));
        } else {
            self.registrations.push(Registration { ports, key });
        }
        Ok(())
    }

    /// Removes a registration, and the reservation with it if it was its holder's.
    fn unregister(&mut self, by: &Ports, ports: &Ports, effects: &mut Effects) {
        self.registrations.retain(|r| r.ports != *ports);
        let Some(reservation) = &self.reservation else { return };
        let last = self.registrations.is_empty();
        if if reservation.kind.is_all() { last } else { reservation.holder == *ports } {
            if reservation.kind.is_shared() {
                self.tell_others(by, RESERVATIONS_RELEASED, effects);
            }
            self.reservation = None;
        }
    }

    fn tell_others(&self, by: &Ports, attention: (u8, u8), effects: &mut Effects) {
        let others = self.registrations.iter().filter(|r| r.ports != *by);
        effects.attentions.extend(others.map(|r| (r.ports.clone(), attention)));
    }

    fn take(&mut self, from: &Ports, kind: Type) -> Result<Effects, Refusal> {
        match &self.reservation {
            None => self.reservation = Some(Reservation { kind, holder: from.clone() }),
            Some(reservation) if reservation.kind == kind && self.holds(from) => {}
            Some(_) => return Err(Refusal::Conflict),
        }
        Ok(Effects::default())
    }

    fn give(&mut self, from: &Ports, kind: Type) -> Result<Effects, Refusal> {
        let mut effects = Effects::default();
        let Some(held) = self.reservation.as_ref().map(|r| r.kind).filter(|_| self.holds(from)) else {
            return Ok(effects);
        };
        if held != kind {
            return Err(Sense::new(Key::IllegalRequest, 0x26, 0x04).into());
        }
        if kind.is_shared() {
            self.tell_others(from, RESERVATIONS_RELEASED, &mut effects);
        }
        self.reservation = None;
        Ok(effects)
    }

    fn clear(&mut self, from: &Ports) -> Effects {
        let mut effects = Effects::default();
        self.tell_others(from, RESERVATIONS_PREEMPTED, &mut effects);
        self.registrations.clear();
        self.reservation = None;
        self.generation = self.generation.wrapping_add(1);
        effects
    }

    fn preempt(&mut self, from: &Ports, key: u64, kind: Type, abort: bool) -> Result<Effects, Refusal> {
        let held = self.reservation.as_ref().map(|r| (r.kind, self.registration(&r.holder).map(|r| r.key)));
        let takes = match held {
            Some((held, _)) if held.is_all() => key == 0,
            Some((_, holder)) => holder == Some(key),
            None => false,
        };
        if !takes && key == 0 {
            return Err(Sense::parameter(8).into());
        }
        let all = takes && key == 0;
        let hit = |r: &Registration| (all || r.key == key) && !(takes && r.ports == *from);
        let removed: Vec<Ports> =
            self.registrations.iter().filter(|r| hit(r)).map(|r| r.ports.clone()).collect();
        if removed.is_empty() && !takes {
            return Err(Refusal::Conflict);
        }
        let mut effects = Effects { abort, ..Effects::default() };
        for ports in &removed {
            self.unregister(from, ports, &mut effects);
        }
        effects.attentions.retain(|(ports, _)| !removed.contains(ports));
        let others = removed.iter().filter(|ports| *ports != from);
        effects.attentions.extend(others.clone().map(|p| (p.clone(), REGISTRATIONS_PREEMPTED)));
        effects.fenced = others.cloned().collect();
        if takes {
            effects.attentions.retain(|(_, attention)| *attention != RESERVATIONS_RELEASED);
            if held.is_some_and(|(held, _)| held != kind && held.is_shared()) {
                self.tell_others(from, RESERVATIONS_RELEASED, &mut effects);
            }
            self.reservation = Some(Reservation { kind, holder: from.clone() });
        }
        self.generation = self.generation.wrapping_add(1);
        Ok(effects)
    }

    fn hand_over(
        &mut self,
        from: &Ports,
        request: &Request,
        portal: PortalId,
        unregister: bool,
        around: &Surroundings<'_>,
    ) -> Result<Effects, Refusal> {
        match &self.reservation {
            None => return Err(Sense::cdb(1).into()),
            Some(reservation) if reservation.kind.is_all() || !self.holds(from) => {
                return Err(Refusal::Conflict)
            }
            Some(_) => {}
        }
        if request.service_key == 0 {
            return Err(Sense::parameter(8).into());
        }
        if !around.portals.contains(&portal) {
            return Err(Sense::parameter(18).into());
        }
        let mut found = request.others.first().and_then(|id| named(id, around)).unwrap_or_default();
        let initiator = found.pop().filter(|_| found.is_empty()).ok_or(Sense::parameter(24))?;
        let heir = Ports { initiator, portal };
        if heir == *from {
            return Err(Sense::parameter(24).into());
        }
        self.set_key(heir.clone(), request.service_key)?;
        if let Some(reservation) = &mut self.reservation {
            reservation.holder = heir;
        }
        let mut effects = Effects::default();
        if unregister {
            self.unregister(from, from, &mut effects);
        }
        self.persist = request.persist;
        self.generation = self.generation.wrapping_add(1);
        Ok(effects)
    }
}

/// The ports that a TransportID names: an initiator without ISID stands for its ports that are logged in.
fn named(id: &TransportId, around: &Surroundings<'_>) -> Option<Vec<InitiatorPort>> {
    let ports: Vec<InitiatorPort> = match id {
        TransportId::Port(port) => vec![port.clone()],
        TransportId::Device(name) => {
            around.initiators.iter().filter(|port| port.name == *name).cloned().collect()
        }
    };
    (!ports.is_empty()).then_some(ports)
}
