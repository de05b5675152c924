//! Procedures on a file's data: READ, WRITE, COMMIT.
//!
//! Invariants: the verifier of a WRITE is what it was before the write began, and that of a COMMIT what it is
//! after it has ended. So whatever is lost in between shows: no data that may be gone is told with a verifier
//! that a later COMMIT confirms.

use super::arguments::{Commit, Read, Write};
use super::at::{bare, success, At, Caller};
use super::results::{CommitDone, ReadDone, WriteDone};
use super::types::{Failure, PostAttributes, StableHow, Status, Wcc};
use super::Nfs3;
use crate::access;
use crate::limits::TRANSFER_MAX;
use crate::rpc::{Outcome, Results};
use crate::tree::{Attributes, FileTree, Kind, Stability};
use crate::xdr::Payload;

impl<T: FileTree> Nfs3<T> {
    /// READ (RFC 1813 3.3.6). Its data leaves from where the tree has it.
    pub(super) async fn read(&self, caller: Caller, ask: Read) -> Outcome {
        let at = match At::open(&self.exports, &caller, &ask.file) {
            Ok(at) => at,
            Err(status) => return Outcome::done(&failed(bare(status))),
        };
        let count = ask.count.min(TRANSFER_MAX);
        let done = async {
            let attributes = at.attributes().await?;
            is_file(&attributes)?;
            access::read(&at.user, &attributes)?;
            let there = attributes.size.saturating_sub(ask.offset).min(count.into());
            let permit = caller.budget.take(there as usize).await.ok();
            let read = at.tree().read(at.object, ask.offset, count).await?;
            let attributes = Some(at.told(&read.attributes));
            let (count, end) = (read.data.len() as u32, read.end);
            Ok((ReadDone { attributes, count, end, data: Payload(read.data) }, permit))
        };
        match at.explain(done.await).await {
            Ok((done, permit)) => Outcome::Done(Results { output: success(&done), permit }),
            Err(failure) => Outcome::done(&failed(failure)),
        }
    }

    /// WRITE (3.3.7).
    pub(super) async fn write(&self, caller: Caller, ask: Write) -> Result<WriteDone, Failure<Wcc>> {
        let at = At::open(&self.exports, &caller, &ask.file).map_err(bare)?;
        let done = async {
            let attributes = at.changeable().await?;
            is_file(&attributes)?;
            access::write(&at.user, &attributes)?;
            let Payload(data) = ask.data;
            if data.len() != ask.count as usize {
                return Err(Status::Inval);
            }
            let (count, verifier) = (ask.count, at.tree().verifier());
            if data.is_empty() {
                let wcc = Wcc::unchanged(Some(at.told(&attributes)));
                return Ok(WriteDone { wcc, count, committed: ask.stable, verifier });
            }
            let clear_ids = access::clears_ids(&at.user, &attributes);
            let stability = stability(ask.stable);
            let written = at.tree().write(at.object, ask.offset, data, stability, clear_ids).await?;
            let wcc = Wcc::new(at.object.inode, &written.file);
            Ok(WriteDone { wcc, count, committed: stable_how(written.stability), verifier })
        };
        at.explain_change(done.await).await
    }

    /// COMMIT (3.3.21): of the whole file, whatever part is asked for.
    pub(super) async fn commit(&self, caller: Caller, ask: Commit) -> Result<CommitDone, Failure<Wcc>> {
        let at = At::open(&self.exports, &caller, &ask.file).map_err(bare)?;
        let done = async {
            let attributes = at.changeable().await?;
            is_file(&attributes)?;
            access::write(&at.user, &attributes)?;
            let around = at.tree().commit(at.object).await?;
            Ok(CommitDone { wcc: Wcc::new(at.object.inode, &around), verifier: at.tree().verifier() })
        };
        at.explain_change(done.await).await
    }
}

fn failed(failure: Failure<PostAttributes>) -> Result<ReadDone, Failure<PostAttributes>> {
    Err(failure)
}

fn is_file(of: &Attributes) -> Result<(), Status> {
    match of.kind {
        Kind::Regular => Ok(()),
        Kind::Directory => Err(Status::IsDir),
        _ => Err(Status::Inval),
    }
}

fn stability(stable: StableHow) -> Stability {
    match stable {
        StableHow::Unstable => Stability::Unstable,
        StableHow::DataSync => Stability::Data,
        StableHow::FileSync => Stability::File,
    }
}

fn stable_how(stability: Stability) -> StableHow {
    match stability {
        Stability::Unstable => StableHow::Unstable,
        Stability::Data => StableHow::DataSync,
        Stability::File => StableHow::FileSync,
    }
}
