//! Energy of machines, pools and sites: what their meters measured, by what the registry says of
//! them.
//!
//! A window belongs to whom the meter belonged to when it began; before a meter or a machine was
//! registered, to whom it was first registered to. Readings are multiplied by the ratio of the
//! meter's transformers. Days are made of hours, so that what changes hands at noon is counted for
//! both.

use crate::column::{Column, Kind, Unit};
use crate::sql_view::SqlView;

/// Windows: the name, the rollup that they are made of, and their width in seconds.
const TIERS: &[(&str, &str, i64)] = &[
    ("1m", "energy_1m", 60),
    ("1h", "energy_1h", 3_600),
    ("1d", "energy_1h", 86_400),
];

/// Whose energy it is.
#[derive(Debug)]
pub struct Subject {
    /// One of them, as the first column of its views: `pool`.
    pub name: &'static str,
    /// The kind of resource: `pools`.
    pub kind: &'static str,
    doc: &'static str,
    /// The columns that say whose window it is.
    keys: &'static [Column],
    /// The relation of [`RELATIONS`] that has a row for each of its meters and windows.
    relation: &'static str,
}

const SITE: Column = Column::new("site", Kind::Text, "The site.");
const POOL: Column = Column::new("pool", Kind::Text, "The pool, as it is registered.");
const MACHINE: Column = Column::new("machine", Kind::Text, "The machine, as it is registered.");
const METERED_BY: Column = Column::new(
    "metered_by",
    Kind::Text,
    "own, where meters of its own are registered, or machines, where theirs are added up.",
);

/// Machines.
pub const MACHINES: Subject = Subject {
    name: "machine",
    kind: "machines",
    doc: "Energy of each registered machine that has a meter for itself",
    keys: &[MACHINE, SITE, POOL],
    relation: "machine_rows",
};

/// Pools.
pub const POOLS: Subject = Subject {
    name: "pool",
    kind: "pools",
    doc: "Energy of each registered pool: of its own meters, or of those of its machines",
    keys: &[POOL, METERED_BY],
    relation: "pool_rows",
};

/// Sites.
pub const SITES: Subject = Subject {
    name: "site",
    kind: "sites",
    doc: "Energy of each registered site: of its own meters, or of those of its machines and of \
          what is auxiliary",
    keys: &[SITE, METERED_BY],
    relation: "site_rows",
};

/// Everything that has energy.
pub const SUBJECTS: &[&Subject] = &[&MACHINES, &POOLS, &SITES];
/// Their names.
pub const SUBJECT_NAMES: &[&str] = &[MACHINES.name, POOLS.name, SITES.name];

/// Relations over `registry`: what each version of a meter and of a machine said, and when it held.
const REGISTERED: &str = "\
versions AS (
  SELECT kind, id, after, coalesce(until, TIMESTAMP '2200-01-01T00:00:00Z') AS until,
    CASE WHEN place = 1 THEN TIMESTAMP '1970-01-01T00:00:00Z' ELSE event_time END AS since
  FROM (SELECT kind, id, after, event_time,
      row_number() OVER (PARTITION BY kind, id ORDER BY version) AS place,
      lead(event_time) OVER (PARTITION BY kind, id ORDER BY version) AS until
    FROM registry WHERE kind = 'meters' OR kind = 'machines') WHERE after IS NOT NULL),
meter_versions AS (
  SELECT id, since, until, json_extract_path_text(after, 'site') AS site,
    json_extract_path_text(after, 'pool') AS pool,
    json_extract_path_text(after, 'measures') AS measures,
    coalesce(CAST(json_extract_path_text(after, 'ct_ratio') AS DOUBLE), 1.0) AS ratio
  FROM versions WHERE kind = 'meters'),
machine_versions AS (
  SELECT id AS machine, since, until, json_extract_path_text(after, 'site') AS site,
    json_extract_path_text(after, 'pool') AS pool,
    coalesce(json_extract_path_text(after, 'meter'), id) AS meter
  FROM versions WHERE kind = 'machines')";

/// Relations over `meter_versions`, `machine_versions` and the windows of meters, `{windows}`.
const RELATIONS: &str = "\
metered AS (
  SELECT e.window_start AS begins, e.complete, e.site, e.meter, e.samples, e.covered_s,
    e.counter_covered_s, e.counter_resets, m.measures, m.pool AS meter_pool,
    e.energy_wh * coalesce(m.ratio, 1.0) AS energy_wh,
    e.counter_energy_wh * coalesce(m.ratio, 1.0) AS counter_energy_wh
  FROM {windows} AS e LEFT JOIN meter_versions AS m ON m.id = e.meter AND m.site = e.site
    AND e.window_start >= m.since AND e.window_start < m.until),
