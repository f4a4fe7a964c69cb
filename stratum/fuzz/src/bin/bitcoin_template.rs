//! The fuzzer's entry to the templates of an OpenSY node.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| headframe_stratum_fuzz::bitcoin_template::run(bytes));
