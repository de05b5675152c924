//! RocksDB behind the seam: the index that is kept on disk.
//!
//! Invariants: one column family and no log, so that what a power cut leaves is the state at one batch
//! boundary at or after the last [`Index::flush`]; a batch goes into one memtable or one sorted file, whole;
//! memory, open files and background threads are bounded; no panic of a merge rule crosses into C++.
//! A failed background write makes every later write and flush fail until the index is opened again.
//! Read next: `twin` (the same semantics in memory), `docs/decisions/0002` and `0003` (why these options).

use super::{Batch, Change, Index, IndexStats, MergeRule, Visit};
use crate::device::free_bytes;
use crate::error::IndexError;
use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, DBCompressionType, ErrorKind, IngestExternalFileOptions,
    LogLevel, MergeOperands, Options, ReadOptions, SliceTransform, SstFileWriter, WriteBatch, WriteOptions,
    DB,
};
use std::fs::{self, File};
use std::io;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

/// What an index may use, and how its keys behave.
#[derive(Clone, Copy)]
pub struct IndexOptions {
    /// Bytes of the block cache, index and filter blocks included.
    pub cache_bytes: usize,
    /// Bytes of changes after which a memtable is written out by itself; up to three such may be resident.
    pub write_buffer_bytes: usize,
    /// Bytes per second that flushes and compactions together may write; 0 = no limit. Flushes go first.
    pub write_bytes_per_s: u64,
    /// Table files kept open.
    pub max_open_files: u16,
    /// Background threads for flushes and compactions.
    pub background_jobs: u8,
    /// Leading bytes by which short scans select: a scan inside one such prefix skips the files without it.
    /// Shorter keys are found by other means. Fixed for the life of an index.
    pub prefix_len: usize,
    /// How the kinds of keys merge. The same for the life of an index.
    pub rules: &'static [MergeRule],
}

impl Default for IndexOptions {
    fn default() -> Self {
        IndexOptions {
            cache_bytes: 256 << 20,
            write_buffer_bytes: 64 << 20,
            write_bytes_per_s: 0,
            max_open_files: 512,
            background_jobs: 2,
            prefix_len: 16,
            rules: &[],
        }
    }
}

/// An index in a directory. Any number of threads may read; writers take turns.
pub struct RocksIndex {
    db: DB,
    dir: PathBuf,
    /// Kept for its statistics, and for the format of sorted files.
    options: Options,
    cache: Cache,
    prefix_len: usize,
    rules: &'static [MergeRule],
    /// Held by writers: a sorted file must not become durable before a batch that was written earlier.
    writer: Mutex<()>,
    ingested_bytes: AtomicU64,
}

/// The sorted file being built; RocksDB takes it over under a name of its own.
const INGEST_FILE: &str = "ingest.tmp";
/// Bytes of a table file, at most about.
const TABLE_BYTES: u64 = 64 << 20;
/// Flushed files that may pile up before a writer is slowed down, and stopped.
const PILED_FILES: (i32, i32) = (24, 40);

impl RocksIndex {
    /// Makes a new index in `dir`, which is empty or does not exist yet.
    ///
    /// # Errors
    /// `NotEmpty`, or what the file system says.
    pub fn create(dir: &Path, options: IndexOptions) -> Result<RocksIndex, IndexError> {
        let empty = fs::create_dir_all(dir).and_then(|()| Ok(fs::read_dir(dir)?.next().is_none()));
        if !empty.map_err(|e| of_io(&e))? {
            return Err(IndexError::NotEmpty { dir: dir.to_owned() });
        }
        let index = RocksIndex::start(dir, options, true)?;
        // RocksDB syncs its own directory; the entry *of* that directory is ours to make durable.
        let dir = dir.canonicalize().map_err(|e| of_io(&e))?;
        for dir in [Some(dir.as_path()), dir.parent()].into_iter().flatten() {
            File::open(dir).and_then(|d| d.sync_all()).map_err(|e| of_io(&e))?;
        }
        Ok(index)
    }

    /// Opens the index in `dir`.
    ///
    /// # Errors
    /// `Missing` when there is none, `Busy` when it is open already, `Corrupt` when it is damaged.
    pub fn open(dir: &Path, options: IndexOptions) -> Result<RocksIndex, IndexError> {
        if !dir.join("CURRENT").exists() {
            return Err(IndexError::Missing { dir: dir.to_owned() });
        }
        RocksIndex::start(dir, options, false)
    }

