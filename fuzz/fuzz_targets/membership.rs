//! Fuzzes the decoder of membership records.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ashlar_tests::decoders::membership(data));
