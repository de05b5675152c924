//! The store under simulation: a tiny machine on top of it, clients that use it, and a ledger that knows what
//! must survive.
//!
//! One seed is one run: pools of a few MiB are created, used by concurrent clients, killed, cut from power in
//! the middle of any write, reopened and compared with the ledger, several times over.
//!
//! Read next: `scenario` (a run), `machine` (the commits' meaning), `ledger` (the promises), `client`.

mod audit;
mod client;
mod ledger;
mod machine;
mod op;
mod pool;
mod scenario;

pub use machine::Toy;
pub use op::{Act, Entry, Op};
pub use pool::Pool;
pub use scenario::{cut_every_write_of_a_change, run};
