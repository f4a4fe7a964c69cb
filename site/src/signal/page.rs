//! `page`: a number on a web page or in a JSON document, and a table of what it means.
//!
//! The number is found by a regular expression with one group in a page, or by a JSON pointer (RFC
//! 6901) in a document. Where the page changes around the number, what stands there may mean
//! something else: the signal is unknown until somebody looked and accepted the new layout.

use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use headframe_ingest::source::json;
use regex::Regex;
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use super::evidence::{Evidence, RawBody};
use super::layout::{KeptLayout, LayoutShown};
use super::level_map::{self, LevelRange};
use super::{Keys, ReadContext, Signal, SignalKind, fetch, layout, parse_keys};
use crate::request::SignalValue;

/// Bytes of a compiled pattern.
const MOST_PATTERN_BYTES: usize = 1024 * 1024;

/// The kind.
pub struct Page;

impl SignalKind for Page {
    fn kind(&self) -> &'static str {
        "page"
    }
    fn doc(&self) -> &'static str {
        "A number on a web page or in a JSON document."
    }
    fn keys(&self) -> &'static [(&'static str, &'static str)] {
        &[
            (
                "url",
                "The page. Redirections to other hosts are not followed.",
            ),
            (
                "pattern",
                "A regular expression with one group, which is the number: `Level: *([0-9]+)`. It \
                 must match once.",
            ),
            (
                "pointer",
                "Instead of `pattern`: the JSON pointer of the number, such as `/signal/level`.",
            ),
            (
                "map",
                "What numbers mean: `[[from, to, level, cap_kw], …]`, both ends included; levels \
                 are normal, advisory, curtail and emergency; `cap_kw` may be left out. A number \
                 in no range makes the signal unknown.",
            ),
            (
                "layout",
                "The fingerprint of the tags or keys around the number, as the reason of an \
                 unknown signal says it; that of the first read when left out.",
            ),
            (
                "check_layout",
                "`false` to go on when the page changes around the number; true when left out.",
            ),
        ]
    }
    fn signal(&self, keys: Keys) -> Result<Box<dyn Signal>, String> {
        Ok(Box::new(PageSignal::new(keys)?))
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PageKeys {
    url: String,
    pattern: Option<String>,
    pointer: Option<String>,
    map: Vec<LevelRange>,
    layout: Option<String>,
    #[serde(default = "yes")]
    check_layout: bool,
}

fn yes() -> bool {
    true
}

enum Place {
    Pattern(Regex),
    Pointer(String),
}

struct PageSignal {
    url: Url,
    place: Place,
    map: Vec<LevelRange>,
    check_layout: bool,
    /// The fingerprint of page, place and configured layout: what a kept layout belongs to.
    place_print: String,
    layout: Mutex<Layout>,
    evidence: Evidence,
}

/// Fingerprints of what is around the number.
#[derive(Default)]
struct Layout {
    /// What it must be, once that is known.
    expected: Option<String>,
    /// What it was in the last page that had a number.
    seen: Option<String>,
}

/// A number with its surroundings.
#[derive(Debug, PartialEq)]
struct Found {
    number: f64,
    surroundings: String,
}

impl PageSignal {
    fn new(keys: Keys) -> Result<Self, String> {
        let keys: PageKeys = parse_keys(keys)?;
        level_map::validate(&keys.map)?;
        let (pattern, pointer) = (keys.pattern.as_deref(), keys.pointer.as_deref());
        let looked_for = pattern.or(pointer).unwrap_or_default();
        let configured = keys.layout.as_deref().unwrap_or_default();
        let place_print = layout::fingerprint(&[&keys.url, looked_for, configured].join("\n"));
        Ok(Self {
            url: fetch::checked_url(&keys.url)?,
            place: place(keys.pattern, keys.pointer)?,
            map: keys.map,
            check_layout: keys.check_layout,
            place_print,
            layout: Mutex::new(Layout {
                expected: keys.layout,
                seen: None,
            }),
            evidence: Evidence::default(),
        })
    }

    /// What a body says.
    fn value(&self, body: &[u8]) -> SignalValue {
        let request = self.place.find(body).and_then(|found| {
            self.check(&found.surroundings)?;
            level_map::request(&self.map, found.number)
        });
        match request {
            Ok(request) => SignalValue::Known(vec![request]),
            Err(reason) => SignalValue::Unknown(reason),
        }
    }

    fn layout(&self) -> MutexGuard<'_, Layout> {
        self.layout.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self, surroundings: &str) -> Result<(), String> {
        if !self.check_layout {
            return Ok(());
        }
        let mut layout = self.layout();
        let now = layout::fingerprint(surroundings);
        layout.seen = Some(now.clone());
        let known = layout.expected.get_or_insert_with(|| now.clone());
        match *known == now {
            true => Ok(()),
            false => Err(format!(
                "the page's layout changed around the number: look at the page, then accept the \
                 layout {now} (it was {known}; now {surroundings:.200})"
            )),
        }
    }
}

