//! Fuzzes the decoder of login text, and of a login that has it.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ashlar_tests::decoders::login_text(data));
