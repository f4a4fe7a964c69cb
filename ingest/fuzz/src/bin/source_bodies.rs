//! The fuzzer's entry to the answers of devices.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| headframe_ingest_fuzz::source_bodies::run(bytes));
