//! Fuzzes SCSI commands of two hosts, from their CDB to their effect on disks in memory.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ashlar_tests::decoders::cdb(data));
