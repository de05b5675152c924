//! SCSI as a target speaks it (SAM-5, SPC-4, SBC-3/4): what a command means, whatever carried it.
//!
//! Read next: [`command`] (what a transport hands over and gets back), [`sense`] (why a command failed).

pub mod command;
pub mod sense;
