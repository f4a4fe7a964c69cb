//! The layers of the configuration: the file, and the environment above it.

use std::path::Path;

use anyhow::{Context, bail};

/// `HEADFRAME__QUERY__LISTEN` is `listen` in `[query]`.
const ENV_PREFIX: &str = "HEADFRAME__";

/// Names that mining control systems before this one gave to settings, and where those stand here.
/// Their databases and caches have no counterpart.
const ALIASES: &[(&str, [&str; 3])] = &[
    (
        "ENERGY_THRESHOLD_WARNING",
        ["pipelines", "allocation", "warning_pct"],
    ),
    (
        "ENERGY_THRESHOLD_CRITICAL",
        ["pipelines", "allocation", "critical_pct"],
    ),
];

/// The file with the environment applied; an alias counts less than the key's own name.
pub fn merged(file: Option<&Path>) -> anyhow::Result<toml::Table> {
    let mut table = match file {
        Some(file) => {
            let text = std::fs::read_to_string(file)
                .with_context(|| format!("cannot read the configuration {}", file.display()))?;
            text.parse::<toml::Table>()
                .with_context(|| format!("{} is not TOML", file.display()))?
        }
        None => toml::Table::new(),
    };
    for (alias, path) in ALIASES {
        if let Ok(value) = std::env::var(alias) {
            set(&mut table, &path.map(str::to_owned), &value)
                .with_context(|| format!("environment variable {alias}"))?;
        }
    }
    for (key, value) in std::env::vars().filter(|(key, _)| key.starts_with(ENV_PREFIX)) {
        let path: Vec<String> = key[ENV_PREFIX.len()..]
            .split("__")
            .map(str::to_lowercase)
            .collect();
        set(&mut table, &path, &value).with_context(|| format!("environment variable {key}"))?;
    }
    Ok(table)
}

fn set(table: &mut toml::Table, path: &[String], text: &str) -> anyhow::Result<()> {
    let Some((key, rest)) = path.split_first() else {
        bail!("names no key")
    };
    if !rest.is_empty() {
        let section = table
            .entry(key.clone())
            .or_insert_with(|| toml::Value::Table(toml::Table::new()));
        let Some(section) = section.as_table_mut() else {
            bail!("{key} is not a section")
        };
        return set(section, rest, text);
    }
    // What reads as a TOML value is one; anything else is text.
    let value = format!("value = {text}")
        .parse::<toml::Table>()
        .ok()
        .and_then(|mut parsed| parsed.remove("value"));
    table.insert(
        key.clone(),
        value.unwrap_or_else(|| toml::Value::String(text.to_owned())),
    );
    Ok(())
}

/// Replaces passwords inside addresses. Everything else that is secret is never part of the
/// configuration.
pub fn mask(value: &mut toml::Value) {
    match value {
        toml::Value::String(text) => {
            if let Some(masked) = masked(text) {
                *text = masked;
            }
        }
        toml::Value::Table(table) => table.iter_mut().for_each(|(_, value)| mask(value)),
        toml::Value::Array(values) => values.iter_mut().for_each(mask),
        _ => {}
    }
}

/// The text with `***` for the password in `scheme://user:password@host`; `None` when there is
/// none.
fn masked(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let end = rest.find('/').unwrap_or(rest.len());
    let (user, host) = rest[..end].rsplit_once('@')?;
    let (user, _) = user.split_once(':')?;
    Some(format!("{scheme}://{user}:***@{host}{}", &rest[end..]))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_the_environment_says_is_a_value_when_it_reads_as_one() {
        let mut table = "[query]\nlisten = \"127.0.0.1:1\""
            .parse::<toml::Table>()
            .unwrap();
        let path = |path: &str| path.split('.').map(str::to_owned).collect::<Vec<_>>();
        set(&mut table, &path("query.listen"), "127.0.0.1:2").unwrap();
        set(&mut table, &path("query.max_rows"), "7").unwrap();
        set(&mut table, &path("roles"), "[\"query\"]").unwrap();
        set(&mut table, &path("stratum.vardiff.target_s"), "3.5").unwrap();
        let expected = "roles = [\"query\"]\n[query]\nlisten = \"127.0.0.1:2\"\nmax_rows = \
                        7\n[stratum.vardiff]\ntarget_s = 3.5";
        assert_eq!(table, expected.parse::<toml::Table>().unwrap());
        assert!(
            set(&mut table, &path("roles.x"), "1")
                .unwrap_err()
                .to_string()
                .contains("roles is not a section")
        );
    }

    #[test]
    fn passwords_in_addresses_are_masked_and_nothing_else() {
        assert_eq!(
            masked("http://me:secret@host:1/path@x").as_deref(),
            Some("http://me:***@host:1/path@x")
        );
        assert_eq!(
            masked("nats://a:b@c@host").as_deref(),
            Some("nats://a:***@host")
        );
        for open in [
            "http://host:1/a:b@c",
            "127.0.0.1:80",
            "main",
            "s3://bucket/path",
            "nats://user@host",
        ] {
            assert_eq!(masked(open), None, "{open}");
        }
    }
}
