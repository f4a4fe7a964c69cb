//! What every metric reads from the tables.

use headframe_ingest::provision_stream;
use headframe_pipelines::violation::metric::{self, MetricTables, Reading, Selection, Span};
use headframe_schemas::stream::anomalies::{Anomalies, Anomaly};
use headframe_schemas::stream::curtailment_events::{CurtailmentEventRow, CurtailmentEvents};
use headframe_schemas::stream::energy::{Energies, Energy};
use headframe_schemas::stream::shares::{Share, Shares};
use serde_json::json;

use super::{MINUTE, START, mine, register};
use crate::fixture::Fixture;

const HOUR: i64 = 60 * MINUTE;

async fn send_energy(fixture: &Fixture) -> u64 {
    let mut seq = 0;
    for minute in 0..=120 {
        for (meter, power_w) in [("m1", 1_000.0), ("ghost", 5.0)] {
            let sample = Energy {
                event_time: START + minute * MINUTE,
                site: "north".to_owned(),
                meter: meter.to_owned(),
                power_w,
                energy_total_wh: None,
            };
            seq = fixture.publisher.record(&sample).await.unwrap().seq;
        }
    }
    seq
}

/// A day of a meter of 1 kW whose counter runs 3 % fast.
async fn send_counter(fixture: &Fixture) -> u64 {
    let mut seq = 0;
    for quarter in 0..=96 {
        let sample = Energy {
            event_time: START + quarter * 15 * MINUTE,
            site: "north".to_owned(),
            meter: "fast".to_owned(),
            power_w: 1_000.0,
            energy_total_wh: Some(5_000.0 + 257.5 * quarter as f64),
        };
        seq = fixture.publisher.record(&sample).await.unwrap().seq;
    }
    seq
}

/// Events of the grid and of the site's own economy, of which each kept to its target for a while.
async fn send_curtailments(fixture: &Fixture) -> u64 {
    let mut seq = 0;
    for (minute, level, kept_pct) in [(20, 3, 80.0), (40, 4, 100.0), (60, 6, 10.0)] {
        let row = json!({"event_time": START + minute * MINUTE, "site": "north", "journal": "j",
            "event": minute, "signal": "grid", "level": level, "asked_at": START,
            "target_kw": 100.0, "compliance_pct": kept_pct, "commands": 1, "commands_failed": 0,
            "notices": 0, "is_estimated": false});
        let row: CurtailmentEventRow = serde_json::from_value(row).unwrap();
        seq = fixture.publisher.record(&row).await.unwrap().seq;
    }
    seq
}

async fn send_share(fixture: &Fixture) -> u64 {
    let share = Share {
        event_time: START + 10 * MINUTE,
        pool: "p1".to_owned(),
        miner: "4".to_owned(),
        worker: "w1".to_owned(),
        outcome: "accepted".to_owned(),
        difficulty: 1_000_000_000_000,
        network_difficulty: 1_000_000_000_000_000,
        height: 1,
        block_hash: None,
        solo: None,
    };
    fixture.publisher.record(&share).await.unwrap().seq
}

async fn send_anomaly(fixture: &Fixture) -> u64 {
    let mut anomaly = Anomaly {
        event_time: START + 5 * MINUTE,
        site: "north".to_owned(),
        source: "energy".to_owned(),
        signal: "m1/power_w".to_owned(),
        detector: "stuck".to_owned(),
        transition: "opened".to_owned(),
        since: START,
        value: None,
        expected: None,
        deviation: None,
        lower: None,
        upper: None,
        score: 1.5,
        reason: None,
        input_seq: 1,
    };
    fixture.publisher.record(&anomaly).await.unwrap();
    anomaly.event_time = START + 9 * MINUTE;
    anomaly.transition = "closed".to_owned();
    anomaly.reason = Some("returned".to_owned());
    fixture.publisher.record(&anomaly).await.unwrap().seq
}

async fn readings(
    tables: &MetricTables,
    name: &str,
    subject_kind: &str,
    quantity: Option<&str>,
) -> Vec<Reading> {
    let selection = Selection {
        subject_kind: subject_kind.to_owned(),
        quantity: quantity.map(str::to_owned),
    };
    within(tables, name, &selection, 2 * HOUR).await
}

/// What a metric reads from the start on.
async fn within(
    tables: &MetricTables,
    name: &str,
    selection: &Selection,
    length_us: i64,
) -> Vec<Reading> {
    let span = Span {
        after_us: START,
        through_us: START + length_us,
    };
    let metric = metric::find(name).unwrap();
    metric.readings(tables, selection, span).await.unwrap()
}

