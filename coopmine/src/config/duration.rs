//! A length of time.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A length of time: `500ms`, `30s`, `5m` or `1h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DurationSetting(pub Duration);

impl DurationSetting {
    /// In milliseconds.
    pub fn as_millis(self) -> u64 {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
    }
}

impl FromStr for DurationSetting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let at = text
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(at);
        let factor = match unit {
            "ms" => Some(1),
            "s" => Some(1_000),
            "m" => Some(60_000),
            "h" => Some(3_600_000),
            _ => None,
        };
        let number = number.parse::<u64>().ok();
        number
            .zip(factor)
            .and_then(|(number, factor)| number.checked_mul(factor))
            .map(|milliseconds| Self(Duration::from_millis(milliseconds)))
            .ok_or_else(|| format!("{text:?} is no length of time such as 500ms, 30s or 5m"))
    }
}

impl TryFrom<String> for DurationSetting {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<DurationSetting> for String {
    fn from(setting: DurationSetting) -> Self {
        setting.to_string()
    }
}

impl fmt::Display for DurationSetting {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.as_millis() {
            whole if whole.is_multiple_of(1_000) => write!(out, "{}s", whole / 1_000),
            milliseconds => write!(out, "{milliseconds}ms"),
        }
    }
}
