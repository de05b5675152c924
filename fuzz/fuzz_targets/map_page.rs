//! Fuzzes the decoder of map page versions and their merge.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ashlar_tests::decoders::map_page(data));
