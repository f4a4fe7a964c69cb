//! Words that the house used privately and gave up: each has a plain name that an engineer of the
//! field knows.
//!
//! A private word must be learnt before the code can be read. The list keeps the words from coming
//! back.

use std::collections::{HashMap, HashSet};

use super::scan;

/// Words that no identifier contains and no comment uses, each split in two so that this file does
/// not break its own rule, and what to say instead.
const WORDS: &[(&str, &str, &str)] = &[
    ("ro", "om", "crate, or space"),
    ("ro", "oms", "crates"),
    ("de", "sk", "PaymentService, FeeAdjustments or WorkQueue"),
    ("scr", "ibe", "PayoutWriter"),
    ("chron", "icle", "ExclusiveAppender"),
    ("kee", "per", "DurableQueue or BanStore"),
    ("pur", "se", "WalletBalance"),
    ("ros", "ter", "daemon health"),
    ("gu", "est", "Peer"),
    ("ast", "ray", "inconsistent"),
    ("adr", "ift", "stale"),
    ("tem", "po", "ReadThrottle"),
    ("str", "ain", "overload factor"),
    ("gre", "et", "handshake"),
    ("pat", "ient", "CheckContext"),
    ("wir", "ing", "Services"),
    ("entr", "ance", "handshake"),
    ("be", "ll", "wakeup"),
];

/// Names that no item has, alone; as parts of other names, and as words of a comment, they are
/// plain English.
const NAMES: &[(&str, &str)] = &[
    ("Kept", "SignedTx"),
    ("Course", "BlockLifecycle"),
    ("Due", "PayoutStep, or a Priority"),
    ("Going", "WindowWalk"),
    ("Books", "Ledger"),
    ("Orders", "FeeAdjustments"),
    ("Visit", "Admission"),
    ("Party", "WorkerId"),
    ("Presence", "SessionStats"),
    ("Met", "the noun it is"),
    ("Pace", "DifficultyPolicy"),
    ("Book", "BanList"),
    ("Feed", "TemplateWatcher"),
    ("Grace", "the late-share window"),
    ("Tips", "chain tips"),
    ("Mark", "the coinbase tag"),
    ("Lane", "StreamPublisher"),
    ("Numbered", "SequencedBatch"),
    ("Spare", "Priority::Low"),
    ("Vital", "Priority::High"),
    ("Recorder", "a best-effort queue"),
    ("Drain", "its worker"),
    ("Taken", "StreamSnapshot"),
    ("Asked", "QueryParams"),
    ("Who", "Principal"),
    ("Stranger", "Anonymous"),
    ("Arrival", "what waits, such as PendingLogin"),
    (
        "Settings",
        "the noun it belongs to: RandomXConfig, StreamConfig, …",
    ),
    ("Work", "the noun it belongs to"),
    ("Terms", "the noun it belongs to: PayoutTerms"),
    ("Origin", "the noun it belongs to"),
    ("told", "the noun it holds, such as answer or report"),
    ("asked", "the noun it holds, such as request or sent_at"),
    ("need", "required or permission"),
];

/// Functions that say what they do by a verb, or by what they make.
const FUNCTIONS: &[(&str, &str)] = &[
    ("word", "as_str"),
    ("worth", "the amount it computes"),
    ("of", "new, or from_…"),
    ("look", "run, poll or check"),
];

/// Complaints about one Rust file.
pub fn check(path: &str, text: &str) -> Vec<String> {
    let code = scan::code_only(text);
    let words: HashMap<String, &str> = WORDS
        .iter()
        .map(|(first, rest, instead)| (format!("{first}{rest}"), *instead))
        .collect();
    let mut complaints = Vec::new();
    for (number, (line, code)) in text.lines().zip(code.lines()).enumerate() {
        let at = number + 1;
        let mut named = HashSet::new();
        let mut complain = |word: &str, instead: &str| {
            complaints.push(format!(
                "{path}:{at}: `{word}` is a private word; say {instead}"
            ));
        };
        for found in parts(code).chain(comment(line, code)) {
            let word = found.to_ascii_lowercase();
            if let Some(instead) = words.get(&word).filter(|_| named.insert(word.clone())) {
                complain(found, instead);
            }
        }
        let names: Vec<&str> = identifiers(code).collect();
        for (name, instead) in NAMES {
            if names.contains(name) {
                complain(name, instead);
            }
        }
        let functions = scan::words(code, "fn");
        for (name, instead) in FUNCTIONS {
            let defined = functions
                .iter()
                .any(|(at, _)| identifiers(&code[at + 2..]).next() == Some(name));
            if defined {
                complain(&format!("fn {name}"), instead);
            }
        }
    }
    complaints
}

