//! Smallest, largest and mean reading per sensor and quantity.

use crate::column::{Column, Kind, Unit};
use crate::rollup::{Measure, Merge, Rollup, TIERS, Tier, View, window_columns, window_sql};
use crate::stream::{Stream, sensors::Sensors};

/// Windows of sensor readings.
pub struct SensorsRollup;

const KEYS: &[Column] = &[
    Column::new("site", Kind::Text, "The site."),
    Column::new("sensor", Kind::Text, "The sensor."),
    Column::new("quantity", Kind::Text, "What is measured, unit last."),
];

const MEASURES: &[Measure] = &[
    Measure::sum(
        "readings",
        Kind::Int,
        Unit::Count,
        "Readings in the window.",
    ),
    Measure::sum(
        "value_sum_micro",
        Kind::Decimal,
        Unit::MicroByQuantity,
        "Sum of the readings, in millionths.",
    ),
    Measure::extreme(
        "value_min",
        Unit::ByQuantity,
        Merge::Min,
        "Smallest reading.",
    ),
    Measure::extreme(
        "value_max",
        Unit::ByQuantity,
        Merge::Max,
        "Largest reading.",
    ),
    Measure::sum(
        "late_readings",
        Kind::Int,
        Unit::Count,
        "Readings stored more than 10 s after they were taken.",
    ),
];

const SUMS: &str = "\
  count(*) AS readings,
  CAST(sum(CAST(CAST(round(value * 1000000) AS BIGINT) AS DECIMAL(20,0))) AS DECIMAL(38,0))
    AS value_sum_micro,
  min(value) AS value_min, max(value) AS value_max,
  sum(CASE WHEN CAST(ingest_time AS BIGINT) - 10000000 > CAST(event_time AS BIGINT)
    THEN 1 ELSE 0 END) AS late_readings";

impl Rollup for SensorsRollup {
    fn family(&self) -> &'static str {
        "sensors"
    }
    fn doc(&self) -> &'static str {
        "Partial readings per sensor, quantity and window; add them up by bin and key."
    }
    fn stream(&self) -> &'static dyn Stream {
        &Sensors
    }
    fn keys(&self) -> &'static [Column] {
        KEYS
    }
    fn measures(&self) -> &'static [Measure] {
        MEASURES
    }
    fn finest_sql(&self) -> String {
        self.grouped_sql(TIERS[0], KEYS.len(), SUMS)
    }
    fn sums_sql(&self) -> Option<&'static str> {
        Some(SUMS)
    }
    fn views(&self) -> Vec<View> {
        TIERS.iter().map(|tier| view(*tier)).collect()
    }
}

fn view(tier: Tier) -> View {
    let sums: Vec<String> = MEASURES.iter().map(Measure::merge_sql).collect();
    let sql = format!(
        "SELECT {window}, site, sensor, quantity, readings, late_readings, value_min, value_max, \
         CASE WHEN readings > 0 THEN CAST(value_sum_micro AS DOUBLE) / 1000000 / readings END \
         AS value_mean \
         FROM (SELECT bin, site, sensor, quantity, {sums} FROM partials WHERE tier = '{tier}' \
         GROUP BY bin, site, sensor, quantity)",
        window = window_sql(tier),
        sums = sums.join(", "),
        tier = tier.name,
    );
    let mut columns = window_columns();
    columns.extend_from_slice(KEYS);
    columns.extend([
        MEASURES[0].column,
        MEASURES[4].column,
        MEASURES[2].column,
        MEASURES[3].column,
    ]);
    columns.push(
        Column::new("value_mean", Kind::Float, "Mean of the readings.").unit(Unit::ByQuantity),
    );
    View {
        name: format!("sensors_{}", tier.name),
        doc: format!("Readings per sensor in windows of {}.", tier.name),
        sql,
        columns,
        keys: KEYS.len(),
    }
}
