//! The two indexes give the same answers; and RocksDB without its log loses whole batches at the end, at
//! most.
#![allow(clippy::unwrap_used)] // all of this file is a test

use block_layer::index::{Batch, Index, IndexOptions, MergeRule, RocksIndex, TwinIndex};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Pages of slots: `slot, value` pairs, the newer laid over the older.
const RULES: &[MergeRule] = &[MergeRule { kind: b'm', merge: lay_over }];

fn lay_over(older: &[u8], newer: &[u8], out: &mut Vec<u8>) {
    let pairs = older.chunks_exact(2).chain(newer.chunks_exact(2));
    let slots: BTreeMap<u8, u8> = pairs.map(|pair| (pair[0], pair[1])).collect();
    out.extend(slots.into_iter().flat_map(|(slot, value)| [slot, value]));
}

fn options() -> IndexOptions {
    IndexOptions {
        cache_bytes: 1 << 20,
        write_buffer_bytes: 1 << 20,
        prefix_len: 3,
        sorted_from: 20, // of 1 to 31: both ways are taken
        rules: RULES,
        ..IndexOptions::default()
    }
}

/// A directory of its own, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let dir = std::env::temp_dir().join(format!("ashlar-index-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        Scratch(dir)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// SplitMix64: enough chance for a test, from a printed seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }

    /// A key of 1 to 6 bytes from few letters, so that keys meet and prefixes are shared.
    fn key(&mut self) -> Vec<u8> {
        let mut key = vec![[b'k', b'm', 0xff][self.below(3) as usize]];
        (0..self.below(6)).for_each(|_| key.push([0, 1, b'x', 0xff][self.below(4) as usize]));
        key
    }

    /// Pairs in the order of their slots, as the merge leaves them.
    fn value(&mut self) -> Vec<u8> {
        let pairs: Vec<u8> = (0..2 * self.below(40)).map(|_| self.below(64) as u8).collect();
        let mut value = Vec::new();
        lay_over(&pairs, &[], &mut value);
        value
    }

    fn batch(&mut self) -> Batch {
        let mut batch = Batch::default();
        for _ in 0..1 + self.below(30) {
            match self.below(20) {
                0..=7 => batch.put(self.key(), self.value()),
                8..=10 => batch.delete(self.key()),
                11 => batch.delete_range(self.key(), self.key()),
                _ => {
                    let mut key = self.key();
                    key[0] = b'm';
                    batch.merge(key, self.value());
                }
            }
        }
        batch
    }

    /// A batch that fits a sorted file: each key once, no range.
    fn sortable_batch(&mut self) -> Batch {
        let mut batch = self.batch();
        let mut seen = std::collections::BTreeSet::new();
        batch.changes.retain(|change| match change {
            block_layer::index::Change::DeleteRange(..) => false,
            block_layer::index::Change::Put(key, _)
            | block_layer::index::Change::Delete(key)
            | block_layer::index::Change::Merge(key, _) => seen.insert(key.clone()),
        });
        batch
    }
}

type Entries = Vec<(Vec<u8>, Vec<u8>)>;

