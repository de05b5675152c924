//! The rule by which the simulation's datasets merge entries, and commands that use it with data.
//!
//! A merged entry counts: what was added to it, and the blocks that came and went in the same commits. Its
//! text is `SUM/BLOCKS`. A sum above a limit is refused, and the whole commit with it.

use super::client::Client;
use super::content::SECTORS;
use super::model::{Command, Model, Target, Wrong, SHARE};
use block_layer::SECTOR;
use snapshots::engine::{Edits, EntryMerge, IO_MAX};
use snapshots::machine::merge::{EntryRule, Merging, Veto};
use snapshots::machine::op::Merged;

/// The rule of both kinds of dataset.
pub(super) const RULES: &[EntryRule] =
    &[EntryRule { kind: 1, merge: add }, EntryRule { kind: SHARE, merge: add }];

/// Where a sum must stay below.
const LIMIT: i64 = 400;
/// Entries that are merged.
const NAMES: u64 = 3;

fn add(merging: Merging<'_>) -> Result<Option<Vec<u8>>, Veto> {
    let (sum, blocks) = merging.old.and_then(numbers).unwrap_or((0, 0));
    let added = std::str::from_utf8(merging.operand).ok().and_then(|text| text.parse::<i64>().ok());
    let sum = sum + added.ok_or(Veto(1))?;
    if sum > LIMIT {
        return Err(Veto(2));
    }
    // An entry that comes to 7 goes.
    Ok((sum != 7).then(|| format!("{sum}/{}", blocks + merging.mapped).into_bytes()))
}

fn numbers(value: &[u8]) -> Option<(i64, i64)> {
    let (sum, blocks) = std::str::from_utf8(value).ok()?.split_once('/')?;
    Some((sum.parse().ok()?, blocks.parse().ok()?))
}

/// What a command adds to which sum.
#[derive(Clone, Debug)]
pub(super) struct Sum {
    name: Vec<u8>,
    added: i64,
}

impl Sum {
    /// As the engine is asked for it.
    pub(super) fn merge(&self) -> EntryMerge {
        EntryMerge { name: self.name.clone(), operand: self.added.to_string().into_bytes() }
    }

    /// What becomes of the entry in a state, when `mapped` blocks come with it.
    ///
    /// # Errors
    /// The rule refuses.
    pub(super) fn outcome(&self, model: &Model, at: Target, mapped: i64) -> Result<Merged, Wrong> {
        let before = model.content(at).and_then(|content| content.entries.get(&self.name).cloned());
        let operand = self.added.to_string();
        let merging =
            Merging { name: &self.name, old: before.as_deref(), operand: operand.as_bytes(), mapped };
        let after = add(merging).map_err(|veto| format!("{self:?} is refused: {veto:?}"))?;
        Ok(Merged { before, after })
    }

    /// The entry.
    pub(super) fn name(&self) -> &[u8] {
        &self.name
    }
}

impl Client {
    /// A command that changes data, small entries and those of another dataset in one commit.
    pub(super) fn summing(&mut self, model: &Model, at: Target, sector: u64, count: u64) -> Command {
        let sums = (0..1 + self.rng.below(2)).map(|nth| {
            let name = format!("sum-{}", (nth + self.rng.below(NAMES - 1)) % NAMES).into_bytes();
            Sum { name, added: self.rng.below(40) as i64 - 12 }
        });
        let mut sums: Vec<Sum> = sums.collect();
        sums.dedup_by(|a, b| a.name == b.name);
        if at.object != 0 && self.rng.chance(0.4) {
            let far = self.rng.chance(0.3);
            let bytes = (sector * SECTOR as u64 + 7, if far { 40 << 20 } else { count * SECTOR as u64 });
            return Command::Cut { at, from: bytes.0 / 512 * 512, len: bytes.1, sums };
        }
        let beside = self.dataset(model);
        let edits = if beside == at.dataset { Vec::new() } else { self.edits(model, beside) };
        Command::Sum { at, sector, stamps: self.stamps(count), sums, beside, edits }
    }
}

/// The edits of a command, as the engine is asked for them.
pub(super) fn edits_of(command: &Command) -> Edits {
    let merges = |sums: &[Sum]| sums.iter().map(Sum::merge).collect();
    match command {
        Command::Sum { sums, beside, edits, .. } => Edits {
            merges: merges(sums),
            beside: (!edits.is_empty()).then(|| (*beside, edits.clone())),
            ..Edits::default()
        },
        Command::Cut { sums, .. } => Edits { merges: merges(sums), ..Edits::default() },
        _ => Edits::default(),
    }
}

/// The sums of a command.
pub(super) fn sums_of(command: &Command) -> Option<(Target, &[Sum])> {
    match command {
        Command::Sum { at, sums, .. } | Command::Cut { at, sums, .. } => Some((*at, sums)),
        _ => None,
    }
}

/// The sectors that a cut of `len` bytes from byte `from` on makes zeroes of: to the end of a block, a long
/// one to the end of a page.
pub(super) fn cut_sectors(from: u64, len: u64) -> std::ops::Range<u64> {
    let end = (from + len).div_ceil(SECTOR as u64).next_multiple_of(SECTORS);
    let first = from / SECTOR as u64;
    first..if (end - first) * SECTOR as u64 > IO_MAX { end.next_multiple_of(256 * SECTORS) } else { end }
}