by_machine AS (
  SELECT e.*, m.machine, m.pool, count(*) OVER w AS sharers, count(m.pool) OVER w AS pooled,
    min(m.pool) OVER w AS first_pool, max(m.pool) OVER w AS last_pool,
    row_number() OVER (PARTITION BY e.begins, e.site, e.meter ORDER BY m.machine) AS place
  FROM metered AS e JOIN machine_versions AS m ON m.meter = e.meter AND m.site = e.site
    AND e.begins >= m.since AND e.begins < m.until
  WINDOW w AS (PARTITION BY e.begins, e.site, e.meter)),
machine_rows AS (SELECT * FROM by_machine WHERE sharers = 1),
pool_rows AS (
  SELECT meter_pool AS pool, arrow_cast('own', 'Utf8View') AS metered_by, begins, complete, meter,
    samples, covered_s, counter_covered_s, counter_resets, energy_wh, counter_energy_wh
  FROM metered WHERE measures = 'pool' AND meter_pool IS NOT NULL
  UNION ALL
  SELECT b.pool, arrow_cast('machines', 'Utf8View'), begins, complete, meter, samples, covered_s,
    counter_covered_s, counter_resets, energy_wh, counter_energy_wh
  FROM by_machine AS b LEFT ANTI JOIN (SELECT * FROM meter_versions WHERE measures = 'pool') AS o
    ON o.pool = b.pool AND b.begins >= o.since AND b.begins < o.until
  WHERE b.place = 1 AND b.pooled = b.sharers AND b.first_pool = b.last_pool),
site_rows AS (
  SELECT site, arrow_cast('own', 'Utf8View') AS metered_by, begins, complete, meter, samples,
    covered_s, counter_covered_s, counter_resets, energy_wh, counter_energy_wh
  FROM metered WHERE measures = 'site'
  UNION ALL
  SELECT p.site, arrow_cast('machines', 'Utf8View'), begins, complete, meter, samples, covered_s,
    counter_covered_s, counter_resets, energy_wh, counter_energy_wh
  FROM (
    SELECT site, begins, complete, meter, samples, covered_s, counter_covered_s, counter_resets,
      energy_wh, counter_energy_wh FROM by_machine WHERE place = 1
    UNION ALL
    SELECT site, begins, complete, meter, samples, covered_s, counter_covered_s, counter_resets,
      energy_wh, counter_energy_wh FROM metered WHERE measures = 'auxiliary') AS p
  LEFT ANTI JOIN (SELECT * FROM meter_versions WHERE measures = 'site') AS o
    ON o.site = p.site AND p.begins >= o.since AND p.begins < o.until)";

/// A view a subject and width of window, and what pools took for their hashes.
pub fn views() -> impl Iterator<Item = SqlView> {
    let energy = SUBJECTS
        .iter()
        .flat_map(|subject| TIERS.iter().map(move |tier| energy(subject, *tier)));
    let efficiency = [
        (
            "1h",
            "pool_hashrate_1h",
            &["registry", "energy_1h", "pool_hashrate_1h"][..],
        ),
        (
            "1d",
            "pool_hashrate_1d",
            &["registry", "energy_1h", "pool_hashrate_1d"][..],
        ),
    ];
    energy.chain(efficiency.map(|(tier, hashrate, reads)| efficiency_view(tier, hashrate, reads)))
}

