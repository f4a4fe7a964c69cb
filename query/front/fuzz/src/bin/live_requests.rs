//! The fuzzer's entry to the requests for subscriptions.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| headframe_query_front_fuzz::live_requests::run(bytes));
