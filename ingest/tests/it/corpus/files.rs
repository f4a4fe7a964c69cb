//! What the tests of a crate ask of its fuzz corpora: that no file breaks the promise of its
//! target, and that each target has an entry and seeds. Other crates' tests take this file as it
//! is.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A target: its name, which is that of its corpus, and its function.
type Target = (&'static str, fn(&[u8]));

/// Fewer seeds than these are none worth the name.
const LEAST_SEEDS: usize = 5;

/// What a folder has, by name.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// Names in a folder, without what follows a dot.
fn stems(folder: &Path) -> BTreeSet<String> {
    let stem = |path: PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
    files(folder).into_iter().map(stem).collect()
}

/// Runs each file in `corpus` of the crate's folder of fuzzing through its target, which panics
/// where a promise is broken.
pub fn check_promises(fuzz: &Path, targets: &[Target]) {
    for (name, run) in targets {
        let files = files(&fuzz.join("corpus").join(name));
        assert!(
            files.len() >= LEAST_SEEDS,
            "{name} has {} seeds",
            files.len()
        );
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

/// Compares the targets with the entries in `src/bin` and the folders in `corpus`.
pub fn check_entries(fuzz: &Path, targets: &[Target]) {
    let names = targets.iter().map(|(name, _)| (*name).to_owned());
    let known: BTreeSet<String> = names.collect();
    let found = (stems(&fuzz.join("src/bin")), stems(&fuzz.join("corpus")));
    assert_eq!(found, (known.clone(), known));
}
