//! Small histories: every short sequence of commands, cut at every device write, against a plain model.
//!
//! A [`Case`] says all: prologue, commands, seed, where it is cut and how. The commands are issued one
//! after the other, so what may be found after the cut is one of a few consecutive worlds of the model.
//!
//! Read next: `model` (what commands mean), `run` (how a case is run and judged).

mod case;
mod model;
mod run;

pub use case::{Case, Cut, Prologue};
pub use model::{Action, Op, World};
pub use run::{judge, last_writes};
