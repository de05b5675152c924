//! Merges: small entries whose new value follows from the newest *ordered* one.
//!
//! An ordinary edit carries the value it has read, and is bounced when that has changed: many at once on one
//! entry would bounce each other for ever. A merge carries an operand instead; when its turn comes, the rule
//! of the dataset's kind makes the new value of the newest one. What it means is the rule's business: the key
//! space learns nothing about it, and the record has the outcome.

use super::op::{EntryMerging, Merged, OldEntry};
use super::State;
use crate::catalogue::Branch;
use crate::engine::{decode_value, split_live};
use crate::error::Error;
use crate::key::LiveKey;
use block_layer::store::Refusal;
use block_layer::Seq;

/// A merge, as a rule sees it.
#[derive(Clone, Copy, Debug)]
pub struct Merging<'a> {
    /// The entry's name.
    pub name: &'a [u8],
    /// Its newest value; `None` = there is none.
    pub old: Option<&'a [u8]>,
    /// What is to be done.
    pub operand: &'a [u8],
    /// Blocks that became mapped by the data of the same commit, less those that are no longer.
    pub mapped: i64,
}

/// Why a rule refuses: a number that only the rule's owner understands. The whole commit is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Veto(pub u32);

/// How the entries of one kind of dataset are merged.
#[derive(Clone, Copy, Debug)]
pub struct EntryRule {
    /// The kind of dataset.
    pub kind: u8,
    /// Makes the new value, at most 64 KiB; `None` removes the entry. Pure, quick, and whether it refuses
    /// does not depend on `mapped`: it is asked before anything is allocated, and again when that is known.
    pub merge: fn(Merging<'_>) -> Result<Option<Vec<u8>>, Veto>,
}

impl State {
    pub(super) fn rule_of(&self, kind: u8) -> Option<EntryRule> {
        self.rules.iter().find(|rule| rule.kind == kind).copied()
    }

    /// Whether a merge may be done now.
    pub(super) fn check_merge(
        &mut self,
        branch: &Branch,
        rule: Option<EntryRule>,
        merging: &EntryMerging,
    ) -> Result<(), Refusal<Error>> {
        let rule = rule.ok_or(Refusal::Refused(Error::Invalid("this kind of dataset merges no entries")))?;
        let old = self.newest_entry(branch, merging)?;
        let call = Merging { old: value_of(&old, merging), ..Merging::of(merging) };
        (rule.merge)(call).map(drop).map_err(|Veto(reason)| Refusal::Refused(Error::Vetoed(reason)))
    }

    /// Does a merge that was checked: the version that it replaces, and what became of it.
    pub(super) fn merge(
        &mut self,
        branch: &Branch,
        rule: Option<EntryRule>,
        merging: &EntryMerging,
        mapped: i64,
    ) -> (Option<OldEntry>, Merged) {
        let rule = rule.expect("the merge was checked");
        let old = self.newest_entry(branch, merging).expect("the merge was checked");
        let before = value_of(&old, merging).map(<[u8]>::to_vec);
        let call = Merging { old: before.as_deref(), mapped, ..Merging::of(merging) };
        let after = (rule.merge)(call).expect("a rule refuses whatever `mapped` is, or never");
        (old, Merged { before, after })
    }

    /// The branch's own version of an entry, as of everything ordered.
    fn newest_entry(
        &mut self,
        branch: &Branch,
        merging: &EntryMerging,
    ) -> Result<Option<OldEntry>, Refusal<Error>> {
        let key = LiveKey { branch: branch.id, name: merging.name.clone() }.encode();
        let known = match self.ordered_entries.get(&key) {
            Some((_, value)) => Some(value.clone()),
            None => self.known_entry(&key),
        };
        match known {
            Some(value) => decode_live(value).map_err(Refusal::Refused),
            // It was not changed since the last checkpoint, and was looked at since.
            None if merging.as_of >= self.forgotten => Ok(merging.old.clone()),
            None => Err(Refusal::Bounce(Seq(0))),
        }
    }

    /// The applied value of an entry as it is stored, if memory tells: `Some(None)` = there is none.
    pub(crate) fn known_entry(&mut self, key: &[u8]) -> Option<Option<Vec<u8>>> {
        if let Some(value) = self.entry_cache.get(key) {
            return Some(value);
        }
        let frozen = || self.frozen.as_deref().and_then(|g| g.get(key));
        self.active.get(key).or_else(frozen).cloned()
    }

    /// Whether an entry is what it was when everything up to `as_of` was applied.
    pub(crate) fn is_unchanged_since(&self, key: &[u8], as_of: Seq) -> bool {
        as_of >= self.forgotten && self.entry_orders.get(key).is_none_or(|seq| *seq <= as_of)
    }
}

impl<'a> Merging<'a> {
    fn of(merging: &'a EntryMerging) -> Merging<'a> {
        Merging { name: &merging.name, old: None, operand: &merging.operand, mapped: 0 }
    }
}

/// The value that a merge begins with: the branch's own, or else its origin's.
fn value_of<'a>(old: &'a Option<OldEntry>, merging: &'a EntryMerging) -> Option<&'a [u8]> {
    match old {
        Some(old) => old.value.as_deref(),
        None => merging.inherited.as_deref(),
    }
}

/// A live entry of its stored form.
pub(crate) fn decode_live(stored: Option<Vec<u8>>) -> Result<Option<OldEntry>, Error> {
    let Some(stored) = stored else { return Ok(None) };
    let (birth, rest) = split_live(&stored)?;
    Ok(Some(OldEntry { birth, value: decode_value(rest)? }))
}