    fn start(dir: &Path, limits: IndexOptions, create: bool) -> Result<RocksIndex, IndexError> {
        let cache = Cache::new_lru_cache(limits.cache_bytes).map_err(of_rocks)?;
        let mut options = tuned(&limits, &cache);
        options.create_if_missing(create);
        let db = DB::open(&options, dir).map_err(|e| match e.kind() {
            ErrorKind::IOError if e.as_ref().contains("/LOCK:") => IndexError::Busy { dir: dir.to_owned() },
            // `open` saw the index, so what is not found is a part of it.
            ErrorKind::IOError if e.as_ref().contains("No such file") => IndexError::Corrupt(e.into_string()),
            _ => of_rocks(e),
        })?;
        Ok(RocksIndex {
            db,
            dir: dir.to_owned(),
            options,
            cache,
            prefix_len: limits.prefix_len,
            rules: limits.rules,
            writer: Mutex::new(()),
            ingested_bytes: AtomicU64::new(0),
        })
    }

    /// As [`Index::write`] followed by [`Index::flush`], through one sorted file that RocksDB takes over: this
    /// spares the memtable. A batch that changes a key twice or removes a range goes the longer way.
    ///
    /// # Errors
    /// As those two. After an error the batch is there wholly or not at all.
    pub fn write_sorted(&self, batch: Batch) -> Result<(), IndexError> {
        let Some(sorted) = sorted(&batch) else {
            self.write(batch)?;
            return self.flush();
        };
        if sorted.is_empty() {
            return self.flush();
        }
        self.check_rules(&batch);
        let _turn = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        // The file is durable at once, so what came before it has to be, too.
        self.db.flush().map_err(of_rocks)?;
        let path = self.dir.join(INGEST_FILE);
        // After a crash this name may be a second link to a live table: it must never be opened for writing.
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(of_io(&e)),
            _ => {}
        }
        let mut file = SstFileWriter::create(&self.options);
        file.open(&path).map_err(of_rocks)?;
        for change in sorted {
            match change {
                Change::Put(key, value) => file.put(key, value),
                Change::Delete(key) => file.delete(key),
                Change::Merge(key, operand) => file.merge(key, operand),
                Change::DeleteRange(..) => unreachable!("`sorted` refuses ranges"),
            }
            .map_err(of_rocks)?;
        }
        file.finish().map_err(of_rocks)?;
        self.ingested_bytes.fetch_add(file.file_size(), Relaxed);
        let mut how = IngestExternalFileOptions::default();
        how.set_move_files(true);
        self.db.ingest_external_file_opts(&how, vec![path]).map_err(of_rocks)
    }

    /// Runs every pending compaction to its end: for experiments and for `pool upgrade`.
    pub fn compact(&self) {
        self.db.compact_range(None::<&[u8]>, None::<&[u8]>);
    }

    /// # Panics
    /// When a merge is asked of a kind without a rule: a bug of the caller that would poison compactions.
    fn check_rules(&self, batch: &Batch) {
        for change in &batch.changes {
            if let Change::Merge(key, _) = change {
                assert!(MergeRule::of(self.rules, key).is_some(), "no merge rule for key {key:02x?}");
            }
        }
    }

    fn figure(&self, property: &str) -> u64 {
        self.db.property_int_value(property).ok().flatten().unwrap_or(0)
    }
}

