//! The fields of one resource: from JSON or text, each checked by its definition and named when it
//! is wrong.
//!
//! What comes out is normal: only fields that are there, times in UTC, numbers as numbers. So equal
//! resources are equal as text.

use std::fmt;

use arrow::array::timezone::Tz;
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Number, Value};

use crate::column::{Column, Kind, Limits};
use crate::hours::Hours;
use crate::photo;
use crate::resource::{Field, Format, MAX_ID_BYTES, Resource, Rule, http_url};
use crate::stream::registry::MAX_JSON_BYTES;

/// The fields of a resource by name.
pub type Values = Map<String, Value>;

/// Keys of the JSON shape that are told and never taken.
const READ_ONLY: &[&str] = &["id", "version", "updated_at", "updated_by"];
/// Letters of a wrong value that are repeated.
const SHOWN: usize = 40;

/// What is wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldFault {
    /// Its name.
    pub field: String,
    /// What is wrong; it names the field as well.
    pub reason: String,
}

impl fmt::Display for FieldFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl FieldFault {
    /// A fault of this field, for this reason.
    pub fn new(field: &str, reason: impl fmt::Display) -> Self {
        Self {
            field: field.to_owned(),
            reason: format!("field `{field}`: {reason}"),
        }
    }

    fn missing(field: &str) -> Self {
        Self {
            field: field.to_owned(),
            reason: format!("missing field `{field}`"),
        }
    }

    fn unknown(field: &str) -> Self {
        let field = shown(field);
        Self {
            reason: format!("unknown field `{field}`"),
            field,
        }
    }
}

/// Checks an id.
pub fn check_id(id: &str) -> Result<(), FieldFault> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let begins = id
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_alphanumeric());
    match begins && id.len() <= MAX_ID_BYTES && id.bytes().all(is_plain) {
        true => Ok(()),
        false => Err(FieldFault::new(
            "id",
            format!(
                "{:?} is no id: 1 to {MAX_ID_BYTES} letters, digits, - and _, the first a letter \
                 or digit",
                shown(id)
            ),
        )),
    }
}

impl Resource {
    /// The fields of a JSON object, each in its normal form; or all that is wrong with them.
    pub fn check(&self, given: &Map<String, Value>) -> Result<Values, Vec<FieldFault>> {
        let mut values = Values::new();
        let mut faults: Vec<FieldFault> = given
            .keys()
            .filter(|name| self.field(name).is_none() && !READ_ONLY.contains(&name.as_str()))
            .map(|name| FieldFault::unknown(name))
            .collect();
        for field in self.fields {
            match given.get(field.name()) {
                None | Some(Value::Null) if field.column.required => {
                    faults.push(FieldFault::missing(field.name()));
                }
                None | Some(Value::Null) => {}
                Some(value) => match field.check(value) {
                    Ok(value) => {
                        values.insert(field.name().to_owned(), value);
                    }
                    Err(fault) => faults.push(fault),
                },
            }
        }
        if faults.is_empty() {
            faults.extend(self.rules.iter().filter_map(|rule| rule.broken(&values)));
            faults.extend(too_long(&values));
        }
        match faults.is_empty() {
            true => Ok(values),
            false => Err(faults),
        }
    }
}

fn too_long(values: &Values) -> Option<FieldFault> {
    let bytes = Value::Object(values.clone()).to_string().len();
    (bytes > MAX_JSON_BYTES).then(|| FieldFault {
        field: String::new(),
        reason: format!("all fields together have {bytes} bytes; {MAX_JSON_BYTES} are the most"),
    })
}