fn energy(subject: &Subject, (tier, windows, seconds): (&str, &'static str, i64)) -> SqlView {
    let mut columns = vec![
        Column::time("window_start", "Start of the window, included."),
        Column::time("window_end", "End of the window, excluded."),
        Column::new(
            "complete",
            Kind::Bool,
            "False while rows of the window are still expected.",
        ),
    ];
    columns.extend_from_slice(subject.keys);
    columns.extend(VALUES.iter().copied());
    let reads: &[&str] = match windows {
        "energy_1m" => &["registry", "energy_1m"],
        _ => &["registry", "energy_1h"],
    };
    SqlView {
        name: format!("{}_energy_{tier}", subject.name),
        doc: format!("{}, in windows of {tier}.", subject.doc),
        reads,
        columns,
        sql: format!(
            "WITH {REGISTERED},\n{}",
            energy_sql(subject, windows, seconds)
        ),
    }
}

const VALUES: &[Column] = &[
    Column::new("meters", Kind::Int, "How many meters sent something.").unit(Unit::Count),
    Column::new("samples", Kind::Int, "Samples of all of them.").unit(Unit::Count),
    Column::new(
        "power_mean_w",
        Kind::Float,
        "Mean power over the time that is covered, of all meters together.",
    )
    .unit(Unit::Watts),
    Column::new(
        "energy_wh",
        Kind::Float,
        "Energy by the trapezoid rule; gaps over 15 minutes count nothing.",
    )
    .unit(Unit::WattHours),
    Column::new(
        "covered_s",
        Kind::Float,
        "Time of the window that energy_wh covers, in the mean of the meters.",
    )
    .unit(Unit::Seconds),
    Column::new(
        "counter_energy_wh",
        Kind::Float,
        "Energy by the meters' counters; null where they sent none.",
    )
    .unit(Unit::WattHours),
    Column::new(
        "counter_covered_s",
        Kind::Float,
        "Time of the window that counter_energy_wh covers, in the mean of the meters.",
    )
    .unit(Unit::Seconds),
    Column::new(
        "counter_resets",
        Kind::Int,
        "How often a counter went back or jumped.",
    )
    .unit(Unit::Count),
];

/// The statement behind its first `WITH`, over the relations `meter_versions` and
/// `machine_versions` and a view of windows of meters.
pub fn energy_sql(subject: &Subject, windows: &str, seconds: i64) -> String {
    let keys: Vec<&str> = subject.keys.iter().map(|key| key.name).collect();
    let keys = keys.join(", ");
    let relations = RELATIONS.replace("{windows}", windows);
    // Where windows are taken as they are, a condition on their start reaches the tables.
    let start = match windows == "energy_1h" && seconds != 3_600 {
        true => format!(
            "arrow_cast(date_bin(INTERVAL '{seconds} seconds', begins, TIMESTAMP \
             '1970-01-01T00:00:00Z'), 'Timestamp(Microsecond, Some(\"UTC\"))')"
        ),
        false => "begins".to_owned(),
    };
    format!(
        "{relations},
by_meter AS (
  SELECT {start} AS window_start, {keys}, meter, bool_and(complete) AS complete,
    sum(samples) AS samples, sum(energy_wh) AS energy_wh, sum(covered_s) AS covered_s,
    sum(counter_energy_wh) AS counter_energy_wh, sum(counter_covered_s) AS counter_covered_s,
    sum(counter_resets) AS counter_resets
  FROM {relation} GROUP BY 1, {keys}, meter)
SELECT window_start, window_start + INTERVAL '{seconds} seconds' AS window_end,
  bool_and(complete) AS complete, {keys}, count(*) AS meters, sum(samples) AS samples,
  sum(CASE WHEN covered_s > 0 THEN energy_wh * 3600 / covered_s END) AS power_mean_w,
  sum(energy_wh) AS energy_wh, avg(covered_s) AS covered_s,
  sum(counter_energy_wh) AS counter_energy_wh, avg(counter_covered_s) AS counter_covered_s,
  sum(counter_resets) AS counter_resets
FROM by_meter GROUP BY window_start, {keys}",
        relation = subject.relation
    )
}

fn efficiency_view(tier: &str, hashrate: &str, reads: &'static [&'static str]) -> SqlView {
    let seconds = if tier == "1h" { 3_600 } else { 86_400 };
    let energy = energy_sql(&POOLS, "energy_1h", seconds);
    SqlView {
        name: format!("pool_efficiency_{tier}"),
        doc: format!("Energy and accepted work of each pool in windows of {tier}."),
        reads,
        columns: vec![
            Column::time("window_start", "Start of the window, included."),
            POOL,
            VALUES[3],
            VALUES[4],
            Column::new(
                "accepted_difficulty",
                Kind::Decimal,
                "Work of accepted shares.",
            )
            .unit(Unit::Hashes),
            Column::new(
                "efficiency_jth",
                Kind::Float,
                "Energy a million million hashes; null without work.",
            )
            .unit(Unit::JoulesPerTerahash),
        ],
        sql: format!(
            "SELECT e.window_start, e.pool, e.energy_wh, e.covered_s, h.accepted_difficulty, \
             e.energy_wh * 3600 * 1000000000000 / CAST(nullif(h.accepted_difficulty, 0) AS \
             DOUBLE) AS efficiency_jth FROM (WITH {REGISTERED}, {energy}) AS e LEFT JOIN \
             (SELECT window_start, pool, \
             sum(accepted_difficulty) AS accepted_difficulty FROM {hashrate} GROUP BY 1, 2) AS h \
             ON h.pool = e.pool AND h.window_start = e.window_start"
        ),
    }
}
