//! The meaning of a number: a table of ranges, each with a level.

use serde::{Deserialize, Serialize};

use crate::request::{Level, Request};

/// From, to, both included, the level, and the most that the site may draw in kW, which may be left
/// out: `[1, 1, "curtail", 500]`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum LevelRange {
    /// With a cap.
    Capped(f64, f64, Level, f64),
    /// Without one.
    Plain(f64, f64, Level),
}

impl LevelRange {
    fn parts(self) -> (f64, f64, Level, Option<f64>) {
        match self {
            Self::Capped(from, to, level, cap_kw) => (from, to, level, Some(cap_kw)),
            Self::Plain(from, to, level) => (from, to, level, None),
        }
    }
}

/// Refuses an empty table, ranges without numbers between their ends, and ranges that overlap. The
/// error names the key.
pub fn validate(map: &[LevelRange]) -> Result<(), String> {
    if map.is_empty() {
        return Err("map is empty; write [[from, to, \"normal\"], …]".to_owned());
    }
    let mut ranges: Vec<_> = map.iter().map(|range| range.parts()).collect();
    for (from, to, _, cap_kw) in &ranges {
        if !from.is_finite() || !to.is_finite() || from > to {
            return Err(format!(
                "map has the range {from} to {to}; from comes first"
            ));
        }
        if cap_kw.is_some_and(|cap_kw| !cap_kw.is_finite() || cap_kw < 0.0) {
            return Err(format!("map has a cap below zero from {from} to {to}"));
        }
    }
    ranges.sort_by(|one, other| one.0.total_cmp(&other.0));
    for pair in ranges.windows(2) {
        if pair[0].1 >= pair[1].0 {
            let (first, second) = (pair[0].1, pair[1].0);
            return Err(format!(
                "map has overlapping ranges: one ends at {first}, another begins at {second}"
            ));
        }
    }
    Ok(())
}

/// What a number asks for. The error says that no range has it.
pub fn request(map: &[LevelRange], number: f64) -> Result<Request, String> {
    let ranges = map.iter().map(|range| range.parts());
    let mut found = ranges.filter(|(from, to, ..)| (*from..=*to).contains(&number));
    let (_, _, level, cap_kw) = found
        .next()
        .ok_or_else(|| format!("the number {number} is in no range of map"))?;
    Ok(Request {
        cap_kw,
        ..Request::of_level(level)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn map(text: &str) -> Vec<LevelRange> {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_number_has_the_level_and_cap_of_its_range_or_none() {
        let map = map(r#"[[0, 0, "normal"], [1, 2, "curtail", 500], [3, 9, "emergency"]]"#);
        validate(&map).unwrap();
        assert_eq!(request(&map, 0.0).unwrap().level, Level::Normal);
        let curtail = request(&map, 1.5).unwrap();
        assert_eq!(
            (curtail.level, curtail.cap_kw),
            (Level::Curtail, Some(500.0))
        );
        assert!(request(&map, 0.5).unwrap_err().contains("0.5"));
        assert!(request(&map, f64::NAN).is_err());
    }

    #[test]
    fn ranges_that_overlap_or_hold_nothing_are_refused() {
        for text in [
            "[]",
            r#"[[0, 2, "normal"], [2, 3, "curtail"]]"#,
            r#"[[3, 1, "normal"]]"#,
            r#"[[0, 1, "curtail", -5]]"#,
        ] {
            assert!(validate(&map(text)).is_err(), "{text}");
        }
    }
}
