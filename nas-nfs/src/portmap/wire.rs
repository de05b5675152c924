//! What travels between a port mapper and those who ask it (RFC 1833 2.1 and 3.1, RFC 5665 5.2).

use crate::xdr::{xdr_struct, List, Reader, Writer, Xdr, XdrFault};
use bytes::Bytes;
use std::net::{IpAddr, SocketAddr};

/// Bytes of a netid, an address or an owner, at most.
const TEXT_MAX: usize = 128;

/// A short string.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Text(pub(super) Bytes);

impl From<String> for Text {
    fn from(text: String) -> Text {
        Text(text.into())
    }
}

impl Xdr for Text {
    fn get(input: &mut Reader) -> Result<Text, XdrFault> {
        input.opaque(TEXT_MAX).map(Text)
    }

    fn put(&self, output: &mut Writer) {
        output.opaque(&self.0);
    }
}

xdr_struct! {
    /// mapping, as an argument and as a line of version 2's DUMP.
    pub(super) struct GetPort {
        /// The program.
        pub program: u32,
        /// Its version.
        pub version: u32,
        /// IPPROTO_TCP or IPPROTO_UDP.
        pub protocol: u32,
        /// Where; not looked at in a question.
        pub port: u32,
    }

    /// rpcb, as an argument and as a line of DUMP of versions 3 and 4.
    pub(super) struct GetAddress {
        /// The program.
        pub program: u32,
        /// Its version.
        pub version: u32,
        /// The transport and the family of addresses.
        pub netid: Text,
        /// Where; not looked at in a question.
        pub address: Text,
        /// Who registered it; not looked at in a question.
        pub owner: Text,
    }
}

pub(super) type Listed2 = GetPort;
pub(super) type Listed3 = GetAddress;
/// pmaplist.
pub(super) type List2 = List<Listed2>;
/// rpcblist.
pub(super) type List3 = List<Listed3>;

/// An address and port as a universal address: the bytes of the port behind the address, in decimal.
#[must_use]
pub fn universal(address: SocketAddr) -> String {
    let [high, low] = address.port().to_be_bytes();
    format!("{}.{high}.{low}", address.ip())
}

/// The address and port that a universal address means.
#[must_use]
pub fn from_universal(text: &str) -> Option<SocketAddr> {
    let (rest, low) = text.rsplit_once('.')?;
    let (address, high) = rest.rsplit_once('.')?;
    let address: IpAddr = address.parse().ok()?;
    Some(SocketAddr::new(address, u16::from_be_bytes([high.parse().ok()?, low.parse().ok()?])))
}
