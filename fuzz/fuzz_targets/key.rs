//! Fuzzes the decoder of keys of the index.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ashlar_tests::decoders::key(data));
