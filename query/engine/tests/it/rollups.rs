//! A rollup view equals its definition over all raw rows, wherever the rollup table and the raw
//! table end.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringViewArray};
use arrow::util::pretty::pretty_format_batches;
use datafusion::catalog::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};
use headframe_query_engine::Tail;
use headframe_query_engine::rows_in_memory::RowsInMemory;
use headframe_query_engine::union::newer_than;
use headframe_query_front::At;
use headframe_schemas::rollup::{self, TIERS};
use headframe_schemas::{Rollup, Stream, Table, codec};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::cases::cases;
use crate::scripted::{
    DAY, Script, Scripted, Version, bad_row, older_than, raw_batch, raw_row, whole,
};
use crate::server::{batches, config, router, rows, service};

/// Runs one statement over these relations.
async fn run(sql: &str, relations: &[(&str, RecordBatch)]) -> RecordBatch {
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1));
    for (name, batch) in relations {
        let table = MemTable::try_new(batch.schema(), vec![vec![batch.clone()]]).unwrap();
        context.register_table(*name, Arc::new(table)).unwrap();
    }
    let frame = context
        .sql(sql)
        .await
        .unwrap_or_else(|error| panic!("{error}\n{sql}"));
    let schema = Arc::new(frame.schema().as_arrow().clone());
    let batches = frame
        .collect()
        .await
        .unwrap_or_else(|error| panic!("{error}\n{sql}"));
    arrow::compute::concat_batches(&schema, &batches).unwrap()
}

/// The good rows of a raw batch.
async fn good(batch: &RecordBatch) -> RecordBatch {
    run(
        "SELECT * FROM raw WHERE reject_reason IS NULL",
        &[("raw", batch.clone())],
    )
    .await
}

/// The partial rows that a pipeline stores for new rows when it has stored those for the context.
async fn step(rollup: &dyn Rollup, new: &RecordBatch, context: &RecordBatch) -> RecordBatch {
    let finest = run(
        &rollup.finest_sql(),
        &[("rows", good(new).await), ("context", good(context).await)],
    )
    .await;
    let table = Table::rollup(rollup);
    let mut parts = Vec::new();
    for (index, tier) in TIERS.iter().enumerate() {
        let sql = if index == 0 {
            "SELECT * FROM finer".to_owned()
        } else {
            rollup.coarser_sql(*tier)
        };
        let windows = run(&sql, &[("finer", finest.clone())]).await;
        let named = codec::conform(&table.schema(), &windows).unwrap();
        let mut columns = named.columns().to_vec();
        let text = |value: &str| -> ArrayRef {
            Arc::new(StringViewArray::from(vec![value; windows.num_rows()]))
        };
        columns[table.columns.len() - 2] = text(tier.name);
        columns[table.columns.len() - 1] = text("2026-01");
        parts.push(RecordBatch::try_new(table.schema(), columns).unwrap());
    }
    whole(&parts)
}

/// What the view must say, from all rows at once.
async fn expected(rollup: &dyn Rollup, all: &RecordBatch, view: &str, sql: &str) -> String {
    let partials = step(rollup, all, &all.slice(0, 0)).await;
    let view = rollup
        .views()
        .into_iter()
        .find(|candidate| candidate.name == view)
        .unwrap();
    let whole_view = run(
        &view
            .sql
            .replace("{complete_to}", "TIMESTAMP '2200-01-01T00:00:00Z'"),
        &[("partials", partials)],
    )
    .await;
    let answer = run(sql, &[(view.name.as_str(), whole_view)]).await;
    pretty_format_batches(&[answer]).unwrap().to_string()
}

