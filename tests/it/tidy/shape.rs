//! Rules for the house as a whole: what stands at the top, how files are named, how long they are
//! on the whole.
//!
//! A reader should be able to guess where a thing is; names that fit everything help nobody to
//! guess.

use std::collections::BTreeSet;

use super::{File, source};

/// What must stand at the top.
const REQUIRED: &[&str] = &[
    "Cargo.toml",
    "Cargo.lock",
    "Makefile",
    "README.md",
    "LICENSE",
    "src",
    "schemas",
    "ingest",
    "pipelines",
    "sinks",
    "query",
    "stratum",
    "tests",
    "bench",
    "docs",
    "deploy",
    ".ci",
];
/// What may stand there besides: a crate that is planned, and tooling where tools look for it.
const ALLOWED: &[&str] = &[
    "coopmine",
    "site",
    ".cargo",
    ".clippy.toml",
    ".config",
    ".gitattributes",
    ".github",
    ".gitignore",
    ".rustfmt.toml",
];
/// Names that fit everything.
const VAGUE: &[&str] = &[
    "common", "core", "helper", "helpers", "misc", "mod", "shared", "stuff", "types", "util",
    "utils",
];
/// Production lines of a file: the median, and the length that 95 in 100 stay within.
const MEDIAN_LINES: usize = 130;
const P95_LINES: usize = 450;
const README_LINES: usize = 200;
const TARGETS: &[&str] = &["run", "test", "bench", "soak", "lint", "setup", "help"];

/// Files are short as a whole, not only one by one.
pub fn distribution(files: &[File]) -> Vec<String> {
    let production = files
        .iter()
        .filter(|file| file.path.ends_with(".rs") && !source::is_test_path(&file.path));
    let mut lines: Vec<usize> = production
        .filter_map(|file| file.text.as_deref())
        .map(source::production_lines)
        .collect();
    lines.sort_unstable();
    let mut complaints = Vec::new();
    for (what, hundredths, most) in [
        ("median", 50, MEDIAN_LINES),
        ("95th percentile", 95, P95_LINES),
    ] {
        // The nearest rank: the smallest length that this share of the files does not exceed.
        let rank = (lines.len() * hundredths).div_ceil(100).saturating_sub(1);
        let have = lines.get(rank).copied().unwrap_or(0);
        if have > most {
            complaints.push(format!(
                "the {what} of production lines over {} files is {have}; at \
                                     most {most}: split by idea",
                lines.len()
            ));
        }
    }
    complaints
}

/// No vague names, and each folder of a crate has the file that introduces it: `noun.rs` beside
/// `noun/`.
pub fn names(files: &[File]) -> Vec<String> {
    let paths: BTreeSet<&str> = files.iter().map(|file| file.path.as_str()).collect();
    let mut complaints = Vec::new();
    for path in paths.iter().filter(|path| path.ends_with(".rs")) {
        let parts = path.trim_end_matches(".rs").split('/');
        if let Some(vague) = parts.into_iter().find(|part| VAGUE.contains(part)) {
            complaints.push(format!(
                "{path}: `{vague}` fits everything; name it by what it holds"
            ));
        }
        let Some((folder, _)) = path.rsplit_once('/') else {
            continue;
        };
        let is_root = ["src", "src/bin", "tests/it", "bench", "examples"]
            .iter()
            .any(|root| is_or_ends_with(folder, root));
        if !is_root
            && !path.ends_with("build.rs")
            && !paths.contains(format!("{folder}.rs").as_str())
        {
            complaints.push(format!(
                "{path}: {folder}.rs is missing; it says what the folder is about"
            ));
        }
    }
    complaints
}

/// The top of the repository holds what the plan says, and nothing else.
pub fn top_level(files: &[File]) -> Vec<String> {
    let present: BTreeSet<&str> = files
        .iter()
        .filter_map(|file| file.path.split('/').next())
        .collect();
    let missing = REQUIRED.iter().filter(|name| !present.contains(*name));
    let surplus = present
        .iter()
        .filter(|name| !REQUIRED.contains(name) && !ALLOWED.contains(name));
    missing
        .map(|name| format!("{name} is missing at the top; the plan of the house has it"))
        .chain(surplus.map(|name| {
            format!("{name} is not in the plan of the house; move it into the crate it belongs to")
        }))
        .collect()
}

/// A README that is longer is not read.
pub fn readme(path: &str, text: &str) -> Vec<String> {
    let lines = text.lines().count();
    if lines < README_LINES {
        Vec::new()
    } else {
        vec![format!(
            "{path}: {lines} lines; fewer than {README_LINES}, the rest belongs into docs/"
        )]
    }
}

/// The gate is `make test` and nothing else, so that passing at home means passing there.
pub fn ci_run(path: &str, text: &str) -> Vec<String> {
    let commands: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();
    let work: Vec<&str> = commands
        .iter()
        .copied()
        .filter(|line| !line.starts_with("set ") && !line.starts_with("cd "))
        .collect();
    let mut complaints = Vec::new();
    if work != ["make test"] {
        complaints.push(format!(
            "{path}: must run exactly `make test`, not {work:?}"
        ));
    }
    if !commands.contains(&"set -euo pipefail") {
        complaints.push(format!(
            "{path}: `set -euo pipefail` is missing, so a failure could pass"
        ));
    }
    complaints
}

