//! The table of the page about the controller: every row of the failsafe rules, each with tests
//! that there are.

use std::collections::BTreeSet;
use std::path::Path;

/// What can be lost or broken, as the rules list it.
const ROWS: [&str; 13] = [
    "Power signal",
    "Container temperature",
    "All temperatures",
    "Watts of fans",
    "Fan on without watts",
    "Site meter",
    "Foreman",
    "Outlet or relay",
    "Controller",
    "Clock",
    "Disk",
    "Notifier",
    "Interlock",
];

/// Every test of this crate, as `module::name`.
fn tests(folder: &Path, prefix: &str, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let module = match (prefix, name.as_str()) {
            ("", "main") => String::new(),
            ("", name) => name.to_owned(),
            (prefix, name) => format!("{prefix}::{name}"),
        };
        if path.is_dir() {
            tests(&path, &module, found);
            continue;
        }
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let mut is_test = false;
        for line in text.lines().map(str::trim) {
            let function = line.trim_start_matches("async ").strip_prefix("fn ");
            if let Some((function, _)) = function.and_then(|rest| rest.split_once('(')) {
                if is_test {
                    found.insert(format!("{module}::{function}"));
                }
                is_test = false;
            }
            is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
        }
    }
}

/// The cells of the rows of the table.
fn table() -> Vec<Vec<String>> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/site-controller.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (_, rest) = page
        .split_once("| lost or broken |")
        .expect("the table of failsafes");
    let rows = rest
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    let cells = |line: &str| {
        line.trim_matches('|')
            .split('|')
            .map(|cell| cell.trim().to_owned())
            .collect()
    };
    rows.map(cells).collect()
}

#[test]
fn every_row_names_tests_that_there_are_and_every_test_of_a_row_is_named() {
    let mut all = BTreeSet::new();
    tests(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it"),
        "",
        &mut all,
    );
    let mut named = BTreeSet::new();
    let mut rows = Vec::new();
    for row in table() {
        assert_eq!(row.len(), 5, "what, action, time, notice, tests: {row:?}");
        rows.push(row[0].clone());
        let own: Vec<&str> = row[4].split('`').skip(1).step_by(2).collect();
        assert!(!own.is_empty(), "{row:?}");
        for test in own {
            assert!(all.contains(test), "there is no test {test}");
            named.insert(test.to_owned());
        }
    }
    assert_eq!(rows, ROWS);
    let of_rows = |test: &&String| test.starts_with("failsafe_table::");
    let own = all
        .iter()
        .filter(of_rows)
        .filter(|test| !test.contains("::documented::"));
    let unnamed: Vec<&String> = own.filter(|test| !named.contains(*test)).collect();
    assert!(unnamed.is_empty(), "no row names {unnamed:?}");
}
