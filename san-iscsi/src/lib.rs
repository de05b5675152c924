//! The iSCSI target: session and SCSI state machines that know no storage crate.
//!
//! Empty until the SAN issue.
