//! Fuzzes the decoder of small entries.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ashlar_tests::decoders::entry(data));
