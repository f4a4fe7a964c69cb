//! Import circles: two modules beside each other that import each other, directly or by way of
//! others.
//!
//! Siblings that know each other can only be read, tested and moved together. A module may use its
//! parent and its children; among the children of one parent the imports must have a direction.
//! Paths in `use` and in expressions count, those of `#[cfg(test)]` items do not.

use std::collections::{BTreeMap, BTreeSet};

use super::{File, scan};

/// Which sibling imports which, and where.
type Graph = BTreeMap<String, BTreeMap<String, String>>;

/// The circles of every crate.
pub fn check(files: &[File]) -> Vec<String> {
    let mut crates: BTreeMap<&str, Vec<(&str, &str)>> = BTreeMap::new();
    for file in files {
        let Some((root, module)) = split(&file.path) else {
            continue;
        };
        if let Some(text) = &file.text {
            crates.entry(root).or_default().push((module, text));
        }
    }
    crates
        .into_iter()
        .flat_map(|(root, files)| check_crate(root, &files))
        .collect()
}

/// The source folder of a crate and the file's place in it; none for tests and other files.
fn split(path: &str) -> Option<(&str, &str)> {
    let path = path.strip_suffix(".rs")?;
    let at = match path.strip_prefix("src/") {
        Some(_) => 3,
        None => path.find("/src/")? + 4,
    };
    Some((&path[..at], &path[at + 1..]))
}

fn check_crate(root: &str, files: &[(&str, &str)]) -> Vec<String> {
    let modules: BTreeSet<Vec<String>> = files.iter().map(|(path, _)| module_of(path)).collect();
    // Imports among the children of each parent.
    let mut graphs: BTreeMap<Vec<String>, Graph> = BTreeMap::new();
    for (path, text) in files {
        let from = module_of(path);
        for (line, target) in imports(&from, text) {
            let to = existing(&modules, target);
            let common = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
            if common == from.len() || common == to.len() {
                continue;
            }
            let place = format!("{root}/{path}.rs:{line}");
            graphs
                .entry(from[..common].to_vec())
                .or_default()
                .entry(from[common].clone())
                .or_default()
                .entry(to[common].clone())
                .or_insert(place);
        }
    }
    graphs.values().flat_map(circles).collect()
}

/// `server/check` is the module `server::check`; the crate itself is the empty path.
fn module_of(path: &str) -> Vec<String> {
    match path {
        "lib" | "main" => Vec::new(),
        path => path.split('/').map(str::to_owned).collect(),
    }
}

/// The module that a path leads into: the path without the items at its end.
fn existing(modules: &BTreeSet<Vec<String>>, mut path: Vec<String>) -> Vec<String> {
    while !path.is_empty() && !modules.contains(&path) {
        path.pop();
    }
    path
}

/// Every path of this crate that a module names outside of tests: the line, from 1, and the path
/// from the crate's root.
fn imports(from: &[String], text: &str) -> Vec<(usize, Vec<String>)> {
    let code = scan::code_only(text);
    let tests = scan::test_lines(&code);
    let mut found = Vec::new();
    for keyword in ["crate", "super", "self"] {
        for (at, line) in scan::words(&code, keyword) {
            let continues = code[..at].trim_end().ends_with("::");
            let rest = code[at + keyword.len()..].trim_start();
            if continues
                || !rest.starts_with("::")
                || tests.iter().any(|lines| lines.contains(&line))
            {
                continue;
            }
            let base = match keyword {
                "crate" => Vec::new(),
                "self" => from.to_vec(),
                _ => parent(from),
            };
            let paths = tree(&rest[2..], base);
            found.extend(paths.into_iter().map(|path| (line + 1, path)));
        }
    }
    found
}

fn parent(module: &[String]) -> Vec<String> {
    module[..module.len().saturating_sub(1)].to_vec()
}

/// The paths of a `use` tree, or of a path in an expression, that begins after `base::`.
fn tree(rest: &str, mut base: Vec<String>) -> Vec<Vec<String>> {
    let rest = rest.trim_start();
    if let Some(list) = rest.strip_prefix('{') {
        return branches(list)
            .into_iter()
            .flat_map(|branch| tree(branch, base.clone()))
            .collect();
    }
    let name = rest
        .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .map_or(rest, |end| &rest[..end]);
    match name {
        "super" => base = parent(&base),
        "" | "self" => {}
        name => base.push(name.to_owned()),
    }
    match rest[name.len()..].trim_start().strip_prefix("::") {
        Some(deeper) if !name.is_empty() => tree(deeper, base),
        _ => vec![base],
    }
}

