//! Power and energy per meter, the energy by integration over samples that come at any pace.
//!
//! Between two samples of a meter at most 15 minutes apart the power is taken to change linearly
//! (the trapezoid rule); across a longer gap nothing is assumed and nothing counted. Each piece of
//! a segment that lies in one 10 s window is rounded to a millionth of a watt-hour, so sums are
//! exact integers. A late sample splits a segment that was counted already: the new pieces are
//! added and the old ones subtracted, which is exact for the same reason.

use crate::column::{Column, Kind, Unit};
use crate::rollup::{Measure, Merge, Rollup, TIERS, Tier, View, window_columns, window_sql};
use crate::stream::{Stream, energy::Energies};

/// The longest time between two samples across which energy is counted, in microseconds: 15
/// minutes.
pub const MAX_GAP_US: i64 = 900_000_000;

/// Windows of power and energy.
pub struct EnergyRollup;

const KEYS: &[Column] = &[
    Column::new("site", Kind::Text, "The site."),
    Column::new("meter", Kind::Text, "The meter."),
];

const MEASURES: &[Measure] = &[
    Measure::sum("samples", Kind::Int, Unit::Count, "Samples in the window."),
    Measure::sum(
        "power_sum_mw",
        Kind::Decimal,
        Unit::Milliwatts,
        "Sum of the samples' power.",
    ),
    Measure::extreme("power_min_w", Unit::Watts, Merge::Min, "Smallest sample."),
    Measure::extreme("power_max_w", Unit::Watts, Merge::Max, "Largest sample."),
    Measure::sum(
        "energy_uwh",
        Kind::Decimal,
        Unit::MicroWattHours,
        "Energy integrated over the window.",
    ),
    Measure::sum(
        "late_samples",
        Kind::Int,
        Unit::Count,
        "Samples stored more than 10 s after they were taken.",
    ),
];

/// `both` orders old and new samples; a segment joins a sample to the one before it.
/// `next_segments` are those of all samples, `old_segments` those that were counted when only the
/// context was known. Those in both cancel to zero.
const FINEST: &str = "\
WITH both AS (
  SELECT site, meter, CAST(event_time AS BIGINT) AS t, power_w AS p, seq, row FROM rows
  UNION ALL SELECT site, meter, CAST(event_time AS BIGINT), power_w, seq, row FROM context),
next_segments AS (
  SELECT 1 AS sign, site, meter, t, p, lag(t) OVER w AS t0, lag(p) OVER w AS p0 FROM both
  WINDOW w AS (PARTITION BY site, meter ORDER BY t, seq, row)),
old_segments AS (
  SELECT -1 AS sign, site, meter, t, p, lag(t) OVER w AS t0, lag(p) OVER w AS p0
  FROM (
    SELECT site, meter, CAST(event_time AS BIGINT) AS t, power_w AS p, seq, row FROM context) AS old
  WINDOW w AS (PARTITION BY site, meter ORDER BY t, seq, row)),
segments AS (
  SELECT * FROM (SELECT * FROM next_segments UNION ALL SELECT * FROM old_segments) AS s
  WHERE t > t0 AND t - t0 <= 900000000),
pieces AS (
  SELECT sign, site, meter, t, p, t0, p0,
    unnest(generate_series(t0 - t0 % 10000000, t - 1, 10000000)) AS b FROM segments),
ends AS (
  SELECT sign, site, meter, t, p, t0, p0, b, greatest(b, t0) AS x0, least(b + 10000000, t) AS x1
  FROM pieces),
energy AS (
  SELECT b, site, meter, sum(sign * CAST(round(
    ((p0 + (p - p0) * (CAST(x0 - t0 AS DOUBLE) / (t - t0)))
      + (p0 + (p - p0) * (CAST(x1 - t0 AS DOUBLE) / (t - t0)))) / 2
    * (CAST(x1 - x0 AS DOUBLE) / 3600)) AS BIGINT)) AS energy_uwh
  FROM ends GROUP BY 1, 2, 3),
parts AS (
  SELECT CAST(event_time AS BIGINT) - CAST(event_time AS BIGINT) % 10000000 AS b, site, meter,
    1 AS samples, CAST(round(power_w * 1000) AS BIGINT) AS power_sum_mw,
    power_w AS power_min_w, power_w AS power_max_w, 0 AS energy_uwh,
    CASE WHEN CAST(ingest_time AS BIGINT) - 10000000 > CAST(event_time AS BIGINT)
    THEN 1 ELSE 0 END AS late_samples
  FROM rows
  UNION ALL
  SELECT b, site, meter, 0, 0, NULL, NULL, energy_uwh, 0 FROM energy WHERE energy_uwh <> 0)
SELECT arrow_cast(b, 'Timestamp(Microsecond, Some(\"UTC\"))') AS bin, site, meter,
  sum(samples) AS samples, CAST(sum(power_sum_mw) AS DECIMAL(38,0)) AS power_sum_mw,
  min(power_min_w) AS power_min_w, max(power_max_w) AS power_max_w,
  CAST(sum(energy_uwh) AS DECIMAL(38,0)) AS energy_uwh, sum(late_samples) AS late_samples
FROM parts GROUP BY b, site, meter";

impl Rollup for EnergyRollup {
    fn family(&self) -> &'static str {
        "energy"
    }
    fn doc(&self) -> &'static str {
        "Partial power and energy per meter and window; add them up by bin and key."
    }
    fn stream(&self) -> &'static dyn Stream {
        &Energies
    }
    fn keys(&self) -> &'static [Column] {
        KEYS
    }
    fn measures(&self) -> &'static [Measure] {
        MEASURES
    }
    fn finest_sql(&self) -> String {
        FINEST.to_owned()
    }
    fn reach_us(&self) -> Option<i64> {
        Some(MAX_GAP_US)
    }
    fn views(&self) -> Vec<View> {
        TIERS.iter().map(|tier| view(*tier)).collect()
    }
}

/// A window in which late samples took back all that was counted before is as if it had never been,
/// so it is left out.
fn view(tier: Tier) -> View {
    let sums: Vec<String> = MEASURES.iter().map(Measure::merge_sql).collect();
    let sql = format!(
        "SELECT {window}, site, meter, samples, late_samples, power_min_w, power_max_w, \
         CASE WHEN samples > 0 THEN CAST(power_sum_mw AS DOUBLE) / 1000 / samples END \
         AS power_mean_w, \
         CAST(energy_uwh AS DOUBLE) / 1000000 AS energy_wh \
         FROM (SELECT bin, site, meter, {sums} FROM partials WHERE tier = '{tier}' \
         GROUP BY bin, site, meter) \
         WHERE samples > 0 OR energy_uwh <> 0",
        window = window_sql(tier),
        sums = sums.join(", "),
        tier = tier.name,
    );
    let mut columns = window_columns();
    columns.extend_from_slice(KEYS);
    columns.extend([
        MEASURES[0].column,
        MEASURES[5].column,
        MEASURES[2].column,
        MEASURES[3].column,
    ]);
    columns
        .push(Column::new("power_mean_w", Kind::Float, "Mean of the samples.").unit(Unit::Watts));
    columns.push(
        Column::new(
            "energy_wh",
            Kind::Float,
            "Energy by the trapezoid rule; gaps over 15 minutes count nothing.",
        )
        .unit(Unit::WattHours),
    );
    View {
        name: format!("energy_{}", tier.name),
        doc: format!("Power and energy per meter in windows of {}.", tier.name),
        sql,
        columns,
        keys: KEYS.len(),
    }
}
