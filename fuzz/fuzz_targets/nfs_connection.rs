//! Fuzzes a whole connection of NFS and MOUNT, step by step.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ashlar_tests::decoders::nfs_connection(data));
