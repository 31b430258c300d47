#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| webhookd::fuzzing::json_pointers(data));
