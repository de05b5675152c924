//! Fuzzes the decoder of touched sets and their merge.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ashlar_tests::decoders::touched(data));
