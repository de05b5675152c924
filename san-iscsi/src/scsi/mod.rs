//! SCSI as a target speaks it (SAM-5, SPC-4, SBC-3/4): what a command means, whatever carried it.
//!
//! | module | job |
//! |---|---|
//! | [`inventory`] | what an administrator gives: devices, hosts, LUN maps |
//! | [`target`] | what is served now, and to whom |
//! | [`live`] | who uses it now |
//! | [`nexus`] | one initiator port's use of it: a command's first check, what is answered at once |
//! | [`task`] | a command from there to its answer, whatever storage does |
//! | `opcodes` | the one table of commands |
//! | `plan`, `medium`, `copy` | from a CDB to bytes, and what is done to them |
//! | `lu`, `tasks` | a logical unit, a nexus' way to it, the order of commands |
//! | `reservations`, `reserve_*` | who may use a unit |
//! | `inquiry`, `mode`, `report` | what a unit says of itself |
//!
//! Everything is generic over [`crate::LogicalUnit`], and nothing knows a PDU, a clock or a thread.

pub mod command;
pub mod inventory;
pub mod limits;
pub mod live;
pub mod nexus;
pub mod port;
pub mod runtime;
pub mod sense;
pub mod target;
pub mod task;

mod copy;
mod deadline;
mod inquiry;
mod lu;
mod medium;
mod mode;
mod opcodes;
mod plan;
mod report;
mod reservations;
mod reserve_in;
mod reserve_out;
mod reserve_store;
mod tasks;

pub use nexus::Nexus;
pub use port::InitiatorPort;
pub use target::{Grant, Target};
pub use task::Task;
