//! What the index promises on disk; `tests/index_twins.rs` holds it against its twin.

use super::*;
use std::ops::ControlFlow;

/// A directory of its own, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let dir = std::env::temp_dir().join(format!("ashlar-rocks-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        Scratch(dir)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const RULES: &[MergeRule] = &[
    MergeRule { kind: b'm', merge: |older, newer, out| out.extend([older, newer].concat()) },
    MergeRule { kind: b'!', merge: |_, _, _| panic!("a bug in a rule") },
];

fn small() -> IndexOptions {
    IndexOptions {
        cache_bytes: 1 << 20,
        rules: RULES,
        prefix_len: 2,
        sorted_from: 3,
        ..IndexOptions::default()
    }
}

fn entries(index: &RocksIndex, from: &[u8], to: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut found = Vec::new();
    let visit = &mut |key: &[u8], value: &[u8]| {
        found.push((key.to_vec(), value.to_vec()));
        ControlFlow::Continue(())
    };
    index.scan(from, to, visit).unwrap();
    found
}

#[test]
fn only_an_empty_directory_becomes_an_index_and_only_an_index_is_opened() {
    let dir = Scratch::new("where");
    assert!(matches!(RocksIndex::open(&dir.0, small()), Err(IndexError::Missing { .. })));
    drop(RocksIndex::create(&dir.0, small()).unwrap());
    assert!(matches!(RocksIndex::create(&dir.0, small()), Err(IndexError::NotEmpty { .. })));
    let index = RocksIndex::open(&dir.0, small()).unwrap();
    assert!(matches!(RocksIndex::open(&dir.0, small()), Err(IndexError::Busy { .. })));
    drop(index);
    fs::write(dir.0.join("CURRENT"), "something else\n").unwrap();
    assert!(matches!(RocksIndex::open(&dir.0, small()), Err(IndexError::Corrupt(_))));
    fs::remove_file(dir.0.join("CURRENT")).unwrap();
    assert!(matches!(RocksIndex::open(&dir.0, small()), Err(IndexError::Missing { .. })));
}

#[test]
fn flipped_bytes_of_a_table_are_an_error_never_an_answer() {
    let dir = Scratch::new("rot");
    let index = RocksIndex::create(&dir.0, small()).unwrap();
    let mut batch = Batch::default();
    (0..100u8).for_each(|i| batch.put(vec![b'k', i], vec![i; 1000]));
    index.write(batch).unwrap();
    index.flush().unwrap();
    drop(index);
    let files = fs::read_dir(&dir.0).unwrap().map(|entry| entry.unwrap().path());
    let table = files.into_iter().find(|path| path.extension().is_some_and(|e| e == "sst")).unwrap();
    let mut bytes = fs::read(&table).unwrap();
    bytes.iter_mut().take(50_000).skip(100).step_by(700).for_each(|byte| *byte ^= 0x10);
    fs::write(&table, bytes).unwrap();
    let index = RocksIndex::open(&dir.0, small()).unwrap();
    assert!(matches!(index.get(b"k\x05"), Err(IndexError::Corrupt(_))));
    let scanned = index.scan(b"k", b"l", &mut |_, _| ControlFlow::Continue(()));
    assert!(matches!(scanned, Err(IndexError::Corrupt(_))));
}

#[test]
fn a_panicking_merge_rule_is_an_error_of_its_key_only() {
    let dir = Scratch::new("panic");
    let index = RocksIndex::create(&dir.0, small()).unwrap();
    let mut batch = Batch::default();
    batch.merge("!x", "1");
    batch.merge("!x", "2");
    batch.merge("m1", "3");
    batch.merge("m1", "4");
    index.write(batch).unwrap();
    assert!(matches!(index.get(b"!x"), Err(IndexError::Corrupt(_))));
    assert_eq!(index.get(b"m1").unwrap().unwrap(), b"34");
}

#[test]
fn a_sorted_file_lays_over_older_batches_and_under_newer_ones() {
    let dir = Scratch::new("sorted");
    let index = RocksIndex::create(&dir.0, small()).unwrap();
    for round in 0..3 {
        let mut batch = Batch::default();
        batch.put(format!("k{round}"), "old");
        batch.merge("m1", format!("a{round}"));
        index.write(batch).unwrap();
        let mut batch = Batch::default();
        batch.merge("m1", format!("b{round}"));
        batch.put(format!("k{round}"), "new");
        batch.delete("gone");
        index.write(batch).unwrap();
    }
    let mut range = Batch::default();
    range.put("k0", "x");
    range.delete_range("k0", "k2");
    index.write(range).unwrap();
    index.write(Batch::default()).unwrap();
    assert_eq!(index.get(b"gone").unwrap(), None);
    assert_eq!(index.get(b"m1").unwrap().unwrap(), b"a0b0a1b1a2b2");
    assert_eq!(entries(&index, b"k", b"l"), [(b"k2".to_vec(), b"new".to_vec())]);
    assert!(index.stats().written_bytes > 0 && index.stats().free_bytes > 0);
}

#[test]
fn a_leftover_sorted_file_never_truncates_the_table_it_is_linked_to() {
    let dir = Scratch::new("linked");
    let index = RocksIndex::create(&dir.0, small()).unwrap();
    let mut batch = Batch::default();
    ["k1", "k2", "k3"].into_iter().for_each(|key| batch.put(key, "one"));
    index.write(batch.clone()).unwrap();
    let files = fs::read_dir(&dir.0).unwrap().map(|entry| entry.unwrap().path());
    let table = files.into_iter().find(|path| path.extension().is_some_and(|e| e == "sst")).unwrap();
    fs::hard_link(&table, dir.0.join(INGEST_FILE)).unwrap();
    let before = fs::read(&table).unwrap();
    index.write(batch).unwrap();
    assert_eq!(fs::read(&table).unwrap(), before);
}

#[test]
fn a_range_is_within_a_prefix_only_when_no_key_of_it_lies_outside() {
    assert!(within_prefix(b"ab1", b"ab9", 2) && within_prefix(b"ab1", b"ac", 2));
    assert!(!within_prefix(b"ab1", b"ac1", 2) && !within_prefix(b"ab", b"ad", 2));
    assert!(!within_prefix(b"a", b"b", 2) && !within_prefix(b"a\xff", b"b\x00", 2));
    assert!(!within_prefix(b"", b"", 0) || within_prefix(b"x", b"y", 0));
}
