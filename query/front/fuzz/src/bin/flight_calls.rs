//! The fuzzer's entry to the calls of Flight.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| headframe_query_front_fuzz::flight_calls::run(bytes));
