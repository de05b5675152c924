//! Who may use a logical unit: persistent reservations (SPC-4 5.13) and RESERVE (SPC-2), as a value.
//!
//! Nothing here waits or knows a nexus: ports come in, judgements and effects go out. A registration outlives
//! its nexus; a RESERVE does not. At most one of the two kinds is in force, since each refuses the other.
//! Read next: `reserve_out` (how it changes), `reserve_in` (how it is reported), `reserve_store` (how it is
//! kept).

use super::opcodes::Access;
use super::port::Ports;

/// The types of a persistent reservation (SPC-4 table 49).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Type {
    WriteExclusive = 1,
    ExclusiveAccess = 3,
    WriteExclusiveRegistrants = 5,
    ExclusiveAccessRegistrants = 6,
    WriteExclusiveAll = 7,
    ExclusiveAccessAll = 8,
}

impl Type {
    pub(crate) fn parse(code: u8) -> Option<Type> {
        Some(match code {
            1 => Type::WriteExclusive,
            3 => Type::ExclusiveAccess,
            5 => Type::WriteExclusiveRegistrants,
            6 => Type::ExclusiveAccessRegistrants,
            7 => Type::WriteExclusiveAll,
            8 => Type::ExclusiveAccessAll,
            _ => return None,
        })
    }

    /// All registrants hold it together.
    pub(crate) fn is_all(self) -> bool {
        matches!(self, Type::WriteExclusiveAll | Type::ExclusiveAccessAll)
    }

    /// Registrants may do what the holder may.
    pub(crate) fn is_shared(self) -> bool {
        !matches!(self, Type::WriteExclusive | Type::ExclusiveAccess)
    }

    fn lets_others_read(self) -> bool {
        matches!(self, Type::WriteExclusive | Type::WriteExclusiveRegistrants | Type::WriteExclusiveAll)
    }
}

/// One nexus' registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Registration {
    pub(crate) ports: Ports,
    pub(crate) key: u64,
}

/// A persistent reservation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reservation {
    pub(crate) kind: Type,
    /// Who holds it; if all registrants do, who made it.
    pub(crate) holder: Ports,
}

/// What is reserved, and for whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reservations {
    /// PRGENERATION: counts what changes registrations.
    pub(crate) generation: u32,
    /// Registrations survive a restart: those of the last REGISTER that said so.
    pub(crate) persist: bool,
    pub(crate) registrations: Vec<Registration>,
    pub(crate) reservation: Option<Reservation>,
    /// RESERVE(6) or (10).
    pub(crate) legacy: Option<Ports>,
}

impl Reservations {
    pub(crate) fn registration(&self, ports: &Ports) -> Option<&Registration> {
        self.registrations.iter().find(|r| r.ports == *ports)
    }

    /// Whether `ports` hold the reservation, alone or with all other registrants.
    pub(crate) fn holds(&self, ports: &Ports) -> bool {
        self.reservation.as_ref().is_some_and(|reservation| match reservation.kind.is_all() {
            true => self.registration(ports).is_some(),
            false => reservation.holder == *ports,
        })
    }

    /// Whether a command may be executed for `ports`; if not it ends with RESERVATION CONFLICT.
    pub(crate) fn allow(&self, ports: &Ports, access: Access) -> bool {
        if access == Access::Free || access == Access::Reserve {
            return true;
        }
        if self.legacy.as_ref().is_some_and(|holder| holder != ports) {
            return false;
        }
        let Some(reservation) = &self.reservation else { return true };
        self.holds(ports)
            || reservation.kind.is_shared() && self.registration(ports).is_some()
            || match access {
                Access::Free | Access::Reserve | Access::Query => true,
                Access::Read => reservation.kind.lets_others_read(),
                Access::Write => false,
            }
    }

    /// Whether anything can conflict: the one thing that the path of a plain read or write asks.
    pub(crate) fn is_reserved(&self) -> bool {
        self.reservation.is_some() || self.legacy.is_some()
    }

    /// RESERVE: false is a conflict. With persistent registrations it means nothing to a registrant, and
    /// conflicts for others (SPC-4 5.13.3).
    pub(crate) fn reserve(&mut self, ports: &Ports) -> bool {
        if !self.registrations.is_empty() {
            return self.registration(ports).is_some();
        }
        let free = self.legacy.as_ref().is_none_or(|holder| holder == ports);
        if free {
            self.legacy = Some(ports.clone());
        }
        free
    }

    /// RELEASE: false is a conflict. Without a reservation, or with another's, it does nothing.
    pub(crate) fn release(&mut self, ports: &Ports) -> bool {
        let had = self.legacy.is_some();
        self.drop_legacy(ports);
        had || self.registrations.is_empty() || self.registration(ports).is_some()
    }

    /// Ends a RESERVE of `ports`, whose nexus is gone or said so.
    pub(crate) fn drop_legacy(&mut self, ports: &Ports) {
        self.legacy.take_if(|holder| holder == ports);
    }
}
