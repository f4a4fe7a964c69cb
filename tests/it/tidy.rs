//! The house rules as a test: sizes, names, edges between crates and between modules, and words
//! that must not be committed.
//!
//! A rule that only a page of prose knows is broken within a month. Every rule is a pure function
//! from text to complaints, and is itself tested on bad input, so that a rule cannot fall silent
//! without anyone noticing.

mod circles;
mod edges;
mod exceptions;
mod names;
mod scan;
mod shape;
mod source;
mod words;

use std::path::{Path, PathBuf};
use std::process::Command;

/// A file that git tracks, or would track.
pub struct File {
    /// Relative to the top of the repository, with forward slashes.
    pub path: String,
    /// `None` when the file is not text.
    pub text: Option<String>,
}

fn top() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All files of the house: tracked ones, and new ones that git does not ignore.
fn files() -> Vec<File> {
    let listed = Command::new("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .current_dir(top())
        .output()
        .unwrap_or_else(|error| {
            panic!("could not run git to list the files of the house: {error}")
        });
    assert!(
        listed.status.success(),
        "git ls-files failed: {}",
        String::from_utf8_lossy(&listed.stderr)
    );
    let names = String::from_utf8_lossy(&listed.stdout).into_owned();
    // A tracked file that was deleted but not yet committed is listed and gone.
    names
        .split_terminator('\0')
        .filter_map(|path| read(&top(), path))
        .collect()
}

fn read(top: &Path, path: &str) -> Option<File> {
    let bytes = std::fs::read(top.join(path)).ok()?;
    Some(File {
        path: path.to_owned(),
        text: String::from_utf8(bytes).ok(),
    })
}

/// Runs one rule over every text file that `wanted` picks: all complaints.
fn complaints(
    wanted: impl Fn(&str) -> bool,
    rule: impl Fn(&str, &str) -> Vec<String>,
) -> Vec<String> {
    let files = files();
    let texts = files.iter().filter(|file| wanted(&file.path));
    texts
        .filter_map(|file| Some(rule(&file.path, file.text.as_deref()?)))
        .flatten()
        .collect()
}

/// Runs one rule over every text file that `wanted` picks, and fails with all complaints at once.
fn each(wanted: impl Fn(&str) -> bool, rule: impl Fn(&str, &str) -> Vec<String>) {
    none(complaints(wanted, rule));
}

/// Fails with all complaints of a rule that nothing excuses; with `HEADFRAME_TIDY=all` nothing is
/// excused.
fn none_unexcused(rule: &str, complaints: Vec<String>) {
    let all = std::env::var("HEADFRAME_TIDY").is_ok_and(|value| value == "all");
    if !all {
        return none(exceptions::unexcused(
            rule,
            complaints,
            exceptions::EXCEPTIONS,
        ));
    }
    let mut all = exceptions::useless(rule, &complaints, exceptions::EXCEPTIONS);
    all.extend(complaints);
    none(all);
}

fn none(complaints: Vec<String>) {
    assert!(
        complaints.is_empty(),
        "\n{} broken house rule(s):\n  {}\n",
        complaints.len(),
        complaints.join("\n  ")
    );
}

fn is_rust(path: &str) -> bool {
    path.ends_with(".rs")
}

#[test]
fn every_rust_file_says_what_it_is() {
    each(is_rust, source::header);
}

#[test]
fn no_file_is_too_long() {
    none_unexcused("file length", complaints(is_rust, source::length));
}

#[test]
fn no_line_is_too_long() {
    none_unexcused("columns", complaints(is_rust, source::columns));
}

#[test]
fn no_function_is_too_long() {
    none_unexcused("function length", complaints(is_rust, source::functions));
}

#[test]
fn private_words_do_not_come_back() {
    let pages = |path: &str| path.ends_with(".md");
    let mut found = complaints(is_rust, names::check);
    found.extend(complaints(pages, names::check_page));
    none_unexcused("names", found);
}

#[test]
fn siblings_do_not_import_each_other() {
    none_unexcused("circles", circles::check(&files()));
}

#[test]
fn nothing_is_unfinished_ignored_or_asleep() {
    each(is_rust, source::unfinished);
}

#[test]
fn unsafe_stays_in_its_corner() {
    each(is_rust, source::unsafety);
}

#[test]
fn no_notes_to_self_machine_paths_or_registries() {
    each(|_| true, words::check);
}

#[test]
fn files_are_short_as_a_whole() {
    none(shape::distribution(&files()));
}

#[test]
fn files_and_folders_are_named_by_what_they_hold() {
    none(shape::names(&files()));
}

#[test]
fn the_top_level_is_the_plan() {
    none(shape::top_level(&files()));
}

#[test]
fn the_readme_is_short_and_every_target_is_there() {
    each(|path| path == "README.md", shape::readme);
    each(|path| path == ".ci/run", shape::ci_run);
    each(|path| path == "Makefile", shape::makefile);
}

#[test]
fn crates_know_only_whom_they_may() {
    each(|path| path.ends_with("Cargo.toml"), edges::check);
}

#[test]
fn the_walk_finds_the_house() {
    let found = files();
    for path in [
        "Cargo.toml",
        "tests/it/tidy.rs",
        "schemas/src/lib.rs",
        ".ci/run",
    ] {
        assert!(
            found
                .iter()
                .any(|file| file.path == path && file.text.is_some()),
            "the walk of the house misses {path}"
        );
    }
    assert!(
        !found.iter().any(|file| file.path.starts_with("target/")),
        "the walk of the house enters target/"
    );
}
