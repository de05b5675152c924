//! The hosts that are to be told of our restart: a list that is kept before anybody relies on it.
//!
//! Invariant: when [`Monitors::add`] has returned, the host is told of the next restart, however this life
//! ends, until [`Monitors::prune`] finds it without locks.

use super::saved::{Monitored, NsmState, Saved};
use crate::nlm::table::Host;
use std::io;
use std::net::IpAddr;
use tokio::sync::Mutex;

/// Hosts in the list, at most.
pub const MONITORED: usize = 1024;

/// The list, and where it is kept.
pub struct Monitors<S> {
    store: S,
    /// Held while it is saved, so that what is saved last is the newest.
    saved: Mutex<Saved>,
    state: u32,
}

impl<S: NsmState> Monitors<S> {
    /// Begins a life: takes the next state number, and gives the hosts that held locks in the last one.
    ///
    /// # Errors
    /// What was kept cannot be read, or the new number not be kept.
    pub async fn start(store: S) -> io::Result<(Monitors<S>, Vec<Monitored>)> {
        let mut saved = store.load().await?;
        // Odd = running; a life that was killed never made it even.
        saved.state = saved.state.wrapping_add(1) | 1;
        store.save(saved.clone()).await?;
        let before = saved.monitored.clone();
        Ok((Monitors { store, state: saved.state, saved: Mutex::new(saved) }, before))
    }

    /// Our state number in this life.
    #[must_use]
    pub fn state(&self) -> u32 {
        self.state
    }

    /// Where it is kept.
    pub fn store(&self) -> &S {
        &self.store
    }

    /// Puts a host on the list, which it may be on already; `active` says which hosts must stay if the list
    /// is full.
    ///
    /// # Errors
    /// The list is full, or cannot be kept.
    pub async fn add(&self, host: &Host, local: IpAddr, active: impl Fn(&Host) -> bool) -> io::Result<()> {
        let mut saved = self.saved.lock().await;
        if saved.monitored.iter().any(|monitored| monitored.host == *host && monitored.local == local) {
            return Ok(());
        }
        let mut next = saved.clone();
        next.monitored.retain(|monitored| monitored.host != *host);
        if next.monitored.len() >= MONITORED {
            next.monitored.retain(|monitored| active(&monitored.host));
        }
        if next.monitored.len() >= MONITORED {
            return Err(io::ErrorKind::StorageFull.into());
        }
        next.monitored.push(Monitored { host: host.clone(), local });
        self.store.save(next.clone()).await?;
        *saved = next;
        Ok(())
    }

    /// Takes hosts off the list that are not active.
    ///
    /// # Errors
    /// The list cannot be kept: it stays as it was.
    pub async fn prune(&self, active: impl Fn(&Host) -> bool) -> io::Result<()> {
        let mut saved = self.saved.lock().await;
        let mut next = saved.clone();
        next.monitored.retain(|monitored| active(&monitored.host));
        if next != *saved {
            self.store.save(next.clone()).await?;
            *saved = next;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nsm::MemState;

    fn host(n: u16) -> Host {
        let [high, low] = n.to_be_bytes();
        Host { address: [10, 0, high, low].into(), name: format!("host-{n}").into() }
    }

    const LOCAL: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[tokio::test]
    async fn the_state_number_is_odd_and_rises_and_hosts_are_kept() {
        let mut kept = None;
        let mut last = 0;
        for life in 0..20 {
            let (monitors, before) = Monitors::start(MemState::with(kept)).await.unwrap();
            assert!(monitors.state() % 2 == 1 && monitors.state() > last);
            last = monitors.state();
            assert_eq!(before.len(), usize::from(life));
            monitors.add(&host(life), LOCAL, |_| true).await.unwrap();
            monitors.add(&host(life), LOCAL, |_| true).await.unwrap();
            kept = monitors.store().bytes();
        }
    }

    #[tokio::test]
    async fn a_full_list_lets_go_of_the_idle_ones_only() {
        let (monitors, _) = Monitors::start(MemState::default()).await.unwrap();
        for n in 0..MONITORED as u16 {
            monitors.add(&host(n), LOCAL, |_| true).await.unwrap();
        }
        assert!(monitors.add(&host(2000), LOCAL, |_| true).await.is_err());
        monitors.add(&host(2000), LOCAL, |host| host.name != "host-7").await.unwrap();
        let (_, before) = Monitors::start(MemState::with(monitors.store().bytes())).await.unwrap();
        assert_eq!(before.len(), MONITORED);
        monitors.prune(|host| host.name == "host-8").await.unwrap();
        let (_, before) = Monitors::start(MemState::with(monitors.store().bytes())).await.unwrap();
        assert_eq!(before.len(), 1);
    }

    #[tokio::test]
    async fn a_host_that_cannot_be_kept_is_refused() {
        let (monitors, _) = Monitors::start(MemState::default()).await.unwrap();
        monitors.store().set_broken(true);
        assert!(monitors.add(&host(1), LOCAL, |_| true).await.is_err());
        monitors.store().set_broken(false);
        monitors.add(&host(1), LOCAL, |_| true).await.unwrap();
    }
}
