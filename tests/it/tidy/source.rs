//! Rules for one Rust file: its header, its length, its functions, and what it must not contain.
//!
//! Each rule takes the path and the text of a file and returns complaints of the form `path:line:
//! what, and what to do`.

use std::ops::Range;

use super::scan;

/// Lines of a file, tests included.
const FILE_LINES: usize = 500;
/// Lines between the braces of a function.
const FUNCTION_LINES: usize = 70;
/// Columns of a line.
const COLUMNS: usize = 100;
/// A word of this many characters, such as an address, cannot be wrapped.
const UNBREAKABLE: usize = 60;
/// The only files that may hold unsafe code begin with this: the binding of RandomX is C.
const UNSAFE_CORNER: &str = "stratum/src/randomx";

/// The first line is a `//!` that says what the file is.
pub fn header(path: &str, text: &str) -> Vec<String> {
    let first = text.lines().next().unwrap_or_default();
    let words = first
        .strip_prefix("//! ")
        .map_or(0, |sentence| sentence.split_whitespace().count());
    if words >= 3 {
        return Vec::new();
    }
    vec![format!(
        "{path}:1: the first line must be `//! ` and a sentence that says what this file is, not \
         `{first}`"
    )]
}

/// No file is longer than it should be, unless its header says why.
pub fn length(path: &str, text: &str) -> Vec<String> {
    let lines = text.lines().count();
    let reason = format!("over {FILE_LINES} lines because");
    let excused = text
        .lines()
        .take_while(|line| line.starts_with("//!"))
        .any(|line| line.contains(&reason));
    if lines <= FILE_LINES || excused {
        return Vec::new();
    }
    vec![format!(
        "{path}: {lines} lines; split it by idea into at most {FILE_LINES}, or let the header say \
         `{reason} …`"
    )]
}

/// No function outside of tests is longer than a screen, unless a comment above says why.
pub fn functions(path: &str, text: &str) -> Vec<String> {
    if is_test_path(path) {
        return Vec::new();
    }
    let code = scan::code_only(text);
    let tests = scan::test_lines(&code);
    let lines: Vec<&str> = text.lines().collect();
    scan::functions(&code)
        .into_iter()
        .filter(|function| function.body_lines > FUNCTION_LINES)
        .filter(|function| {
            !tests
                .iter()
                .any(|range| range.contains(&function.lines.start))
        })
        .filter(|function| {
            !above(&lines, function.lines.start).any(|line| line.contains("// long because "))
        })
        .map(|function| {
            let (name, at, long) = (function.name, function.lines.start + 1, function.body_lines);
            format!(
                "{path}:{at}: fn {name} has {long} lines; at most {FUNCTION_LINES}, or a \
                     comment `// long because …` above it"
            )
        })
        .collect()
}

/// No line is wider than rustfmt makes them, unless one word in it cannot be broken.
pub fn columns(path: &str, text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let wide = line.chars().count();
        let breakable = line.split_whitespace().all(|word| word.len() < UNBREAKABLE);
        if wide > COLUMNS && breakable {
            let at = number + 1;
            complaints.push(format!(
                "{path}:{at}: {wide} columns; at most {COLUMNS}: break the text with \\ at the end \
                 of a line"
            ));
        }
    }
    complaints
}

/// Nothing is left for later, no test is switched off, and no test waits for time instead of a
/// fact.
pub fn unfinished(path: &str, text: &str) -> Vec<String> {
    let code = scan::code_only(text);
    let tests = scan::test_lines(&code);
    let pollers = pollers(&code);
    let awake = |line: usize| {
        (is_test_path(path) || tests.iter().any(|range| range.contains(&line)))
            && !pollers.iter().any(|range| range.contains(&line))
    };
    let mut complaints = Vec::new();
    for (number, line) in code.lines().enumerate() {
        let at = number + 1;
        for name in ["todo", "unimplemented"] {
            if scan::words(line, name)
                .iter()
                .any(|(start, _)| line[start + name.len()..].starts_with('!'))
            {
                complaints.push(format!(
                    "{path}:{at}: {name}! is an unfinished promise; finish it \
                                         or leave the feature out"
                ));
            }
        }
        if line.replace(' ', "").contains("#[ignore") {
            complaints.push(format!(
                "{path}:{at}: an ignored test guards nothing; make it pass or remove it"
            ));
        }
        if awake(number)
            && ["sleep", "sleep_until", "sleep_ms"]
                .iter()
                .any(|name| called(line, name))
        {
            complaints.push(format!(
                "{path}:{at}: a test that sleeps is slow or flaky; wait for the fact itself, in a \
                 `fn until` with a deadline"
            ));
        }
    }
    complaints
}

