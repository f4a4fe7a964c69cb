//! Joules a million million hashes: energy of a pool's hour over the work that was accepted in it.

use std::collections::BTreeMap;

use futures::future::BoxFuture;
use headframe_schemas::Stream;
use headframe_schemas::rollup::hashrate::HashrateRollup;
use headframe_schemas::sql_view::energy::POOLS;
use headframe_schemas::stream::energy::Energies;

use super::rows::rows;
use super::tables::{ask, time_sql};
use super::{Metric, MetricTables, Reading, Selection, Span};
use crate::energy::measurement::EnergyWindow;
use crate::fault::PipelineFault;
use crate::violation::evaluation::Sample;

const HOUR_US: i64 = 3_600_000_000;
pub(super) const JOULES_A_WATT_HOUR: f64 = 3_600.0;
pub(super) const TERAHASH: f64 = 1e12;

pub(super) struct Efficiency;

impl Metric for Efficiency {
    fn name(&self) -> &'static str {
        "efficiency_jth"
    }
    fn doc(&self) -> &'static str {
        "Energy of an hour over the work that was accepted in it, J/TH."
    }
    fn subject_kinds(&self) -> &'static [&'static str] {
        &["pool"]
    }
    fn source(&self) -> &'static dyn Stream {
        &Energies
    }

    fn readings<'a>(
        &'a self,
        tables: &'a MetricTables,
        _: &'a Selection,
        span: Span,
    ) -> BoxFuture<'a, Result<Vec<Reading>, PipelineFault>> {
        Box::pin(async move {
            let reading = |(window, hashes): (EnergyWindow, Option<f64>)| {
                let joules = window.energy_wh.map(|wh| wh * JOULES_A_WATT_HOUR);
                Reading {
                    subject: window.name,
                    object: None,
                    sample: Sample {
                        at_us: window.end_us,
                        value: joules.zip(hashes).map(|(j, hashes)| j / hashes * TERAHASH),
                        window_us: None,
                        seq: tables.moment().map_or(0, |moment| moment.energy_seq),
                        is_exempt: false,
                    },
                }
            };
            let hours = hours_of_pools(tables, span).await?;
            Ok(hours.into_iter().map(reading).collect())
        })
    }
}

/// The energy of each pool's hours that end in a span, and the hashes that were accepted in them.
pub(super) async fn hours_of_pools(
    tables: &MetricTables,
    span: Span,
) -> Result<Vec<(EnergyWindow, Option<f64>)>, PipelineFault> {
    let views = tables.hashrate_views(&["pool_hashrate_1h"]).await?;
    let Some((session, moment)) = views.zip(tables.moment()) else {
        return Ok(Vec::new());
    };
    let sql = format!(
        "SELECT pool, CAST(window_start AS BIGINT) AS begins, CAST(accepted_difficulty AS DOUBLE) \
         AS hashes FROM pool_hashrate_1h WHERE window_start > {} AND window_start <= {}",
        time_sql(span.after_us - HOUR_US),
        time_sql(span.through_us - HOUR_US)
    );
    let found = ask(&session, &sql, &HashrateRollup).await?;
    let work = |row: super::rows::BatchRow<'_>| {
        let key = (row.text("pool")?.to_owned(), row.whole("begins")? + HOUR_US);
        Some((key, row.float("hashes")?))
    };
    let work: BTreeMap<(String, i64), f64> = rows(&found).filter_map(work).collect();
    let times = (span.after_us, span.through_us);
    let windows = moment.windows(&POOLS, 3_600, times).await?.into_iter();
    let with_work = |window: EnergyWindow| {
        let hashes = work.get(&(window.name.clone(), window.end_us)).copied();
        (window, hashes.filter(|hashes| *hashes > 0.0))
    };
    Ok(windows.map(with_work).collect())
}
