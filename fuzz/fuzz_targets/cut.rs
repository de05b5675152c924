//! Fuzzes the decoder of the index's header.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ashlar_tests::decoders::cut(data));
