//! A test that cannot run here says so: its skip is listed at the end of `make test`, with the reason.
//!
//! With `ASHLAR_TEST_ALL=1`, as in the continuous integration, a skip is a failure instead.

use std::fs::OpenOptions;
use std::io::Write;

/// Reports that `test` does not run here because of `reason`; the caller returns after it.
///
/// # Panics
/// When `ASHLAR_TEST_ALL` is 1, or the list of skips cannot be written.
pub fn skip(test: &str, reason: &str) {
    let all = std::env::var("ASHLAR_TEST_ALL").is_ok_and(|v| v == "1");
    assert!(!all, "{test} was skipped, and ASHLAR_TEST_ALL forbids skips: {reason}");
    if let Some(list) = std::env::var_os("ASHLAR_SKIPS") {
        let mut file = OpenOptions::new().create(true).append(true).open(list).expect("the skip list opens");
        file.write_all(format!("{test}: {reason}\n").as_bytes()).expect("the skip list is written");
    }
}
