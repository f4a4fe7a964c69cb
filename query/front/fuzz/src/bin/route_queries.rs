//! The fuzzer's entry to the query strings.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| headframe_query_front_fuzz::route_queries::run(bytes));
