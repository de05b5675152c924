//! Fuzzes the lock table under any sequence of requests.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ashlar_tests::decoders::lock_table(data));
