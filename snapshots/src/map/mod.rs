//! The map: which block of an object lies where, in pages of 256 pointers.
//!
//! A page version in the index is a [`Partial`]: what one epoch changed. A [`Page`] is what a reader sees,
//! resolved from the versions at or before its epoch, newest first, until one is complete.
//!
//! Invariants: a pointer never changes once written; laying versions over one another is associative, so
//! they can be folded in any grouping (in memory, by the index's merges, when a page is completed).
//!
//! Read next: [`mod@pointer`], [`partial`], [`page`], then [`codec`] for the bytes in the index.

pub mod codec;
pub mod page;
pub mod partial;
pub mod pointer;

pub use page::Page;
pub use partial::Partial;
pub use pointer::{Pointer, Sectors, Slot};