/// A source whose rollup was stored in steps that end at `steps`, whose raw table ends at `stored`,
/// and whose rest is in memory.
pub async fn source(
    rollup: &'static dyn Rollup,
    all: &RecordBatch,
    steps: &[i64],
    stored: i64,
    last: i64,
) -> Arc<Scripted> {
    let pieces = std::slice::from_ref(all);
    let (mut partials, mut before) = (Vec::new(), 0);
    for end in steps {
        let rows = older_than(pieces, *end);
        let none = || all.slice(0, 0);
        let new = newer_than(&rows, before).unwrap();
        let new = if new.is_empty() { none() } else { whole(&new) };
        let old = older_than(pieces, before);
        let old = if old.is_empty() { none() } else { whole(&old) };
        partials.push(step(rollup, &new, &old).await);
        before = *end;
    }
    let version = |offset: i64, batches| Version {
        offset: (offset > 0).then_some(offset),
        committed_us: DAY,
        newest_us: Some(DAY),
        batches,
    };
    let script = Script {
        raw: vec![version(stored, older_than(pieces, stored))],
        rollup: vec![version(before, partials)],
        tails: vec![Tail {
            rows: Arc::new(RowsInMemory::new(newer_than(pieces, stored).unwrap())),
            after: stored,
            through: last,
            truncated: false,
            generation: 1,
        }],
        last_seq: Ok(last),
    };
    Scripted::new(rollup.stream(), script)
}

async fn check(
    rollup: &'static dyn Rollup,
    view: &str,
    sql: &str,
    all: &RecordBatch,
    steps: &[i64],
    stored: i64,
    last: i64,
) {
    let source = source(rollup, all, steps, stored, last).await;
    let engine = service(&config(), vec![source]);
    let got = whole(&batches(&engine, sql, At::Latest).await);
    let got = pretty_format_batches(&[got]).unwrap().to_string();
    assert_eq!(
        got,
        expected(rollup, all, view, sql).await,
        "{view}, steps {steps:?}, stored {stored} of {last}"
    );
}

/// Offsets of event times in milliseconds: mostly close together, some late by minutes or hours,
/// some a day old.
fn moments() -> impl Strategy<Value = i64> {
    prop_oneof![
        6 => 0i64..120_000,
        2 => -1_200_000i64..0,
        1 => -10_000_000i64..0,
        1 => Just(-86_400_000i64),
    ]
}

/// Difficulties of shares, the largest that there can be among them.
fn difficulties() -> impl Strategy<Value = i64> {
    prop_oneof![1i64..1_000_000, Just(i64::MAX)]
}

/// Ends of the steps in which the rollup was stored, and of the raw table, all at most `last`.
pub fn borders(last: i64, marks: &mut [i64; 3]) -> (Vec<i64>, i64) {
    for mark in marks.iter_mut() {
        *mark = (*mark).min(last);
    }
    marks.sort_unstable();
    let mut steps: Vec<i64> = marks[..2].iter().copied().filter(|end| *end > 0).collect();
    steps.dedup();
    (steps, marks[2])
}

pub fn block_on(future: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future);
}

