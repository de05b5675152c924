//! The NFS server: RPC, XDR and the procedures of NFSv3 and its companions, knowing no storage crate.
//!
//! | module | job | may not |
//! |---|---|---|
//! | [`tree`] | the border: what a server needs from a tree of files | know a protocol's encoding |
//! | [`mem`], [`suite`] | a tree in memory; what every tree must do, as checks | be part of a server |
//! | [`access`] | who may do what, from attributes and credentials | look anything up |
//! | [`exports`] | which share is whose, and as whom a client acts there | know a protocol's encoding |
//! | [`handle`] | file handles: bytes that lead to an object, and prove it | keep state |
//! | [`nlm`], [`nsm`] | locks, and who is told of a restart | decide in its shell |
//! | [`portmap`] | tells where the other programs are | change by what a peer sends |
//! | [`replay`] | duplicate requests get the answer they got | know what a procedure does |
//! | [`xdr`] | items in bytes | keep state |
//! | [`memory`] | one budget, aligned buffers | know what the bytes are |
//! | [`rpc`] | records, calls, replies, which program answers | know what a program does |
//! | [`nfs3`], [`mount`] | the procedures | do I/O, know a connection |
//! | [`session`], [`output`] | a connection as a value | do I/O, read a clock |
//! | [`udp`] | datagrams, for the helpers of mounts and locks | answer strangers |
//! | [`server`] | sockets, timers and buffers around sessions | decide anything of the protocol |
//!
//! Storage is joined to it by whoever implements [`tree::FileTree`].

pub mod access;
pub mod exports;
pub mod fuzz;
pub mod handle;
pub mod limits;
pub mod mem;
pub mod memory;
pub mod mount;
pub mod nfs3;
pub mod nlm;
pub mod nsm;
pub mod output;
pub mod portmap;
pub mod replay;
pub mod rpc;
pub mod server;
pub mod session;
pub mod suite;
pub mod tree;
pub mod udp;
pub mod xdr;

pub use tree::{FileTree, TreeFault};
