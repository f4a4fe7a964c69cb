//! The fuzzer's entry to the messages of SNMP.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| headframe_ingest_fuzz::snmp_messages::run(bytes));
