//! Who may know whom: the edges between the crates, and which crate alone may use a given library.
//!
//! The crates stay replaceable only as long as nobody reaches sideways. Cargo forbids cycles; it
//! does not forbid a shortcut, so this list does. Dependencies of tests count too.

use std::collections::BTreeSet;

use toml::{Table, Value};

/// A package and the crates it may depend on. A package that is not listed may not exist.
const EDGES: &[(&str, &[&str])] = &[
    ("headframe-schemas", &[]),
    ("headframe-ingest", &["headframe-schemas"]),
    ("headframe-sinks", &["headframe-schemas"]),
    (
        "headframe-pipelines",
        &["headframe-schemas", "headframe-ingest", "headframe-sinks"],
    ),
    (
        "headframe-query-engine",
        &[
            "headframe-schemas",
            "headframe-ingest",
            "headframe-sinks",
            "headframe-query-front",
        ],
    ),
    ("headframe-query-front", &["headframe-schemas"]),
    (
        "headframe-stratum",
        &["headframe-schemas", "headframe-ingest"],
    ),
    ("headframe-stratum-fuzz", &["headframe-stratum"]),
    (
        "headframe-ingest-fuzz",
        &["headframe-ingest", "headframe-schemas"],
    ),
    (
        "headframe-query-front-fuzz",
        &["headframe-query-front", "headframe-schemas"],
    ),
    (
        "headframe-coopmine",
        &[
            "headframe-schemas",
            "headframe-ingest",
            "headframe-stratum",
            // Its pages are the console's.
            "headframe-query-front",
            // In its tests a site curtails its workers.
            "headframe-site",
        ],
    ),
    (
        "headframe-site",
        &[
            "headframe-schemas",
            // Its devices are the sources', and its tests drive the simulator.
            "headframe-ingest",
            // Its pages are the console's.
            "headframe-query-front",
        ],
    ),
    (
        "headframe",
        &[
            "headframe-schemas",
            "headframe-ingest",
            "headframe-sinks",
            "headframe-pipelines",
            "headframe-query-engine",
            "headframe-query-front",
            "headframe-stratum",
            "headframe-coopmine",
            "headframe-site",
            // Its tests put load on it.
            "headframe-bench",
        ],
    ),
    (
        "headframe-bench",
        &[
            "headframe-schemas",
            "headframe-ingest",
            "headframe-stratum",
            "headframe-coopmine",
        ],
    ),
];

/// Libraries that only some packages may know, and why. The end-to-end tests of the root look at
/// everything.
const OWNED: &[(&str, &[&str], &str)] = &[
    (
        "async-nats",
        &["headframe-ingest", "headframe"],
        "only ingest knows JetStream",
    ),
    (
        "deltalake-core",
        &["headframe-sinks"],
        "only sinks knows how Delta commits",
    ),
    (
        "datafusion",
        &[
            "headframe-sinks",
            "headframe-pipelines",
            "headframe-query-engine",
        ],
        "only the crates that store, derive or answer plan queries",
    ),
    (
        "randomx-rs",
        &["headframe-stratum", "headframe-coopmine"],
        "only miners and their judge hash",
    ),
    (
        "tokio",
        &[
            "headframe-ingest",
            "headframe-sinks",
            "headframe-pipelines",
            "headframe-query-engine",
            "headframe-query-front",
            "headframe-query-front-fuzz",
            "headframe-stratum",
            "headframe-coopmine",
            "headframe-site",
            "headframe-bench",
            "headframe",
        ],
        "schemas are contracts: no I/O",
    ),
];

/// Complaints about one `Cargo.toml`.
pub fn check(path: &str, text: &str) -> Vec<String> {
    let manifest = match text.parse::<Table>() {
        Ok(manifest) => manifest,
        Err(error) => return vec![format!("{path}: not a manifest: {error}")],
    };
    let Some(package) = manifest
        .get("package")
        .and_then(|package| package.get("name"))
        .and_then(Value::as_str)
    else {
        return vec![format!("{path}: there is no package name")];
    };
    let Some((_, allowed)) = EDGES.iter().find(|(name, _)| *name == package) else {
        return vec![format!(
            "{path}: {package} is not in the plan of the house; a new crate is a decision, add it \
             to the list of edges"
        )];
    };
    let mut complaints = Vec::new();
    let crate_ = manifest_of(package);
    if path != crate_ {
        complaints.push(format!("{path}: package {package} belongs into {crate_}"));
    }
    let known = dependencies(&manifest);
    for surplus in known
        .iter()
        .filter(|name| name.starts_with("headframe") && !allowed.contains(&name.as_str()))
    {
        complaints.push(format!(
            "{path}: {package} may not know {surplus}; it may know {allowed:?}"
        ));
    }
    for (library, owners, why) in OWNED
        .iter()
        .filter(|(_, owners, _)| !owners.contains(&package))
    {
        if known.contains(*library) {
            complaints.push(format!(
                "{path}: {package} may not use {library}, {owners:?} may: {why}"
            ));
        }
    }
    complaints
}