fn place(pattern: Option<String>, pointer: Option<String>) -> Result<Place, String> {
    match (pattern, pointer) {
        (Some(pattern), None) => {
            let regex = regex::RegexBuilder::new(&pattern)
                .size_limit(MOST_PATTERN_BYTES)
                .build();
            let regex = regex.map_err(|error| format!("pattern: {error}"))?;
            match regex.captures_len() {
                2 => Ok(Place::Pattern(regex)),
                _ => Err("pattern must have one group, which is the number".to_owned()),
            }
        }
        (None, Some(pointer)) if pointer.is_empty() || pointer.starts_with('/') => {
            Ok(Place::Pointer(pointer))
        }
        (None, Some(pointer)) => Err(format!("pointer is {pointer:?}; it begins with /")),
        _ => Err("set either pattern or pointer".to_owned()),
    }
}

impl Place {
    fn find(&self, body: &[u8]) -> Result<Found, String> {
        match self {
            Self::Pattern(regex) => {
                let text = String::from_utf8_lossy(body);
                let mut matches = regex.captures_iter(&text);
                let first = matches.next().and_then(|captures| captures.get(1));
                let first = first.ok_or("the page has nothing that the pattern matches")?;
                if matches.next().is_some() {
                    return Err("the pattern matches the page more than once".to_owned());
                }
                let number = json::text_number(first.as_str());
                Ok(Found {
                    number: number
                        .filter(|number| number.is_finite())
                        .ok_or_else(|| format!("{:.40?} is no number", first.as_str()))?,
                    surroundings: layout::tag_path(&text, first.start()),
                })
            }
            Self::Pointer(pointer) => {
                let document: Value = serde_json::from_slice(body)
                    .map_err(|error| format!("the answer is not JSON: {error}"))?;
                let found = document.pointer(pointer);
                let found = found.ok_or_else(|| format!("there is nothing at {pointer}"))?;
                Ok(Found {
                    number: json::number(found)
                        .ok_or_else(|| format!("what stands at {pointer} is no number"))?,
                    surroundings: layout::json_surroundings(&document, pointer),
                })
            }
        }
    }
}

#[async_trait]
impl Signal for PageSignal {
    async fn read(&self, context: &ReadContext<'_>) -> SignalValue {
        match fetch::body(&self.url, context).await {
            Ok(body) => {
                self.evidence.add(context.now, Bytes::clone(&body));
                self.value(&body)
            }
            Err(reason) => SignalValue::Unknown(reason),
        }
    }

    fn evidence(&self) -> Vec<RawBody> {
        self.evidence.all()
    }

    fn layout(&self) -> Option<LayoutShown> {
        let layout = PageSignal::layout(self);
        self.check_layout.then(|| LayoutShown {
            expected: layout.expected.clone(),
            seen: layout.seen.clone(),
        })
    }

    fn accept_layout(&self, wanted: &str) -> Result<(), String> {
        let mut layout = PageSignal::layout(self);
        match layout.seen.as_deref().filter(|_| self.check_layout) {
            None => Err("no page with a layout was read yet".to_owned()),
            Some(seen) if seen != wanted => Err(format!(
                "the page has the layout {seen} now: look at it again"
            )),
            Some(_) => {
                layout.expected = Some(wanted.to_owned());
                Ok(())
            }
        }
    }

    fn kept_layout(&self) -> Option<KeptLayout> {
        let expected = PageSignal::layout(self).expected.clone();
        expected.map(|layout| KeptLayout {
            place: self.place_print.clone(),
            layout,
        })
    }

