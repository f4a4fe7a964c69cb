//! The settings of a session: what SET keeps and SHOW tells.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::error::{ErrorCode, QueryError};
use crate::sqlstate::SqlState;

/// The version that clients are told: what the catalogue looks like.
pub const SERVER_VERSION: &str = "16.6";

/// Settings that a session may have beside the known ones.
const MAX_SETTINGS: usize = 128;
/// Bytes that a name and a value may have together.
const MAX_SETTING_BYTES: usize = 1_024;

/// What every session begins with.
pub const DEFAULTS: &[(&str, &str)] = &[
    ("application_name", ""),
    ("bytea_output", "hex"),
    ("client_encoding", "UTF8"),
    ("client_min_messages", "notice"),
    ("datestyle", "ISO, MDY"),
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_read_only", "on"),
    ("extra_float_digits", "1"),
    ("idle_in_transaction_session_timeout", "0"),
    ("in_hot_standby", "off"),
    ("integer_datetimes", "on"),
    ("intervalstyle", "postgres"),
    ("is_superuser", "off"),
    ("jit", "off"),
    ("lc_collate", "C.UTF-8"),
    ("lc_ctype", "C.UTF-8"),
    ("lc_messages", "C.UTF-8"),
    ("lc_monetary", "C.UTF-8"),
    ("lc_numeric", "C.UTF-8"),
    ("lock_timeout", "0"),
    ("max_identifier_length", "63"),
    ("max_index_keys", "32"),
    ("row_security", "on"),
    ("search_path", "\"$user\", public"),
    ("server_encoding", "UTF8"),
    ("server_version", SERVER_VERSION),
    ("server_version_num", "160006"),
    ("session_authorization", ""),
    ("standard_conforming_strings", "on"),
    ("statement_timeout", "0"),
    ("timezone", "UTC"),
    ("transaction_isolation", "read committed"),
    ("transaction_read_only", "on"),
];

/// Settings that a client is told at the start, as it spells them.
const REPORTED: &[&str] = &[
    "application_name",
    "client_encoding",
    "DateStyle",
    "default_transaction_read_only",
    "in_hot_standby",
    "integer_datetimes",
    "IntervalStyle",
    "is_superuser",
    "server_encoding",
    "server_version",
    "session_authorization",
    "standard_conforming_strings",
    "TimeZone",
];

/// Settings that can only be what they are, because answers are written in no other way.
const FIXED: &[&str] = &[
    "bytea_output",
    "client_encoding",
    "integer_datetimes",
    "intervalstyle",
    "is_superuser",
    "server_encoding",
    "server_version",
    "server_version_num",
    "standard_conforming_strings",
];

/// Settings that clients set to their own and that have no effect: dates are ISO, and every time
/// with a zone is written in UTC with its offset.
const WITHOUT_EFFECT: &[&str] = &["datestyle", "timezone"];

/// The settings of one session.
pub(super) struct SessionSettings {
    changed: BTreeMap<String, String>,
    user: String,
    /// What the end of the open transaction leaves.
    saved: Option<SavedSettings>,
}

/// What differs from the defaults outside of an open transaction.
struct SavedSettings {
    /// After a ROLLBACK: what was before.
    before: BTreeMap<String, String>,
    /// After a COMMIT: the same with what was set for longer than the transaction.
    after: BTreeMap<String, String>,
}

impl SessionSettings {
    /// Those of a new session of this user.
    pub(super) fn new(user: &str) -> Self {
        Self {
            changed: BTreeMap::new(),
            user: user.to_owned(),
            saved: None,
        }
    }

    /// Begins a transaction, or goes on with one.
    pub(super) fn begin(&mut self) {
        self.saved.get_or_insert_with(|| SavedSettings {
            before: self.changed.clone(),
            after: self.changed.clone(),
        });
    }

    /// Ends a transaction; answers what a client has to be told of that.
    pub(super) fn end(&mut self, commits: bool) -> Vec<(&'static str, String)> {
        let Some(SavedSettings { before, after }) = self.saved.take() else {
            return Vec::new();
        };
        let old: Vec<_> = self.reported().map(|(_, value)| value.to_owned()).collect();
        self.changed = if commits { after } else { before };
        let now = self.reported().zip(old);
        let others = now.filter(|((_, value), old)| *value != old.as_str());
        others
            .map(|((name, value), _)| (name, value.to_owned()))
            .collect()
    }