impl Rule {
    fn broken(&self, values: &Values) -> Option<FieldFault> {
        let count = |names: &[&str]| {
            names
                .iter()
                .filter(|name| values.contains_key(**name))
                .count()
        };
        match self {
            Rule::ExactlyOne(names) if count(names) != 1 => Some(FieldFault::new(
                names.first()?,
                format!(
                    "exactly one of {} is needed, not {}",
                    names.join(", "),
                    count(names)
                ),
            )),
            Rule::AtLeastOne(names) if count(names) == 0 => Some(FieldFault::new(
                names.first()?,
                format!("at least one of {} is needed", names.join(", ")),
            )),
            Rule::Before(first, second) => {
                let time = |name: &str| parse_time(values.get(name)?.as_str()?);
                let (from, to) = (time(first)?, time(second)?);
                (from >= to).then(|| FieldFault::new(second, format!("it is not after {first}")))
            }
            Rule::NeededWhere(field, value, needed) => {
                let has_value = values.get(*field).and_then(Value::as_str) == Some(value);
                (has_value && !values.contains_key(*needed)).then(|| {
                    FieldFault::new(needed, format!("it is needed where {field} is {value}"))
                })
            }
            Rule::Holds(broken) => broken(values),
            _ => None,
        }
    }
}

impl Field {
    /// The value in its normal form.
    pub fn check(&self, value: &Value) -> Result<Value, FieldFault> {
        let fault = |reason: String| FieldFault::new(self.name(), reason);
        match (self.column.kind, value) {
            (Kind::Text, Value::String(text)) => {
                self.check_text(text).map_err(fault)?;
                Ok(Value::String(text.clone()))
            }
            (Kind::Timestamp, Value::String(text)) => {
                let time = parse_time(text).ok_or_else(|| {
                    fault(format!(
                        "{:?} is no time such as 2026-01-31T12:00:00Z",
                        shown(text)
                    ))
                })?;
                within(self.column.limits, time.timestamp_micros())
                    .map_err(|_| fault(format!("{text} is before 2009 or after 2099")))?;
                Ok(Value::String(time_text(time)))
            }
            (Kind::Int | Kind::SmallInt, Value::Number(number)) => {
                let whole = number.as_i64();
                let whole = whole.ok_or_else(|| fault(format!("{number} is no whole number")))?;
                within(self.column.limits, whole).map_err(fault)?;
                Ok(Value::from(whole))
            }
            (Kind::Float, Value::Number(number)) => self.check_float(number).map_err(fault),
            (Kind::Bool, Value::Bool(_)) => Ok(value.clone()),
            (_, value) => Err(fault(format!(
                "{} is {}; {} is needed",
                shown(&value.to_string()),
                type_of(value),
                needed(self.column.kind)
            ))),
        }
    }

    /// A value as a cell of a CSV file or a query string has it, in its normal form. What it may be
    /// is left to [`Field::check`].
    pub fn parse(&self, text: &str) -> Result<Value, FieldFault> {
        let fault =
            |what: &str| FieldFault::new(self.name(), format!("{:?} is no {what}", shown(text)));
        match self.column.kind {
            Kind::Int | Kind::SmallInt => {
                let whole = text.trim().parse::<i64>();
                whole.map(Value::from).map_err(|_| fault("whole number"))
            }
            Kind::Float => {
                let number = text.trim().parse::<f64>().ok();
                let number = number.and_then(|value| Number::from_f64(normal(value)));
                number.map(Value::Number).ok_or_else(|| fault("number"))
            }
            Kind::Bool => {
                let value = text.trim().parse::<bool>();
                value.map(Value::Bool).map_err(|_| fault("true or false"))
            }
            Kind::Timestamp => {
                let time = parse_time(text.trim());
                let time = time.ok_or_else(|| fault("time such as 2026-01-31T12:00:00Z"))?;
                Ok(Value::String(time_text(time)))
            }
            _ => Ok(Value::String(text.to_owned())),
        }
    }

