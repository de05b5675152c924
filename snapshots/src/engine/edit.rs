//! Edits of small entries: conditional, several in one commit.
//!
//! What an edit replaces is looked up first and noted with it; if that has changed when its turn comes, it
//! bounces and is prepared again. A merge does not: see [`crate::machine::merge`]. Both can also be part of a
//! change of data: see [`super::Volume::write_with`]. See `entries` for how entries are kept and read.

use super::Engine;
use crate::catalogue::DatasetId;
use crate::error::{Error, Retry};
use crate::ids::{BranchId, Epoch};
use crate::machine::op::{EntryChange, EntryMerging, IoOp, Merged, OldEntry, Part, Reach, Reply};
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

/// A change of one entry by the rule of the dataset's kind, which is asked when the commit is ordered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryMerge {
    /// The entry's name: 1 to 1,024 bytes.
    pub name: Vec<u8>,
    /// What the rule is to do.
    pub operand: Vec<u8>,
}

/// Changes of small entries that are one commit, alone or with a change of data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edits {
    /// Entries of the dataset.
    pub entries: Vec<EntryEdit>,
    /// Entries of the dataset that its rule changes; none is among `entries`.
    pub merges: Vec<EntryMerge>,
    /// Entries of another dataset: what must not go back in time with this one.
    pub beside: Option<(DatasetId, Vec<EntryEdit>)>,
    /// Whether they only free space, and may use the reserve.
    pub frees: bool,
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
        let edits = Edits { entries: edits.to_vec(), ..Edits::default() };
        self.edit_with(dataset, &edits, session).await.map(drop)
    }

    /// As [`Engine::edit`], and what became of the merged entries, in their order.
    ///
    /// # Errors
    /// As [`Engine::edit`]; [`Error::Vetoed`] when the rule refuses.
    pub async fn edit_with(
        &self,
        dataset: DatasetId,
        edits: &Edits,
        session: Option<Session>,
    ) -> Result<Vec<Merged>, Error> {
        edits.check()?;
        loop {
            let branch = self.entry_levels(dataset, None)?[0].0;
            let Some(parts) = self.edit_parts(dataset, branch, edits).await? else { continue };
            let (session, reach) = (session.clone(), Reach::default());
            match self.io(IoOp { dataset, branch, session, frees: edits.frees, reach, parts }).await {
                Ok(committed) => return Ok(merged_of(committed.reply)),
                Err(Retry::Failed(e)) => return Err(e),
                Err(Retry::After(seq)) => self.store.wait_visible(seq).await,
            }
        }
    }

    /// The parts that edits of a dataset are; `None` when `branch` is not its live side any more.
    pub(super) async fn edit_parts(
        &self,
        dataset: DatasetId,
        branch: BranchId,
        edits: &Edits,
    ) -> Result<Option<Vec<Part>>, Error> {
        if edits.is_empty() {
            return Ok(Some(Vec::new()));
        }
        let mut parts = Vec::with_capacity(edits.entries.len() + edits.merges.len());
        let mut bytes = 0;
        let mut all = vec![(dataset, &edits.entries[..])];
        all.extend(edits.beside.iter().map(|(other, entries)| (*other, &entries[..])));
        for (of, entries) in all {
            let as_of = self.store.visible();
            let levels = self.entry_levels(of, None)?;
            let prepared = self.prepare_edits(&levels, entries, as_of, &mut bytes).await;
            let merges = match of == dataset {
                true => self.prepare_merges(&levels, &edits.merges, as_of).await,
                false => Ok(Vec::new()),
            };
            if self.entry_levels(of, None)? != levels || (of == dataset && levels[0].0 != branch) {
                // A rollback came between: what was read may be reclaimed in part.
                return Ok(None);
            }
            let own = prepared?.into_iter().map(|change| match of == dataset {
                true => Part::Entry(change),
                false => Part::Beside(of, levels[0].0, change),
            });
            parts.extend(own);
            parts.extend(merges?);
        }
        Ok(Some(parts))
    }

    /// The changes of entries of the dataset whose live side looks through `levels`.
    async fn prepare_edits(
        &self,
        levels: &[(BranchId, Epoch)],
        edits: &[EntryEdit],
        as_of: Seq,
        bytes: &mut usize,
    ) -> Result<Vec<EntryChange>, Error> {
        let mut changes = Vec::with_capacity(edits.len());
        for edit in edits {
            let (old, current) = self.newest_of(levels, &edit.name).await?;
            hold(edit, current.as_deref())?;
            *bytes += weight(edit) + old.as_ref().and_then(|old| old.value.as_ref()).map_or(0, Vec::len);
            if *bytes > EDIT_BYTES_MAX {
                return Err(Error::Invalid(TOO_LARGE));
            }
            let (name, value) = (edit.name.clone(), edit.value.clone());
            changes.push(EntryChange { name, value, old, as_of });
        }
        Ok(changes)
    }

    async fn prepare_merges(
        &self,
        levels: &[(BranchId, Epoch)],
        merges: &[EntryMerge],
        as_of: Seq,
    ) -> Result<Vec<Part>, Error> {
        let mut parts = Vec::with_capacity(merges.len());
        for EntryMerge { name, operand } in merges {
            let (old, current) = self.newest_of(levels, name).await?;
            let inherited = current.filter(|_| old.is_none());
            let (name, operand) = (name.clone(), operand.clone());
            parts.push(Part::Merge(EntryMerging { name, operand, old, inherited, as_of }));
        }
        Ok(parts)
    }

    /// A branch's own version of an entry, and the value that its live side has.
    async fn newest_of(
        &self,
        levels: &[(BranchId, Epoch)],
        name: &[u8],
    ) -> Result<(Option<OldEntry>, Option<Vec<u8>>), Error> {
        let old = self.live_entry(levels[0].0, name).await?;
        let current = match &old {
            Some(old) => old.value.clone(),
            None => self.entry(&levels[1..], name).await?,
        };
        Ok((old, current))
    }
}

/// What a commit says of its merges.
pub(super) fn merged_of(reply: Reply) -> Vec<Merged> {
    match reply {
        Reply::Merged(merged) => merged,
        _ => Vec::new(),
    }
}

impl Edits {
    fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.merges.is_empty() && self.beside.is_none()
    }

    /// Whether they can be committed at all.
    pub(super) fn check(&self) -> Result<(), Error> {
        let count =
            self.entries.len() + self.merges.len() + self.beside.iter().map(|b| b.1.len()).sum::<usize>();
        if count > EDITS_MAX {
            return Err(Error::Invalid(TOO_LARGE));
        }
        let fits = |name: &[u8]| !name.is_empty() && name.len() <= NAME_MAX;
        for (at, merge) in self.merges.iter().enumerate() {
            let twice = self.merges[..at].iter().any(|other| other.name == merge.name)
                || self.entries.iter().any(|other| other.name == merge.name);
            if twice || !fits(&merge.name) || merge.operand.len() > VALUE_MAX {
                return Err(Error::Invalid("an entry is merged once, by a name of 1 to 1,024 bytes"));
            }
        }
        for entries in [&self.entries[..]].into_iter().chain(self.beside.iter().map(|b| &b.1[..])) {
            if !entries.is_empty() {
                check(entries)?;
            }
        }
        Ok(())
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
