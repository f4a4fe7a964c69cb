//! What the registry says: how long something is still valid, what sends rows without being
//! registered, and which pool is not accredited.

use std::collections::BTreeSet;

use futures::future::BoxFuture;
use headframe_schemas::Stream;
use headframe_schemas::resource::Values;
use headframe_schemas::resource::values::parse_time;
use headframe_schemas::rollup::energy::EnergyRollup;
use headframe_schemas::rollup::hashrate::HashrateRollup;
use headframe_schemas::stream::energy::Energies;
use headframe_schemas::stream::registry::RegistryChanges;
use serde_json::Value;

use super::rows::{BatchRow, rows};
use super::tables::{Registered, ask, time_sql};
use super::{Metric, MetricTables, Reading, Selection, Span};
use crate::fault::PipelineFault;
use crate::violation::evaluation::Sample;

const DAY_US: f64 = 86_400e6;
const HOUR_US: i64 = 3_600_000_000;

pub(super) struct DaysLeft;

impl Metric for DaysLeft {
    fn name(&self) -> &'static str {
        "days_left"
    }
    fn doc(&self) -> &'static str {
        "Days until the time in the field that quantity names, of the subject itself and of its \
         allocations and inspections; below 0 once it is past."
    }
    fn subject_kinds(&self) -> &'static [&'static str] {
        &["operator", "pool", "site", "machine", "meter"]
    }
    fn source(&self) -> &'static dyn Stream {
        &RegistryChanges
    }
    fn holds_value(&self) -> bool {
        true
    }

    fn readings<'a>(
        &'a self,
        tables: &'a MetricTables,
        selection: &'a Selection,
        span: Span,
    ) -> BoxFuture<'a, Result<Vec<Reading>, PipelineFault>> {
        Box::pin(async move {
            let kind = selection.subject_kind.as_str();
            let field = selection.quantity.as_deref().unwrap_or_default();
            let mut found = Vec::new();
            for (id, registered) in tables.registered(&format!("{kind}s")) {
                found.extend(days_left((id, None), &registered.values, field, span));
            }
            for papers in ["allocations", "inspections"] {
                for (id, registered) in tables.registered(papers) {
                    if let Some(subject) = text(&registered.values, kind) {
                        let object = Some(format!("{papers}/{id}"));
                        found.extend(days_left(
                            (subject, object),
                            &registered.values,
                            field,
                            span,
                        ));
                    }
                }
            }
            Ok(found)
        })
    }
}

fn text<'a>(values: &'a Values, name: &str) -> Option<&'a str> {
    values.get(name).and_then(Value::as_str)
}

/// At the time itself, where it is in the span, and at the end of the span.
fn days_left(
    (subject, object): (&str, Option<String>),
    values: &Values,
    field: &str,
    span: Span,
) -> Vec<Reading> {
    let Some(end) = text(values, field).and_then(parse_time) else {
        return Vec::new();
    };
    let end_us = end.timestamp_micros();
    let is_within = end_us > span.after_us && end_us < span.through_us;
    let times = is_within.then_some(end_us).into_iter();
    let reading = |at_us: i64| Reading {
        subject: subject.to_owned(),
        object: object.clone(),
        sample: Sample {
            at_us,
            value: Some((end_us - at_us) as f64 / DAY_US),
            window_us: Some(end_us),
            seq: 0,
            is_exempt: false,
        },
    };
    times.chain([span.through_us]).map(reading).collect()
}

pub(super) struct Unregistered;

impl Metric for Unregistered {
    fn name(&self) -> &'static str {
        "unregistered"
    }
    fn doc(&self) -> &'static str {
        "1 for an hour in which a meter sends rows from a registered site, or a worker shares to \
         a registered pool, and the registry has no meter or machine of that id; otherwise 0."
    }
    fn subject_kinds(&self) -> &'static [&'static str] {
        &["meter", "machine"]
    }
    fn source(&self) -> &'static dyn Stream {
        &Energies
    }

    fn readings<'a>(
        &'a self,
        tables: &'a MetricTables,
        selection: &'a Selection,
        span: Span,
    ) -> BoxFuture<'a, Result<Vec<Reading>, PipelineFault>> {
        Box::pin(async move {
            let windows = |what: &str, place: &str, view: &str| {
                format!(
                    "SELECT {what} AS what, {place} AS place, CAST(window_start AS BIGINT) \
                     AS begins FROM {view} WHERE window_start > {} AND window_start <= {} \
                     GROUP BY 1, 2, 3 ORDER BY 3",
                    time_sql(span.after_us - HOUR_US),
                    time_sql(span.through_us - HOUR_US)
                )
            };
            let (found, places, seq) = match selection.subject_kind == "meter" {
                true => {
                    let Some(moment) = tables.moment() else {
                        return Ok(Vec::new());
                    };
                    let sql = windows("meter", "site", "energy_1h");
                    let found = ask(moment.session(), &sql, &EnergyRollup).await?;
                    (found, "sites", moment.energy_seq)
                }
                false => {
                    let Some(session) = tables.hashrate_views(&["hashrate_1h"]).await? else {
                        return Ok(Vec::new());
                    };
                    let sql = windows("worker", "pool", "hashrate_1h");
                    (ask(&session, &sql, &HashrateRollup).await?, "pools", 0)
                }
            };
            let known = known(tables);
            let reading = |row: BatchRow<'_>| {
                let (what, place) = (row.text("what")?, row.text("place")?);
                // Of places that nobody registered nothing is expected to be.
                tables.find(places, place)?;
                Some(Reading {
                    subject: what.to_owned(),
                    object: Some(place.to_owned()),
                    sample: Sample {
                        at_us: row.whole("begins")? + HOUR_US,
                        value: Some(if known.contains(what) { 0.0 } else { 1.0 }),
                        window_us: None,
                        seq,
                        is_exempt: false,
                    },
                })
            };
            Ok(rows(&found).filter_map(reading).collect())
        })
    }
}

pub(super) struct Unaccredited;

impl Metric for Unaccredited {
    fn name(&self) -> &'static str {
        "unaccredited"
    }
    fn doc(&self) -> &'static str {
        "1 while the registry has no number of accreditation of a pool that is active, otherwise 0."
    }
    fn subject_kinds(&self) -> &'static [&'static str] {
        &["pool"]
    }
    fn source(&self) -> &'static dyn Stream {
        &RegistryChanges
    }
    fn holds_value(&self) -> bool {
        true
    }

    fn readings<'a>(
        &'a self,
        tables: &'a MetricTables,
        _: &'a Selection,
        span: Span,
    ) -> BoxFuture<'a, Result<Vec<Reading>, PipelineFault>> {
        Box::pin(async move {
            let reading = |(id, pool): (&String, &Registered)| {
                let is_active = matches!(text(&pool.values, "status"), None | Some("active"));
                let is_accredited = text(&pool.values, "accreditation").is_some();
                Reading {
                    subject: id.clone(),
                    object: None,
                    sample: Sample {
                        at_us: span.through_us,
                        value: Some(f64::from(u8::from(is_active && !is_accredited))),
                        window_us: None,
                        seq: 0,
                        is_exempt: false,
                    },
                }
            };
            Ok(tables.registered("pools").map(reading).collect())
        })
    }
}

/// Meters, machines, and what machines are measured by.
fn known(tables: &MetricTables) -> BTreeSet<&str> {
    let meters = tables.registered("meters").map(|(id, _)| id.as_str());
    let machines = tables
        .registered("machines")
        .flat_map(|(id, registered)| [Some(id.as_str()), text(&registered.values, "meter")]);
    meters.chain(machines.flatten()).collect()
}
