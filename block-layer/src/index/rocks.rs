//! RocksDB behind the seam: the index that is kept on disk.
//!
//! Invariants: one column family and no log, so that what a power cut leaves is the state at one batch
//! boundary at or after the last [`Index::flush`]; a batch goes into one memtable or one sorted file, whole;
//! memory, open files and background threads are bounded; no panic of a merge rule crosses into C++.
//! After an error of a write or a flush, what is durable is unknown until the index is opened again.
//! Read next: `twin` (the same semantics in memory), `docs/decisions/0002` and `0003` (why like this).

mod tuning;

use super::{Batch, Change, Index, IndexStats, Lookup, MergeRule, Visit};
use crate::device::free_bytes;
use crate::error::IndexError;
use rocksdb::{
    Cache, ErrorKind, IngestExternalFileOptions, Options, ReadOptions, SstFileWriter, WriteBatch,
    WriteOptions, DB,
};
use std::fs::{self, File};
use std::io;
use std::ops::Range;
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
    /// Changes from which on a batch goes in as one sorted file, if it can, and not through the memtable.
    pub sorted_from: usize,
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
            sorted_from: 1024,
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
    limits: IndexOptions,
    /// Held by writers: a sorted file must not become durable before a batch that was written earlier.
    writer: Mutex<()>,
    ingested_bytes: AtomicU64,
}

/// Room that an opening needs. With less it is refused: where a file that RocksDB begins at an opening fits
/// only in part, an assertion of Debian's build ends the process, and all its pools with it.
const OPEN_BYTES: u64 = 1 << 20;

/// The sorted file being built; RocksDB takes it over under a name of its own.
const INGEST_FILE: &str = "ingest.tmp";

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

    /// Removes the index in `dir`, and the directory if nothing else is in it.
    ///
    /// # Errors
    /// `Missing` when there is none, `Busy` when it is open.
    pub fn remove(dir: &Path) -> Result<(), IndexError> {
        if !dir.join("CURRENT").exists() {
            return Err(IndexError::Missing { dir: dir.to_owned() });
        }
        DB::destroy(&Options::default(), dir).map_err(|e| busy_or_other(e, dir))?;
        // What RocksDB does not know is somebody else's: it stays, and so does the directory.
        match fs::remove_dir(dir) {
            Err(e) if ![io::ErrorKind::NotFound, io::ErrorKind::DirectoryNotEmpty].contains(&e.kind()) => {
                Err(of_io(&e))
            }
            _ => Ok(()),
        }
    }

    fn start(dir: &Path, limits: IndexOptions, create: bool) -> Result<RocksIndex, IndexError> {
        if free_bytes(dir).map_err(|e| of_io(&e))? < OPEN_BYTES {
            return Err(IndexError::Full);
        }
        let cache = Cache::new_lru_cache(limits.cache_bytes).map_err(of_rocks)?;
        let mut options = tuning::tuned(&limits, &cache);
        options.create_if_missing(create);
        let db = DB::open(&options, dir).map_err(|e| match e.kind() {
            // `open` saw the index, so what is not found is a part of it.
            ErrorKind::IOError if e.as_ref().contains("No such file") => IndexError::Corrupt(e.into_string()),
            _ => busy_or_other(e, dir),
        })?;
        Ok(RocksIndex {
            db,
            dir: dir.to_owned(),
            options,
            cache,
            limits,
            writer: Mutex::new(()),
            ingested_bytes: AtomicU64::new(0),
        })
    }

    /// Hands `changes` to RocksDB as one sorted file, durable at once: this spares the memtable. The caller
    /// has the writers' turn.
    fn ingest(&self, changes: &[&Change]) -> Result<(), IndexError> {
        // What came before must not be lost where this is kept.
        self.db.flush().map_err(of_rocks)?;
        let path = self.dir.join(INGEST_FILE);
        // After a crash this name may be a second link to a live table: it must never be opened for writing.
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(of_io(&e)),
            _ => {}
        }
        let mut file = SstFileWriter::create(&self.options);
        file.open(&path).map_err(of_rocks)?;
        for change in changes {
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

    /// Compacts everything into the lowest level. Long, and heavy on the disk: for maintenance.
    pub fn compact(&self) {
        self.db.compact_range(None::<&[u8]>, None::<&[u8]>);
    }

    /// Whether compactions run or wait to run.
    #[must_use]
    pub fn compacting(&self) -> bool {
        self.figure("rocksdb.num-running-compactions") + self.figure("rocksdb.compaction-pending") > 0
    }

    /// # Panics
    /// When a merge is asked of a kind without a rule: a bug of the caller that would poison compactions.
    fn check_rules(&self, batch: &Batch) {
        for change in &batch.changes {
            if let Change::Merge(key, _) = change {
                assert!(MergeRule::of(self.limits.rules, key).is_some(), "no merge rule for key {key:02x?}");
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
        let within_prefix = within_prefix(from, to, self.limits.prefix_len);
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

    fn lookup(&self, ranges: &[Range<Vec<u8>>], visit: Lookup<'_>) -> Result<(), IndexError> {
        let mut how = ReadOptions::default();
        how.set_total_order_seek(true);
        let mut entries = self.db.raw_iterator_opt(how);
        let mut last = &[][..];
        for (place, range) in ranges.iter().enumerate().filter(|(_, range)| range.start < range.end) {
            // Where the last range was left there is often the next one: a step is much less than a seek.
            let rising = last <= &range.start[..];
            last = &range.end;
            if rising && entries.key().is_some_and(|key| key < &range.start[..]) {
                entries.next();
            }
            if !rising || entries.key().is_none_or(|key| key < &range.start[..]) {
                entries.seek(&range.start);
            }
            while let Some((key, value)) = entries.item().filter(|(key, _)| *key < &range.end[..]) {
                if visit(place, key, value).is_break() {
                    break;
                }
                entries.next();
            }
            entries.status().map_err(of_rocks)?;
        }
        Ok(())
    }

    fn write(&self, batch: Batch) -> Result<(), IndexError> {
        self.check_rules(&batch);
        let _turn = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if batch.changes.len() >= self.limits.sorted_from.max(1) {
            if let Some(sorted) = sorted(&batch) {
                return self.ingest(&sorted);
            }
        }
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
        self.db.write_opt(changes, &how).map_err(of_rocks)
    }

    /// Writes out the memtable and waits. RocksDB syncs the table, then its directory, then the manifest that
    /// names it (seen with strace); it first waits for compactions when too many flushed files are piled up.
    fn flush(&self) -> Result<(), IndexError> {
        self.db.flush().map_err(of_rocks)
    }

    /// Milliseconds of summing up and text parsing: for status output, not for each checkpoint's every step.
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
            free_bytes: self.free_bytes(),
        }
    }

    fn free_bytes(&self) -> u64 {
        free_bytes(&self.dir).unwrap_or(0)
    }
}

/// The changes in key order; `None` when a key occurs twice or there is a range: then their order matters.
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
    // `to` is not in the range: it may be the very next prefix. (Not with a carry: "b" lies between "a\xff"
    // and "b\0", and is too short to have a prefix.)
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

fn busy_or_other(e: rocksdb::Error, dir: &Path) -> IndexError {
    match e.kind() {
        ErrorKind::IOError if e.as_ref().contains("/LOCK:") => IndexError::Busy { dir: dir.to_owned() },
        _ => of_rocks(e),
    }
}

fn of_io(e: &io::Error) -> IndexError {
    match e.kind() {
        io::ErrorKind::StorageFull => IndexError::Full,
        _ => IndexError::Backend(e.to_string()),
    }
}

#[cfg(test)]
mod tests;
