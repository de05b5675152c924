//! Registrations that survive a restart (APTPL), as they are kept with the unit's data.
//!
//! Version 1, little-endian. The generation counter starts anew with the server, as SPC-4 5.13.2 wants it.
//!
//! | bytes | field   | meaning                                                              |
//! |-------|---------|----------------------------------------------------------------------|
//! | 0     | version | 1                                                                    |
//! | 1     | type    | of the reservation; 0: none                                          |
//! | 2..4  | holder  | index of the registration that made it; 0 if there is none           |
//! | 4..6  | count   | registrations, 1..=[`REGISTRATIONS`]                                 |
//! | 6..   |         | each: key 8, portal 2, ISID 6, length of the name 1, the name        |
//!
//! Empty bytes say that nothing is kept. What does not decode is damage to report: a unit whose reservations
//! are not known must not be served, since a host might write that another has fenced.

use super::inventory::PortalId;
use super::limits::REGISTRATIONS;
use super::port::{InitiatorPort, Ports, NAME_MAX};
use super::reservations::{Registration, Reservation, Reservations, Type};
use bytes::Bytes;

const VERSION: u8 = 1;
const HEAD: usize = 6;

/// The bytes to keep.
pub(crate) fn encode(state: &Reservations) -> Bytes {
    if !state.persist || state.registrations.is_empty() {
        return Bytes::new();
    }
    let (kind, holder) = state.reservation.as_ref().map_or((0, 0), |reservation| {
        let holder = state.registrations.iter().position(|r| r.ports == reservation.holder);
        (reservation.kind as u8, holder.unwrap_or(0) as u16)
    });
    let mut bytes = vec![VERSION, kind];
    bytes.extend(holder.to_le_bytes());
    bytes.extend((state.registrations.len() as u16).to_le_bytes());
    for Registration { ports, key } in &state.registrations {
        bytes.extend(key.to_le_bytes());
        bytes.extend(ports.portal.0.to_le_bytes());
        bytes.extend(ports.initiator.isid);
        bytes.push(ports.initiator.name.len() as u8);
        bytes.extend(ports.initiator.name.as_bytes());
    }
    Bytes::from(bytes)
}

/// What was kept; none if it is damaged.
pub(crate) fn decode(bytes: &[u8]) -> Option<Reservations> {
    if bytes.is_empty() {
        return Some(Reservations::default());
    }
    let (&[version, kind, h0, h1, c0, c1], mut rest) = bytes.split_first_chunk::<HEAD>()?;
    let count = usize::from(u16::from_le_bytes([c0, c1]));
    if version != VERSION || !(1..=REGISTRATIONS).contains(&count) {
        return None;
    }
    let mut state = Reservations { persist: true, ..Reservations::default() };
    for _ in 0..count {
        let (registration, next) = registration(rest)?;
        if state.registration(&registration.ports).is_some() {
            return None;
        }
        state.registrations.push(registration);
        rest = next;
    }
    let holder = usize::from(u16::from_le_bytes([h0, h1]));
    if kind != 0 {
        let holder = state.registrations.get(holder)?.ports.clone();
        state.reservation = Some(Reservation { kind: Type::parse(kind)?, holder });
    }
    (rest.is_empty() && (kind != 0 || holder == 0)).then_some(state)
}

fn registration(bytes: &[u8]) -> Option<(Registration, &[u8])> {
    let (key, rest) = bytes.split_first_chunk::<8>()?;
    let (portal, rest) = rest.split_first_chunk::<2>()?;
    let (isid, rest) = rest.split_first_chunk::<6>()?;
    let (&len, rest) = rest.split_first()?;
    let (name, rest) = rest.split_at_checked(usize::from(len))?;
    if name.is_empty() || name.len() > NAME_MAX {
        return None;
    }
    let name = std::str::from_utf8(name).ok()?.to_owned();
    let initiator = InitiatorPort { name, isid: *isid };
    let ports = Ports { initiator, portal: PortalId(u16::from_le_bytes(*portal)) };
    Some((Registration { ports, key: u64::from_le_bytes(*key) }, rest))
}
