//! What the status monitor keeps over restarts, and the border to where it is kept.
//!
//! XDR, version 1: the version, our state number, and of each host its address (16 bytes, IPv4 mapped), our
//! address as it knows it (the same), and its name. What cannot be decoded is a fault to report, not a reason
//! to begin anew: hosts would lose their locks without a word.

use crate::nlm::table::Host;
use crate::nlm::wire::{Opaque, NAME_MAX};
use crate::xdr::{encoded, xdr_struct, Array, Reader, Xdr};
use bytes::Bytes;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

const VERSION: u32 = 1;
/// Hosts in a record: more than are ever monitored.
const HOSTS_MAX: usize = 4096;

/// A host that holds locks, or held some when we were stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Monitored {
    /// The host.
    pub host: Host,
    /// Our address as it knows it: where its calls came to.
    pub local: IpAddr,
}

/// What is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Saved {
    /// Our state number: odd while we run, rising with each start; 0 = never started.
    pub state: u32,
    /// The hosts.
    pub monitored: Vec<Monitored>,
}

/// Where it is kept: the daemon's state directory. Two implementations: the daemon's, and [`MemState`].
pub trait NsmState: Send + Sync + 'static {
    /// What was saved last; a default if nothing ever was.
    ///
    /// # Errors
    /// It cannot be read: then locks cannot be served.
    fn load(&self) -> impl Future<Output = io::Result<Saved>> + Send;

    /// Saves, durably before it returns, atomically.
    ///
    /// # Errors
    /// What was saved before is still there.
    fn save(&self, saved: Saved) -> impl Future<Output = io::Result<()>> + Send;
}

xdr_struct! {
    struct Line {
        pub address: [u8; 16],
        pub local: [u8; 16],
        pub name: Opaque<NAME_MAX>,
    }

    struct Record {
        pub version: u32,
        pub state: u32,
        pub lines: Array<Line, HOSTS_MAX>,
    }
}

fn to_octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

fn from_octets(octets: [u8; 16]) -> IpAddr {
    IpAddr::V6(Ipv6Addr::from(octets)).to_canonical()
}

impl Saved {
    /// As bytes, for a file.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let line = |monitored: &Monitored| Line {
            address: to_octets(monitored.host.address),
            local: to_octets(monitored.local),
            name: Opaque(monitored.host.name.clone()),
        };
        let lines = Array(self.monitored.iter().map(line).collect());
        encoded(&Record { version: VERSION, state: self.state, lines })
    }

    /// From the bytes of a file.
    ///
    /// # Errors
    /// They are no such record, or one of a later version.
    pub fn decode(bytes: Bytes) -> io::Result<Saved> {
        let mut input = Reader::new(bytes);
        let fault = |_| io::Error::from(io::ErrorKind::InvalidData);
        let record = Record::get(&mut input).map_err(fault)?;
        if record.version != VERSION || input.left() != 0 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let monitored = |line: Line| Monitored {
            host: Host { address: from_octets(line.address), name: line.name.0 },
            local: from_octets(line.local),
        };
        let monitored = record.lines.0.into_iter().map(monitored).collect();
        Ok(Saved { state: record.state, monitored })
    }
}

/// Keeps it in memory, for tests and for a server without a state directory; clones of its bytes outlive it.
#[derive(Debug, Default)]
pub struct MemState {
    bytes: Mutex<Option<Bytes>>,
    broken: Mutex<bool>,
}

impl MemState {
    /// One that holds what an earlier one held.
    #[must_use]
    pub fn with(bytes: Option<Bytes>) -> MemState {
        MemState { bytes: Mutex::new(bytes), broken: Mutex::default() }
    }

    /// What it holds.
    #[must_use]
    pub fn bytes(&self) -> Option<Bytes> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Fails to save from now on, or no longer.
    pub fn set_broken(&self, broken: bool) {
        *self.broken.lock().unwrap_or_else(PoisonError::into_inner) = broken;
    }
}

impl NsmState for MemState {
    async fn load(&self) -> io::Result<Saved> {
        self.bytes().map_or(Ok(Saved::default()), Saved::decode)
    }

    async fn save(&self, saved: Saved) -> io::Result<()> {
        if *self.broken.lock().unwrap_or_else(PoisonError::into_inner) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        *self.bytes.lock().unwrap_or_else(PoisonError::into_inner) = Some(saved.encode().into());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_is_these_bytes_for_ever() {
        let host = Host { address: [10, 0, 0, 7].into(), name: "host".into() };
        let saved =
            Saved { state: 5, monitored: vec![Monitored { host, local: Ipv6Addr::LOCALHOST.into() }] };
        let mut golden = b"\0\0\0\x01\0\0\0\x05\0\0\0\x01".to_vec();
        golden.extend(b"\0\0\0\0\0\0\0\0\0\0\xff\xff\x0a\0\0\x07");
        golden.extend(b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\x04host");
        assert_eq!(saved.encode(), golden);
        assert_eq!(Saved::decode(golden.clone().into()).unwrap(), saved);
        for len in 0..golden.len() {
            assert!(Saved::decode(golden[..len].to_vec().into()).is_err(), "{len} bytes");
        }
        golden.push(0);
        assert!(Saved::decode(golden.into()).is_err());
    }
}
