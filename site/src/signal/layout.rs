//! The surroundings of a value in a page, as a fingerprint: when they change, somebody changed the
//! page, and what stands at the old place may mean something else.
//!
//! In HTML they are the tags around the value, each with its `id` and its number among the tags of
//! the same name beside it. In JSON they are the keys beside the value, and what kind of value it
//! is. Text without tags has no surroundings.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Tags around each other that are told apart; pages nested deeper are cut off.
const MOST_DEPTH: usize = 256;
/// Tags that have no end.
const VOID: [&str; 14] = [
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source",
    "track", "wbr",
];
/// Tags whose content is no HTML.
const RAW: [&str; 2] = ["script", "style"];

/// The layout that a page is expected to have, as it outlasts a restart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptLayout {
    /// The fingerprint of where the number is looked for: a layout of another place is of no use.
    pub place: String,
    /// The fingerprint of what is around the number.
    pub layout: String,
}

/// The layout of a page, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LayoutShown {
    /// The fingerprint that is expected; none before the first read.
    pub expected: Option<String>,
    /// The fingerprint of the last page that had a number.
    pub seen: Option<String>,
}

/// Sixteen hexadecimal digits of the SHA-256 of the surroundings.
pub fn fingerprint(surroundings: &str) -> String {
    hex::encode(&digest(&SHA256, surroundings.as_bytes()).as_ref()[..8])
}

/// The tags around the byte `at` of a page.
pub fn tag_path(html: &str, at: usize) -> String {
    let mut open: Vec<OpenTag> = vec![OpenTag::default()];
    let mut rest = 0;
    while let Some(start) = html[rest..].find('<').map(|found| rest + found) {
        if start >= at {
            break;
        }
        if html[start..].starts_with("<!--") {
            rest = end_of(html, start, "-->");
            continue;
        }
        let end = end_of(html, start, ">");
        let inside = html[start + 1..end].trim_end_matches('>');
        rest = end;
        if let Some(name) = inside.strip_prefix('/') {
            close(&mut open, &tag_name(name));
            continue;
        }
        let name = tag_name(inside);
        if name.is_empty() {
            continue;
        }
        let has_end = !inside.ends_with('/') && !VOID.contains(&name.as_str());
        let is_raw = RAW.contains(&name.as_str());
        let label = label(&mut open, &name, inside);
        if is_raw {
            let closing = format!("</{name}");
            rest = html[end..]
                .to_ascii_lowercase()
                .find(&closing)
                .map_or(html.len(), |found| end + found);
        } else if has_end && open.len() < MOST_DEPTH {
            open.push(OpenTag {
                name,
                label,
                children: BTreeMap::new(),
            });
        }
    }
    let labels: Vec<&str> = open.iter().skip(1).map(|tag| tag.label.as_str()).collect();
    labels.join("/")
}

#[derive(Default)]
struct OpenTag {
    name: String,
    label: String,
    /// How many tags of each name there were inside.
    children: BTreeMap<String, usize>,
}

/// The byte after the next `what`, or the end.
fn end_of(html: &str, from: usize, what: &str) -> usize {
    let found = html[from..].find(what);
    found.map_or(html.len(), |found| from + found + what.len())
}

fn tag_name(inside: &str) -> String {
    let name = inside.chars().take_while(|c| c.is_ascii_alphanumeric());
    name.map(|c| c.to_ascii_lowercase()).collect()
}

fn label(open: &mut [OpenTag], name: &str, inside: &str) -> String {
    let number = open.last_mut().map_or(0, |parent| {
        let number = parent.children.entry(name.to_owned()).or_default();
        *number += 1;
        *number
    });
    let id = inside
        .split_ascii_whitespace()
        .find_map(|word| word.strip_prefix("id="))
        .map_or("", |id| id.trim_matches(['"', '\'', '/']));
    format!("{name}[{number}]#{id}")
}

/// Closes the innermost tag of this name; tags within it, whose ends are missing, close with it.
fn close(open: &mut Vec<OpenTag>, name: &str) {
    let found = open.iter().skip(1).rposition(|tag| tag.name == *name);
    if let Some(found) = found {
        open.truncate(found + 1);
    }
}

/// The keys beside the value at a JSON pointer, and what kind of value it is.
pub fn json_surroundings(document: &Value, pointer: &str) -> String {
    let parent = pointer.rsplit_once('/').map_or("", |(parent, _)| parent);
    let keys = match document.pointer(parent) {
        Some(Value::Object(object)) => {
            let mut keys: Vec<&str> = object.keys().map(String::as_str).collect();
            keys.sort_unstable();
            keys.join(",")
        }
        Some(Value::Array(_)) => "[]".to_owned(),
        _ => String::new(),
    };
    let kind = match document.pointer(pointer) {
        Some(Value::Number(_)) => "number",
        Some(Value::String(_)) => "text",
        Some(_) => "other",
        None => "none",
    };
    format!("{keys}:{kind}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn path_to(html: &str, needle: &str) -> String {
        tag_path(html, html.find(needle).unwrap_or_default())
    }

    #[test]
    fn the_path_names_the_tags_that_are_open() {
        let html = "<html><head><style>p > b {}</style></head><body><br><p>a<img/></p>\
                    <div id=\"now\"><b>x</b><b>LEVEL</b></div></body></html>";
        let path = "html[1]#/body[1]#/div[1]#now/b[2]#";
        assert_eq!(path_to(html, "LEVEL"), path);
        let moved = html.replace("<b>x</b>", "<b>x</b><b>y</b>");
        assert_ne!(path_to(&moved, "LEVEL"), path);
        let other_text = html.replace(">x<", ">something longer<");
        assert_eq!(path_to(&other_text, "LEVEL"), path);
        assert_eq!(path_to("LEVEL 3", "LEVEL"), "");
    }

    #[test]
    fn keys_beside_a_value_are_its_surroundings() {
        let json = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
        let one = json_surroundings(&json(r#"{"a": {"level": 1, "unit": "x"}}"#), "/a/level");
        let same = json_surroundings(&json(r#"{"a": {"unit": "y", "level": 7}}"#), "/a/level");
        let other = json_surroundings(&json(r#"{"a": {"level": 1}}"#), "/a/level");
        assert_eq!(one, same);
        assert_ne!(one, other);
    }

    proptest! {
        #[test]
        fn any_text_has_a_path(html in "[<>/!a-c\" =#-]{0,200}|\\PC{0,100}", at in 0_usize..300) {
            tag_path(&html, at);
        }
    }
}
