//! Fuzzes the decoder of segment summaries.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ashlar_tests::decoders::summary(data));
