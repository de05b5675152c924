//! The shipped daemon and an initiator of our own: what no ready client does, and what must come of it.
//!
//! | file | what |
//! |---|---|
//! | `faults` | devices that hang and fail |
//! | `aborts` | a write given up at every stage |
//! | `resets` | task management under load |
//! | `races` | two initiators at one block, and at one reservation |
//! | `deaths` | connections that end in the middle of a transfer |
//! | `logins` | CHAP answers that are wrong, replayed, reflected |
//! | `masking` | every operation code on LUNs of others |
//! | `forced` | what is refused while sessions live; a damaged pool |
//! | `storm` | 10,000 connections |
//! | `soak` | the restart contract |

mod aborts;
mod deaths;
mod faults;
mod forced;
mod logins;
mod masking;
#[cfg(feature = "libiscsi")]
mod races;
mod resets;
mod soak;
mod storm;
