//! The fuzzer's entry to the line codec.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| headframe_stratum_fuzz::lines::run(bytes));
