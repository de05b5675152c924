//! Tells hosts that we have restarted (SM_NOTIFY), so that they claim their locks again.
//!
//! Invariants: a host is told from the address that it knows us by, and by that name; it is told again until
//! it answers, less and less often, and given up after [`GIVE_UP`]. One that does not answer keeps no other
//! waiting.

use super::{Monitored, Restart, NOTIFY, PROGRAM, VERSION};
use crate::nlm::wire::Opaque;
use crate::rpc::client::{self, Peer};
use crate::xdr::encoded;
use futures_util::stream::{self, StreamExt};
use std::future::ready;
use std::time::Duration;
use tokio::time::{sleep, Instant};

/// Hosts that are told at a time.
const AT_ONCE: usize = 256;
/// Before they are told again: at first, and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(20));
/// When a host is given up: its locks are lost with the grace period in any case.
const GIVE_UP: Duration = Duration::from_secs(120);

/// Tells all of these that our state number is now `state`. `portmap` = the port of their port mappers. Those
/// who did not answer.
pub async fn notify_all(mut hosts: Vec<Monitored>, state: u32, portmap: u16) -> Vec<Monitored> {
    let (end, mut pause) = (Instant::now() + GIVE_UP, PAUSES.0);
    loop {
        let tell = |host: Monitored| async move { (!tell(&host, state, portmap).await).then_some(host) };
        let told = stream::iter(std::mem::take(&mut hosts)).map(tell).buffer_unordered(AT_ONCE);
        hosts = told.filter_map(ready).collect().await;
        if hosts.is_empty() || Instant::now() >= end {
            return hosts;
        }
        sleep(pause).await;
        pause = (pause * 2).min(PAUSES.1);
    }
}

async fn tell(host: &Monitored, state: u32, portmap: u16) -> bool {
    let peer = Peer { address: host.host.address, local: host.local, portmap };
    let restart = encoded(&Restart { name: Opaque(host.local.to_string().into()), state });
    let told = client::call(&peer, (PROGRAM, VERSION), NOTIFY, &restart).await;
    if let Err(error) = &told {
        tracing::debug!(%error, host = %peer.address, "a host was not told of the restart");
    }
    told.is_ok()
}
