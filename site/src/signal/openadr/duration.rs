//! Durations of ISO 8601, as OpenADR writes them: `PT1H30M`, `P1D`; `P9999Y` has no end.

/// Years from which a duration has no end.
const ENDLESS_YEARS: f64 = 9_999.0;

/// Microseconds; `None` inside has no end. Years have 365.25 days and months 30.
pub fn micros(text: &str) -> Result<Option<i64>, String> {
    let wrong = || format!("{text:.40?} is no duration");
    let rest = text.strip_prefix('P').ok_or_else(wrong)?;
    let (days, times) = rest.split_once('T').unwrap_or((rest, ""));
    if (days.is_empty() && times.is_empty()) || rest.ends_with('T') {
        return Err(wrong());
    }
    let mut seconds = 0.0;
    let units = [
        ('Y', 31_557_600.0),
        ('M', 2_592_000.0),
        ('W', 604_800.0),
        ('D', 86_400.0),
    ];
    for (number, unit) in parts(days).ok_or_else(wrong)? {
        if unit == 'Y' && number >= ENDLESS_YEARS {
            return Ok(None);
        }
        let found = units.iter().find(|(known, _)| *known == unit);
        seconds += number * found.ok_or_else(wrong)?.1;
    }
    let units = [('H', 3_600.0), ('M', 60.0), ('S', 1.0)];
    for (number, unit) in parts(times).ok_or_else(wrong)? {
        let found = units.iter().find(|(known, _)| *known == unit);
        seconds += number * found.ok_or_else(wrong)?.1;
    }
    Ok(Some((seconds * 1e6) as i64))
}

/// Numbers with their units.
fn parts(text: &str) -> Option<Vec<(f64, char)>> {
    let (mut parts, mut number) = (Vec::new(), String::new());
    for c in text.chars() {
        if c.is_ascii_digit() || c == '.' {
            number.push(c);
        } else {
            parts.push((number.parse().ok()?, c));
            number.clear();
        }
    }
    number.is_empty().then_some(parts)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::micros;
    use proptest::prelude::*;

    #[test]
    fn durations_are_read_and_the_endless_one_has_no_end() {
        for (text, seconds) in [
            ("PT1H30M", 5_400.0),
            ("P1DT1S", 86_401.0),
            ("PT0S", 0.0),
            ("P2W", 1_209_600.0),
            ("PT0.5S", 0.5),
        ] {
            assert_eq!(
                micros(text).unwrap(),
                Some((seconds * 1e6) as i64),
                "{text}"
            );
        }
        assert_eq!(micros("P9999Y").unwrap(), None);
        for wrong in ["", "P", "PT", "1H", "PT1", "P1H", "PT1X", "P1DT", "PT.S"] {
            assert!(micros(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_duration_or_not(text in "P?[0-9.YMWDTHS]{0,20}|\\PC{0,20}") {
            micros(&text).ok();
        }
    }
}
