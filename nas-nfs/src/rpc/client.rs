//! Small calls of our own: to a port mapper, and back to clients that wait for a lock.
//!
//! Invariants: a call goes to the one address that it is meant for, from the address that the peer knows us
//! by, and is over after [`PATIENCE`], answered or not. An answer counts only if it comes from there with the
//! call's number, which nobody can foresee, and is read up to [`ANSWER_MAX`] bytes.

use super::call::{Credentials, Head, RPC_VERSION};
use super::record::framed;
use crate::portmap::{self, Transport};
use crate::xdr::{Reader, Writer, Xdr};
use bytes::Bytes;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, UdpSocket};
use tokio::time::timeout;

/// How long a call may take in all.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of an answer, at most.
pub const ANSWER_MAX: usize = 64 << 10;
/// After which a datagram is sent again.
const AGAIN: Duration = Duration::from_secs(1);
/// The bit of a record mark that says that it is the last of its record.
const LAST: u32 = 1 << 31;

/// Whom to call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Where it is.
    pub address: IpAddr,
    /// As whom it knows us: where its call came to.
    pub local: IpAddr,
    /// The port of its port mapper: [`portmap::PORT`], but for tests.
    pub portmap: u16,
}

/// Calls a procedure of a program at a peer, whose port mapper says where it is: over UDP, or TCP if it is
/// there only. Arguments and results are encoded.
///
/// # Errors
/// It cannot be reached, does not answer in time, or answers with a fault.
pub async fn call(peer: &Peer, target: (u32, u32), procedure: u32, arguments: &[u8]) -> io::Result<Bytes> {
    let (program, version) = target;
    let all = async {
        for transport in [Transport::Udp, Transport::Tcp] {
            let question = portmap::question(program, version, transport, peer.address);
            let mapper = (portmap::PROGRAM, question.version);
            let asked = udp(peer, peer.portmap, mapper, question.procedure, &question.arguments).await?;
            let Some(port) = question.port(asked) else { continue };
            return match transport {
                Transport::Udp => udp(peer, port, target, procedure, arguments).await,
                Transport::Tcp => tcp(peer, port, target, procedure, arguments).await,
            };
        }
        Err(io::ErrorKind::NotFound.into())
    };
    timeout(PATIENCE, all).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

async fn udp(
    peer: &Peer,
    port: u16,
    target: (u32, u32),
    procedure: u32,
    arguments: &[u8],
) -> io::Result<Bytes> {
    let xid = number()?;
    let call = encode(xid, target, procedure, arguments);
    let socket = UdpSocket::bind((peer.local, 0)).await?;
    socket.connect((peer.address, port)).await?;
    let mut answer = vec![0; 4096];
    loop {
        socket.send(&call).await?;
        let received = async {
            loop {
                let len = socket.recv(&mut answer).await?;
                let found = results(Bytes::copy_from_slice(&answer[..len]), xid);
                if let Some(results) = found {
                    return io::Result::Ok(results);
                }
            }
        };
        if let Ok(results) = timeout(AGAIN, received).await {
            return results;
        }
    }
}

async fn tcp(
    peer: &Peer,
    port: u16,
    target: (u32, u32),
    procedure: u32,
    arguments: &[u8],
) -> io::Result<Bytes> {
    let xid = number()?;
    let address = SocketAddr::new(peer.address, port);
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.bind(SocketAddr::new(peer.local, 0))?;
    let mut stream = socket.connect(address).await?;
    let answer = exchange(&mut stream, &encode(xid, target, procedure, arguments)).await?;
    results(answer, xid).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// A number that nobody foresees.
fn number() -> io::Result<u32> {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(u32::from_be_bytes(bytes))
}

/// A call as it travels, without a record mark; its arguments are encoded already.
#[must_use]
pub fn encode(xid: u32, target: (u32, u32), procedure: u32, arguments: &[u8]) -> Vec<u8> {
    let (program, version) = target;
    let head = Head { xid, kind: 0, rpc_version: RPC_VERSION, program, version, procedure };
    let mut output = Writer::default();
    head.put(&mut output);
    Credentials::None.to_auth().put(&mut output);
    Credentials::None.to_auth().put(&mut output);
    output.raw(arguments);
    output.into_bytes()
}

/// Sends a call on a stream and receives one record.
///
/// # Errors
/// The stream's, and an answer that is too long.
pub async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, call: &[u8]) -> io::Result<Bytes> {
    stream.write_all(&framed(call, usize::MAX)).await?;
    let mut answer = Vec::new();
    loop {
        let mark = stream.read_u32().await?;
        let len = (mark & !LAST) as usize;
        if answer.len() + len > ANSWER_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let start = answer.len();
        answer.resize(start + len, 0);
        stream.read_exact(&mut answer[start..]).await?;
        if mark & LAST != 0 {
            return Ok(answer.into());
        }
    }
}

/// The results in the reply to call `xid`, if it is that, and the call succeeded (RFC 5531 9).
#[must_use]
pub fn results(reply: Bytes, xid: u32) -> Option<Bytes> {
    let mut input = Reader::new(reply);
    let mut word = || u32::get(&mut input).ok();
    let reply_to = (word()?, word()?, word()?);
    if reply_to != (xid, 1, 0) {
        return None;
    }
    let _flavor = word()?;
    let _verifier = Bytes::get(&mut input).ok()?;
    let success = u32::get(&mut input).ok()? == 0;
    success.then(|| Bytes::copy_from_slice(input.rest()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::Outcome;

    #[test]
    fn only_the_reply_to_this_very_call_counts() {
        let reply = Bytes::from(Outcome::done(&7_u32).into_datagram(5));
        assert_eq!(results(reply.clone(), 5), Some(Bytes::from_static(&[0, 0, 0, 7])));
        assert_eq!(results(reply.clone(), 6), None);
        for len in 0..24 {
            assert_eq!(results(reply.slice(..len), 5), None, "{len} bytes");
        }
        assert_eq!(results(Outcome::ProcedureUnavailable.into_datagram(5).into(), 5), None);
        assert_eq!(results(Outcome::RpcMismatch.into_datagram(5).into(), 5), None);
    }

    #[tokio::test]
    async fn an_answer_in_fragments_is_put_together_and_an_endless_one_is_not() {
        let (mut ours, mut theirs) = tokio::io::duplex(1 << 20);
        theirs.write_all(&framed(b"an answer", 4)).await.unwrap();
        assert_eq!(exchange(&mut ours, b"call").await.unwrap(), "an answer");
        theirs.write_all(&(ANSWER_MAX as u32 + 1).to_be_bytes()).await.unwrap();
        assert_eq!(exchange(&mut ours, b"call").await.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
