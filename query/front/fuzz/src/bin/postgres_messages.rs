//! The fuzzer's entry to the messages of PostgreSQL clients.

#![no_main]

use headframe_query_front_fuzz::postgres_messages::run;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| run(bytes));
