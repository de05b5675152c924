//! The status monitor (NSM, program 100024): who tells whom of a restart, so that locks are claimed again.
//!
//! We tell the hosts that held locks when we stopped; hosts tell us, and what they held is released.
//! Invariants: our state number is odd and rises with each start, and both it and each host are kept before
//! anybody relies on them. Nobody may ask us to monitor for him: SM_MON and its like are for the programs of
//! one machine.
//!
//! | module | job |
//! |---|---|
//! | `saved` | what is kept over restarts, and where |
//! | `monitors` | the list of hosts, and its keeping |
//! | `notify` | telling hosts of our restart |
//! | this one | the program |

mod monitors;
mod notify;
mod saved;

pub use monitors::{Monitors, MONITORED};
pub use notify::notify_all;
pub use saved::{MemState, Monitored, NsmState, Saved};

use crate::nlm::wire::{Opaque, NAME_MAX};
use crate::nlm::Nlm;
use crate::rpc::program::{Answer, Program};
use crate::rpc::{Call, Outcome};
use crate::tree::FileTree;
use crate::xdr::{xdr_struct, Xdr};
use std::future::ready;
use std::ops::RangeInclusive;
use std::sync::Arc;

/// The program's number.
pub const PROGRAM: u32 = 100_024;
/// Its one version.
pub const VERSION: u32 = 1;
/// The procedure that tells of a restart.
pub(crate) const NOTIFY: u32 = 6;

const NULL: u32 = 0;
const STAT: u32 = 1;
const MON: u32 = 2;
const UNMON: u32 = 3;
const UNMON_ALL: u32 = 4;
/// sm_res: stat_fail.
const FAIL: u32 = 1;

xdr_struct! {
    /// stat_chge: a machine has restarted.
    pub struct Restart {
        /// What it calls itself.
        pub name: Opaque<NAME_MAX>,
        /// Its state number now.
        pub state: u32,
    }

    /// sm_stat_res.
    struct StatReply {
        /// 1: we do not monitor for others.
        pub result: u32,
        /// Our state number.
        pub state: u32,
    }
}

/// The status monitor beside a lock manager.
pub struct Nsm<T: FileTree, S: NsmState>(Arc<Nlm<T, S>>);

impl<T: FileTree, S: NsmState> Nsm<T, S> {
    /// The status monitor of this lock manager.
    #[must_use]
    pub fn new(nlm: Arc<Nlm<T, S>>) -> Nsm<T, S> {
        Nsm(nlm)
    }

    fn answer(&self, mut call: Call) -> Outcome {
        match call.procedure {
            NULL => Outcome::done(&()),
            STAT | MON => Outcome::done(&StatReply { result: FAIL, state: self.0.state_number() }),
            UNMON | UNMON_ALL => Outcome::done(&self.0.state_number()),
            NOTIFY => match Restart::get(&mut call.arguments) {
                Ok(restart) => {
                    self.0.restarted(call.now, call.ends.source(), &restart.name.0, restart.state);
                    Outcome::done(&())
                }
                Err(_) => Outcome::GarbageArguments,
            },
            _ => Outcome::ProcedureUnavailable,
        }
    }
}

impl<T: FileTree, S: NsmState> Program for Nsm<T, S> {
    fn number(&self) -> u32 {
        PROGRAM
    }

    fn versions(&self) -> RangeInclusive<u32> {
        VERSION..=VERSION
    }

    fn call(self: Arc<Self>, call: Call) -> Answer {
        Box::pin(ready(self.answer(call)))
    }
}
