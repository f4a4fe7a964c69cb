//! A `[[pipeline]]` of the configuration, as it is written.

use serde::{Deserialize, Serialize};

use crate::user_pipeline::closing::Windows;

/// The longest window, and the longest wait for late rows, in seconds: 31 days.
const LONGEST_S: i64 = 31 * 86_400;
/// How long rows of a window are waited for when nobody says.
const LATENESS: &str = "30s";
/// Statements longer than this are a slip.
const MAX_SQL_BYTES: usize = 64 << 10;
/// The longest name of a table or pipeline, in bytes.
const MAX_NAME_BYTES: usize = 48;

/// Who may read the output table of a pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Readers {
    /// Whoever reads the data of this system.
    Reader,
    /// Operators, auditors and admins.
    Operator,
}

/// SQL over the rows of a stream, whose answers become a table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserPipelineConfig {
    /// Its name, in snake_case.
    pub name: String,
    /// The stream whose committed rows are the relation `input`.
    pub input: String,
    /// The output table; the name when absent.
    #[serde(default)]
    pub table: Option<String>,
    /// A stream whose rows the table's rows become as well, each once; none when absent.
    #[serde(default)]
    pub stream: Option<String>,
    /// The width of its windows, such as `1m`; row by row when absent.
    #[serde(default)]
    pub window: Option<String>,
    /// How long rows of a window are waited for after its end, in event time.
    #[serde(default)]
    pub lateness: Option<String>,
    /// One SELECT.
    pub sql: String,
    /// Who may read the output; whoever may read the input when absent.
    #[serde(default)]
    pub read: Option<Readers>,
    /// Days after which rows of the output are dropped.
    #[serde(default = "default_retention_days")]
    pub retention_days: u32,
    /// Memory that one evaluation of the SELECT may use, in MiB.
    #[serde(default = "default_memory_mib")]
    pub memory_mib: usize,
    /// Seconds that one evaluation of the SELECT may take.
    #[serde(default = "default_timeout_s")]
    pub timeout_s: u64,
}

fn default_retention_days() -> u32 {
    headframe_schemas::table::DEFAULT_RETENTION_DAYS
}

fn default_memory_mib() -> usize {
    256
}

fn default_timeout_s() -> u64 {
    60
}

impl UserPipelineConfig {
    /// The name of its output table.
    pub fn table_name(&self) -> &str {
        self.table.as_deref().unwrap_or(&self.name)
    }

    /// What is wrong with its keys, but for `input` and `sql`, each with its key.
    pub(super) fn check(&self) -> Result<(), String> {
        for (key, name) in [("name", self.name.as_str()), ("table", self.table_name())] {
            if !is_plain(name) || name.len() > MAX_NAME_BYTES {
                return Err(format!(
                    "{key} is {name:?}; it must be snake_case, begin with a letter and have at \
                     most {MAX_NAME_BYTES} characters"
                ));
            }
        }
        if self.sql.len() > MAX_SQL_BYTES {
            let bytes = self.sql.len();
            return Err(format!(
                "sql has {bytes} bytes; at most {MAX_SQL_BYTES} are taken"
            ));
        }
        let ranges = [
            ("retention_days", u64::from(self.retention_days), 2, 36_500),
            ("memory_mib", self.memory_mib as u64, 64, 65_536),
            ("timeout_s", self.timeout_s, 1, 3_600),
        ];
        match ranges
            .into_iter()
            .find(|(_, value, low, high)| value < low || value > high)
        {
            Some((key, value, low, high)) => Err(format!(
                "{key} is {value}; it must lie between {low} and {high}"
            )),
            None => Ok(()),
        }
    }

    /// Its windows; `None` when it works row by row.
    pub(super) fn windows(&self) -> Result<Option<Windows>, String> {
        let Some(window) = &self.window else {
            return match &self.lateness {
                Some(_) => Err("lateness is set but window is not; name a window".to_owned()),
                None => Ok(None),
            };
        };
        let width_s = seconds("window", window)?;
        if width_s == 0 {
            return Err("window is 0; it must be at least 1s".to_owned());
        }
        let lateness = self.lateness.as_deref().unwrap_or(LATENESS);
        Ok(Some(Windows {
            width_us: width_s * 1_000_000,
            lateness_us: seconds("lateness", lateness)? * 1_000_000,
        }))
    }
}

/// Whether a name is plain snake_case.
pub(super) fn is_plain(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_lowercase())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// Seconds from `90s`, `5m`, `1h` or `1d`.
fn seconds(key: &str, text: &str) -> Result<i64, String> {
    let units = [("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400)];
    let found = units.iter().find_map(|(unit, seconds)| {
        let number = text.strip_suffix(unit)?;
        let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        let number = digits.then(|| number.parse::<i64>().ok())??;
        number.checked_mul(*seconds)
    });
    match found {
        Some(seconds) if seconds <= LONGEST_S => Ok(seconds),
        Some(_) => Err(format!("{key} is {text}; it must be at most 31d")),
        None => Err(format!(
            "{key} is {text:?}; write a whole number and s, m, h or d, such as 90s or 5m"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_a_number_and_a_unit() {
        for (text, expected) in [("0s", 0), ("90s", 90), ("5m", 300), ("2h", 7_200)] {
            assert_eq!(seconds("window", text), Ok(expected));
        }
        assert_eq!(seconds("window", "31d"), Ok(LONGEST_S));
        for bad in [
            "",
            "m",
            "1",
            "1 m",
            "-1m",
            "+1m",
            "1.5h",
            "1w",
            "32d",
            "99999999999999999999d",
        ] {
            assert!(seconds("window", bad).is_err(), "{bad}");
        }
    }
}
