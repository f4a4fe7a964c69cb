//! What the registry says about energy: whose a meter is and was, and what was allocated to whom.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Float64Array, RecordBatch, StringViewArray};
use arrow::array::{AsArray, TimestampMicrosecondArray};
use arrow::datatypes::TimestampMicrosecondType;
use arrow::error::ArrowError;
use headframe_schemas::period::{Period, Zone};
use headframe_schemas::resource::Values;
use headframe_schemas::resource::values::parse_time;
use serde_json::Value;

use crate::energy::usage::{Allocation, SubjectKind};

/// Long after anything that is asked about: 2200-01-01, microseconds since 1970.
const NEVER_US: i64 = 7_258_118_400_000_000;

/// What a version of a meter or a machine said, and when it held.
#[derive(Debug, Clone, PartialEq)]
struct Version {
    since_us: i64,
    until_us: i64,
    values: Values,
}

/// The registry, as far as energy depends on it.
#[derive(Debug, Default)]
pub struct EnergyRegistry {
    /// The sequence of the table `registry` up to which changes are known.
    pub through: i64,
    meters: BTreeMap<String, Vec<Version>>,
    machines: BTreeMap<String, Vec<Version>>,
    newest: BTreeMap<(String, String), Values>,
}

/// A change of the registry.
#[derive(Debug, Clone, PartialEq)]
pub struct RegistryRow {
    /// When, microseconds since 1970.
    pub at_us: i64,
    /// The kind of resource.
    pub kind: String,
    /// Its id.
    pub id: String,
    /// Its fields since; `None` once it is deleted.
    pub after: Option<Values>,
}

/// The rows of a batch with the columns `event_time`, `kind`, `id` and `after`. One whose JSON
/// cannot be read is passed over.
pub fn rows_of(batch: &RecordBatch) -> Vec<RegistryRow> {
    let texts = |name: &str| batch.column_by_name(name)?.as_string_view_opt().cloned();
    let times = batch.column_by_name("event_time").and_then(|column| {
        column
            .as_primitive_opt::<TimestampMicrosecondType>()
            .cloned()
    });
    let columns = (times, texts("kind"), texts("id"), texts("after"));
    let (Some(times), Some(kinds), Some(ids), Some(afters)) = columns else {
        return Vec::new();
    };
    let row = |row: usize| {
        let after = match afters.is_valid(row) {
            true => Some(serde_json::from_str(afters.value(row)).ok()?),
            false => None,
        };
        Some(RegistryRow {
            at_us: times.value(row),
            kind: kinds.value(row).to_owned(),
            id: ids.value(row).to_owned(),
            after,
        })
    };
    (0..batch.num_rows()).filter_map(row).collect()
}

impl EnergyRegistry {
    /// Takes one more change, which must be later than those before.
    pub fn apply(&mut self, row: RegistryRow) {
        let versions = match row.kind.as_str() {
            "meters" => Some(&mut self.meters),
            "machines" => Some(&mut self.machines),
            "allocations" | "pools" | "sites" => None,
            _ => return,
        };
        if let Some(versions) = versions {
            add_version(versions.entry(row.id).or_default(), row.at_us, row.after);
            return;
        }
        match row.after {
            Some(values) => self.newest.insert((row.kind, row.id), values),
            None => self.newest.remove(&(row.kind, row.id)),
        };
    }