/// Where a package's manifest is: fuzz targets live in their crate, and the two crates of `query`
/// in one folder.
fn manifest_of(package: &str) -> String {
    match package.strip_prefix("headframe-") {
        Some(name) => {
            let folder = name.replace("-fuzz", "/fuzz").replace("query-", "query/");
            format!("{folder}/Cargo.toml")
        }
        None => "Cargo.toml".to_owned(),
    }
}

/// Names of all packages a manifest depends on: normal, for tests, for the build script, and for
/// one platform.
fn dependencies(manifest: &Table) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    collect(manifest, &mut found);
    for platform in tables(manifest.get("target")) {
        collect(platform, &mut found);
    }
    found
}

fn collect(holder: &Table, found: &mut BTreeSet<String>) {
    for kind in ["dependencies", "dev-dependencies", "build-dependencies"] {
        let Some(list) = holder.get(kind).and_then(Value::as_table) else {
            continue;
        };
        for (key, value) in list {
            // `alias = { package = "name" }` depends on `name`.
            let renamed = value.get("package").and_then(Value::as_str);
            found.insert(renamed.unwrap_or(key).to_owned());
        }
    }
}

fn tables(value: Option<&Value>) -> impl Iterator<Item = &Table> {
    value
        .and_then(Value::as_table)
        .into_iter()
        .flat_map(|table| table.values().filter_map(Value::as_table))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(package: &str, rest: &str) -> String {
        format!("[package]\nname = \"{package}\"\n{rest}")
    }

    #[test]
    fn a_sideways_edge_is_seen_wherever_it_hides() {
        for (rest, expected) in [
            (
                "[dependencies]\nheadframe-schemas.workspace = true\nserde = \"1\"\n",
                0,
            ),
            (
                "[dependencies]\nheadframe-query-engine.workspace = true\n",
                1,
            ),
            (
                "[dev-dependencies]\nheadframe-pipelines = { path = \"../pipelines\" }\n",
                1,
            ),
            ("[build-dependencies]\nheadframe-query-front = \"1\"\n", 1),
            (
                "[target.'cfg(unix)'.dependencies]\nheadframe-stratum = \"1\"\n",
                1,
            ),
            (
                "[dependencies]\nq = { package = \"headframe-query-front\", path = \
                 \"../query/front\" }\n",
                1,
            ),
            ("[dependencies]\nheadframe = { path = \"..\" }\n", 1),
        ] {
            let complaints = check("sinks/Cargo.toml", &manifest("headframe-sinks", rest));
            assert_eq!(complaints.len(), expected, "{rest}: {complaints:?}");
        }
    }

    #[test]
    fn a_library_in_a_foreign_crate_is_seen() {
        for (library, owners, _) in OWNED {
            for (package, _) in EDGES {
                let text = manifest(
                    package,
                    &format!("[dependencies]\n{library}.workspace = true\n"),
                );
                let expected = usize::from(!owners.contains(package));
                assert_eq!(
                    check(&manifest_of(package), &text).len(),
                    expected,
                    "{package} and {library}"
                );
            }
        }
    }

    #[test]
    fn unknown_misplaced_and_broken_manifests_are_seen() {
        for (path, text) in [
            ("util/Cargo.toml", manifest("headframe-util", "")),
            ("fuzz/Cargo.toml", manifest("headframe-stratum-fuzz", "")),
            ("sinks/Cargo.toml", manifest("headframe-query-front", "")),
            ("sinks/Cargo.toml", "[package\n".to_owned()),
            ("sinks/Cargo.toml", "[workspace]\n".to_owned()),
        ] {
            assert_eq!(check(path, &text).len(), 1, "{text}");
        }
    }

    #[test]
    fn every_crate_may_know_only_crates_that_exist() {
        for (package, crates) in EDGES {
            for crate_ in *crates {
                assert!(
                    EDGES.iter().any(|(name, _)| name == crate_) && crate_ != package,
                    "{package} -> {crate_}"
                );
            }
        }
    }
}
