//! An initiator of our own, for what no ready client does: stop in the middle, go away, lie.
//!
//! It blocks, has one connection, and is strict: what the target sends must parse with `san_iscsi::wire`, be
//! about a task that is open, and come in time.
//!
//! | module | job |
//! |---|---|
//! | `link` | PDUs over a socket |
//! | `handshake` | the login, step by step, and CHAP |
//! | `commands` | commands, their data, task management |
//! | `cdb` | command descriptor blocks |
//! | `host` | what a host does with a LUN: whole blocks of one byte, and patience |

pub mod cdb;
mod commands;
mod handshake;
pub mod host;
mod link;

pub use commands::{Answer, Data, Initiator};
pub use handshake::{response, Handshake, Keys, Refused, Who};
pub use link::{Gone, Link, Pdu};
