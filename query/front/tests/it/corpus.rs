//! Every file of the fuzz corpora through the function it was made for: what the fuzzer found once
//! stays found.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

#[path = "../../fuzz/src/lib.rs"]
mod targets;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz")
        .join(name)
}

fn files(name: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder(name)).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// Names in a folder, without what follows a dot.
fn stems(name: &str) -> BTreeSet<String> {
    let stem = |path: PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
    files(name).into_iter().map(stem).collect()
}

#[test]
fn every_corpus_file_keeps_its_promise() {
    for (name, run) in targets::ALL {
        let files = files(&format!("corpus/{name}"));
        assert!(files.len() >= 5, "{name} has {} seeds", files.len());
        for file in files {
            let bytes = std::fs::read(&file).unwrap();
            let kept = std::panic::catch_unwind(|| run(&bytes));
            assert!(
                kept.is_ok(),
                "{} breaks the promise of {name}",
                file.display()
            );
        }
    }
}

#[test]
fn every_target_has_an_entry_and_seeds() {
    let names = targets::ALL.iter().map(|(name, _)| (*name).to_owned());
    let known: BTreeSet<String> = names.collect();
    assert_eq!((stems("src/bin"), stems("corpus")), (known.clone(), known));
}
