//! Fuzzes the decoder of space tables.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ashlar_tests::decoders::space_table(data));
