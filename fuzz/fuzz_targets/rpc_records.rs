//! Fuzzes records, and the head of a call with its credentials.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ashlar_tests::decoders::rpc_records(data));
