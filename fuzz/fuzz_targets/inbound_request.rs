#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| webhookd::fuzzing::inbound_request(data));
