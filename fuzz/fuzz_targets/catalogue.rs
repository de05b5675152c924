//! Fuzzes the decoder of the catalogue's records.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ashlar_tests::decoders::catalogue(data));
