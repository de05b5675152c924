//! The NFS server: RPC, XDR and the NFS procedures, knowing no storage crate.
//!
//! Empty until the NAS issue.
