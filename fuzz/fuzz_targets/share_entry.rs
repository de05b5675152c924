//! Fuzzes the decoders of what shares store, and their rule of merging.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ashlar_tests::decoders::share_entry(data));
