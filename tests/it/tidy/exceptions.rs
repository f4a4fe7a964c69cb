//! Files that do not keep a rule, each with its reason.
//!
//! `HEADFRAME_TIDY=all cargo test --test it tidy` shows what they still break, and which entries
//! excuse nothing any more. The list only shrinks.

/// One excuse: the rule, the beginning of the paths it holds for, and why.
pub struct Exception {
    pub rule: &'static str,
    pub path: &'static str,
    pub reason: &'static str,
}

/// Every excuse there is.
pub const EXCEPTIONS: &[Exception] = &[excuse(
    "names",
    "query/engine/src/datafusion/statement_size.rs",
    "`Visit` is the name of a trait of sqlparser",
)];

const fn excuse(rule: &'static str, path: &'static str, reason: &'static str) -> Exception {
    Exception { rule, path, reason }
}

/// The complaints that nothing excuses.
pub fn unexcused(rule: &str, complaints: Vec<String>, exceptions: &[Exception]) -> Vec<String> {
    let excuses = |complaint: &String| {
        let excused = |one: &Exception| one.rule == rule && complaint.starts_with(one.path);
        exceptions.iter().any(excused)
    };
    let left = complaints
        .into_iter()
        .filter(|complaint| !excuses(complaint));
    left.collect()
}

/// The excuses of a rule that are of no use any more.
pub fn useless(rule: &str, complaints: &[String], exceptions: &[Exception]) -> Vec<String> {
    let is_used = |one: &Exception| complaints.iter().any(|text| text.starts_with(one.path));
    let of_rule = exceptions.iter().filter(|one| one.rule == rule);
    of_rule
        .filter(|one| !is_used(one))
        .map(|one| {
            let (path, reason) = (one.path, one.reason);
            format!("{path}: nothing breaks the rule `{rule}`; remove the exception ({reason})")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exception_excuses_its_rule_and_its_path_and_is_named_when_it_is_of_no_use() {
        let exceptions = [
            excuse("names", "sinks/", "later"),
            excuse("names", "query/", "later"),
        ];
        let complaints = |paths: &[&str]| -> Vec<String> {
            paths.iter().map(|path| format!("{path}:1: bad")).collect()
        };
        let three = complaints(&["sinks/a.rs", "query/a.rs", "src/a.rs"]);
        assert_eq!(useless("names", &three, &exceptions), Vec::<String>::new());
        assert_eq!(unexcused("names", three, &exceptions), ["src/a.rs:1: bad"]);
        let one = complaints(&["sinks/a.rs"]);
        let named = useless("names", &one, &exceptions);
        assert!(
            named.len() == 1 && named[0].starts_with("query/: "),
            "{named:?}"
        );
        assert_eq!(
            unexcused("columns", one, &exceptions),
            ["sinks/a.rs:1: bad"]
        );
    }
}
