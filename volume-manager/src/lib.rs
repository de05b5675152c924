//! The catalogue: pools, volumes, shares, hosts, LUN maps, exports, QoS and events.
//!
//! Empty until the SAN issue: nothing above `snapshots` is built yet.
