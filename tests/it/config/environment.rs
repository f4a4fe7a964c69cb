//! Variables of the environment: the names of keys, and those of other mining control systems.

use std::process::{Command, Output};

/// Runs the program with these variables alone. The folder of its data cannot be made, so that
/// `up` ends at once.
fn headframe(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.toml"), "data_dir = \"a.toml/data\"").unwrap();
    Command::new(env!("CARGO_BIN_EXE_headframe"))
        .args(arguments)
        .env_clear()
        .envs(variables.iter().copied())
        .current_dir(folder.path())
        .output()
        .unwrap()
}

fn print(variables: &[(&str, &str)]) -> Result<toml::Table, String> {
    let output = headframe(&["config", "print", "a.toml"], variables);
    match output.status.success() {
        true => Ok(String::from_utf8(output.stdout).unwrap().parse().unwrap()),
        false => Err(String::from_utf8(output.stderr).unwrap()),
    }
}

/// The text of a key of what is in force.
fn in_force(variables: &[(&str, &str)], key: &str) -> String {
    let printed = toml::Value::Table(print(variables).unwrap());
    let found = key
        .split('.')
        .try_fold(&printed, |value, part| value.get(part));
    found.unwrap().to_string()
}

#[test]
fn names_of_other_systems_set_keys_and_may_not_contradict_ours() {
    for (alias, key, default, values) in [
        (
            "ENERGY_THRESHOLD_WARNING",
            "pipelines.allocation.warning_pct",
            "80.0",
            [("70", "70.0"), ("70.5", "70.5")],
        ),
        (
            "ENERGY_THRESHOLD_CRITICAL",
            "pipelines.allocation.critical_pct",
            "95.0",
            [("90", "90.0"), ("99.0", "99.0")],
        ),
        (
            "METRICS_ENABLED",
            "query.metrics",
            "true",
            [("false", "false"), ("0", "false")],
        ),
    ] {
        let ours = format!("HEADFRAME__{}", key.replace('.', "__").to_uppercase());
        assert_eq!(in_force(&[], key), default);
        for (text, value) in values {
            assert_eq!(in_force(&[(alias, text)], key), value);
            assert_eq!(in_force(&[(alias, text), (&ours, value)], key), value);
            let refused = print(&[(alias, text), (&ours, default)]).unwrap_err();
            for word in [alias, &ours, key, text, default] {
                assert!(refused.contains(word), "no {word}: {refused}");
            }
        }
        let refused = print(&[(alias, "much")]).unwrap_err();
        let name = key.rsplit('.').next().unwrap();
        assert!(refused.contains(name), "no {name}: {refused}");
    }
}

#[test]
fn names_without_a_counterpart_are_named_at_the_start_and_change_nothing() {
    let warnings = |variables: &[(&str, &str)]| -> Vec<String> {
        let started = headframe(&["up", "--config", "a.toml"], variables);
        assert!(!started.status.success());
        let said = String::from_utf8(started.stderr).unwrap();
        assert!(said.contains("cannot make data_dir"), "{said}");
        assert!(!said.contains("not-to-be-shown"), "{said}");
        let lines = said.lines().filter(|line| line.contains("no counterpart"));
        lines.map(str::to_owned).collect()
    };
    let names = [
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
    let all = names.map(|name| (name, "not-to-be-shown"));
    assert_eq!(print(&all).unwrap(), print(&[]).unwrap());
    let said = warnings(&all);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains(&names.join(", ")), "{said:?}");
    let said = warnings(&[("DB_PASSWORD", "not-to-be-shown"), ("DB", "x")]);
    let is_named = said.len() == 1 && said[0].ends_with("DB_PASSWORD");
    assert!(is_named, "{said:?}");
    let taken = [
        ("ENERGY_THRESHOLD_CRITICAL", "90"),
        ("METRICS_ENABLED", "true"),
    ];
    assert_eq!(warnings(&taken), [""; 0]);
}
