//! The fuzzer's entry to the commands of a miner.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| headframe_stratum_fuzz::commands::run(bytes));
