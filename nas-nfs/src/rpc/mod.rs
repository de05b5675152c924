//! ONC RPC version 2 (RFC 5531): records, calls, replies, and the programs that answer.
//!
//! | module | job |
//! |---|---|
//! | [`client`] | small calls of our own |
//! | [`record`] | a stream of bytes, cut anywhere, becomes records |
//! | [`call`] | the head of a call, and who makes it |
//! | [`reply`] | the ways in which a call ends |
//! | [`program`] | which program answers: the one place where program and version are looked at |

pub mod call;
pub mod client;
pub mod program;
pub mod record;
pub mod reply;

pub use call::{AuthSys, Call, Credentials, Ends};
pub use program::{Answer, Program, Programs};
pub use reply::{AuthFault, Outcome, Results};
