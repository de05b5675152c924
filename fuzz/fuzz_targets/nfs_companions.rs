//! Fuzzes calls of the port mapper, the lock manager and the status monitor.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ashlar_tests::decoders::nfs_companions(data));