impl Index for RocksIndex {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        Ok(self.db.get_pinned(key).map_err(of_rocks)?.map(|value| value.to_vec()))
    }

    fn scan(&self, from: &[u8], to: &[u8], visit: Visit<'_>) -> Result<(), IndexError> {
        if from >= to {
            return Ok(());
        }
        let within_prefix = within_prefix(from, to, self.prefix_len);
        let mut how = ReadOptions::default();
        how.set_iterate_upper_bound(to);
        how.set_prefix_same_as_start(within_prefix);
        how.set_total_order_seek(!within_prefix);
        // A long scan must not push the pages that are read one by one out of the cache.
        how.fill_cache(within_prefix);
        let mut entries = self.db.raw_iterator_opt(how);
        entries.seek(from);
        while let Some((key, value)) = entries.item() {
            if visit(key, value).is_break() {
                return Ok(());
            }
            entries.next();
        }
        entries.status().map_err(of_rocks)
    }

    fn write(&self, batch: Batch) -> Result<(), IndexError> {
        self.check_rules(&batch);
        let mut changes = WriteBatch::default();
        for change in &batch.changes {
            match change {
                Change::Put(key, value) => changes.put(key, value),
                Change::Delete(key) => changes.delete(key),
                Change::Merge(key, operand) => changes.merge(key, operand),
                Change::DeleteRange(from, to) if from < to => changes.delete_range(from, to),
                // RocksDB refuses a reversed range half-way through a batch.
                Change::DeleteRange(..) => {}
            }
        }
        drop(batch);
        let mut how = WriteOptions::default();
        how.disable_wal(true);
        let _turn = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        self.db.write_opt(changes, &how).map_err(of_rocks)
    }

    /// Writes out the memtable and waits. RocksDB syncs the table, then its directory, then the manifest that
    /// names it (seen with strace); it first waits for compactions when too many flushed files are piled up.
    fn flush(&self) -> Result<(), IndexError> {
        self.db.flush().map_err(of_rocks)
    }

    /// Some 100 µs of text parsing: for status output, not for each checkpoint's every step.
    fn stats(&self) -> IndexStats {
        let text = self.options.get_statistics().unwrap_or_default();
        IndexStats {
            disk_bytes: self.figure("rocksdb.total-sst-files-size"),
            memory_bytes: self.cache.get_usage() as u64
                + self.figure("rocksdb.cur-size-all-mem-tables")
                + self.figure("rocksdb.estimate-table-readers-mem"),
            written_bytes: ticker(&text, "rocksdb.flush.write.bytes")
                + ticker(&text, "rocksdb.compact.write.bytes")
                + self.ingested_bytes.load(Relaxed),
            free_bytes: free_bytes(&self.dir).unwrap_or(0),
        }
    }
}

/// The options that `docs/decisions/0002` and `0003` arrived at.
fn tuned(limits: &IndexOptions, cache: &Cache) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_block_size(4 << 10);
    table.set_format_version(5);
    table.set_bloom_filter(10.0, false);
    table.set_whole_key_filtering(true);
    // In parts, so that a cold read brings in kilobytes of a table's index and filter, not a megabyte.
    table.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
    table.set_partition_filters(true);
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    table.set_pin_top_level_index_and_filter(true);

    let mut options = Options::default();
    options.set_block_based_table_factory(&table);
    options.set_prefix_extractor(SliceTransform::create_fixed_prefix(limits.prefix_len));
    let rules = limits.rules;
    options.set_merge_operator_associative(
        "ashlar.kinds",
        move |key: &[u8], base: Option<&[u8]>, list: &MergeOperands| folded(rules, key, base, list.iter()),
    );
    // CRCs and addresses do not compress; see the record.
    options.set_compression_type(DBCompressionType::None);
    options.set_level_compaction_dynamic_level_bytes(true);
    options.set_target_file_size_base(TABLE_BYTES);
    options.set_max_bytes_for_level_base(4 * TABLE_BYTES);
    options.set_level_zero_slowdown_writes_trigger(PILED_FILES.0);
    options.set_level_zero_stop_writes_trigger(PILED_FILES.1);
    options.set_write_buffer_size(limits.write_buffer_bytes);
    options.set_max_write_buffer_number(3);
    options.set_max_background_jobs(i32::from(limits.background_jobs));
    options.set_max_open_files(i32::from(limits.max_open_files));
    options.set_bytes_per_sync(1 << 20);
    if limits.write_bytes_per_s > 0 {
        let rate = i64::try_from(limits.write_bytes_per_s).unwrap_or(i64::MAX);
        options.set_ratelimiter(rate, 100_000, 10);
    }
    options.set_skip_stats_update_on_db_open(true);
    options.set_max_manifest_file_size(16 << 20);
    options.enable_statistics();
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options.set_log_level(LogLevel::Warn);
    options.set_max_log_file_size(1 << 20);
    options.set_keep_log_file_num(4);
    options
}

/// The value that `operands` make of `base`; `None` stops RocksDB with a corruption, the operands kept.
fn folded<'a>(
    rules: &'static [MergeRule],
    key: &[u8],
    base: Option<&[u8]>,
    mut operands: impl Iterator<Item = &'a [u8]>,
) -> Option<Vec<u8>> {
    let rule = MergeRule::of(rules, key)?;
    let mut laid = operands.next()?.to_vec();
    // A panic would unwind into C++ and end the process: a bug in a rule becomes an error of this key.
    catch_unwind(AssertUnwindSafe(|| {
        // The operands first: they are small, and merging is associative.
        for newer in operands {
            let mut out = Vec::with_capacity(laid.len() + newer.len());
            (rule.merge)(&laid, newer, &mut out);
            laid = out;
        }
        let Some(base) = base else { return laid };
        let mut out = Vec::with_capacity(base.len() + laid.len());
        (rule.merge)(base, &laid, &mut out);
        out
    }))
    .ok()
}

