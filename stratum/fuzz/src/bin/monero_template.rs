//! The fuzzer's entry to the templates of a Monero daemon.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| headframe_stratum_fuzz::monero_template::run(bytes));
