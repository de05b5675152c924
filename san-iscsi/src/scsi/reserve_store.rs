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

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> Reservations {
        let ports = |n: u8| Ports {
            initiator: InitiatorPort { name: format!("iqn.a:{n}"), isid: [0, 2, 3, 4, 5, n] },
            portal: PortalId(7),
        };
        let registration = |n| Registration { ports: ports(n), key: u64::from(n) };
        Reservations {
            persist: true,
            registrations: vec![registration(1), registration(2)],
            reservation: Some(Reservation { kind: Type::ExclusiveAccessRegistrants, holder: ports(2) }),
            ..Reservations::default()
        }
    }

    /// Version 1, for ever.
    const GOLDEN: &[u8] = b"\x01\x06\x01\0\x02\0\
        \x01\0\0\0\0\0\0\0\x07\0\0\x02\x03\x04\x05\x01\x07iqn.a:1\
        \x02\0\0\0\0\0\0\0\x07\0\0\x02\x03\x04\x05\x02\x07iqn.a:2";

    #[test]
    fn the_bytes_are_those_of_version_1() {
        assert_eq!(&encode(&state())[..], GOLDEN);
        assert_eq!(decode(GOLDEN), Some(state()));
        assert_eq!(decode(&[]), Some(Reservations::default()));
    }

    #[test]
    fn what_is_cut_or_longer_or_double_is_damage() {
        assert!((1..GOLDEN.len()).all(|len| decode(&GOLDEN[..len]).is_none()));
        assert_eq!(decode(&[GOLDEN, b"x"].concat()), None);
        let mut double = GOLDEN.to_vec();
        (double[HEAD + 24 + 15], double[GOLDEN.len() - 1]) = (1, b'1');
        assert_eq!(decode(&double), None);
    }

    #[test]
    fn the_most_that_is_kept_fits_what_storage_keeps() {
        let mut state = state();
        state.registrations = (0..REGISTRATIONS)
            .map(|n| {
                let initiator = InitiatorPort { name: "x".repeat(NAME_MAX), isid: [0; 6] };
                let ports = Ports { initiator, portal: PortalId(n as u16) };
                Registration { ports, key: u64::MAX }
            })
            .collect();
        assert!(encode(&state).len() <= 64 << 10);
    }
}