pub fn raw(stream: &dyn Stream, own: Vec<(i64, Value)>) -> RecordBatch {
    let row = |(index, (event_us, mut own)): (usize, (i64, Value))| {
        let seq = index as i64 + 1;
        own["event_time"] = json!(event_us);
        // Every seventh message also carries a refused row, which must count nowhere.
        let good = raw_row(seq, 0, event_us.max(DAY), own);
        if index % 7 == 3 {
            vec![good, bad_row(seq, 1, DAY, "bad")]
        } else {
            vec![good]
        }
    };
    raw_batch(
        stream,
        &own.into_iter()
            .enumerate()
            .flat_map(row)
            .collect::<Vec<_>>(),
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(3)))]

    #[test]
    fn hashrate_is_the_same_for_any_split(
        shares in prop::collection::vec((moments(), 0usize..3, 0usize..5, difficulties()), 1..40),
        mut marks in [0i64..45, 0i64..45, 0i64..45],
        which in 0usize..12,
    ) {
        let rollup = &rollup::hashrate::HashrateRollup;
        let outcomes = headframe_schemas::stream::shares::OUTCOMES;
        let own = shares.iter().map(|(ms, worker, outcome, difficulty)| {
            let (miner, worker) = [("m", "a"), ("m", "b"), ("n", "a")][*worker];
            let share = json!({"pool": "p", "miner": miner, "worker": worker,
                "outcome": outcomes[*outcome], "difficulty": difficulty,
                "network_difficulty": 1, "height": 1});
            (DAY + ms * 1000, share)
        });
        let all = raw(rollup.stream(), own.collect());
        let last = shares.len() as i64;
        let (steps, stored) = borders(last, &mut marks);
        let view = rollup.views()[which].name.clone();
        let keys = if which < 4 { "miner, worker" } else if which < 8 { "miner" } else { "pool" };
        let sql = format!(
            "SELECT window_start, window_end, {keys}, accepted_shares, stale_shares, \
             rejected_shares, late_shares, accepted_difficulty, rejected_difficulty, hashrate_hs, \
             hashrate_stderr_hs FROM {view} ORDER BY window_start, {keys}"
        );
        block_on(check(rollup, &view, &sql, &all, &steps, stored, last));
    }

    #[test]
    fn energy_is_the_same_for_any_split(
        samples in prop::collection::vec(
            (moments(), 0usize..2, -50_000i64..4_000_000, prop::option::of(0i64..60_000)), 1..40),
        mut marks in [0i64..45, 0i64..45, 0i64..45],
        which in 0usize..4,
    ) {
        let rollup = &rollup::energy::EnergyRollup;
        let own = samples.iter().map(|(ms, meter, mw, counter)| {
            let meter = ["x", "y"][*meter];
            let sample = json!({"site": "s", "meter": meter, "power_w": *mw as f64 / 1000.0,
                "energy_total_wh": counter});
            (DAY + ms * 1000, sample)
        });
        let all = raw(rollup.stream(), own.collect());
        let last = samples.len() as i64;
        let (steps, stored) = borders(last, &mut marks);
        let view = rollup.views()[which].name.clone();
        let sql = format!(
            "SELECT window_start, site, meter, samples, late_samples, repeated_samples, \
             power_min_w, power_max_w, power_mean_w, energy_wh, covered_s, counter_energy_wh, \
             counter_covered_s, counter_resets FROM {view} ORDER BY window_start, site, meter"
        );
        block_on(check(rollup, &view, &sql, &all, &steps, stored, last));
    }

    #[test]
    fn sensors_are_the_same_for_any_split(
        readings in prop::collection::vec((moments(), 0usize..2, -50_000i64..90_000), 1..40),
        mut marks in [0i64..45, 0i64..45, 0i64..45],
        which in 0usize..4,
    ) {
        let rollup = &rollup::sensors::SensorsRollup;
        let own = readings.iter().map(|(ms, sensor, value)| {
            let sensor = ["x", "y"][*sensor];
            let reading = json!({"site": "s", "sensor": sensor, "quantity": "temperature_c",
                "value": *value as f64 / 1000.0});
            (DAY + ms * 1000, reading)
        });
        let all = raw(rollup.stream(), own.collect());
        let last = readings.len() as i64;
        let (steps, stored) = borders(last, &mut marks);
        let view = rollup.views()[which].name.clone();
        let sql = format!(
            "SELECT window_start, sensor, quantity, readings, late_readings, value_min, \
             value_max, value_mean FROM {view} ORDER BY window_start, sensor"
        );
        block_on(check(rollup, &view, &sql, &all, &steps, stored, last));
    }
}

/// Thousands of workers of one pool are one group, so that a sum over millions of rows which wait
/// for their windows takes no memory for each.
#[tokio::test]
async fn new_rows_are_grouped_as_the_view_groups_them() {
    let rollup = &rollup::hashrate::HashrateRollup;
    let share = json!({"pool": "p", "miner": "m", "worker": "w", "outcome": "accepted",
        "difficulty": 2, "network_difficulty": 1, "height": 1});
    let all = raw(rollup.stream(), vec![(DAY, share)]);
    let source = source(rollup, &all, &[], 0, 1).await;
    let engine = service(&config(), vec![source]);
    for (view, keys) in [
        ("pool_hashrate_10s", ["pool"].as_slice()),
        ("pool_hashrate_1d", &["pool"]),
        ("miner_hashrate_1h", &["pool", "miner"]),
        ("hashrate_1d", &["pool", "miner", "worker"]),
    ] {
        let sql = format!("EXPLAIN SELECT sum(accepted_shares) FROM {view}");
        let plan = whole(&batches(&engine, &sql, At::Latest).await);
        let plan = pretty_format_batches(&[plan]).unwrap().to_string();
        let scan = plan.lines().find(|line| line.contains("TableScan: raw"));
        for key in ["pool", "miner", "worker"] {
            let read = scan.unwrap().contains(key);
            assert_eq!(read, keys.contains(&key), "{view}, {key}:\n{plan}");
        }
    }
}

