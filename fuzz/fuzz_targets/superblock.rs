//! Fuzzes the decoder of superblocks.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ashlar_tests::decoders::superblock(data));