/// The lines of each `fn until` that has a deadline: the one place of a test that may sleep,
/// between two looks at a fact.
fn pollers(code: &str) -> Vec<Range<usize>> {
    let lines: Vec<&str> = code.lines().collect();
    let bounded = |range: &Range<usize>| {
        lines[range.clone()]
            .iter()
            .any(|line| line.contains("deadline"))
    };
    scan::functions(code)
        .into_iter()
        .filter(|function| function.name == "until")
        .map(|function| function.lines)
        .filter(bounded)
        .collect()
}

/// Unsafe code lives in one corner only.
pub fn unsafety(path: &str, text: &str) -> Vec<String> {
    if path.starts_with(UNSAFE_CORNER) {
        return Vec::new();
    }
    let code = scan::code_only(text);
    let mut complaints = Vec::new();
    for word in ["unsafe", "unsafe_code"] {
        for (_, line) in scan::words(&code, word) {
            complaints.push(format!(
                "{path}:{}: {word} is allowed in {UNSAFE_CORNER}* only; use a safe crate",
                line + 1
            ));
        }
    }
    complaints
}

/// Lines outside of `#[cfg(test)]` items.
pub fn production_lines(text: &str) -> usize {
    let tests: usize = scan::test_lines(&scan::code_only(text))
        .iter()
        .map(ExactSizeIterator::len)
        .sum();
    text.lines().count().saturating_sub(tests)
}

/// Files that hold nothing but tests.
pub fn is_test_path(path: &str) -> bool {
    path.starts_with("tests/") || path.contains("/tests/") || path.ends_with("/tests.rs")
}

