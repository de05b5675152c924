//! SCSI as a target speaks it (SAM-5, SPC-4, SBC-3/4): what a command means, whatever carried it.
//!
//! Read next: [`inventory`] (what an administrator gives), [`target`] (who may use it), [`nexus`] (how a
//! command is begun and executed), [`command`] (what a transport hands over and gets back), [`sense`] (why
//! one failed).

pub mod command;
pub mod inventory;
pub mod limits;
pub mod nexus;
pub mod runtime;
pub mod sense;
pub mod target;

pub use nexus::Nexus;
pub use target::{Grant, Target};
