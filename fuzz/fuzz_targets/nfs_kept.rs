//! Fuzzes what outlives a restart of the NFS server: kept answers, hosts with locks, handles.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ashlar_tests::decoders::nfs_kept(data));
