//! Joules a million million hashes: energy of a pool's hour over the work that was accepted in it.

use std::collections::BTreeMap;

use async_trait::async_trait;
use headframe_schemas::Stream;
use headframe_schemas::rollup::hashrate::HashrateRollup;
use headframe_schemas::sql_view::energy::POOLS;
use headframe_schemas::stream::energy::Energies;

use super::rows::rows;
use super::tables::{ask, time_sql};
use super::{Metric, MetricTables, Reading, Selection, Span};
use crate::fault::PipelineFault;
use crate::violation::evaluation::Sample;

const HOUR_US: i64 = 3_600_000_000;
const JOULES_A_WATT_HOUR: f64 = 3_600.0;
const TERAHASH: f64 = 1e12;

pub(super) struct Efficiency;

#[async_trait]
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

    async fn readings(
        &self,
        tables: &MetricTables,
        _: &Selection,
        span: Span,
    ) -> Result<Vec<Reading>, PipelineFault> {
        let views = tables.hashrate_views(&["pool_hashrate_1h"]).await?;
        let Some((session, moment)) = views.zip(tables.moment()) else {
            return Ok(Vec::new());
        };
        let sql = format!(
            "SELECT pool, CAST(window_start AS BIGINT) AS begins, \
             CAST(accepted_difficulty AS DOUBLE) AS hashes FROM pool_hashrate_1h WHERE \
             window_start > {} AND window_start <= {}",
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
        let windows = moment.windows(&POOLS, 3_600, times).await?;
        let reading = |window: crate::energy::measurement::EnergyWindow| {
            let hashes = work.get(&(window.name.clone(), window.end_us)).copied();
            let hashes = hashes.filter(|hashes| *hashes > 0.0);
            let joules = window.energy_wh.map(|wh| wh * JOULES_A_WATT_HOUR);
            Reading {
                subject: window.name,
                object: None,
                sample: Sample {
                    at_us: window.end_us,
                    value: joules.zip(hashes).map(|(j, hashes)| j / hashes * TERAHASH),
                    window_us: None,
                    seq: moment.energy_seq,
                    is_exempt: false,
                },
            }
        };
        Ok(windows.into_iter().map(reading).collect())
    }
}
