//! Every file of the fuzz corpora through the function it was made for: what the fuzzer found once
//! stays found.

use std::path::Path;

mod files;
#[path = "../../fuzz/src/lib.rs"]
mod targets;

/// The folder of fuzzing.
const FUZZ: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz");

#[test]
fn every_corpus_file_keeps_its_promise() {
    files::check_promises(Path::new(FUZZ), targets::ALL);
}

#[test]
fn every_target_has_an_entry_and_seeds() {
    files::check_entries(Path::new(FUZZ), targets::ALL);
}
