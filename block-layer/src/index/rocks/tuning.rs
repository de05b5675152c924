//! How RocksDB is set up, and how it merges: what `docs/decisions/0002` and `0003` arrived at.
//!
//! Invariants: what RocksDB keeps in memory is in the block cache or in a memtable, both bounded; no panic of
//! a merge rule unwinds into C++.

use super::IndexOptions;
use crate::index::MergeRule;
use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, DBCompressionType, LogLevel, MergeOperands, Options,
    SliceTransform,
};
use std::panic::{catch_unwind, AssertUnwindSafe};

/// Bytes of a table file, at most about.
const TABLE_BYTES: u64 = 64 << 20;
/// Flushed files that may pile up before a writer is slowed down, and stopped.
const PILED_FILES: (i32, i32) = (24, 40);

/// RocksDB's options within `limits`.
pub(super) fn tuned(limits: &IndexOptions, cache: &Cache) -> Options {
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