    fn check_text(&self, text: &str) -> Result<(), String> {
        let most = match self.column.limits {
            Limits::TextBytes(bytes) => bytes,
            _ => Column::MAX_TEXT_BYTES,
        };
        if text.trim().is_empty() {
            return Err("it is empty; leave it out if there is none".to_owned());
        }
        if text.len() > most {
            return Err(format!("{} bytes are more than {most}", text.len()));
        }
        if let Some(control) = text
            .chars()
            .find(|c| c.is_control() && !matches!(c, '\n' | '\t'))
        {
            return Err(format!("{control:?} is no letter"));
        }
        if let Limits::OneOf(words) = self.column.limits
            && !words.contains(&text)
        {
            return Err(format!(
                "{:?} is not one of {}",
                shown(text),
                words.join(", ")
            ));
        }
        match self.format {
            Format::Plain => Ok(()),
            Format::Reference(_) => {
                check_id(text).map_err(|_| format!("{:?} cannot be an id", shown(text)))
            }
            Format::Hours => match Hours::parse(text) {
                Some(_) => Ok(()),
                None => Err(format!(
                    "{:?} is not from one time of a day to another, such as 17:00-21:30",
                    shown(text)
                )),
            },
            Format::Photos => photo::check_digests(text),
            Format::HttpUrl => match http_url::fault(text) {
                None => Ok(()),
                Some(why) => Err(format!(
                    "it is no address such as https://site.example:5000, for {why}"
                )),
            },
            Format::TimeZone => match text.contains('/') || text == "UTC" {
                true => text.parse::<Tz>().map(|_| ()).map_err(|_| no_zone(text)),
                false => Err(no_zone(text)),
            },
            Format::Country => {
                match text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_uppercase()) {
                    true => Ok(()),
                    false => Err(format!("{:?} is not two capital letters", shown(text))),
                }
            }
        }
    }

    fn check_float(&self, number: &Number) -> Result<Value, String> {
        let value = number.as_f64().filter(|value| value.is_finite());
        let value = value.ok_or_else(|| format!("{number} is no number here"))?;
        if let Limits::Float(least, most) = self.column.limits
            && !(least..=most).contains(&value)
        {
            return Err(format!("{value} is outside {least} to {most}"));
        }
        // 5 and 5.0 are the same.
        let value =
            Number::from_f64(normal(value)).ok_or_else(|| format!("{number} is no number"))?;
        Ok(Value::Number(value))
    }
}

/// A number with 15 digits, which JSON gives back as it was; what is next to nothing is nothing.
fn normal(value: f64) -> f64 {
    if value.abs() < 1e-7 {
        return 0.0;
    }
    format!("{value:.14e}").parse().unwrap_or(value)
}

fn no_zone(text: &str) -> String {
    format!(
        "{:?} is no time zone such as Europe/Oslo or UTC",
        shown(text)
    )
}

fn within(limits: Limits, value: i64) -> Result<(), String> {
    match limits {
        Limits::Int(least, most) if !(least..=most).contains(&value) => {
            Err(format!("{value} is outside {least} to {most}"))
        }
        _ => Ok(()),
    }
}

/// The time that a text of RFC 3339 names.
pub fn parse_time(text: &str) -> Option<DateTime<Utc>> {
    let time = DateTime::parse_from_rfc3339(text).ok()?;
    Some(time.with_timezone(&Utc))
}

