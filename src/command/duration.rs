//! Durations as people write them on a command line: 90s, 5m, 1h.

use std::time::Duration;

/// Parses 90s, 5m or 1h; a bare number is seconds.
pub fn duration(text: &str) -> Result<Duration, String> {
    let split = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: u64 = number
        .parse()
        .map_err(|_| format!("{text:?} is not a duration; write 90s, 5m or 1h"))?;
    let seconds = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3_600,
        _ => return Err(format!("{unit:?} is not a unit; write 90s, 5m or 1h")),
    };
    number
        .checked_mul(seconds)
        .map(Duration::from_secs)
        .ok_or_else(|| format!("{text:?} is longer than any run; write 90s, 5m or 1h"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_number_and_a_unit() {
        let seconds = |text| duration(text).map(|length| length.as_secs());
        assert_eq!(seconds("90"), Ok(90));
        assert_eq!(seconds("90s"), Ok(90));
        assert_eq!(seconds("5m"), Ok(300));
        assert_eq!(seconds("2h"), Ok(7_200));
        for wrong in ["", "s", "5d", "-1s", "1.5h", "18446744073709551615h"] {
            assert!(duration(wrong).is_err(), "{wrong:?}");
        }
    }
}
