//! Just enough of Rust's grammar to count: what is code, where functions begin and end, what is
//! test code.
//!
//! A full parser would be a dependency and would fail on code that does not compile yet; braces
//! outside of strings and comments are all that the rules need.

use std::ops::Range;

/// A function with a body. Lines count from 0.
pub struct Function {
    pub name: String,
    /// From the line of the `fn` to that of the closing brace, both included.
    pub lines: Range<usize>,
    /// Lines strictly between the braces.
    pub body_lines: usize,
}

/// The text with every comment, string and character literal blanked out; byte positions and lines
/// stay the same.
pub fn code_only(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = String::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let glued = at > 0 && is_word(bytes[at - 1]);
        let skip = comment(rest).max(string(rest, glued)).max(character(rest));
        for byte in &rest[..skip.max(1)] {
            let keep = *byte == b'\n' || (skip == 0 && byte.is_ascii());
            code.push(if keep { char::from(*byte) } else { ' ' });
        }
        at += skip.max(1);
    }
    code
}

/// Every function that has a body, in the order of the text. `code` is the output of [`code_only`].
pub fn functions(code: &str) -> Vec<Function> {
    let mut found = Vec::new();
    for (at, _) in words(code, "fn") {
        let after = code[at + 2..].trim_start();
        let name: String = after
            .bytes()
            .take_while(|byte| is_word(*byte))
            .map(char::from)
            .collect();
        let Some(open) = body(code, at).filter(|_| !name.is_empty()) else {
            continue;
        };
        let end = line(code, block(code, open).end);
        let body_lines = (end - line(code, open)).saturating_sub(1);
        found.push(Function {
            name,
            lines: line(code, at)..end + 1,
            body_lines,
        });
    }
    found
}

/// The line ranges, from 0, of the items under `#[cfg(test)]`.
pub fn test_lines(code: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    for (at, attribute) in code.match_indices("#[cfg(test)]") {
        let end = body(code, at + attribute.len())
            .map_or(at + attribute.len(), |open| block(code, open).end);
        found.push(line(code, at)..line(code, end) + 1);
    }
    found
}

/// Where `word` stands as a whole word: its byte position and its line, from 0.
pub fn words(code: &str, word: &str) -> Vec<(usize, usize)> {
    let bytes = code.as_bytes();
    code.match_indices(word)
        .filter(|(at, _)| *at == 0 || !is_word(bytes[at - 1]))
        .filter(|(at, _)| {
            bytes
                .get(at + word.len())
                .is_none_or(|next| !is_word(*next))
        })
        .map(|(at, _)| (at, line(code, at)))
        .collect()
}

fn line(code: &str, at: usize) -> usize {
    code.as_bytes()[..at]
        .iter()
        .filter(|byte| **byte == b'\n')
        .count()
}