/// Complaints about a page: only the word for a crate is wrong in prose as well.
pub fn check_page(path: &str, text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for (first, rest, instead) in &WORDS[..2] {
            let word = format!("{first}{rest}");
            if letters(line).any(|found| found.eq_ignore_ascii_case(&word)) {
                let at = number + 1;
                complaints.push(format!(
                    "{path}:{at}: `{word}` is a private word; say {instead}"
                ));
            }
        }
    }
    complaints
}

fn identifiers(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty())
}

/// The words inside of identifiers: two of `PaymentQueue`, `payment_queue` or `PAYMENT_QUEUE`.
fn parts(code: &str) -> impl Iterator<Item = &str> {
    identifiers(code)
        .flat_map(|name| name.split('_'))
        .flat_map(camel)
}

fn camel(name: &str) -> Vec<&str> {
    let bytes = name.as_bytes();
    let (mut found, mut start) = (Vec::new(), 0);
    for at in 1..bytes.len() {
        let begins = bytes[at].is_ascii_uppercase()
            && (bytes[at - 1].is_ascii_lowercase()
                || bytes.get(at + 1).is_some_and(u8::is_ascii_lowercase));
        if begins {
            found.push(&name[start..at]);
            start = at;
        }
    }
    found.push(&name[start..]);
    found
}

/// The words of the comment in a line, if it has one: what is text, and no code, after two slashes.
fn comment<'a>(line: &'a str, code: &str) -> impl Iterator<Item = &'a str> {
    let at = line.match_indices("//").map(|(at, _)| at).find(|at| {
        let blank = |text: &str| text.trim().is_empty();
        code.get(*at..).is_some_and(blank) && line[..*at].matches('"').count().is_multiple_of(2)
    });
    letters(at.map_or("", |at| &line[at..]))
}

fn letters(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_private_word_is_seen_in_identifiers_and_comments() {
        for (first, rest, _) in WORDS {
            let (low, high) = (
                format!("{first}{rest}"),
                format!(
                    "{}{}",
                    first[..1].to_uppercase(),
                    &format!("{first}{rest}")[1..]
                ),
            );
            let mut lines = vec![format!("// the {low} is here"), format!("let x_{low} = 1;")];
            if !low.contains('_') {
                lines.push(format!("struct Payment{high}Error;"));
                lines.push(format!("f(); // {high}"));
            }
            for line in lines {
                let complaints = check("src/a.rs", &format!("//! What this is.\n{line}\n"));
                assert_eq!(complaints.len(), 1, "{line}: {complaints:?}");
                assert!(complaints[0].starts_with("src/a.rs:2: "), "{complaints:?}");
            }
        }
        for (name, _) in NAMES {
            let complaints = check("a.rs", &format!("pub struct {name};"));
            assert_eq!(complaints.len(), 1, "{name}: {complaints:?}");
        }
        for (name, _) in FUNCTIONS {
            let complaints = check("a.rs", &format!("    pub const fn {name}(self) -> u8 {{}}"));
            assert_eq!(complaints.len(), 1, "{name}: {complaints:?}");
        }
        let page = format!("One {}{} a line.", WORDS[0].0, WORDS[0].1);
        assert_eq!(check_page("docs/a.md", &page).len(), 1);
    }

    #[test]
    fn plain_words_that_only_look_alike_pass() {
        for line in [
            "let mushroom = bedrooms + constrained + temporary + purser;",
            "struct WorkerId; struct WorkQueue; fn off() {} fn words() {} let asked_at = 1;",
            "// It was asked and told, of work that is due, by a guesthouse.",
            "let url = \"http://a\"; g(\"told\");",
            "fn f(of: u8) { look(of) }",
        ] {
            assert_eq!(check("a.rs", line), Vec::<String>::new(), "{line}");
        }
        assert_eq!(check_page("a.md", "a mushroom"), Vec::<String>::new());
    }
}
