//! Fuzzes the decoder of block addresses.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ashlar_tests::decoders::address(data));