/// The trapezoid rule written once more, in the plainest way, over sorted samples of one meter.
fn watt_hours(samples: &[(i64, f64)]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by_key(|sample| sample.0);
    let segment = |pair: &[(i64, f64)]| {
        let seconds = (pair[1].0 - pair[0].0) as f64 / 1e6;
        if seconds > 900.0 {
            0.0
        } else {
            (pair[0].1 + pair[1].1) / 2.0 * seconds / 3600.0
        }
    };
    sorted.windows(2).map(segment).sum()
}

#[tokio::test]
async fn energy_is_the_area_under_the_samples() {
    let second = 1_000_000;
    // In order of arrival: a gap of 20 minutes, samples within a window, two that come late and
    // split segments counted before.
    let samples = [
        (0, 1000.0),
        (4, 1200.0),
        (31, 800.0),
        (1231, 500.0),
        (1300, 700.0),
        (15, 4000.0),
        (1270, -200.0),
    ];
    let own = samples.iter().map(|(s, w)| {
        (
            DAY + s * second,
            json!({"site": "s", "meter": "m", "power_w": w}),
        )
    });
    let all = raw(&headframe_schemas::stream::energy::Energies, own.collect());
    let area = watt_hours(&samples.map(|(s, w)| (DAY + s * second, w)));
    for stored in 0..=7 {
        let source = source(&rollup::energy::EnergyRollup, &all, &[stored], stored, 7).await;
        let router = router(config(), vec![source]).await;
        for tier in TIERS {
            let total = rows(
                &router,
                &format!(
                    "SELECT sum(energy_wh) AS wh, sum(samples) AS n FROM energy_{}",
                    tier.name
                ),
            )
            .await;
            let wh = total[0]["wh"].as_f64().unwrap();
            assert!(
                (wh - area).abs() < 1e-4,
                "{wh} is not {area}, stored {stored}, tier {}",
                tier.name
            );
            assert_eq!(total[0]["n"], json!(7));
        }
    }
}

#[tokio::test]
async fn windows_are_open_until_their_rows_are_surely_there() {
    let own = |s: i64| {
        (
            DAY + s * 1_000_000,
            json!({"pool": "p", "miner": "m", "worker": "a", "outcome": "accepted",
                "difficulty": 5, "network_difficulty": 1, "height": 1}),
        )
    };
    let all = raw(
        &headframe_schemas::stream::shares::Shares,
        vec![own(1), own(12), own(35)],
    );
    let sql = "SELECT complete FROM hashrate_10s ORDER BY window_start";
    let open = |complete: &[bool]| {
        complete
            .iter()
            .map(|complete| json!({"complete": complete}))
            .collect::<Vec<_>>()
    };
    let source = source(&rollup::hashrate::HashrateRollup, &all, &[2], 2, 3).await;
    let router_ = router(config(), vec![source]).await;
    // The day is long past, so that every window is over.
    assert_eq!(rows(&router_, sql).await, open(&[true, true, true]));
    // JetStream has more than is seen: only windows that ended 10 s before the newest row seen, at
    // 35 s, are surely whole.
    let mut script = crate::scripted::split(&all, 3, 3);
    script.raw[0].newest_us = Some(DAY + 35_000_000);
    script.last_seq = Ok(9);
    let behind = router(
        config(),
        vec![Scripted::new(
            &headframe_schemas::stream::shares::Shares,
            script,
        )],
    )
    .await;
    assert_eq!(rows(&behind, sql).await, open(&[true, true, false]));
}
