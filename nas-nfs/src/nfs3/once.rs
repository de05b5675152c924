//! What changes something is done once, however often its call comes: protocol rule 18, and rule 2 for
//! writes.
//!
//! Invariants: a call that comes again gets the first one's answer, or joins it while it runs. So the
//! repetition of a write that hangs, over another connection perhaps, is answered when the write is done, and
//! not before it could take effect over something newer; and one that was left behind in a dead connection is
//! not done again. The answers of changes are kept with their effects; those of writes, which may be done
//! again after a restart, have a memory of their own, so that they push out no others. An answer that says
//! "try again" is not kept.

use super::procedure;
use super::types::Status;
use crate::replay::{Begin, CallKey, Replays, Ticket};
use crate::rpc::{Answer, Outcome, Results};
use crate::tree::Kept;
use crate::xdr::{Writer, Xdr};
use bytes::Bytes;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

/// The memory of what was done.
#[derive(Default)]
pub(super) struct Once {
    changes: Replays,
    writes: Replays,
}

/// Whether a procedure must not be done twice.
pub(super) fn is_for(procedure: u32) -> bool {
    matches!(procedure, procedure::SETATTR | procedure::WRITE..=procedure::LINK)
}

impl Once {
    /// Takes in what a tree has kept.
    pub(super) fn remember(&self, now: Instant, kept: &[Kept]) {
        self.changes.load(now, kept);
    }

    /// The answer to a call, which is begun if it is not known.
    pub(super) async fn answer(
        &self,
        now: Instant,
        client: IpAddr,
        key: CallKey,
        begin: impl Fn(Arc<Ticket>) -> Answer,
    ) -> Outcome {
        let replays = if key.procedure == procedure::WRITE { &self.writes } else { &self.changes };
        loop {
            match replays.begin(now, client, key) {
                Begin::Known(reply) => return known(&reply),
                Begin::Full => return try_again(key.procedure),
                Begin::Join(answer) => match answer.await {
                    Ok(reply) => return known(&reply),
                    Err(_given_up) => {}
                },
                Begin::New(ticket) => {
                    let ticket = Arc::new(ticket);
                    let outcome = begin(Arc::clone(&ticket)).await;
                    if let (Some(ticket), Some(reply)) = (Arc::into_inner(ticket), to_keep(&outcome)) {
                        ticket.finish(now, reply);
                    }
                    return outcome;
                }
            }
        }
    }
}

fn known(reply: &Bytes) -> Outcome {
    let output = Writer { bytes: reply.to_vec(), payload: None };
    Outcome::Done(Results { output, permit: None })
}

/// The results, if they are to be given again.
fn to_keep(outcome: &Outcome) -> Option<Bytes> {
    let Outcome::Done(results) = outcome else { return None };
    let bytes = &results.output.bytes;
    let again = bytes.starts_with(&(Status::JukeBox as u32).to_be_bytes());
    (!again).then(|| Bytes::copy_from_slice(bytes))
}

/// The failure of a procedure that is to be tried again, with no attributes.
pub(super) fn try_again(procedure: u32) -> Outcome {
    let words = match procedure {
        procedure::READ => 1,   // post_op_attr
        procedure::RENAME => 4, // two wcc_data
        procedure::LINK => 3,   // post_op_attr and wcc_data
        _ => 2,                 // wcc_data
    };
    let mut output = Writer::default();
    Status::JukeBox.put(&mut output);
    (0..words).for_each(|_| 0_u32.put(&mut output));
    Outcome::Done(Results { output, permit: None })
}
