//! A file system that is full but for some KiB is no place for an index: a pool there is refused, or fails
//! alone.
//!
//! RocksDB ended the whole process by an assertion when a file that it begins at an opening fitted only in
//! part: 16 KiB were enough for that, 8 and 64 were not.

use ashlar_tests::daemon::{binary, installed};
use ashlar_tests::skip::skip;
use ashlar_tests::source;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

#[test]
fn a_full_file_system_of_the_index_costs_one_pool_and_not_the_server() {
    let test = "a_full_file_system_of_the_index_costs_one_pool_and_not_the_server";
    let root = std::fs::metadata("/proc/self").is_ok_and(|meta| meta.uid() == 0);
    if !root || !installed("unshare") {
        return skip(test, "a file system of its own needs root, and unshare");
    }
    let dir = std::env::temp_dir().join(format!("ashlar-full-index-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a temporary directory can be made");
    let script = source::root().join("tests/scripts/full-index.sh");
    let output =
        Command::new("unshare").args(["--mount", "bash"]).arg(script).arg(binary()).arg(&dir).output();
    let output = output.expect("unshare runs");
    let _ = std::fs::remove_dir_all(&dir);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