    /// What a setting is; `None` when there is none of this name.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        if name == "session_authorization" || name == "role" {
            return Some(&self.user);
        }
        let changed = self.changed.get(name).map(String::as_str);
        changed.or_else(|| {
            let mut defaults = DEFAULTS.iter();
            defaults
                .find(|(known, _)| *known == name)
                .map(|(_, value)| *value)
        })
    }

    /// Changes a setting; `None` sets its default. The name is in lower case.
    pub(super) fn set(&mut self, name: &str, value: Option<String>) -> Result<(), QueryError> {
        self.change(name, value)?;
        if let Some(saved) = &mut self.saved {
            match self.changed.get(name) {
                Some(value) => saved.after.insert(name.to_owned(), value.clone()),
                None => saved.after.remove(name),
            };
        }
        Ok(())
    }

    /// The same until the transaction ends; without one it changes nothing.
    pub(super) fn set_local(
        &mut self,
        name: &str,
        value: Option<String>,
    ) -> Result<(), QueryError> {
        if self.saved.is_some() {
            return self.change(name, value);
        }
        let before = self.changed.clone();
        let changed = self.change(name, value);
        self.changed = before;
        changed
    }

    fn change(&mut self, name: &str, value: Option<String>) -> Result<(), QueryError> {
        let Some(value) = value else {
            self.changed.remove(name);
            return Ok(());
        };
        if matches!(
            name,
            "role" | "session_authorization" | "session authorization"
        ) || name.starts_with("datafusion.")
        {
            let none = value.eq_ignore_ascii_case("none") || value == self.user;
            return match none {
                true => Ok(()),
                false => Err(refused(name, "it cannot be changed here")),
            };
        }
        if WITHOUT_EFFECT.contains(&name) {
            return Ok(());
        }
        if FIXED.contains(&name) {
            return match same(self.get(name).unwrap_or_default(), &value) {
                true => Ok(()),
                false => Err(invalid(name, &value)),
            };
        }
        if name == "statement_timeout" && duration(&value).is_none() {
            return Err(invalid(name, &value));
        }
        let fits = name.len() + value.len() <= MAX_SETTING_BYTES;
        if !fits || (self.changed.len() >= MAX_SETTINGS && !self.changed.contains_key(name)) {
            let state = SqlState::LimitExceeded;
            return Err(refused(name, "the session has as many as it may").with_sqlstate(state));
        }
        self.changed.insert(name.to_owned(), value);
        Ok(())
    }

    /// Sets every default.
    pub(super) fn reset(&mut self) {
        self.changed.clear();
        if let Some(saved) = &mut self.saved {
            saved.after.clear();
        }
    }

    /// What a client is told at the start.
    pub(super) fn reported(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let value = |name: &str| self.get(&name.to_lowercase()).unwrap_or_default();
        REPORTED.iter().map(move |name| (*name, value(name)))
    }

    /// How the name of a setting is told to clients when it has changed.
    pub(super) fn reported_name(name: &str) -> Option<&'static str> {
        let mut reported = REPORTED.iter().copied();
        reported.find(|reported| reported.eq_ignore_ascii_case(name))
    }

    /// All of them, for SHOW ALL.
    pub(super) fn all(&self) -> BTreeMap<String, String> {
        let defaults = DEFAULTS.iter().map(|(name, _)| *name);
        let names = defaults.chain(self.changed.keys().map(String::as_str));
        names
            .map(|name| {
                (
                    name.to_owned(),
                    self.get(name).unwrap_or_default().to_owned(),
                )
            })
            .collect()
    }

    /// Those that the engine is told, which knows the defaults itself.
    pub(super) fn changed(&self) -> BTreeMap<String, String> {
        self.changed.clone()
    }

    /// How long statements may run, when the session says so.
    pub(super) fn statement_timeout(&self) -> Option<Duration> {
        duration(self.get("statement_timeout")?).filter(|time| !time.is_zero())
    }
}

/// `5000`, `5s`, `2min`: milliseconds where no unit is named.
fn duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let end = text.find(|char: char| !char.is_ascii_digit());
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    let number: u64 = number.parse().ok()?;
    let millis = match unit.trim() {
        "us" => return Some(Duration::from_micros(number)),
        "" | "ms" => 1,
        "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    Some(Duration::from_millis(number.checked_mul(millis)?))
}

