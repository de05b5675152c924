//! The NFS server: RPC, XDR and the procedures of NFSv3 and its companions, knowing no storage crate.
//!
//! | module | job | may not |
//! |---|---|---|
//! | [`mem`] | a tree in memory, for tests and fuzzers | be part of a server |
//! | [`suite`] | what every tree of files must do, as checks | know which tree it is |
//! | [`tree`] | the border: what a server needs from a tree of files | know a protocol's encoding |
//!
//! Storage is joined to it by whoever implements [`tree::FileTree`].

pub mod mem;
pub mod suite;
pub mod tree;

pub use tree::{FileTree, TreeFault};