/// The branches of a braced list, to its closing brace.
fn branches(list: &str) -> Vec<&str> {
    let (mut depth, mut start, mut found) = (0_i32, 0, Vec::new());
    for (at, byte) in list.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 0 => {
                found.push(&list[start..at]);
                break;
            }
            b'}' => depth -= 1,
            b',' if depth == 0 => {
                found.push(&list[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    found.retain(|branch| !branch.trim().is_empty());
    found
}

/// One complaint for each group of siblings that reach each other both ways: its shortest circle.
fn circles(graph: &Graph) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut named: BTreeSet<String> = BTreeSet::new();
    for start in graph.keys().filter(|start| !start.is_empty()) {
        if named.contains(start) {
            continue;
        }
        let Some(circle) = shortest(graph, start) else {
            continue;
        };
        named.extend(circle.iter().cloned());
        let places: Vec<&str> = circle
            .windows(2)
            .filter_map(|pair| graph.get(&pair[0])?.get(&pair[1]).map(String::as_str))
            .collect();
        let first = places.first().copied().unwrap_or_default();
        complaints.push(format!(
            "{first}: the siblings {} import each other (also at {}); move what both need into a \
             module of its own, or to the parent",
            circle.join(" -> "),
            places[1..].join(", ")
        ));
    }
    complaints
}

/// The shortest way from a module back to itself.
fn shortest(graph: &Graph, start: &str) -> Option<Vec<String>> {
    let mut ways = vec![vec![start.to_owned()]];
    let mut seen = BTreeSet::new();
    while !ways.is_empty() {
        let mut longer = Vec::new();
        for way in ways {
            let last = way.last()?;
            for next in graph.get(last).into_iter().flat_map(BTreeMap::keys) {
                let mut way = way.clone();
                way.push(next.clone());
                if next == start {
                    return Some(way);
                }
                if seen.insert(next.clone()) {
                    longer.push(way);
                }
            }
        }
        ways = longer;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(files: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<File> = files
            .iter()
            .map(|(path, text)| File {
                path: (*path).to_owned(),
                text: Some((*text).to_owned()),
            })
            .collect();
        check(&files)
    }

    #[test]
    fn siblings_that_import_each_other_are_seen_however_it_is_written() {
        for (a, b) in [
            ("use crate::b::B;", "use crate::a::A;"),
            ("use crate::{x::X, b::{self, B}};", "use super::a::A;"),
            ("fn f() { crate::b::g() }", "fn f(a: super::a::A) {}"),
            ("use super::{b, x};", "use crate::a;"),
            (
                "use crate::b::{B, deep::D};",
                "pub(super) use crate::a::A as Z;",
            ),
        ] {
            let found = complaints(&[
                ("s/src/lib.rs", ""),
                ("s/src/a.rs", a),
                ("s/src/b.rs", b),
                ("s/src/x.rs", ""),
            ]);
            assert_eq!(found.len(), 1, "{a} {b}: {found:?}");
            assert!(
                found[0].starts_with("s/src/a.rs:1: the siblings a -> b -> a"),
                "{found:?}"
            );
        }
    }

    #[test]
    fn a_circle_of_three_and_one_between_folders_are_seen() {
        let three = complaints(&[
            ("src/a.rs", "use crate::b::B;"),
            ("src/b.rs", "use crate::c::C;"),
            ("src/c.rs", "use crate::a::A;"),
            ("src/main.rs", "mod a;"),
        ]);
        assert_eq!(three.len(), 1, "{three:?}");
        assert!(three[0].contains("a -> b -> c -> a"), "{three:?}");
        // Files deep in two folders make the folders a circle.
        let folders = complaints(&[
            ("q/src/a.rs", ""),
            ("q/src/a/one.rs", "use crate::b::two::T;"),
            ("q/src/b.rs", ""),
            ("q/src/b/two.rs", "use crate::a::one::O;"),
        ]);
        assert_eq!(folders.len(), 1, "{folders:?}");
        assert!(
            folders[0].contains("q/src/a/one.rs:1") && folders[0].contains("q/src/b/two.rs:1"),
            "{folders:?}"
        );
        let nested = complaints(&[
            ("q/src/p.rs", ""),
            ("q/src/p/a.rs", "use super::b::B;"),
            ("q/src/p/b.rs", "use crate::p::a::A;"),
        ]);
        assert_eq!(nested.len(), 1, "{nested:?}");
    }

    #[test]
    fn parents_tests_comments_and_one_way_imports_pass() {
        for files in [
            &[
                ("s/src/a.rs", "mod x; use x::X;"),
                ("s/src/a/x.rs", "use super::A; use crate::a::B;"),
            ][..],
            &[
                ("s/src/a.rs", "use crate::b::B;"),
                ("s/src/b.rs", "use crate::Top; use other::a::A;"),
            ],
            &[
                ("s/src/a.rs", "use crate::b::B;"),
                (
                    "s/src/b.rs",
                    "#[cfg(test)]\nmod tests {\n use crate::a::A;\n}",
                ),
            ],
            &[
                ("s/src/a.rs", "use crate::b::B;"),
                ("s/src/b.rs", "// crate::a::A\n fn f() { \"crate::a::A\" }"),
            ],
            &[
                ("s/src/a.rs", "use crate::b::B;"),
                ("t/src/b.rs", "use crate::a::A;"),
            ],
            &[
                ("s/tests/it/a.rs", "use crate::b::B;"),
                ("s/tests/it/b.rs", "use crate::a::A;"),
            ],
        ] {
            assert_eq!(complaints(files), Vec::<String>::new(), "{files:?}");
        }
    }
}
