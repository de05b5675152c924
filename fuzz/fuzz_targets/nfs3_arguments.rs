//! Fuzzes the arguments of every procedure of NFSv3, and what is done with them.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ashlar_tests::decoders::nfs3_arguments(data));
