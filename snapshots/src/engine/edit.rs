//! Edits of small entries: conditional, several in one commit.
//!
//! What an edit replaces is looked up first and noted with it; if that has changed when its turn comes, it
//! bounces and is prepared again. See `entries` for how entries are kept and read.

use super::Engine;
use crate::catalogue::DatasetId;
use crate::error::{Error, Retry};
use crate::ids::{BranchId, Epoch};
use crate::machine::op::{EntryChange, IoOp, Part, Reach};
use crate::session::Session;
use block_layer::Seq;

/// A condition of an edit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryCondition {
    /// Any value, or none.
    Any,
    /// The entry does not exist.
    Absent,
    /// The entry has this value.
    Is(Vec<u8>),
}

/// A change of one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryEdit {
    /// Its name: 1 to 1,024 bytes.
    pub name: Vec<u8>,
    /// Its new value, at most 64 KiB; `None` removes it.
    pub value: Option<Vec<u8>>,
    /// What must hold before.
    pub condition: EntryCondition,
}

/// Longest name, in bytes.
const NAME_MAX: usize = 1024;
/// Longest value, in bytes.
const VALUE_MAX: usize = 64 << 10;
/// Most edits of one commit.
const EDITS_MAX: usize = 64;
/// Most bytes of names, old values and new values of one commit: it has to fit a record.
const EDIT_BYTES_MAX: usize = 192 << 10;

impl Engine {
    /// Changes entries of a dataset, all in one commit, if every condition holds.
    ///
    /// # Errors
    /// [`Error::Exists`] or [`Error::NotFound`] when a condition does not hold: nothing was changed.
    pub async fn edit(
        &self,
        dataset: DatasetId,
        edits: &[EntryEdit],
        session: Option<Session>,
    ) -> Result<(), Error> {
        check(edits)?;
        loop {
            let as_of = self.store.visible();
            let levels = self.entry_levels(dataset, None)?;
            let prepared = self.prepare_edits(&levels, edits, as_of).await;
            if self.entry_levels(dataset, None)? != levels {
                // A rollback came between: what was read may be reclaimed in part.
                continue;
            }
            let (branch, parts) = (levels[0].0, prepared?);
            let session = session.clone();
            match self
                .io(IoOp { dataset, branch, session, frees: false, reach: Reach::default(), parts })
                .await
            {
                Ok(_) => return Ok(()),
                Err(Retry::Failed(e)) => return Err(e),
                Err(Retry::After(seq)) => self.store.wait_visible(seq).await,
            }
        }
    }

    /// The parts of an edit of the dataset whose live side looks through `levels`.
    async fn prepare_edits(
        &self,
        levels: &[(BranchId, Epoch)],
        edits: &[EntryEdit],
        as_of: Seq,
    ) -> Result<Vec<Part>, Error> {
        let mut parts = Vec::with_capacity(edits.len());
        let mut bytes: usize = edits.iter().map(weight).sum();
        for edit in edits {
            let old = self.live_entry(levels[0].0, &edit.name).await?;
            let current = match &old {
                Some(old) => old.value.clone(),
                None => self.entry(&levels[1..], &edit.name).await?,
            };
            hold(edit, current.as_deref())?;
            bytes += old.iter().filter_map(|old| old.value.as_ref()).map(Vec::len).sum::<usize>();
            if bytes > EDIT_BYTES_MAX {
                return Err(Error::Invalid(TOO_LARGE));
            }
            let (name, value) = (edit.name.clone(), edit.value.clone());
            parts.push(Part::Entry(EntryChange { name, value, old, as_of }));
        }
        Ok(parts)
    }
}

const TOO_LARGE: &str = "an edit changes 1 to 64 entries, 192 KiB at most with their old values";

/// Bytes of a record that an edit takes, its old value aside: the name stands in up to three keys.
fn weight(edit: &EntryEdit) -> usize {
    4 * edit.name.len() + edit.value.as_ref().map_or(0, Vec::len)
}

fn check(edits: &[EntryEdit]) -> Result<(), Error> {
    if edits.is_empty() || edits.len() > EDITS_MAX {
        return Err(Error::Invalid(TOO_LARGE));
    }
    for (at, edit) in edits.iter().enumerate() {
        if edit.name.is_empty() || edit.name.len() > NAME_MAX {
            return Err(Error::Invalid("the name of an entry has 1 to 1,024 bytes"));
        }
        if edit.value.as_ref().is_some_and(|value| value.len() > VALUE_MAX) {
            return Err(Error::Invalid("the value of an entry has at most 64 KiB"));
        }
        if edits[..at].iter().any(|other| other.name == edit.name) {
            return Err(Error::Invalid("an entry is changed twice"));
        }
    }
    Ok(())
}

fn hold(edit: &EntryEdit, current: Option<&[u8]>) -> Result<(), Error> {
    let name = || String::from_utf8_lossy(&edit.name).into_owned();
    match (&edit.condition, current) {
        (EntryCondition::Absent, Some(_)) => Err(Error::Exists(name())),
        (EntryCondition::Is(value), current) if current != Some(value) => Err(Error::NotFound(name())),
        _ => Ok(()),
    }
}