    /// The relations `meter_versions` and `machine_versions` that energy by subject is made from.
    pub fn relations(&self) -> Result<[(&'static str, RecordBatch); 2], ArrowError> {
        let meters = rows(&self.meters);
        let ratio = |(_, version): &(&str, &Version)| {
            version
                .values
                .get("ct_ratio")
                .and_then(Value::as_f64)
                .unwrap_or(1.0)
        };
        let ratios: Float64Array = meters.iter().map(|row| Some(ratio(row))).collect();
        let meter_columns = [
            ("id", ids(&meters)),
            ("site", texts(&meters, "site")),
            ("pool", texts(&meters, "pool")),
            ("measures", texts(&meters, "measures")),
            ("ratio", Arc::new(ratios) as ArrayRef),
        ];
        let machines = rows(&self.machines);
        let metered = machines
            .iter()
            .map(|(id, version)| Some(text(&version.values, "meter").unwrap_or(*id)));
        let metered: StringViewArray = metered.collect();
        let machine_columns = [
            ("machine", ids(&machines)),
            ("site", texts(&machines, "site")),
            ("pool", texts(&machines, "pool")),
            ("meter", Arc::new(metered) as ArrayRef),
        ];
        Ok([
            (
                "meter_versions",
                with_times(&meters, meter_columns.to_vec())?,
            ),
            (
                "machine_versions",
                with_times(&machines, machine_columns.to_vec())?,
            ),
        ])
    }

    /// What is allocated at a moment, pools' own limits among it.
    pub fn allocations(&self, at_us: i64) -> Vec<Allocation> {
        let mut found = Vec::new();
        for ((kind, id), values) in &self.newest {
            let allocation = match kind.as_str() {
                "allocations" => self.allocation(id, values, at_us),
                "pools" => self.limits_of_pool(id, values),
                _ => None,
            };
            found.extend(allocation);
        }
        found
    }

    fn allocation(&self, id: &str, values: &Values, at_us: i64) -> Option<Allocation> {
        if at_us < time(values, "valid_from")? {
            return None;
        }
        if time(values, "valid_to").is_some_and(|end| at_us >= end) {
            return None;
        }
        let kinds = [SubjectKind::Pool, SubjectKind::Site, SubjectKind::Operator];
        let mut kinds = kinds.into_iter();
        let (kind, subject) = kinds.find_map(|kind| Some((kind, text(values, kind.name())?)))?;
        Some(Allocation {
            name: id.to_owned(),
            kind,
            subject: subject.to_owned(),
            members: self.members(kind, subject),
            zone: self.zone(kind, subject),
            power_w: kilo(values, "power_kw"),
            energy_wh: kilo(values, "energy_kwh"),
            period: Period::parse(text(values, "period")?)?,
        })
    }

    fn limits_of_pool(&self, id: &str, values: &Values) -> Option<Allocation> {
        Some(Allocation {
            // No id of an allocation has a dot.
            name: format!("pool.{id}"),
            kind: SubjectKind::Pool,
            subject: id.to_owned(),
            members: vec![id.to_owned()],
            zone: self.zone(SubjectKind::Pool, id),
            power_w: kilo(values, "power_limit_kw"),
            energy_wh: kilo(values, "energy_limit_kwh"),
            period: Period::parse(text(values, "energy_period")?)?,
        })
    }

    /// Whose energy is added up for a subject: its own, or for an operator that of its pools.
    fn members(&self, kind: SubjectKind, subject: &str) -> Vec<String> {
        if kind != SubjectKind::Operator {
            return vec![subject.to_owned()];
        }
        let pools = self.newest.iter().filter(|((kind, _), values)| {
            kind == "pools" && text(values, "operator") == Some(subject)
        });
        pools.map(|((_, id), _)| id.clone()).collect()
    }

    /// The zone by whose calendar a subject's periods are counted: that of its site, else UTC.
    fn zone(&self, kind: SubjectKind, subject: &str) -> Zone {
        let of = |kind: &str, id: &str| self.newest.get(&(kind.to_owned(), id.to_owned()));
        let site = match kind {
            SubjectKind::Site => Some(subject),
            SubjectKind::Pool => of("pools", subject).and_then(|pool| text(pool, "site")),
            SubjectKind::Operator => None,
        };
        let zone = site
            .and_then(|site| of("sites", site))
            .and_then(|site| text(site, "time_zone"));
        zone.and_then(|zone| zone.parse().ok()).unwrap_or(Zone::UTC)
    }
}

/// The first version of a resource is taken to have held before it was registered, too.
fn add_version(versions: &mut Vec<Version>, at_us: i64, after: Option<Values>) {
    let is_first = versions.is_empty();
    if let Some(last) = versions.last_mut() {
        last.until_us = last.until_us.min(at_us);
    }
    if let Some(values) = after {
        let since_us = if is_first { 0 } else { at_us };
        versions.push(Version {
            since_us,
            until_us: NEVER_US,
            values,
        });
    }
}

fn rows(versions: &BTreeMap<String, Vec<Version>>) -> Vec<(&str, &Version)> {
    versions
        .iter()
        .flat_map(|(id, versions)| versions.iter().map(move |version| (id.as_str(), version)))
        .collect()
}

fn text<'a>(values: &'a Values, name: &str) -> Option<&'a str> {
    values.get(name).and_then(Value::as_str)
}

/// A value in thousands as a plain number.
fn kilo(values: &Values, name: &str) -> Option<f64> {
    Some(values.get(name)?.as_f64()? * 1_000.0)
}

fn time(values: &Values, name: &str) -> Option<i64> {
    Some(parse_time(text(values, name)?)?.timestamp_micros())
}

fn ids(rows: &[(&str, &Version)]) -> ArrayRef {
    Arc::new(
        rows.iter()
            .map(|(id, _)| Some(*id))
            .collect::<StringViewArray>(),
    )
}

fn texts(rows: &[(&str, &Version)], name: &str) -> ArrayRef {
    let texts = rows.iter().map(|(_, version)| text(&version.values, name));
    Arc::new(texts.collect::<StringViewArray>())
}

/// The columns with the time in which each row held.
fn with_times(
    rows: &[(&str, &Version)],
    mut columns: Vec<(&'static str, ArrayRef)>,
) -> Result<RecordBatch, ArrowError> {
    let times = |time: fn(&Version) -> i64| -> ArrayRef {
        let times = rows.iter().map(|(_, version)| time(version));
        Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC"))
    };
    columns.push(("since", times(|version| version.since_us)));
    columns.push(("until", times(|version| version.until_us)));
    RecordBatch::try_from_iter(columns)
}
