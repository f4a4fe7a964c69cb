//! Power and energy per meter, the energy by integration over samples that come at any pace.
//!
//! Between two samples of a meter at most 15 minutes apart the power is taken to change linearly
//! (the trapezoid rule); across a longer gap nothing is assumed and nothing counted, and the time
//! that is covered says so. Where the meter has a counter, what it advanced between the two is
//! spread evenly over the segment. A counter that goes back, or that advances by more than 10 kWh
//! beyond ten times the power measured, was reset or changed: the segment is counted by its power.
//!
//! Each piece of a segment that lies in one 10 s window is a whole number of millionths of a
//! watt-hour: the rounded energy from the segment's beginning to the piece's end, less that to its
//! beginning. So sums are exact, and a segment is never off by more than one. A late sample splits
//! a segment that was counted already: the new pieces are added and the old ones subtracted, which
//! is exact for the same reason. Of samples of one meter and one time the first stored counts.

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
    Measure::sum(
        "repeated_samples",
        Kind::Int,
        Unit::Count,
        "Samples of a time of which the meter had sent one before; they count nothing else.",
    ),
    Measure::sum(
        "covered_us",
        Kind::Int,
        Unit::DurationMicroseconds,
        "Time between samples at most 15 minutes apart.",
    ),
    Measure::sum(
        "counter_uwh",
        Kind::Decimal,
        Unit::MicroWattHours,
        "Energy by the meter's counter.",
    ),
    Measure::sum(
        "counter_covered_us",
        Kind::Int,
        Unit::DurationMicroseconds,
        "Time between samples that both have the counter.",
    ),
    Measure::sum(
        "counter_resets",
        Kind::Int,
        Unit::Count,
        "How often the counter went back or jumped.",
    ),
];

/// `both` orders old and new samples; a segment joins a sample to the one before it.
/// `next_segments` are those of all samples, `old_segments` those that were counted when only the
/// context was known. Those in both cancel to zero.
const FINEST: &str = "\
WITH every AS (
  SELECT true AS fresh, site, meter, CAST(event_time AS BIGINT) AS t, power_w AS p,
    energy_total_wh AS c, seq, row,
    CAST(ingest_time AS BIGINT) - 10000000 > CAST(event_time AS BIGINT) AS late FROM rows
  UNION ALL
  SELECT false, site, meter, CAST(event_time AS BIGINT), power_w, energy_total_wh, seq, row, false
  FROM context),
placed AS (
  SELECT *, row_number() OVER (PARTITION BY site, meter, t ORDER BY seq, row) AS place FROM every),
samples AS (SELECT * FROM placed WHERE place = 1),
next_segments AS (
  SELECT 1 AS sign, site, meter, t, p, c, lag(t) OVER w AS t0, lag(p) OVER w AS p0,
    lag(c) OVER w AS c0 FROM samples WINDOW w AS (PARTITION BY site, meter ORDER BY t)),
old_segments AS (
  SELECT -1 AS sign, site, meter, t, p, c, lag(t) OVER w AS t0, lag(p) OVER w AS p0,
    lag(c) OVER w AS c0 FROM samples WHERE NOT fresh
  WINDOW w AS (PARTITION BY site, meter ORDER BY t)),
segments AS (
  SELECT *, c IS NOT NULL AND c0 IS NOT NULL AS counted,
    coalesce(c < c0 OR c - c0 > 10000 + greatest(abs(p), abs(p0)) * (t - t0) / 360000000.0, false)
    AS reset
  FROM (SELECT * FROM next_segments UNION ALL SELECT * FROM old_segments) AS s
  WHERE t > t0 AND t - t0 <= 900000000),
pieces AS (
  SELECT *, unnest(generate_series(t0 - t0 % 10000000, t - 1, 10000000)) AS b FROM segments),
ends AS (
  SELECT *, greatest(b, t0) AS x0, least(b + 10000000, t) AS x1 FROM pieces),
areas AS (
  SELECT *, CAST(round((p0 * (x1 - t0) + (p - p0) * (x1 - t0) * (x1 - t0) / (2 * (t - t0))) / 3600)
      AS BIGINT)
    - CAST(round((p0 * (x0 - t0) + (p - p0) * (x0 - t0) * (x0 - t0) / (2 * (t - t0))) / 3600)
      AS BIGINT) AS area FROM ends),
energy AS (
  SELECT b, site, meter, sum(sign * area) AS energy_uwh, sum(sign * (x1 - x0)) AS covered_us,
    sum(sign * CASE WHEN NOT counted THEN 0 WHEN reset THEN area
      ELSE CAST(round((c - c0) * 1000000 * (CAST(x1 - t0 AS DOUBLE) / (t - t0))) AS BIGINT)
        - CAST(round((c - c0) * 1000000 * (CAST(x0 - t0 AS DOUBLE) / (t - t0))) AS BIGINT) END)
      AS counter_uwh,
    sum(CASE WHEN counted THEN sign * (x1 - x0) ELSE 0 END) AS counter_covered_us,
    sum(CASE WHEN reset AND x1 = t THEN sign ELSE 0 END) AS counter_resets
  FROM areas GROUP BY 1, 2, 3),
