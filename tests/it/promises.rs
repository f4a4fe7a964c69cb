//! The page about exactly once names a test for each failure; here it is checked that they exist,
//! and none is left out.

use std::collections::BTreeMap;
use std::path::Path;

/// Failures in the table of the protocol.
const FAILURES: usize = 20;

/// Every word between backticks that has the form of a test: `crate::module::name`.
fn tests_named(line: &str) -> Vec<[&str; 3]> {
    let quoted = line.split('`').skip(1).step_by(2);
    quoted
        .filter_map(|word| word.split("::").collect::<Vec<_>>().try_into().ok())
        .collect()
}

/// The file a test must be in.
fn file_of(crate_name: &str, module: &str) -> String {
    if crate_name == "it" {
        format!("tests/it/{module}.rs")
    } else {
        format!("{crate_name}/tests/it/{module}.rs")
    }
}

/// The tests of a page that are not there.
fn missing(page: &str) -> Vec<String> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut missing = Vec::new();
    for [crate_name, module, name] in page.lines().flat_map(tests_named) {
        let file = file_of(crate_name, module);
        let code = std::fs::read_to_string(top.join(&file)).unwrap_or_default();
        if !code.contains(&format!("fn {name}(")) {
            missing.push(format!("{file}: {name}"));
        }
    }
    missing
}

#[test]
fn each_failure_has_a_test_that_exists() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(top.join("docs/exactly-once.md")).unwrap();
    let mut numbered: BTreeMap<usize, usize> = BTreeMap::new();
    for line in page.lines() {
        let tests = tests_named(line);
        if let Some(number) = line
            .strip_prefix("| ")
            .and_then(|rest| rest.split(' ').next()?.parse().ok())
        {
            numbered.insert(number, tests.len());
        }
    }
    let shares = std::fs::read_to_string(top.join("docs/shares.md")).unwrap();
    let missing: Vec<String> = [page.as_str(), shares.as_str()]
        .into_iter()
        .flat_map(missing)
        .collect();
    assert!(
        missing.is_empty(),
        "named on a page and not there: {missing:#?}"
    );
    let untested: Vec<usize> = (1..=FAILURES)
        .filter(|number| numbered.get(number).is_none_or(|tests| *tests == 0))
        .collect();
    assert!(
        untested.is_empty(),
        "failures without a test on the page: {untested:?}"
    );
}

#[test]
fn only_tests_are_taken_for_tests() {
    assert_eq!(
        tests_named("| 1 | `a::b::c`, `sinks/src` and `x::y` | `d::e::f` |"),
        [["a", "b", "c"], ["d", "e", "f"]]
    );
    assert_eq!(
        (file_of("it", "kill"), file_of("sinks", "held")),
        (
            "tests/it/kill.rs".to_owned(),
            "sinks/tests/it/held.rs".to_owned()
        )
    );
}