/// Every target that the documents promise is there.
pub fn makefile(path: &str, text: &str) -> Vec<String> {
    let has = |target: &str| {
        text.lines().any(|line| {
            line.strip_prefix(target)
                .is_some_and(|rest| rest.starts_with(':'))
        })
    };
    let missing = TARGETS.iter().filter(|target| !has(target));
    missing
        .map(|target| format!("{path}: there is no target `{target}`"))
        .collect()
}

fn is_or_ends_with(folder: &str, tail: &str) -> bool {
    folder == tail
        || folder
            .strip_suffix(tail)
            .is_some_and(|front| front.ends_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn house(paths: &[&str]) -> Vec<File> {
        paths
            .iter()
            .map(|path| File {
                path: (*path).to_owned(),
                text: Some("//! one\n".to_owned()),
            })
            .collect()
    }

    fn with_lines(lengths: &[usize]) -> Vec<File> {
        let text = |lines: &usize| Some("x\n".repeat(*lines));
        lengths
            .iter()
            .enumerate()
            .map(|(i, lines)| File {
                path: format!("src/f{i}.rs"),
                text: text(lines),
            })
            .collect()
    }

    #[test]
    fn a_house_of_long_files_is_seen() {
        let mut ninety_five = vec![100; 95];
        ninety_five.extend([499; 5]);
        assert_eq!(
            distribution(&with_lines(&ninety_five)),
            Vec::<String>::new()
        );
        assert_eq!(
            distribution(&with_lines(&[vec![100; 94], vec![499; 6]].concat())).len(),
            1
        );
        assert_eq!(
            distribution(&with_lines(&[130, 130, 440])),
            Vec::<String>::new()
        );
        assert_eq!(distribution(&with_lines(&[130, 131, 440])).len(), 1);
        assert_eq!(distribution(&with_lines(&[490, 490])).len(), 2);
        let tests = File {
            path: "sinks/tests/it/a.rs".to_owned(),
            text: Some("x\n".repeat(499)),
        };
        assert_eq!(distribution(&[tests]), Vec::<String>::new());
    }

    #[test]
    fn vague_names_and_orphan_folders_are_seen() {
        for (paths, expected) in [
            (
                &[
                    "src/main.rs",
                    "query/src/sql.rs",
                    "query/src/sql/limits.rs",
                    "query/tests/it/main.rs",
                ][..],
                0,
            ),
            (&["src/util.rs"], 1),
            (&["query/src/sql.rs", "query/src/sql/mod.rs"], 1),
            (&["query/src/common/a.rs", "query/src/common.rs"], 2),
            (&["query/src/sql/limits.rs"], 1),
            (&["tests/it/tidy/scan.rs"], 1),
            (&["stratum/build.rs", "deploy/common/note.md"], 0),
        ] {
            assert_eq!(
                names(&house(paths)).len(),
                expected,
                "{paths:?}: {:?}",
                names(&house(paths))
            );
        }
    }

    #[test]
    fn a_foreign_or_missing_top_level_entry_is_seen() {
        let mut plan: Vec<String> = REQUIRED.iter().map(|name| format!("{name}/x")).collect();
        let complaints = |plan: &[String]| {
            top_level(&house(&plan.iter().map(String::as_str).collect::<Vec<_>>()))
        };
        assert_eq!(complaints(&plan), Vec::<String>::new());
        plan.extend([
            "scripts/a.sh".to_owned(),
            "NOTES.md".to_owned(),
            ".github/workflows/ci.yml".to_owned(),
        ]);
        assert_eq!(complaints(&plan).len(), 2);
        assert_eq!(complaints(&plan[1..]).len(), 3);
    }

    #[test]
    fn a_long_readme_is_seen() {
        assert_eq!(
            readme("README.md", &"x\n".repeat(199)),
            Vec::<String>::new()
        );
        assert_eq!(readme("README.md", &"x\n".repeat(200)).len(), 1);
    }

    #[test]
    fn a_gate_that_does_something_else_is_seen() {
        for (text, expected) in [
            (
                "#!/usr/bin/env bash\n# why\nset -euo pipefail\ncd x\nmake test\n",
                0,
            ),
            ("set -euo pipefail\nmake test || true\n", 1),
            ("set -euo pipefail\nmake lint\nmake test\n", 1),
            ("set -euo pipefail\n", 1),
            ("make test\n", 1),
        ] {
            assert_eq!(ci_run(".ci/run", text).len(), expected, "{text}");
        }
    }

    #[test]
    fn a_missing_target_is_seen() {
        let text = TARGETS
            .iter()
            .map(|target| format!("{target}: ## does it\n"))
            .collect::<String>();
        assert_eq!(makefile("Makefile", &text), Vec::<String>::new());
        assert_eq!(
            makefile("Makefile", &text.replace("soak:", "soaked:")).len(),
            1
        );
    }
}