/// A time as values have it: UTC, and no more digits than there are.
pub fn time_text(time: DateTime<Utc>) -> String {
    let micros = DateTime::from_timestamp_micros(time.timestamp_micros()).unwrap_or(time);
    micros.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

/// Microseconds since 1970 as values have times.
pub fn micros_text(micros: i64) -> String {
    DateTime::from_timestamp_micros(micros).map_or_else(|| micros.to_string(), time_text)
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn needed(kind: Kind) -> &'static str {
    match kind {
        Kind::Timestamp => "a time as text",
        Kind::Int | Kind::SmallInt => "a whole number",
        Kind::Float => "a number",
        Kind::Bool => "true or false",
        _ => "a text",
    }
}

fn shown(text: &str) -> String {
    text.chars().take(SHOWN).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;
    use crate::resource::{allocations::ALLOCATIONS, inspections::INSPECTIONS, sites::SITES};

    fn check(resource: &Resource, given: Value) -> Result<Value, String> {
        let checked = resource.check(given.as_object().unwrap());
        let text = |faults: Vec<FieldFault>| {
            let texts: Vec<String> = faults.iter().map(ToString::to_string).collect();
            texts.join("; ")
        };
        checked.map(Value::Object).map_err(text)
    }

    #[test]
    fn what_is_wrong_is_said_of_every_field_at_once() {
        let given = json!({"name": "", "latitude_deg": 91, "time_zone": "Oslo", "status": 1,
            "country": "no", "operator": "a b", "zz": 1, "connection_kw": null});
        let said = check(&SITES, given).unwrap_err();
        for part in [
            "unknown field `zz`",
            "missing field `location`",
            "field `name`: it is empty",
            "field `latitude_deg`: 91 is outside -90 to 90",
            "field `time_zone`: \"Oslo\" is no time zone",
            "field `status`: 1 is a number; a text is needed",
            "field `country`: \"no\" is not two capital letters",
            "field `operator`: \"a b\" cannot be an id",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
    }

    #[test]
    fn values_come_out_in_their_normal_form() {
        let given = json!({"pool": "p1", "power_kw": 5, "period": "day", "id": "x", "version": 9,
            "valid_from": "2026-01-31T13:00:00.250+01:00", "valid_to": null});
        let normal = json!({"pool": "p1", "power_kw": 5.0, "period": "day",
            "valid_from": "2026-01-31T12:00:00.250Z"});
        assert_eq!(check(&ALLOCATIONS, given).unwrap(), normal);
        assert_eq!(check(&ALLOCATIONS, normal.clone()).unwrap(), normal);
    }

    #[test]
    fn rules_between_fields_name_a_field() {
        let whole = json!({"pool": "p", "site": "s", "power_kw": 1, "period": "day",
            "valid_from": "2026-01-01T00:00:00Z"});
        let said = check(&ALLOCATIONS, whole.clone()).unwrap_err();
        assert!(
            said.contains("field `pool`: exactly one of pool, site, operator"),
            "{said}"
        );
        let mut one = whole.as_object().unwrap().clone();
        one.remove("site");
        one.remove("power_kw");
        one.insert("valid_to".to_owned(), json!("2026-01-01T00:00:00Z"));
        let said = check(&ALLOCATIONS, Value::Object(one)).unwrap_err();
        assert!(
            said.contains("at least one of power_kw, energy_kwh"),
            "{said}"
        );
        assert!(
            said.contains("field `valid_to`: it is not after valid_from"),
            "{said}"
        );
    }

    #[test]
    fn long_texts_are_bounded_alone_and_together() {
        let given = |findings: String| {
            json!({"site": "s", "type": "routine", "status": "done",
                "planned_at": "2026-01-01T00:00:00Z", "findings": findings})
        };
        assert!(check(&INSPECTIONS, given("a".repeat(4_096))).is_ok());
        let said = check(&INSPECTIONS, given("a".repeat(4_097))).unwrap_err();
        assert!(said.contains("4097 bytes are more than 4096"), "{said}");
        let said = check(&INSPECTIONS, given("a\u{0}".to_owned())).unwrap_err();
        assert!(said.contains("is no letter"), "{said}");
    }

    #[test]
    fn ids_are_one_token() {
        for id in ["a", "A-1_b", "9", &"a".repeat(48)] {
            assert!(check_id(id).is_ok(), "{id}");
        }
        for id in [
            "",
            "-a",
            "_a",
            "a.b",
            "a b",
            "a/b",
            "ä",
            "*",
            ">",
            &"a".repeat(49),
        ] {
            assert!(check_id(id).is_err(), "{id}");
        }
    }
}