/// The opening brace of the item that begins at `at`; none when the item ends with a semicolon.
fn body(code: &str, at: usize) -> Option<usize> {
    let mut depth = 0_i32;
    for (offset, byte) in code.bytes().enumerate().skip(at) {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth -= 1,
            b'{' if depth == 0 => return Some(offset),
            b';' if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

/// From an opening brace to its closing one; to the end of the text when that is missing.
fn block(code: &str, open: usize) -> Range<usize> {
    let mut depth = 0_i32;
    for (offset, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return open..offset;
        }
    }
    open..code.len()
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Bytes of the comment that `rest` begins with, or 0. Block comments nest.
fn comment(rest: &[u8]) -> usize {
    if rest.starts_with(b"//") {
        return rest
            .iter()
            .position(|byte| *byte == b'\n')
            .unwrap_or(rest.len());
    }
    if !rest.starts_with(b"/*") {
        return 0;
    }
    let (mut at, mut depth) = (2, 1);
    while at < rest.len() && depth > 0 {
        let step = if rest[at..].starts_with(b"/*") {
            depth += 1;
            2
        } else if rest[at..].starts_with(b"*/") {
            depth -= 1;
            2
        } else {
            1
        };
        at += step;
    }
    at.min(rest.len())
}

/// Bytes of the string literal that `rest` begins with, prefix included, or 0. `glued`: a word ends
/// just before.
fn string(rest: &[u8], glued: bool) -> usize {
    let prefix = rest
        .iter()
        .take(2)
        .take_while(|byte| matches!(byte, b'r' | b'b' | b'c'))
        .count();
    if glued && prefix > 0 {
        return 0;
    }
    let raw = rest[..prefix].contains(&b'r');
    let hashes = if raw {
        rest[prefix..]
            .iter()
            .take_while(|byte| **byte == b'#')
            .count()
    } else {
        0
    };
    let start = prefix + hashes;
    if rest.get(start) != Some(&b'"') {
        return 0;
    }
    let mut at = start + 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' if !raw => at += 1,
            b'"' if rest[at + 1..]
                .iter()
                .take(hashes)
                .filter(|byte| **byte == b'#')
                .count()
                == hashes =>
            {
                return at + 1 + hashes;
            }
            _ => {}
        }
        at += 1;
    }
    rest.len()
}

/// Bytes of the character literal that `rest` begins with, or 0. A lifetime is none.
fn character(rest: &[u8]) -> usize {
    if rest.first() != Some(&b'\'') {
        return 0;
    }
    if rest.get(1) == Some(&b'\\') {
        return rest
            .iter()
            .skip(3)
            .position(|byte| *byte == b'\'')
            .map_or(0, |end| end + 4);
    }
    // One character may be up to four bytes long.
    let wide = rest
        .iter()
        .skip(2)
        .take_while(|byte| **byte & 0xC0 == 0x80)
        .count();
    if rest.get(2 + wide) == Some(&b'\'') {
        3 + wide
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_and_comments_are_no_code() {
        for (text, code) in [
            ("a // b {\nc", "a c"),
            ("a /* { /* } */ { */ b", "a b"),
            (r#"f("{\"{", x)"#, "f( , x)"),
            (r##"f(r#"{"}"#, x)"##, "f( , x)"),
            (r#"bar"{""#, "bar"),
            (r#"b"{" c"#, "c"),
            ("'{' '\\'' '\\u{7b}' 'ä' d", "d"),
            ("fn f<'a>(x: &'a str) {}", "fn f<'a>(x: &'a str) {}"),
            ("\"no end {", ""),
        ] {
            assert_eq!(
                code_only(text)
                    .split_whitespace()
                    .collect::<Vec<_>>()
                    .join(" "),
                code,
                "{text}"
            );
            assert_eq!(code_only(text).len(), text.len(), "{text}");
        }
    }

    #[test]
    fn functions_are_found_with_their_length() {
        let text = "trait T {\n fn bare(&self, x: [u8; 3]);\n}\nfn one() { 1 }\npub async fn \
                    two(f: fn(u8) -> u8)\nwhere\n  u8: Copy,\n{\n \"}\";\n if x {\n }\n}\n";
        let found: Vec<_> = functions(&code_only(text))
            .into_iter()
            .map(|f| (f.name, f.lines, f.body_lines))
            .collect();
        assert_eq!(
            found,
            [("one".to_owned(), 3..4, 0), ("two".to_owned(), 4..12, 3)]
        );
    }

    #[test]
    fn test_items_are_found() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n fn b() {}\n}\nfn c() \
                    {}\n#[cfg(test)]\nmod more;\n";
        assert_eq!(test_lines(&code_only(text)), [1..5, 6..7]);
    }

    #[test]
    fn words_are_whole() {
        let found: Vec<_> = words("unsafe_code unsafe{} an_unsafe\nunsafe", "unsafe")
            .into_iter()
            .map(|(_, line)| line)
            .collect();
        assert_eq!(found, [0, 1]);
    }
}
