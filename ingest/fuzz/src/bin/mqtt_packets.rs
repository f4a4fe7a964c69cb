//! The fuzzer's entry to the packets of MQTT.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| headframe_ingest_fuzz::mqtt_packets::run(bytes));
