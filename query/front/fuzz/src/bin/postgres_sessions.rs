//! The fuzzer's entry to whole sessions of the PostgreSQL wire.

#![no_main]

use headframe_query_front_fuzz::postgres_sessions::run;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| run(bytes));
