//! What is asked of another machine's port mapper: version 2 over IPv4, which all of them speak, and version
//! 3 over IPv6, which the older one knows nothing of.

use super::wire::{from_universal, GetAddress, GetPort, Text};
use super::{Transport, GET};
use crate::xdr::{encoded, Reader, Xdr};
use bytes::Bytes;
use std::net::IpAddr;

/// A question after a port.
pub(crate) struct Question {
    /// Of the port mapper.
    pub(crate) version: u32,
    /// Its procedure.
    pub(crate) procedure: u32,
    /// Its arguments, encoded.
    pub(crate) arguments: Vec<u8>,
}

/// Asks for the port of a program at an address.
pub(crate) fn question(program: u32, version: u32, transport: Transport, at: IpAddr) -> Question {
    let (version, arguments) = if at.is_ipv4() {
        (2, encoded(&GetPort { program, version, protocol: transport.number(), port: 0 }))
    } else {
        let netid = transport.netid(at).to_owned().into();
        let (address, owner) = (Text::default(), Text::default());
        (3, encoded(&GetAddress { program, version, netid, address, owner }))
    };
    Question { version, procedure: GET, arguments }
}

impl Question {
    /// The port that the answer says; none if the program is not there.
    pub(crate) fn port(&self, answer: Bytes) -> Option<u16> {
        let mut answer = Reader::new(answer);
        let port = if self.version == 2 {
            u16::try_from(u32::get(&mut answer).ok()?).ok()?
        } else {
            let text = Text::get(&mut answer).ok()?;
            from_universal(std::str::from_utf8(&text.0).ok()?)?.port()
        };
        (port != 0).then_some(port)
    }
}
