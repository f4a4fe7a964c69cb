//! The fuzzer's entry to the PROXY header.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| headframe_stratum_fuzz::proxy_header::run(bytes));
