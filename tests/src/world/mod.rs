//! The world of a seed: the whole engine on simulated disks, against a plain model in memory.
//!
//! A seed decides the machine, the budgets, the faults, and what concurrent clients do. The engine tells its
//! commit order ([`history`]), which the [`model`] follows; so after every crash it can be said exactly which
//! states the pool may be in: the model after some prefix of that order which has all that was promised to be
//! there.
//!
//! Read next: `run` (a seed from start to end), `client` (how answers are judged), `work` (what clients do),
//! `check` (what a pool at rest must satisfy), `extras` (what seeds from 100,000 on do besides).

mod check;
mod client;
mod content;
mod extras;
mod fill;
mod history;
mod model;
mod options;
mod phases;
mod rot;
mod run;
mod sums;
mod work;

pub use extras::{Extras, Growing};
pub use options::{Options, Trouble};
pub use run::{run, Outcome};
