//! Reads the JSON of mining machines, which is often broken in known ways.
//!
//! What is repaired, only where the text does not parse as it came: zero bytes and line feeds, `,}`
//! and `,]`, `}{` between objects, `[,{`, a comma before the first brace, a doubled quote before a
//! key (`""temp0`), bare `inf` and `nan` (which become null: missing, not zero), and a tail that
//! was cut off, of which everything after the last whole value is dropped.

use serde_json::Value;

/// Nested brackets of an answer.
const MOST_DEPTH: usize = 64;

/// The document. The error says where it breaks.
pub fn document(answer: &[u8]) -> Result<Value, String> {
    let text = String::from_utf8_lossy(answer);
    let text: String = text.chars().filter(|c| !c.is_control()).collect();
    let text = text.trim().trim_start_matches(',');
    let error = match serde_json::from_str(text) {
        Ok(document) => return Ok(document),
        Err(error) => error,
    };
    let repaired = repaired(text);
    let again = serde_json::from_str(&repaired);
    again
        .or_else(|_| serde_json::from_str(&without_cut_tail(&repaired)))
        .map_err(|_| format!("the answer is not JSON, and cannot be repaired: {error}"))
}

/// The text outside of quotes repaired.
fn repaired(text: &str) -> String {
    let chars: Vec<char> = text.replace("\"\"temp", "\"temp").chars().collect();
    let mut out = String::with_capacity(chars.len());
    let (mut at, mut is_quoted) = (0, false);
    while let Some(&c) = chars.get(at) {
        at += 1;
        if is_quoted {
            out.push(c);
            match c {
                '\\' => {
                    out.extend(chars.get(at));
                    at += 1;
                }
                '"' => is_quoted = false,
                _ => {}
            }
            continue;
        }
        match c {
            '"' => {
                is_quoted = true;
                out.push(c);
            }
            '}' | ']' => {
                drop_comma(&mut out);
                out.push(c);
            }
            '{' => {
                match out.trim_end().chars().last() {
                    Some('}') => out.push(','),
                    Some(',') if out.trim_end().ends_with("[,") => drop_comma(&mut out),
                    _ => {}
                }
                out.push(c);
            }
            c if c.is_ascii_alphabetic() => {
                let from = at - 1;
                while chars.get(at).is_some_and(char::is_ascii_alphanumeric) {
                    at += 1;
                }
                push_word(&mut out, &chars[from..at]);
            }
            c => out.push(c),
        }
    }
    out
}

fn drop_comma(out: &mut String) {
    let length = out.trim_end().strip_suffix(',').map(str::len);
    if let Some(length) = length {
        out.truncate(length);
    }
}

/// A word outside of quotes: `inf` and `nan`, with a sign or without, are null.
fn push_word(out: &mut String, word: &[char]) {
    let word: String = word.iter().collect();
    let is_no_number = ["inf", "infinity", "nan"].contains(&word.to_ascii_lowercase().as_str());
    if !is_no_number {
        out.push_str(&word);
        return;
    }
    if out.ends_with(['-', '+']) {
        out.pop();
    }
    out.push_str("null");
}

/// The text up to the last comma behind which nothing whole follows, with its brackets closed. A
/// number that is cut in two is another number, so the value at the end is never used.
fn without_cut_tail(text: &str) -> String {
    let (mut open, mut is_quoted, mut is_escaped) = (Vec::new(), false, false);
    let mut cut: Option<(usize, Vec<char>)> = None;
    for (at, c) in text.char_indices() {
        if is_quoted {
            match (is_escaped, c) {
                (true, _) => is_escaped = false,
                (false, '\\') => is_escaped = true,
                (false, '"') => is_quoted = false,
                _ => {}
            }
            continue;
        }
        match c {
            '"' => is_quoted = true,
            '{' => open.push('}'),
            '[' => open.push(']'),
            '}' | ']' => {
                open.pop();
                cut = Some((at + 1, open.clone()));
            }
            ',' => cut = Some((at, open.clone())),
            _ => {}
        }
        if open.len() > MOST_DEPTH {
            return String::new();
        }
    }
    let Some((end, open)) = cut else {
        return String::new();
    };
    let mut whole = text[..end].to_owned();
    whole.extend(open.iter().rev());
    whole
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn every_known_fault_is_repaired() {
        for (text, meant) in [
            ("{\"a\":1}\0", json!({"a": 1})),
            ("{\"a\":1,}", json!({"a": 1})),
            ("{\"a\":[1,2,]}", json!({"a": [1, 2]})),
            (
                "{\"a\":[{\"b\":1}{\"c\":2}]}",
                json!({"a": [{"b": 1}, {"c": 2}]}),
            ),
            ("{\"a\":[,{\"b\":1}]}", json!({"a": [{"b": 1}]})),
            (",{\"a\":1}", json!({"a": 1})),
            ("{\"a\":inf,\"b\":-nan}", json!({"a": null, "b": null})),
            ("{\"a\":\"x\n\",\"b\":2}", json!({"a": "x", "b": 2})),
            ("{\"\"temp0\":\"5\"}", json!({"temp0": "5"})),
            ("{\"a\":[{\"b\":12,\"c\":34", json!({"a": [{"b": 12}]})),
            ("{\"a\":[{\"b\":12}", json!({"a": [{"b": 12}]})),
            ("{\"note\":\"}{ ,} inf\",}", json!({"note": "}{ ,} inf"})),
        ] {
            assert_eq!(document(text.as_bytes()).unwrap(), meant, "{text:?}");
        }
    }

    #[test]
    fn a_number_that_is_cut_in_two_is_dropped() {
        let whole = "{\"S\":[{\"Elapsed\":77,\"GHS 5s\":110123.45}]}";
        for end in 1..whole.len() {
            if let Ok(document) = document(&whole.as_bytes()[..end]) {
                let rate = document.pointer("/S/0/GHS 5s");
                assert!(rate.is_none_or(|rate| *rate == json!(110_123.45)), "{end}");
            }
        }
    }

    #[test]
    fn what_cannot_be_repaired_is_an_error() {
        for text in [
            "",
            "\0",
            "hello",
            "<html>",
            "{{{{",
            "{\"a\"",
            "[".repeat(9_999).as_str(),
        ] {
            assert!(document(text.as_bytes()).is_err(), "{text:?}");
        }
    }
}
