//! The layers of the configuration: the file, and the environment above it.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, bail};

/// `HEADFRAME__QUERY__LISTEN` is `listen` in `[query]`.
const ENV_PREFIX: &str = "HEADFRAME__";

/// A name that mining control systems before this one gave to a setting.
struct Alias {
    name: &'static str,
    /// Where the setting stands here.
    path: &'static [&'static str],
    /// Whether its value is a truth value, which those systems also write as 1, 0, t, f or in
    /// capitals.
    is_switch: bool,
}

/// Those that have a counterpart here.
const ALIASES: [Alias; 3] = [
    Alias {
        name: "METRICS_ENABLED",
        path: &["query", "metrics"],
        is_switch: true,
    },
    Alias {
        name: "ENERGY_THRESHOLD_WARNING",
        path: &["pipelines", "allocation", "warning_pct"],
        is_switch: false,
    },
    Alias {
        name: "ENERGY_THRESHOLD_CRITICAL",
        path: &["pipelines", "allocation", "critical_pct"],
        is_switch: false,
    },
];

/// Those that have none: there is no database and no cache to connect to, and every environment has
/// the rules of production.
const WITHOUT_COUNTERPART: [&str; 11] = [
    "APP_ENV",
    "DB_HOST",
    "DB_PORT",
    "DB_USER",
    "DB_PASSWORD",
    "DB_NAME",
    "REDIS_HOST",
    "REDIS_PORT",
    "POSTGRES_USER",
    "POSTGRES_PASSWORD",
    "POSTGRES_DB",
];

/// The variables of such systems that are set and change nothing here.
pub fn ignored_variables() -> Vec<&'static str> {
    let is_set = |name: &&str| std::env::var_os(name).is_some();
    WITHOUT_COUNTERPART.into_iter().filter(is_set).collect()
}

impl Alias {
    /// The value as TOML writes it.
    fn as_toml<'a>(&self, text: &'a str) -> &'a str {
        match text {
            "1" | "t" | "T" | "TRUE" | "True" if self.is_switch => "true",
            "0" | "f" | "F" | "FALSE" | "False" if self.is_switch => "false",
            text => text,
        }
    }

    fn path(&self) -> Vec<String> {
        self.path.iter().map(|part| (*part).to_owned()).collect()
    }
}

/// The file with the environment applied.
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
    apply(&mut table, &std::env::vars().collect())?;
    Ok(table)
}

/// Sets what variables say: ours and aliases, which may not contradict each other.
fn apply(table: &mut toml::Table, variables: &BTreeMap<String, String>) -> anyhow::Result<()> {
    for alias in &ALIASES {
        let Some(text) = variables.get(alias.name) else {
            continue;
        };
        let path = alias.path();
        let ours = variables
            .iter()
            .find(|(name, _)| path_of(name).is_some_and(|other| other == path));
        if let Some((name, other)) = ours
            && !is_same(&read(alias.as_toml(text)), &read(other))
        {
            bail!(
                "environment variable {} is {text:?} but {name} is {other:?}; both set {}: leave \
                 one of them out",
                alias.name,
                path.join(".")
            );
        }
        set(table, &path, alias.as_toml(text))
            .with_context(|| format!("environment variable {}", alias.name))?;
    }
    for (name, text) in variables {
        if let Some(path) = path_of(name) {
            set(table, &path, text).with_context(|| format!("environment variable {name}"))?;
        }
    }
    Ok(())
}

/// The key that a variable of ours sets, by its parts.
fn path_of(name: &str) -> Option<Vec<String>> {
    let path = name.strip_prefix(ENV_PREFIX)?;
    Some(path.split("__").map(str::to_lowercase).collect())
}

/// Whether two values set a key to the same: 80 is 80.0.
fn is_same(one: &toml::Value, other: &toml::Value) -> bool {
    let number = |value: &toml::Value| match value {
        toml::Value::Integer(_) | toml::Value::Float(_) => value.to_string().parse::<f64>().ok(),
        _ => None,
    };
    one == other || number(one).is_some_and(|one| Some(one) == number(other))
}

/// What reads as a TOML value is one; anything else is text.
fn read(text: &str) -> toml::Value {
    let parsed = format!("value = {text}").parse::<toml::Table>().ok();
    parsed
        .and_then(|mut parsed| parsed.remove("value"))
        .unwrap_or_else(|| toml::Value::String(text.to_owned()))
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
    table.insert(key.clone(), read(text));
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
