//! Fuzzes the whole machine of an iSCSI session, step by step.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ashlar_tests::decoders::session(data));