    fn restore_layout(&self, kept: &KeptLayout) {
        if kept.place == self.place_print {
            PageSignal::layout(self).expected = Some(kept.layout.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::request::Level;
    use proptest::prelude::*;
    use serde_json::json;

    fn page(place: (&str, &str)) -> PageSignal {
        let keys = json!({"url": "https://utility.example/signal", place.0: place.1,
            "map": [[0, 0, "normal"], [1, 1, "advisory"], [2, 2, "curtail", 500]]});
        PageSignal::new(keys.as_object().unwrap().clone()).unwrap()
    }

    fn level(value: &SignalValue) -> Option<Level> {
        match value {
            SignalValue::Known(requests) => Some(requests[0].level),
            SignalValue::Unknown(_) => None,
        }
    }

    fn reason(value: SignalValue) -> String {
        match value {
            SignalValue::Known(requests) => panic!("{requests:?}"),
            SignalValue::Unknown(reason) => reason,
        }
    }

    #[test]
    fn the_number_on_the_page_is_looked_up_in_the_table() {
        let page = page(("pattern", r"Level:\s*<b>([^<]*)</b>"));
        let html =
            |number: &str| format!("<html><body><p>Level: <b>{number}</b></p></body></html>");
        assert_eq!(
            level(&page.value(html("0").as_bytes())),
            Some(Level::Normal)
        );
        assert_eq!(
            level(&page.value(html(" 2 ").as_bytes())),
            Some(Level::Curtail)
        );
        assert!(reason(page.value(html("7").as_bytes())).contains("no range"));
        assert!(reason(page.value(html("").as_bytes())).contains("no number"));
        assert!(reason(page.value(b"<html>sorry</html>")).contains("nothing"));
        let twice = format!("{}{}", html("0"), html("2"));
        assert!(reason(page.value(twice.as_bytes())).contains("more than once"));
    }

    #[test]
    fn a_changed_layout_is_unknown_until_it_is_accepted() {
        let page = page(("pattern", r">(\d)<"));
        let old = b"<table><tr><td>Level</td><td>0</td></tr></table>";
        let new = b"<table><tr><td>Yesterday</td><td>Level</td><td>0</td></tr></table>";
        assert_eq!(level(&page.value(old)), Some(Level::Normal));
        assert!(reason(page.value(new)).contains("layout changed"));
        assert_eq!(level(&page.value(old)), Some(Level::Normal));
        let seen = |page: &PageSignal| PageSignal::layout(page).seen.clone().unwrap();
        let was = seen(&page);
        page.value(new);
        assert!(page.accept_layout(&was).unwrap_err().contains("look at it"));
        // A restart accepts nothing.
        let kept = page.kept_layout().unwrap();
        let again = self::page(("pattern", r">(\d)<"));
        again.restore_layout(&kept);
        assert!(reason(again.value(new)).contains("layout changed"));
        page.accept_layout(&seen(&page)).unwrap();
        assert_eq!(level(&page.value(new)), Some(Level::Normal));
        // Of another place nothing is known.
        let other = self::page(("pattern", r"td>(\d)<"));
        other.restore_layout(&kept);
        assert_eq!(level(&other.value(new)), Some(Level::Normal));
    }

    #[test]
    fn a_json_pointer_finds_the_number_and_a_moved_key_is_a_changed_layout() {
        let page = page(("pointer", "/signal/level"));
        assert_eq!(
            level(&page.value(br#"{"signal": {"level": 1}}"#)),
            Some(Level::Advisory)
        );
        assert!(reason(page.value(br#"{"signal": {}}"#)).contains("nothing at"));
        assert!(reason(page.value(br#"{"signal": {"level": null}}"#)).contains("no number"));
        let other = br#"{"signal": {"level": 0, "unit": "MW"}}"#;
        assert!(reason(page.value(other)).contains("layout"));
    }

    #[test]
    fn keys_that_cannot_work_are_refused_by_name() {
        let refusal = |keys: Value| PageSignal::new(keys.as_object().unwrap().clone()).err();
        let map = json!([[0, 0, "normal"]]);
        for (keys, named) in [
            (
                json!({"url": "ftp://a", "pointer": "/a", "map": map}),
                "url",
            ),
            (
                json!({"url": "https://u:p@a/", "pointer": "/a", "map": map}),
                "login",
            ),
            (
                json!({"url": "https://a/", "map": map}),
                "pattern or pointer",
            ),
            (
                json!({"url": "https://a/", "pattern": "x", "map": map}),
                "group",
            ),
            (
                json!({"url": "https://a/", "pattern": "(", "map": map}),
                "pattern",
            ),
            (
                json!({"url": "https://a/", "pointer": "a", "map": map}),
                "pointer",
            ),
            (
                json!({"url": "https://a/", "pointer": "/a", "map": []}),
                "map",
            ),
            (
                json!({"url": "https://a/", "pointer": "/a", "map": map, "x": 1}),
                "x",
            ),
        ] {
            let refusal = refusal(keys.clone()).unwrap_or_else(|| panic!("{keys}"));
            assert!(refusal.contains(named), "{refusal}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_known_or_unknown(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            for place in [("pattern", r"(\d+)"), ("pointer", "/a")] {
                page(place).value(&body);
            }
        }
    }
}