parts AS (
  SELECT t - t % 10000000 AS b, site, meter, 1 AS samples,
    CAST(round(p * 1000) AS BIGINT) AS power_sum_mw, p AS power_min_w, p AS power_max_w,
    0 AS energy_uwh, CASE WHEN late THEN 1 ELSE 0 END AS late_samples, 0 AS repeated_samples,
    0 AS covered_us, 0 AS counter_uwh, 0 AS counter_covered_us, 0 AS counter_resets
  FROM samples WHERE fresh
  UNION ALL
  SELECT t - t % 10000000, site, meter, 0, 0, NULL, NULL, 0, 0, 1, 0, 0, 0, 0
  FROM placed WHERE fresh AND place > 1
  UNION ALL
  SELECT b, site, meter, 0, 0, NULL, NULL, energy_uwh, 0, 0, covered_us, counter_uwh,
    counter_covered_us, counter_resets
  FROM energy WHERE energy_uwh <> 0 OR covered_us <> 0 OR counter_uwh <> 0
    OR counter_covered_us <> 0 OR counter_resets <> 0)
SELECT arrow_cast(b, 'Timestamp(Microsecond, Some(\"UTC\"))') AS bin, site, meter,
  sum(samples) AS samples, CAST(sum(power_sum_mw) AS DECIMAL(38,0)) AS power_sum_mw,
  min(power_min_w) AS power_min_w, max(power_max_w) AS power_max_w,
  CAST(sum(energy_uwh) AS DECIMAL(38,0)) AS energy_uwh, sum(late_samples) AS late_samples,
  sum(repeated_samples) AS repeated_samples, sum(covered_us) AS covered_us,
  CAST(sum(counter_uwh) AS DECIMAL(38,0)) AS counter_uwh,
  sum(counter_covered_us) AS counter_covered_us, sum(counter_resets) AS counter_resets
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
    /// From 2 on: repeated samples, the time that is covered, and the counter.
    fn version(&self) -> u32 {
        2
    }
    fn views(&self) -> Vec<View> {
        TIERS.iter().map(|tier| view(*tier)).collect()
    }
}

/// What is made of a window's measures: name, SQL, unit, meaning.
const MADE: &[(&str, &str, Unit, &str)] = &[
    (
        "power_mean_w",
        "CASE WHEN samples > 0 THEN CAST(power_sum_mw AS DOUBLE) / 1000 / samples END",
        Unit::Watts,
        "Mean of the samples.",
    ),
    (
        "energy_wh",
        "CAST(energy_uwh AS DOUBLE) / 1000000",
        Unit::WattHours,
        "Energy by the trapezoid rule; gaps over 15 minutes count nothing.",
    ),
    (
        "covered_s",
        "CAST(covered_us AS DOUBLE) / 1000000",
        Unit::Seconds,
        "Time of the window that energy_wh covers; the rest is gaps over 15 minutes.",
    ),
    (
        "counter_energy_wh",
        "CASE WHEN counter_covered_us > 0 THEN CAST(counter_uwh AS DOUBLE) / 1000000 END",
        Unit::WattHours,
        "Energy by the meter's counter; null where it has none.",
    ),
    (
        "counter_covered_s",
        "CAST(counter_covered_us AS DOUBLE) / 1000000",
        Unit::Seconds,
        "Time of the window that counter_energy_wh covers.",
    ),
];

/// The measures that are shown as they are.
const SHOWN: &[&str] = &[
    "samples",
    "late_samples",
    "repeated_samples",
    "power_min_w",
    "power_max_w",
    "counter_resets",
];

/// A window in which late samples took back all that was counted before is as if it had never been,
/// so it is left out.
fn view(tier: Tier) -> View {
    let sums: Vec<String> = MEASURES.iter().map(Measure::merge_sql).collect();
    let made: Vec<String> = MADE
        .iter()
        .map(|(name, sql, ..)| format!("{sql} AS {name}"))
        .collect();
    let sql = format!(
        "SELECT {window}, site, meter, {shown}, {made} \
         FROM (SELECT bin, site, meter, {sums} FROM partials WHERE tier = '{tier}' \
         GROUP BY bin, site, meter) \
         WHERE samples > 0 OR repeated_samples > 0 OR energy_uwh <> 0 OR covered_us <> 0",
        window = window_sql(tier),
        shown = SHOWN.join(", "),
        made = made.join(", "),
        sums = sums.join(", "),
        tier = tier.name,
    );
    let mut columns = window_columns();
    columns.extend_from_slice(KEYS);
    let measure = |name: &&str| MEASURES.iter().find(|one| one.column.name == *name);
    columns.extend(SHOWN.iter().filter_map(measure).map(|one| one.column));
    let made = MADE
        .iter()
        .map(|(name, _, unit, doc)| Column::new(name, Kind::Float, doc).unit(*unit));
    columns.extend(made);
    View {
        name: format!("energy_{}", tier.name),
        doc: format!("Power and energy per meter in windows of {}.", tier.name),
        sql,
        columns,
        keys: KEYS.len(),
    }
}
