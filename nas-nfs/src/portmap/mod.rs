//! The port mapper: tells clients at which ports the other programs are (RFC 1833).
//!
//! Versions 2 to 4 of program 100000; of these NULL, GETPORT, GETADDR and DUMP. Invariants: nothing that a
//! peer sends changes the table (no SET, no UNSET), nothing is called for anybody (no CALLIT), and the
//! address that is told is the one that the question came to.
//!
//! | module | job |
//! |---|---|
//! | `wire` | what travels |
//! | `question` | what is asked of another port mapper |
//! | [`register`] | the same table, told to a port mapper that runs already |
//! | this one | the table and its answers |

mod question;
pub mod register;
#[cfg(test)]
mod tests;
mod wire;

pub(crate) use question::question;
pub use wire::{from_universal, universal};

use crate::rpc::program::{Answer, Program};
use crate::rpc::{Call, Outcome};
use crate::xdr::{Reader, Xdr};
use std::future::ready;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use wire::{GetAddress, GetPort, List2, List3, Listed2, Listed3};

/// The program's number.
pub const PROGRAM: u32 = 100_000;
/// Its port, where clients look.
pub const PORT: u16 = 111;

const NULL: u32 = 0;
/// GETPORT and GETADDR.
const GET: u32 = 3;
const DUMP: u32 = 4;

/// How a service is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A stream.
    Tcp,
    /// Datagrams.
    Udp,
}

impl Transport {
    /// IPPROTO_TCP and IPPROTO_UDP.
    const fn number(self) -> u32 {
        match self {
            Transport::Tcp => 6,
            Transport::Udp => 17,
        }
    }

    /// Its netid towards an address (RFC 5665 5).
    const fn netid(self, address: IpAddr) -> &'static str {
        match (self, address) {
            (Transport::Tcp, IpAddr::V4(_)) => "tcp",
            (Transport::Udp, IpAddr::V4(_)) => "udp",
            (Transport::Tcp, IpAddr::V6(_)) => "tcp6",
            (Transport::Udp, IpAddr::V6(_)) => "udp6",
        }
    }

    fn from_netid(netid: &[u8]) -> Option<Transport> {
        match netid {
            b"tcp" | b"tcp6" => Some(Transport::Tcp),
            b"udp" | b"udp6" => Some(Transport::Udp),
            _ => None,
        }
    }
}

/// One program's version at a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Service {
    /// The program.
    pub program: u32,
    /// Its version.
    pub version: u32,
    /// How it is reached.
    pub transport: Transport,
    /// Where.
    pub port: u16,
}

/// The port mapper.
#[derive(Debug)]
pub struct Portmap {
    services: Vec<Service>,
}

impl Portmap {
    /// A port mapper that tells of these services, and of nothing else.
    #[must_use]
    pub fn new(services: Vec<Service>) -> Portmap {
        Portmap { services }
    }

    /// The port of a program. If only other versions of it are here, their port: there the client learns
    /// which.
    fn port(&self, program: u32, version: u32, transport: Transport) -> Option<u16> {
        let mut those = self.services.iter().filter(|s| s.program == program && s.transport == transport);
        let exact = those.clone().find(|service| service.version == version);
        exact.or_else(|| those.next()).map(|service| service.port)
    }

    fn answer(&self, mut call: Call) -> Outcome {
        match (call.version, call.procedure) {
            (_, NULL) => Outcome::done(&()),
            (2, GET) => self.get_port(&mut call.arguments),
            (2, DUMP) => Outcome::done(&self.dump2()),
            (_, GET) => self.get_address(&mut call.arguments, call.ends.local),
            (_, DUMP) => Outcome::done(&self.dump3(call.ends.local.ip())),
            _ => Outcome::ProcedureUnavailable,
        }
    }

    fn get_port(&self, arguments: &mut Reader) -> Outcome {
        let Ok(wanted) = GetPort::get(arguments) else { return Outcome::GarbageArguments };
        let transport = [Transport::Tcp, Transport::Udp].into_iter().find(|t| t.number() == wanted.protocol);
        let port = transport.and_then(|t| self.port(wanted.program, wanted.version, t));
        Outcome::done(&u32::from(port.unwrap_or(0)))
    }

    fn get_address(&self, arguments: &mut Reader, local: SocketAddr) -> Outcome {
        let Ok(wanted) = GetAddress::get(arguments) else { return Outcome::GarbageArguments };
        let transport = Transport::from_netid(&wanted.netid.0);
        let port = transport.and_then(|t| self.port(wanted.program, wanted.version, t));
        let address = port.map(|port| universal(SocketAddr::new(local.ip(), port)));
        Outcome::done(&wire::Text::from(address.unwrap_or_default()))
    }

    fn dump2(&self) -> List2 {
        let line = |s: &Service| Listed2 {
            program: s.program,
            version: s.version,
            protocol: s.transport.number(),
            port: s.port.into(),
        };
        crate::xdr::List(self.services.iter().map(line).collect())
    }

    fn dump3(&self, local: IpAddr) -> List3 {
        let line = |s: &Service| Listed3 {
            program: s.program,
            version: s.version,
            netid: s.transport.netid(local).to_owned().into(),
            address: universal(SocketAddr::new(local, s.port)).into(),
            owner: "ashlar".to_owned().into(),
        };
        crate::xdr::List(self.services.iter().map(line).collect())
    }
}

impl Program for Portmap {
    fn number(&self) -> u32 {
        PROGRAM
    }

    fn versions(&self) -> RangeInclusive<u32> {
        2..=4
    }

    fn call(self: Arc<Self>, call: Call) -> Answer {
        Box::pin(ready(self.answer(call)))
    }
}