/// The changes in key order; `None` when a key occurs twice or there is a range, whose place in order matters.
fn sorted(batch: &Batch) -> Option<Vec<&Change>> {
    let mut changes: Vec<&Change> = batch.changes.iter().collect();
    changes.sort_unstable_by(|a, b| key_of(a).cmp(key_of(b)));
    let ranges = changes.iter().any(|change| matches!(change, Change::DeleteRange(..)));
    let twice = changes.windows(2).any(|two| key_of(two[0]) == key_of(two[1]));
    (!ranges && !twice).then_some(changes)
}

fn key_of(change: &Change) -> &[u8] {
    match change {
        Change::Put(key, _) | Change::Delete(key) | Change::Merge(key, _) | Change::DeleteRange(key, _) => {
            key
        }
    }
}

/// Whether every key in `from..to` begins with the same `len` bytes.
fn within_prefix(from: &[u8], to: &[u8], len: usize) -> bool {
    let (Some(first), Some(last)) = (from.get(..len), to.get(..len)) else { return false };
    // `to` is not in the range: it may be the very next prefix. (Not with a carry: "b" lies between "a\xff" and
    // "b\0", and is too short to have a prefix.)
    let next = || match (first.split_last(), last.split_last()) {
        (Some((a, front)), Some((b, same))) => front == same && a.checked_add(1) == Some(*b),
        _ => false,
    };
    first == last || (to.len() == len && next())
}

/// A counter in RocksDB's statistics, lines of `name COUNT : value`.
fn ticker(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" COUNT : "));
    line.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}

fn of_rocks(e: rocksdb::Error) -> IndexError {
    match e.kind() {
        ErrorKind::Corruption => IndexError::Corrupt(e.into_string()),
        ErrorKind::IOError if e.as_ref().contains("No space left") => IndexError::Full,
        _ => IndexError::Backend(e.into_string()),
    }
}

fn of_io(e: &io::Error) -> IndexError {
    match e.kind() {
        io::ErrorKind::StorageFull => IndexError::Full,
        _ => IndexError::Backend(e.to_string()),
    }
}

#[cfg(test)]
mod tests {
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
        IndexOptions { cache_bytes: 1 << 20, rules: RULES, prefix_len: 2, ..IndexOptions::default() }
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
            batch.put("gone", "old");
            batch.merge("m1", format!("a{round}"));
            index.write(batch).unwrap();
            let mut batch = Batch::default();
            batch.merge("m1", format!("b{round}"));
            batch.put(format!("k{round}"), "new");
            batch.delete("gone");
            index.write_sorted(batch).unwrap();
        }
        let mut range = Batch::default();
        range.put("k0", "x");
        range.delete_range("k0", "k2");
        index.write_sorted(range).unwrap();
        index.write_sorted(Batch::default()).unwrap();
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
        batch.put("k1", "one");
        index.write_sorted(batch.clone()).unwrap();
        let files = fs::read_dir(&dir.0).unwrap().map(|entry| entry.unwrap().path());
        let table = files.into_iter().find(|path| path.extension().is_some_and(|e| e == "sst")).unwrap();
        fs::hard_link(&table, dir.0.join(INGEST_FILE)).unwrap();
        let before = fs::read(&table).unwrap();
        index.write_sorted(batch).unwrap();
        assert_eq!(fs::read(&table).unwrap(), before);
    }

    #[test]
    fn a_range_is_within_a_prefix_only_when_no_key_of_it_lies_outside() {
        assert!(within_prefix(b"ab1", b"ab9", 2) && within_prefix(b"ab1", b"ac", 2));
        assert!(!within_prefix(b"ab1", b"ac1", 2) && !within_prefix(b"ab", b"ad", 2));
        assert!(!within_prefix(b"a", b"b", 2) && !within_prefix(b"a\xff", b"b\x00", 2));
        assert!(!within_prefix(b"", b"", 0) || within_prefix(b"x", b"y", 0));
    }
}
