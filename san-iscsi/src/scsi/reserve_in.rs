//! PERSISTENT RESERVE IN: reservations as an initiator reads them (SPC-4 6.15).

use super::reservations::{Registration, Reservations};

/// The parameter data of a service action; none for one that is not known.
pub(crate) fn report(state: &Reservations, service: u8) -> Option<Vec<u8>> {
    Some(match service {
        0x00 => list(state, state.registrations.iter().flat_map(|r| r.key.to_be_bytes()).collect()),
        0x01 => list(state, reservation(state)),
        0x02 => capabilities(state),
        0x03 => list(state, state.registrations.iter().flat_map(|r| full_status(state, r)).collect()),
        _ => return None,
    })
}

/// PRGENERATION and additional length before `body`.
fn list(state: &Reservations, body: Vec<u8>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(8 + body.len());
    bytes.extend(state.generation.to_be_bytes());
    bytes.extend((body.len() as u32).to_be_bytes());
    bytes.extend(body);
    bytes
}

fn reservation(state: &Reservations) -> Vec<u8> {
    let Some(reservation) = &state.reservation else { return Vec::new() };
    let holder = state.registration(&reservation.holder).filter(|_| !reservation.kind.is_all());
    let mut bytes = vec![0; 16];
    bytes[..8].copy_from_slice(&holder.map_or(0, |r| r.key).to_be_bytes());
    bytes[13] = reservation.kind as u8;
    bytes
}

fn capabilities(state: &Reservations) -> Vec<u8> {
    const CRH: u8 = 0x10;
    const SPECIFY_INITIATORS: u8 = 0x08;
    const ALL_TARGET_PORTS: u8 = 0x04;
    const PERSIST_CAPABLE: u8 = 0x01;
    const TYPE_MASK_VALID: u8 = 0x80;
    let flags = CRH | SPECIFY_INITIATORS | ALL_TARGET_PORTS | PERSIST_CAPABLE;
    vec![0, 8, flags, TYPE_MASK_VALID | u8::from(state.persist), 0xea, 0x01, 0, 0]
}

fn full_status(state: &Reservations, registration: &Registration) -> Vec<u8> {
    let id = registration.ports.initiator.transport_id();
    let mut bytes = vec![0; 24];
    bytes[..8].copy_from_slice(&registration.key.to_be_bytes());
    if let Some(reservation) = state.reservation.as_ref().filter(|_| state.holds(&registration.ports)) {
        bytes[12] = 0x01;
        bytes[13] = reservation.kind as u8;
    }
    bytes[18..20].copy_from_slice(&registration.ports.portal.0.to_be_bytes());
    bytes[20..24].copy_from_slice(&(id.len() as u32).to_be_bytes());
    bytes.extend(id);
    bytes
}
