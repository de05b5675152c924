//! Fuzzes the decoder of segment bitmaps.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ashlar_tests::decoders::bitmap(data));
