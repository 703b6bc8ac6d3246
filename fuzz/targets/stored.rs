#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| flowrun_fuzz::stored::reads(bytes));
