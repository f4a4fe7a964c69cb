//! Words that must not be in any file: notes to self, paths of one machine, hosts of package
//! registries.
//!
//! A note to self is a task that nobody owns. A path or a host is a fact about one machine, and
//! breaks on the next.

/// Each word is split in two, so that this file does not break its own rules.
const NOTES: &[(&str, &str)] = &[("TO", "DO"), ("FIX", "ME"), ("XX", "X"), ("HA", "CK")];
const MACHINE_PATHS: &[(&str, &str)] = &[
    ("/wo", "rk/"),
    ("/ro", "ot/"),
    ("/ho", "me/"),
    ("/Us", "ers/"),
];
const REGISTRIES: &[(&str, &str)] = &[
    ("crates", ".io"),
    ("static.rust", "-lang.org"),
    ("sh.rust", "up.rs"),
    ("pypi", ".org"),
    ("python", "hosted.org"),
    ("deb.", "debian.org"),
    ("docker", ".io"),
    ("ghcr", ".io"),
    ("quay", ".io"),
    ("npm", "js.org"),
    ("proxy.go", "lang.org"),
];

/// Complaints about one text file of any kind.
pub fn check(path: &str, text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let at = number + 1;
        for word in found(line, NOTES, true) {
            complaints.push(format!(
                "{path}:{at}: {word} is a task that nobody owns; do it, or open an issue"
            ));
        }
        for word in found(line, MACHINE_PATHS, false) {
            complaints.push(format!(
                "{path}:{at}: {word} is a path of one machine; make it relative, or a setting"
            ));
        }
        // Cargo itself writes the name of its registry into the lock file.
        let registries = if path == "Cargo.lock" {
            Vec::new()
        } else {
            found(line, REGISTRIES, false)
        };
        for word in registries {
            complaints.push(format!(
                "{path}:{at}: {word} is the host of a registry; let the tool \
                                     find its own, a mirror may stand in"
            ));
        }
    }
    complaints
}

/// The words of a list that stand in a line, not preceded by a letter or digit, and as `whole`
/// words not followed by one.
fn found(line: &str, list: &[(&str, &str)], whole: bool) -> Vec<String> {
    let free =
        |byte: Option<&u8>| byte.is_none_or(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_');
    let bytes = line.as_bytes();
    let words = list.iter().map(|(first, rest)| format!("{first}{rest}"));
    words
        .filter(|word| {
            line.match_indices(word.as_str()).any(|(at, _)| {
                let before = at.checked_sub(1).and_then(|previous| bytes.get(previous));
                free(before) && (!whole || free(bytes.get(at + word.len())))
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_of_every_list_is_seen() {
        for (first, rest) in NOTES.iter().chain(MACHINE_PATHS).chain(REGISTRIES) {
            let word = format!("{first}{rest}");
            let complaints = check("docs/a.md", &format!("fine\nsee {word} for more"));
            assert_eq!(complaints.len(), 1, "{word}: {complaints:?}");
            assert!(
                complaints[0].starts_with("docs/a.md:2: ") && complaints[0].contains(&word),
                "{complaints:?}"
            );
        }
    }

    #[test]
    fn words_that_only_look_alike_pass() {
        for line in [
            "a to-do list",
            "TODOS and MASTODON",
            "src/work/a.rs",
            "the root / of it",
            "/var/lib/headframe",
            "cratesXio",
        ] {
            assert_eq!(check("a.md", line), Vec::<String>::new(), "{line}");
        }
    }

    #[test]
    fn the_lock_file_may_name_its_registry_and_nothing_else() {
        let host = format!("{}{}", REGISTRIES[0].0, REGISTRIES[0].1);
        let path = format!("{}{}", MACHINE_PATHS[0].0, MACHINE_PATHS[0].1);
        assert_eq!(
            check("Cargo.lock", &format!("source = \"{host}-index\"")),
            Vec::<String>::new()
        );
        assert_eq!(
            check("Cargo.lock", &format!("source = \"{path}x\"")).len(),
            1
        );
    }
}
