//! A walk of all that a share keeps: does everything lead to something, and is everything counted right?
//!
//! For tests and for whoever doubts. It is meaningful at rest: changes meanwhile look like faults.

use super::format::{decode_totals, orphan_of, NameRecord, ORPHANS, ROOT, TOTALS};
use super::inode::Inode;
use super::types::{Fault, Kind};
use super::{Tree, BLOCK};
use std::collections::BTreeMap;

/// Entries of one scan.
const STEP: usize = 1024;

/// What a walk found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Walked {
    /// Inodes.
    pub inodes: u64,
    /// Bytes of files, as their inodes count them.
    pub bytes: u64,
    /// Objects without a name, to be freed.
    pub orphans: u64,
}

/// A number, of the eight bytes behind a key's kind.
fn number(key: &[u8]) -> u64 {
    key.get(1..9).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_be_bytes)
}

impl Tree {
    /// Walks the live tree. The text of an error says what is wrong.
    ///
    /// # Errors
    /// A contradiction, or what kept it from looking.
    pub async fn check(&self) -> Result<Walked, String> {
        let mut inodes = BTreeMap::new();
        for (key, value) in self.all(b"i").await? {
            let inode = Inode::decode(&value).map_err(|e| format!("inode {}: {e:?}", number(&key)))?;
            inodes.insert(number(&key), inode);
        }
        let names = self.check_names(&inodes).await?;
        for (of, inode) in &inodes {
            check_inode(*of, inode, &names)?;
        }
        let totals = self.get(None, TOTALS).await.map_err(text)?.unwrap_or_default();
        let counted = decode_totals(&totals).map_err(|e| format!("totals: {e:?}"))?;
        if counted != inodes.len() as u64 {
            return Err(format!("{} inodes are there, {counted} are counted", inodes.len()));
        }
        let orphans = self.all(ORPHANS).await?;
        for (key, _) in &orphans {
            let number = orphan_of(key).map_err(|e| format!("an orphan: {e:?}"))?;
            if inodes.contains_key(&number) {
                return Err(format!("inode {number} is an orphan and there"));
            }
        }
        let blocks: u64 = inodes.values().map(|inode| inode.blocks).sum();
        let bytes = blocks * BLOCK;
        let used = self.engine.referenced(self.dataset).map_err(|e| e.to_string())?;
        if used < bytes || (orphans.is_empty() && used != bytes) {
            return Err(format!("files have {bytes} bytes, the share has {used}"));
        }
        Ok(Walked { inodes: inodes.len() as u64, bytes, orphans: orphans.len() as u64 })
    }

    /// The names that lead to each inode: how many, how many directories' it has itself, and the directory.
    async fn check_names(&self, inodes: &BTreeMap<u64, Inode>) -> Result<Names, String> {
        let mut names = Names::default();
        let mut listed = BTreeMap::new();
        for (key, value) in self.all(b"c").await? {
            let (record, name) =
                NameRecord::decode_listed(&key, &value).map_err(|e| format!("a cookie: {e:?}"))?;
            listed.insert((number(&key), name.to_vec()), record);
        }
        for (key, value) in self.all(b"n").await? {
            let (directory, name) = (number(&key), key[9..].to_vec());
            let record = NameRecord::decode(&value).map_err(|e| format!("a name: {e:?}"))?;
            let shown = String::from_utf8_lossy(&name).into_owned();
            if listed.remove(&(directory, name)) != Some(record) {
                return Err(format!("{shown} in {directory} is not listed as it is named"));
            }
            let Some(inode) = inodes.get(&record.inode).filter(|i| i.generation == record.generation) else {
                return Err(format!("{shown} in {directory} leads to nothing: {record:?}"));
            };
            *names.of.entry(record.inode).or_default() += 1;
            *names.within.entry(directory).or_default() += 1;
            if inode.kind == Kind::Directory {
                *names.directories.entry(directory).or_default() += 1;
                if inode.parent != directory {
                    return Err(format!("{shown} in {directory} says it is in {}", inode.parent));
                }
            }
        }
        match listed.keys().next() {
            Some((directory, name)) => {
                let name = String::from_utf8_lossy(name);
                Err(format!("{name} in {directory} is listed and no name"))
            }
            None => Ok(names),
        }
    }

    /// All entries that begin with `prefix`.
    async fn all(&self, prefix: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>, String> {
        let (mut from, mut all) = (Vec::new(), Vec::new());
        loop {
            let some = self.engine.scan(self.dataset, None, prefix, &from, STEP).await;
            let some = some.map_err(|e| e.to_string())?;
            let Some((last, _)) = some.last() else { return Ok(all) };
            from = [&last[..], &[0]].concat();
            all.extend(some);
        }
    }
}

/// Names, counted by inode.
#[derive(Default)]
struct Names {
    /// That lead to it.
    of: BTreeMap<u64, u64>,
    /// That are in it.
    within: BTreeMap<u64, u64>,
    /// That are in it and lead to directories.
    directories: BTreeMap<u64, u64>,
}

fn check_inode(number: u64, inode: &Inode, names: &Names) -> Result<(), String> {
    let count = |of: &BTreeMap<u64, u64>| of.get(&number).copied().unwrap_or(0);
    let is_directory = inode.kind == Kind::Directory;
    let links = if is_directory { 2 + count(&names.directories) } else { count(&names.of) };
    if u64::from(inode.links) != links {
        return Err(format!("inode {number} has {} links, and {links} are there", inode.links));
    }
    if inode.names != count(&names.within) {
        return Err(format!("inode {number} has {} names, not {}", count(&names.within), inode.names));
    }
    let leads = count(&names.of);
    if (is_directory && number != ROOT && leads != 1) || (number != ROOT && leads == 0) {
        return Err(format!("{leads} names lead to inode {number}, {:?}", inode.kind));
    }
    Ok(())
}

fn text(fault: Fault) -> String {
    fault.to_string()
}