fn scan(index: &dyn Index, from: &[u8], to: &[u8], limit: usize) -> Entries {
    let mut found = Vec::new();
    let visit = &mut |key: &[u8], value: &[u8]| {
        found.push((key.to_vec(), value.to_vec()));
        if found.len() == limit {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    };
    index.scan(from, to, visit).unwrap();
    found
}

fn look_up(index: &dyn Index, ranges: &[Range<Vec<u8>>], limit: usize) -> Vec<Entries> {
    let mut found = vec![Entries::new(); ranges.len()];
    let visit = &mut |place: usize, key: &[u8], value: &[u8]| {
        found[place].push((key.to_vec(), value.to_vec()));
        match found[place].len() == limit {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    };
    index.lookup(ranges, visit).unwrap();
    found
}

fn all(index: &dyn Index) -> Entries {
    scan(index, &[], &[0xff; 16], usize::MAX)
}

/// Drives both with the same random calls; every answer must be the same.
fn both_agree(seed: u64) {
    let dir = Scratch::new(&format!("agree-{seed}"));
    let (mut chance, twin) = (Chance(seed), TwinIndex::new(RULES));
    let mut rocks = RocksIndex::create(&dir.0, options()).unwrap();
    for step in 0..400 {
        match chance.below(20) {
            0..=7 => {
                let batch = chance.batch();
                twin.write(batch.clone()).unwrap();
                rocks.write(batch).unwrap();
            }
            8 => {
                let batch = if chance.below(4) == 0 { chance.batch() } else { chance.sortable_batch() };
                twin.write(batch.clone()).unwrap();
                rocks.write(batch).unwrap();
            }
            9 => rocks.flush().and(twin.flush()).unwrap(),
            10 if chance.below(10) == 0 => {
                rocks.flush().unwrap();
                drop(rocks);
                rocks = RocksIndex::open(&dir.0, options()).unwrap();
            }
            11 if chance.below(5) == 0 => rocks.compact(),
            12..=13 => {
                let mut ranges: Vec<_> = (0..chance.below(8)).map(|_| chance.key()..chance.key()).collect();
                if chance.below(2) == 0 {
                    // One behind the other, so that some are come to by a step and not by a seek.
                    let mut keys: Vec<_> = (0..9).map(|_| chance.key()).collect();
                    keys.sort_unstable();
                    ranges = keys.windows(2).map(|two| two[0].clone()..two[1].clone()).collect();
                }
                let limit = 1 + chance.below(5) as usize;
                let same = look_up(&rocks, &ranges, limit) == look_up(&twin, &ranges, limit);
                assert!(same, "{ranges:x?} differ at step {step}, seed {seed}");
            }
            14..=15 => {
                let key = chance.key();
                assert_eq!(rocks.get(&key).unwrap(), twin.get(&key).unwrap(), "{key:x?}, seed {seed}");
            }
            _ => {
                let (from, mut to) = (chance.key(), chance.key());
                if chance.below(2) == 0 {
                    to = [&from, &[0xff][..]].concat(); // within one prefix, more often than by chance
                }
                let limit = 1 + chance.below(20) as usize;
                let same = scan(&rocks, &from, &to, limit) == scan(&twin, &from, &to, limit);
                assert!(same, "{from:x?}..{to:x?} differs at step {step}, seed {seed}");
            }
        }
    }
    assert_eq!(all(&rocks), all(&twin), "seed {seed}");
}

#[test]
fn both_indexes_answer_alike() {
    let seeds: u64 = std::env::var("SEEDS").map_or(12, |n| n.parse().expect("SEEDS is a number"));
    (1..=seeds).for_each(both_agree);
}

const CHILD: &str = "ASHLAR_INDEX_CHILD";

/// The batch with number `n`: the same in parent and child.
fn numbered(n: u64) -> Batch {
    let mut chance = Chance(n);
    let mut batch = if chance.below(4) > 0 { chance.batch() } else { chance.sortable_batch() };
    batch.put("sequence", n.to_le_bytes());
    batch
}

/// Writes numbered batches for ever and tells how far it is flushed; runs in the child only.
fn write_until_killed(dir: &Path) {
    let index = RocksIndex::create(dir, options()).unwrap();
    let mut chance = Chance(7);
    for n in 1.. {
        index.write(numbered(n)).unwrap();
        if chance.below(50) == 0 {
            index.flush().unwrap();
            println!("flushed {n}");
        }
    }
}

#[test]
fn a_killed_index_holds_every_flushed_batch_and_no_half_of_another() {
    if let Some(dir) = std::env::var_os(CHILD) {
        return write_until_killed(Path::new(&dir));
    }
    for round in 1..=4 {
        let dir = Scratch::new(&format!("killed-{round}"));
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "a_killed_index_holds_every_flushed_batch_and_no_half_of_another",
                "--nocapture",
            ])
            .env(CHILD, &dir.0)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        // The test harness writes its own words in front of the first line.
        let mut flushed = lines.filter_map(|line| line.split("flushed ").nth(1)?.parse::<u64>().ok());
        let seen = flushed.nth(5 * round).unwrap();
        child.kill().unwrap();
        let seen = flushed.last().unwrap_or(seen);
        child.wait().unwrap();

        let index = RocksIndex::open(&dir.0, options()).unwrap();
        let sequence = index.get(b"sequence").unwrap().unwrap();
        let sequence = u64::from_le_bytes(sequence.try_into().unwrap());
        assert!(sequence >= seen, "batch {seen} was flushed, but the index ends at {sequence}");
        let twin = TwinIndex::new(RULES);
        (1..=sequence).for_each(|n| twin.write(numbered(n)).unwrap());
        assert_eq!(all(&index), all(&twin), "round {round}, at batch {sequence}");
    }
}
