//! Programs over UDP: what the helpers of mounts and locks still speak.
//!
//! Invariants: only addresses that some export admits get an answer, and none is longer than [`ANSWER_MAX`],
//! so that a forged source address gains nothing by it. At most [`CALLS`] calls are in progress; what comes
//! above them is dropped, and its sender asks again.

use crate::memory::Budget;
use crate::rpc::{Ends, Programs};
use bytes::Bytes;
use futures_util::future::{select, Either};
use futures_util::stream::{FuturesUnordered, StreamExt};
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::{pin, Pin};
use std::time::Instant;
use tokio::net::UdpSocket;

/// Bytes of an answer, at most.
pub const ANSWER_MAX: usize = 512;
/// Bytes of a call, at most.
const CALL_MAX: usize = 4096;
/// Calls in progress.
const CALLS: usize = 64;
/// Bytes for answers with payloads: the programs here have none.
const MEMORY: usize = 1 << 20;

/// Answers what comes to a socket, until the future is dropped.
pub async fn serve(socket: UdpSocket, programs: Programs, admits: impl Fn(IpAddr) -> bool + Send) {
    let (budget, socket) = (Budget::new(MEMORY), &socket);
    let mut calls: FuturesUnordered<Pin<Box<dyn Future<Output = ()> + Send + '_>>> = FuturesUnordered::new();
    let mut buffer = vec![0; CALL_MAX + 1];
    loop {
        let received = {
            let receive = pin!(socket.recv_from(&mut buffer));
            match select(receive, pin!(calls.next())).await {
                Either::Left((received, _)) => received,
                Either::Right((Some(()), _)) => continue,
                Either::Right((None, receive)) => receive.await,
            }
        };
        let (len, peer) = match received {
            Ok(received) => received,
            Err(error) => {
                // An earlier answer could not be delivered: the next one may be.
                tracing::debug!(%error, "a datagram could not be received");
                tokio::task::yield_now().await;
                continue;
            }
        };
        if len > CALL_MAX || calls.len() >= CALLS || !admits(peer.ip().to_canonical()) {
            continue;
        }
        let ends = Ends::new(peer, local_end(socket, peer));
        let call = Bytes::copy_from_slice(&buffer[..len]);
        let Ok((xid, begun)) = programs.begin(call, None, ends, &budget, Instant::now()) else { continue };
        let answer = async move {
            let outcome = match begun {
                Ok(answer) => answer.await,
                Err(outcome) => outcome,
            };
            let answer = outcome.into_datagram(xid);
            if answer.len() <= ANSWER_MAX {
                drop(socket.send_to(&answer, peer).await);
            }
        };
        calls.push(Box::pin(answer));
    }
}

/// The address that a peer reaches us at: what the socket is bound to, or what its packets would come from.
fn local_end(socket: &UdpSocket, peer: SocketAddr) -> SocketAddr {
    let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let bound = socket.local_addr().unwrap_or(any);
    if !bound.ip().is_unspecified() {
        return bound;
    }
    SocketAddr::new(toward(peer).unwrap_or(bound.ip()), bound.port())
}

/// The address that packets to a peer come from. Nothing is sent to find it.
fn toward(peer: SocketAddr) -> Option<IpAddr> {
    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
    let any: IpAddr = match peer {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = std::net::UdpSocket::bind((any, 0)).ok()?;
    socket.connect(peer).ok()?;
    Some(socket.local_addr().ok()?.ip())
}