/// Minutes and rounded values of a subject.
fn series(readings: &[Reading], subject: &str) -> Vec<(i64, f64)> {
    let own = readings.iter().filter(|reading| reading.subject == subject);
    let value = |reading: &Reading| reading.sample.value.unwrap_or(f64::NAN).round();
    own.map(|reading| ((reading.sample.at_us - START) / MINUTE, value(reading)))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_metric_reads_its_tables_and_nothing_where_there_are_none() {
    let (fixture, mut pipelines) = mine().await;
    let empty = MetricTables::open(&fixture.context().lake);
    for metric in metric::ALL {
        for kind in metric.subject_kinds() {
            assert_eq!(readings(&empty, metric.name(), kind, None).await, []);
        }
    }
    let nats = fixture.nats();
    for stream in [&Energies as &dyn headframe_schemas::Stream, &Shares] {
        provision_stream(&nats.js, stream, &Default::default())
            .await
            .unwrap();
    }
    pipelines.push(fixture.run_tables(&Energies).await);
    pipelines.push(fixture.run_tables(&Shares).await);
    pipelines.push(fixture.run_raw(&Anomalies).await);
    pipelines.push(fixture.run_raw(&CurtailmentEvents).await);
    register(&fixture, "sites", "north", json!({"time_zone": "UTC"})).await;
    let operator = json!({"licence_valid_to": "2026-03-01T01:00:00Z"});
    register(&fixture, "operators", "o", operator).await;
    register(
        &fixture,
        "pools",
        "p1",
        json!({"operator": "o", "site": "north"}),
    )
    .await;
    register(
        &fixture,
        "machines",
        "m1",
        json!({"site": "north", "pool": "p1", "rated_power_w": 800.0,
            "rated_hashrate_hs": 100e12}),
    )
    .await;
    send_energy(&fixture).await;
    let through = [
        (
            &Energies as &'static dyn headframe_schemas::Stream,
            send_counter(&fixture).await,
        ),
        (&Shares, send_share(&fixture).await),
        (&Anomalies, send_anomaly(&fixture).await),
        (&CurtailmentEvents, send_curtailments(&fixture).await),
    ];
    for (stream, seq) in through {
        fixture.until_complete(stream, seq).await;
    }
    let mut tables = MetricTables::open(&fixture.context().lake);
    tables.refresh().await.unwrap();

    for (kind, subject) in [("machine", "m1"), ("pool", "p1"), ("site", "north")] {
        let power = readings(&tables, "power_w", kind, None).await;
        let power = series(&power, subject);
        assert_eq!((power.len(), power[0]), (120, (1, 1_000.0)), "{kind}");
        let energy = readings(&tables, "energy_wh", kind, None).await;
        assert_eq!(
            series(&energy, subject),
            [(60, 1_000.0), (120, 1_000.0)],
            "{kind}"
        );
    }
    // 1 kWh for 10^12 hashes, and nothing for none.
    let efficiency = readings(&tables, "efficiency_jth", "pool", None).await;
    assert_eq!(series(&efficiency, "p1")[0], (60, 3_600_000.0));
    assert_eq!(efficiency[1].sample.value, None);
    let anomaly = readings(&tables, "anomaly", "site", Some("stuck")).await;
    assert_eq!(series(&anomaly, "north"), [(5, 1.0), (9, 0.0)]);
    assert_eq!(
        readings(&tables, "anomaly", "site", Some("drift")).await,
        []
    );
    assert_eq!(readings(&tables, "anomaly", "pool", None).await, []);
    let left = readings(&tables, "days_left", "operator", Some("licence_valid_to")).await;
    let left: Vec<_> = left
        .iter()
        .map(|one| (one.sample.at_us - START, one.sample.value))
        .collect();
    assert_eq!(left, [(HOUR, Some(0.0)), (2 * HOUR, Some(-1.0 / 24.0))]);
    let unknown = readings(&tables, "unregistered", "meter", None).await;
    assert_eq!(series(&unknown, "ghost"), [(60, 1.0), (120, 1.0)]);
    assert_eq!(series(&unknown, "m1"), [(60, 0.0), (120, 0.0)]);
    let unknown = readings(&tables, "unregistered", "machine", None).await;
    assert_eq!(series(&unknown, "w1"), [(60, 1.0)]);
    declared(&tables).await;
    for running in pipelines {
        running.stop().await;
    }
    fixture.end().await;
}

/// What is measured beside what is declared, owed and counted.
async fn declared(tables: &MetricTables) {
    let capacity = readings(tables, "capacity_pct", "machine", None).await;
    assert_eq!(series(&capacity, "m1"), [(60, 125.0), (120, 125.0)]);
    // One terahash at 8 J/TH, for 3.6 MJ.
    let capacity = readings(tables, "capacity_pct", "pool", None).await;
    let (minute, percent) = series(&capacity, "p1")[0];
    assert_eq!(minute, 60);
    assert!((percent / 45_000_000.0 - 1.0).abs() < 1e-6, "{percent}");
    assert_eq!(capacity[1].sample.value, None);
    let unaccredited = readings(tables, "unaccredited", "pool", None).await;
    assert_eq!(series(&unaccredited, "p1"), [(120, 1.0)]);
    let curtailments = readings(tables, "curtailment_pct", "site", None).await;
    let found = curtailments.iter().map(|one| {
        let sample = one.sample;
        let after = (sample.at_us - START) as f64 / MINUTE as f64;
        (after.round() as i64, sample.value, sample.is_exempt)
    });
    // Each is over when it is told.
    let expected = [
        (20, Some(80.0), false),
        (20, Some(80.0), true),
        (40, Some(100.0), false),
        (40, Some(100.0), true),
    ];
    assert_eq!(found.collect::<Vec<_>>(), expected);
    let of_meters = Selection {
        subject_kind: "meter".to_owned(),
        quantity: None,
    };
    let drift = within(tables, "counter_drift_pct", &of_meters, 30 * HOUR).await;
    assert_eq!(series(&drift, "fast"), [(24 * 60, 3.0)]);
    assert_eq!(series(&drift, "m1"), []);
}