/// The comments and attributes directly above a line, nearest first.
fn above<'a>(lines: &'a [&'a str], line: usize) -> impl Iterator<Item = &'a str> {
    lines[..line.min(lines.len())]
        .iter()
        .rev()
        .map(|line| line.trim())
        .take_while(|line| line.starts_with("//") || line.starts_with("#["))
}

fn called(line: &str, name: &str) -> bool {
    scan::words(line, name)
        .iter()
        .any(|(start, _)| line[start + name.len()..].trim_start().starts_with('('))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Rule = fn(&str, &str) -> Vec<String>;

    /// One row a case: the rule, a path, a text, and how many complaints there must be.
    fn judge(cases: &[(Rule, &str, &str, usize)]) {
        for (rule, path, text, expected) in cases {
            let complaints = rule(path, text);
            assert_eq!(
                complaints.len(),
                *expected,
                "{path}: {text:?} gave {complaints:?}"
            );
            assert!(
                complaints
                    .iter()
                    .all(|complaint| complaint.starts_with(path)),
                "{complaints:?}"
            );
        }
    }

    #[test]
    fn a_missing_header_is_seen() {
        judge(&[
            (header, "a.rs", "//! What this is.\nfn a() {}", 0),
            (header, "a.rs", "fn a() {}", 1),
            (header, "a.rs", "", 1),
            (header, "a.rs", "//! \n", 1),
            (header, "a.rs", "//! shares\n", 1),
            (header, "a.rs", "// not a doc comment\n", 1),
            (header, "a.rs", "\n//! Too late by one line.", 1),
        ]);
    }

    #[test]
    fn a_long_file_is_seen() {
        let body = "let x = 1;\n".repeat(500);
        judge(&[
            (length, "a.rs", &body, 0),
            (length, "a.rs", &format!("//! one more\n{body}"), 1),
            (
                length,
                "a.rs",
                &format!("//! A table.\n//! It is over 500 lines because it is a table.\n{body}"),
                0,
            ),
            (
                length,
                "a.rs",
                &format!("//! A table.\nfn a() {{}}\n// over 500 lines because it is late\n{body}"),
                1,
            ),
        ]);
    }

    #[test]
    fn a_long_function_is_seen() {
        let long = |before: &str, lines: usize| {
            format!("{before}fn f() {{\n{}}}\n", "x();\n".repeat(lines))
        };
        let hidden = format!(
            "fn f() {{\nlet s = \"}}\"; // }}\n{}}}\n",
            "x();\n".repeat(70)
        );
        judge(&[
            (functions, "src/a.rs", &long("", 70), 0),
            (functions, "src/a.rs", &long("", 71), 1),
            (functions, "src/a.rs", &hidden, 1),
            (
                functions,
                "src/a.rs",
                &long("// long because it is one table\n#[inline]\n", 71),
                0,
            ),
            (
                functions,
                "src/a.rs",
                &long("// long because of another\nstruct S;\n", 71),
                1,
            ),
            (functions, "tests/it/a.rs", &long("", 71), 0),
            (
                functions,
                "src/a.rs",
                &format!("#[cfg(test)]\nmod tests {{\n{}}}\n", long("", 71)),
                0,
            ),
            (
                functions,
                "src/a.rs",
                &format!("#[cfg(test)]\nmod tests;\n{}", long("", 71)),
                1,
            ),
        ]);
    }

    #[test]
    fn a_wide_line_is_seen() {
        let words = |columns: usize| format!("{}x", "x ".repeat(columns / 2));
        judge(&[
            (columns, "a.rs", &words(98), 0),
            (columns, "a.rs", &words(100), 1),
            (
                columns,
                "a.rs",
                &format!("fine\n{}\n{}", words(120), words(140)),
                2,
            ),
            (
                columns,
                "a.rs",
                &format!("let address = \"{}\";", "4".repeat(95)),
                0,
            ),
            (columns, "a.rs", &"ä ".repeat(50), 0),
        ]);
    }

    #[test]
    fn unfinished_work_is_seen() {
        judge(&[
            (unfinished, "src/a.rs", "fn f() { todo!() }", 1),
            (
                unfinished,
                "src/a.rs",
                "fn f() { unimplemented!(\"x\") }",
                1,
            ),
            (
                unfinished,
                "src/a.rs",
                "// todo!()\nfn todo() { \"todo!\"; mytodo!() }",
                0,
            ),
            (
                unfinished,
                "src/a.rs",
                "#[test]\n#[ignore = \"slow\"]\nfn f() {}",
                1,
            ),
            (
                unfinished,
                "src/a.rs",
                "fn f() { tokio::time::sleep(d).await }",
                0,
            ),
            (
                unfinished,
                "tests/it/a.rs",
                "fn f() { tokio::time::sleep(d).await }",
                1,
            ),
            (
                unfinished,
                "tests/it/a.rs",
                "fn f() { asleep(d); sleeper(); \"sleep(\"; }",
                0,
            ),
            (
                unfinished,
                "sinks/tests/it/a.rs",
                "fn f() { sleep_until (d) }",
                1,
            ),
            (
                unfinished,
                "tests/it/a.rs",
                "fn until() {\n while !fact() && now < deadline {\n sleep(d);\n }\n}",
                0,
            ),
            (
                unfinished,
                "tests/it/a.rs",
                "fn until() {\n while !fact() {\n sleep(d);\n }\n}\nfn deadline() {}",
                1,
            ),
            (
                unfinished,
                "src/a.rs",
                "fn f() { sleep(d) }\n#[cfg(test)]\nmod tests {\n fn g() { sleep(d) }\n}",
                1,
            ),
        ]);
    }

    #[test]
    fn unsafe_code_is_seen() {
        judge(&[
            (unsafety, "src/a.rs", "fn f() { unsafe { g() } }", 1),
            (unsafety, "src/a.rs", "#![allow(unsafe_code)]", 1),
            (unsafety, "src/a.rs", "// unsafe\nfn f() { \"unsafe\" }", 0),
            (
                unsafety,
                "stratum/src/randomx/ffi.rs",
                "#![allow(unsafe_code)] fn f() { unsafe { g() } }",
                0,
            ),
            (
                unsafety,
                "stratum/src/share.rs",
                "unsafe impl Send for S {}",
                1,
            ),
        ]);
    }

    #[test]
    fn test_code_is_not_production() {
        assert_eq!(
            production_lines("fn a() {}\n\n#[cfg(test)]\nmod tests {\n}\n"),
            2
        );
        assert_eq!(production_lines("fn a() {}\n"), 1);
    }
}
