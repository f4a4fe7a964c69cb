//! What was measured beside what is declared: power beside ratings, and a meter's counter beside
//! its power.

use std::collections::BTreeMap;

use futures::future::BoxFuture;
use headframe_schemas::Stream;
use headframe_schemas::rollup::energy::EnergyRollup;
use headframe_schemas::sql_view::energy::MACHINES;
use headframe_schemas::stream::energy::Energies;
use serde_json::Value;

use super::efficiency::{JOULES_A_WATT_HOUR, TERAHASH, hours_of_pools};
use super::rows::{BatchRow, rows};
use super::tables::{Registered, ask, time_sql};
use super::{Metric, MetricTables, Reading, Selection, Span};
use crate::energy::measurement::EnergyWindow;
use crate::fault::PipelineFault;
use crate::violation::evaluation::Sample;

const HOUR_US: i64 = 3_600_000_000;
const DAY_US: i64 = 24 * HOUR_US;
/// Hours of a day that must be measured both ways.
const MEASURED_S: f64 = 20.0 * 3_600.0;

pub(super) struct Capacity;

impl Metric for Capacity {
    fn name(&self) -> &'static str {
        "capacity_pct"
    }
    fn doc(&self) -> &'static str {
        "Power of an hour in hundredths of what is declared: of a machine its rated power, of a \
         pool its hashrate at the rated J/TH of its machines."
    }
    fn subject_kinds(&self) -> &'static [&'static str] {
        &["machine", "pool"]
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
            let Some(moment) = tables.moment() else {
                return Ok(Vec::new());
            };
            let reading = |subject: String, at_us: i64, value: Option<f64>| Reading {
                subject,
                object: None,
                sample: Sample {
                    at_us,
                    value: value.map(|part| part * 100.0),
                    window_us: None,
                    seq: moment.energy_seq,
                    is_exempt: false,
                },
            };
            if selection.subject_kind == "pool" {
                let rated = rated_jth(tables);
                let hours = hours_of_pools(tables, span).await?.into_iter();
                let of_pool = |(hour, hashes): (EnergyWindow, Option<f64>)| {
                    let jth = rated.get(hour.name.as_str())?;
                    let declared_j = hashes.map(|hashes| hashes / TERAHASH * jth);
                    let joules = hour.energy_wh.map(|wh| wh * JOULES_A_WATT_HOUR);
                    let part = joules.zip(declared_j).map(|(is, declared)| is / declared);
                    Some(reading(hour.name, hour.end_us, part))
                };
                return Ok(hours.filter_map(of_pool).collect());
            }
            let times = (span.after_us, span.through_us);
            let hours = moment.windows(&MACHINES, 3_600, times).await?.into_iter();
            let of_machine = |hour: EnergyWindow| {
                let machine = tables.find("machines", &hour.name)?;
                let rated_w = positive(machine, "rated_power_w")?;
                let part = hour.power_w.map(|power_w| power_w / rated_w);
                Some(reading(hour.name, hour.end_us, part))
            };
            Ok(hours.filter_map(of_machine).collect())
        })
    }
}

fn positive(registered: &Registered, field: &str) -> Option<f64> {
    let value = registered.values.get(field).and_then(Value::as_f64);
    value.filter(|value| *value > 0.0)
}

/// Joules a terahash of each pool, from the ratings of its machines that have both.
fn rated_jth(tables: &MetricTables) -> BTreeMap<&str, f64> {
    let mut sums: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
    for (_, machine) in tables.registered("machines") {
        let pool = machine.values.get("pool").and_then(Value::as_str);
        let power_w = positive(machine, "rated_power_w");
        let hashrate_hs = positive(machine, "rated_hashrate_hs");
        if let (Some(pool), Some(power_w), Some(hashrate_hs)) = (pool, power_w, hashrate_hs) {
            let sum = sums.entry(pool).or_default();
            *sum = (sum.0 + power_w, sum.1 + hashrate_hs);
        }
    }
    let jth = |(pool, (power_w, hashrate_hs))| (pool, power_w / hashrate_hs * TERAHASH);
    sums.into_iter().map(jth).collect()
}

pub(super) struct CounterDrift;

impl Metric for CounterDrift {
    fn name(&self) -> &'static str {
        "counter_drift_pct"
    }
    fn doc(&self) -> &'static str {
        "How far the energy that a meter's own counter advanced in a day of UTC lies from the one \
         by its power, in hundredths; of days of which 20 hours are measured both ways."
    }
    fn subject_kinds(&self) -> &'static [&'static str] {
        &["meter"]
    }
    fn source(&self) -> &'static dyn Stream {
        &Energies
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
            // Days that end in the span.
            let first = span.after_us.div_euclid(DAY_US) * DAY_US;
            let end = span.through_us.div_euclid(DAY_US) * DAY_US;
            let Some(moment) = tables.moment().filter(|_| first < end) else {
                return Ok(Vec::new());
            };
            let sql = format!(
                "SELECT meter, site, CAST(window_start AS BIGINT) / {DAY_US} AS day, \
             sum(counter_energy_wh) AS counter_wh, \
             sum(energy_wh) AS energy_wh FROM energy_1h WHERE window_start >= {} AND window_start \
             < {} AND counter_energy_wh IS NOT NULL GROUP BY 1, 2, 3 HAVING \
             sum(counter_covered_s) >= {MEASURED_S} AND sum(energy_wh) > 0 ORDER BY 3",
                time_sql(first),
                time_sql(end)
            );
            let found = ask(moment.session(), &sql, &EnergyRollup).await?;
            let reading = |row: BatchRow<'_>| {
                let (counted, measured) = (row.float("counter_wh")?, row.float("energy_wh")?);
                Some(Reading {
                    subject: row.text("meter")?.to_owned(),
                    object: Some(row.text("site")?.to_owned()),
                    sample: Sample {
                        at_us: (row.whole("day")? + 1) * DAY_US,
                        value: Some((counted - measured).abs() / measured * 100.0),
                        window_us: None,
                        seq: moment.energy_seq,
                        is_exempt: false,
                    },
                })
            };
            Ok(rows(&found).filter_map(reading).collect())
        })
    }
}
