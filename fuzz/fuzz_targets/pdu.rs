//! Fuzzes the decoder of PDUs and of framing.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ashlar_tests::decoders::pdu(data));
