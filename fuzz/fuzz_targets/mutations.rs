//! Fuzzes the decoder of a commit record's mutations.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ashlar_tests::decoders::mutations(data));
