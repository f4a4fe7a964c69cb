//! A file with the keys of a policy that differ from another: what a policy would be with them.

use std::path::Path;

use serde::Serialize;
use serde_json::{Map, Value};
use thiserror::Error;

use crate::control::Policy;

/// Bytes that such a file may have.
const MOST_BYTES: u64 = 1024 * 1024;

/// Why a file cannot be used: each line names a key.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}", .0.join("\n"))]
pub struct PolicyFileError(pub Vec<String>);

/// A value of a policy that a file changes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// Its key.
    pub key: String,
    /// What it is.
    pub before: Value,
    /// What it would be.
    pub after: Value,
}

/// Reads a file.
///
/// # Errors
///
/// It cannot be read, it is no TOML, or a key or a value is none of a policy.
pub fn load(path: &Path, base: &Policy) -> Result<(Policy, Vec<Change>), PolicyFileError> {
    let fail = |reason: String| PolicyFileError(vec![format!("{}: {reason}", path.display())]);
    let size = std::fs::metadata(path).map_err(|error| fail(error.to_string()))?;
    if size.len() > MOST_BYTES {
        return Err(fail(format!("it is larger than {MOST_BYTES} bytes")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| fail(error.to_string()))?;
    overlay(base, &text).map_err(|error| {
        let lines = error.0.iter();
        PolicyFileError(lines.map(|line| fail(line.clone()).0.remove(0)).collect())
    })
}

/// The policy with what a text changes, and the changes.
///
/// # Errors
///
/// Everything that is wrong with the text.
pub fn overlay(base: &Policy, text: &str) -> Result<(Policy, Vec<Change>), PolicyFileError> {
    let wrong = |error: &dyn std::fmt::Display| PolicyFileError(vec![error.to_string()]);
    let table: toml::Table = toml::from_str(text).map_err(|error| wrong(&error))?;
    let file = serde_json::to_value(table).map_err(|error| wrong(&error))?;
    let whole = serde_json::to_value(base).map_err(|error| wrong(&error))?;
    let mut faults = Vec::new();
    let mut leaves = Vec::new();
    for (key, value) in file.as_object().into_iter().flatten() {
        match (key.as_str(), value) {
            ("policy", Value::Object(policy)) => {
                collect(
                    "policy",
                    &whole,
                    policy,
                    &mut Vec::new(),
                    &mut leaves,
                    &mut faults,
                );
            }
            ("policy", _) => faults.push("policy: it must be a table".to_owned()),
            _ => faults.push(format!(
                "{key}: only [policy] and tables below it can be tried; remove the key"
            )),
        }
    }
    let (mut policy, mut changes) = (base.clone(), Vec::new());
    for (path, value) in leaves {
        let key = format!("policy.{}", path.join("."));
        let mut changed = serde_json::to_value(&policy).map_err(|error| wrong(&error))?;
        let Some(place) = place(&mut changed, &path) else {
            continue;
        };
        let before = std::mem::replace(place, value.clone());
        match serde_json::from_value(changed) {
            Ok(next) => policy = next,
            Err(error) => {
                faults.push(format!("{key}: {error}"));
                continue;
            }
        }
        let number = |value: &Value| value.as_f64();
        let is_same =
            before == value || number(&before).is_some() && number(&before) == number(&value);
        if !is_same {
            changes.push(Change {
                key,
                before,
                after: value,
            });
        }
    }
    faults.extend(policy.problems().iter().map(|bad| format!("policy.{bad}")));
    match faults.is_empty() {
        true => Ok((policy, changes)),
        false => Err(PolicyFileError(faults)),
    }
}

fn place<'a>(whole: &'a mut Value, path: &[String]) -> Option<&'a mut Value> {
    path.iter().try_fold(whole, |value, key| value.get_mut(key))
}

type Leaf = (Vec<String>, Value);

/// Every value of a table that is none itself; a key that the policy does not have is a fault.
fn collect(
    name: &str,
    whole: &Value,
    table: &Map<String, Value>,
    path: &mut Vec<String>,
    leaves: &mut Vec<Leaf>,
    faults: &mut Vec<String>,
) {
    for (key, value) in table {
        let own = format!("{name}.{key}");
        let Some(known) = whole.get(key) else {
            let keys: Vec<&str> = whole
                .as_object()
                .map(|keys| keys.keys().map(String::as_str).collect())
                .unwrap_or_default();
            faults.push(format!(
                "{own}: there is no such key; there are {}",
                keys.join(", ")
            ));
            continue;
        };
        path.push(key.clone());
        match (known, value) {
            (Value::Object(_), Value::Object(deeper)) => {
                collect(&own, known, deeper, path, leaves, faults);
            }
            (Value::Object(_), _) => faults.push(format!("{own}: it must be a table")),
            _ => leaves.push((path.clone(), value.clone())),
        }
        path.pop();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::control::policy::SignalRule;

    fn base() -> Policy {
        let mut policy = Policy::default();
        let rules = &mut policy.signals.sources;
        rules.insert("utility".to_owned(), SignalRule::default());
        policy
    }

    #[test]
    fn only_what_differs_stands_in_the_file() {
        let text = "[policy.power]\nmin_off_s = 60\nallocation_limit_kw = 900\nmargin_pct = 0.3\n\
                    [policy.signals.sources.utility]\ncurtail_kw = 50\n";
        let (policy, changes) = overlay(&base(), text).unwrap();
        assert_eq!(policy.power.min_off_s, 60);
        assert_eq!(policy.power.allocation_limit_kw, Some(900.0));
        assert_eq!(policy.signals.sources["utility"].curtail_kw, 50.0);
        let keys: Vec<&str> = changes.iter().map(|one| one.key.as_str()).collect();
        assert_eq!(
            keys,
            [
                "policy.power.allocation_limit_kw",
                "policy.power.min_off_s",
                "policy.signals.sources.utility.curtail_kw",
            ],
            "margin_pct is as it was"
        );
        let (same, none) = overlay(&base(), "").unwrap();
        assert_eq!((same.version(), none), (base().version(), Vec::new()));
    }

    #[test]
    fn everything_that_is_wrong_is_named_by_its_key() {
        let text = "design_kw = 3\n[policy.power]\nmin_of_s = 60\nmin_off_s = \"long\"\n\
                    escalate_share = 7.0\n[policy.signals.sources.price]\nperiod_s = 5\n";
        let PolicyFileError(faults) = overlay(&base(), text).unwrap_err();
        for part in [
            "design_kw: only [policy]",
            "policy.power.min_of_s: there is no such key; there are ",
            "policy.power.min_off_s: invalid type",
            "policy.power.escalate_share: 7 is not in the range",
            "policy.signals.sources.price: there is no such key; there are utility",
        ] {
            assert!(
                faults.iter().any(|one| one.starts_with(part)),
                "{part}: {faults:?}"
            );
        }
        assert_eq!(faults.len(), 5, "{faults:?}");
    }
}
