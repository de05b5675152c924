//! Fuzzes the decoder of journal records.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ashlar_tests::decoders::record(data));
