//! Debian's libiscsi as an initiator for tests and benchmarks: sessions that send any command at any time.
//!
//! | module | what |
//! |---|---|
//! | [`options`](Options) | who logs in, where, and with which of the protocol's choices |
//! | [`session`](Session) | a logged-in connection: commands, task management, its end, gentle or not |
//! | [`command`](Command) | a command as its CDB and data, and what became of it |
//! | `sys` | the declarations of the C library, only those that are used |
//!
//! Invariants: nothing is done behind the caller's back: no reconnecting, no test of the unit after the
//! login, no retry. All memory that the C library may touch belongs to the session until the library has
//! let go of it. A session belongs to one thread.
//!
//! Of the two digests libiscsi 1.19 knows only that of headers. To link needs the package `libiscsi-dev`.

// The crate exists to call a C library: every call says why it may be made.
#![allow(unsafe_code)]

mod command;
mod discovery;
mod error;
mod options;
mod session;
mod sys;

pub use command::{Command, CommandId, Completion, Data, Outcome, Sense};
pub use discovery::{discover, Found};
pub use error::Error;
pub use options::{Isid, Options};
pub use session::{poll_all, Function, Managed, Session};