/// Encodings are written with and without a hyphen, switches as words and numbers.
fn same(one: &str, other: &str) -> bool {
    let plain = |text: &str| -> String {
        let text = text.to_lowercase();
        match text.as_str() {
            "true" | "1" | "yes" => "on".to_owned(),
            "false" | "0" | "no" => "off".to_owned(),
            "unicode" => "utf8".to_owned(),
            _ => text.chars().filter(|char| char.is_alphanumeric()).collect(),
        }
    };
    plain(one) == plain(other)
}

fn invalid(name: &str, value: &str) -> QueryError {
    let message = format!("the setting {name} cannot be {value:?} here");
    QueryError::bad_request(message, "docs/psql.md says which settings have an effect")
        .with_sqlstate(SqlState::InvalidParameterValue)
}

fn refused(name: &str, why: &str) -> QueryError {
    let message = format!("the setting {name} is refused: {why}");
    QueryError::new(
        ErrorCode::ReadOnly,
        message,
        "docs/psql.md says which settings have an effect",
    )
}

/// The error of a setting that nobody has set.
pub(super) fn unknown(name: &str) -> QueryError {
    let message = format!("there is no setting {name}");
    QueryError::bad_request(message, "SHOW ALL lists them").with_sqlstate(SqlState::UndefinedObject)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_cannot_be_otherwise_is_refused_and_the_rest_is_kept() {
        let mut settings = SessionSettings::new("reader");
        let mut set = |name: &str, value: &str| settings.set(name, Some(value.to_owned()));
        assert!(set("client_encoding", "utf-8").is_ok());
        assert!(set("client_encoding", "LATIN1").is_err());
        assert!(set("standard_conforming_strings", "off").is_err());
        assert!(set("datafusion.execution.batch_size", "1").is_err());
        assert!(set("role", "postgres").is_err());
        assert!(set("role", "none").is_ok());
        assert!(set("statement_timeout", "soon").is_err());
        assert!(set("statement_timeout", "5s").is_ok());
        assert!(set("a.b", &"x".repeat(2_000)).is_err());
        for number in 0..MAX_SETTINGS * 2 {
            let _ = set(&format!("x.y{number}"), "1");
        }
        assert_eq!(settings.changed.len(), MAX_SETTINGS);
        assert_eq!(settings.statement_timeout(), Some(Duration::from_secs(5)));
        assert_eq!(settings.get("session_authorization"), Some("reader"));
        settings.reset();
        assert_eq!(settings.statement_timeout(), None);
    }

    #[test]
    fn a_transaction_takes_its_settings_with_it() {
        let mut settings = SessionSettings::new("reader");
        let some = |value: &str| Some(value.to_owned());
        settings.set_local("lock_timeout", some("1s")).unwrap();
        assert_eq!(settings.get("lock_timeout"), Some("0"), "there is none");
        settings.set("work_mem", some("1MB")).unwrap();
        for (commits, timeout, name) in [(false, None, "a"), (true, Some(5), "b")] {
            settings.set("application_name", some("a")).unwrap();
            settings.begin();
            settings.set("statement_timeout", some("5s")).unwrap();
            settings.set("application_name", some("b")).unwrap();
            settings.begin();
            settings.set_local("lock_timeout", some("1s")).unwrap();
            settings.set_local("statement_timeout", some("7s")).unwrap();
            settings.set_local("application_name", some("c")).unwrap();
            assert_eq!(settings.statement_timeout(), Some(Duration::from_secs(7)));
            assert_eq!(
                settings.end(commits),
                [("application_name", name.to_owned())]
            );
            let left = settings.statement_timeout().map(|time| time.as_secs());
            assert_eq!(left, timeout, "{commits}");
            assert_eq!(settings.get("lock_timeout"), Some("0"));
            assert_eq!(settings.get("work_mem"), Some("1MB"));
        }
        settings.begin();
        settings.reset();
        assert_eq!(settings.end(false), [("application_name", "b".to_owned())]);
        settings.begin();
        settings.reset();
        assert_eq!(settings.end(true), []);
        assert_eq!(settings.statement_timeout(), None);
    }
}
