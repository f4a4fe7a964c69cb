//! Rules from rows in JetStream to transitions and orders, each once, whoever looks how often.

mod metrics;

use headframe_ingest::StreamSettings;
use headframe_ingest::registry::shared_state::{NextMessage, SharedState};
use headframe_pipelines::pipeline::violations::RuleWatcher;
use headframe_pipelines::violation::lifecycle::decide;
use headframe_pipelines::violation::state::ViolationState;
use headframe_schemas::Table;
use headframe_schemas::stream::allocation_usage::{AllocationUsage, AllocationUsages};
use headframe_schemas::stream::orders::OrderRows;
use headframe_schemas::stream::registry::{RegistryChange, RegistryChanges};
use headframe_schemas::stream::sensors::{Reading, Sensors};
use headframe_schemas::stream::violations::{Violation, Violations};
use headframe_schemas::violation::{Action, Actor, Decision, Refusal};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::fixture::{Fixture, Running};

const MINUTE: i64 = 60_000_000;
/// 2026-03-01T00:00:00Z, microseconds since 1970.
const START: i64 = 1_772_323_200_000_000;

async fn mine() -> (Fixture, Vec<Running>) {
    let fixture = Fixture::new(&Sensors).await;
    let pipelines = vec![
        fixture.run_tables(&Sensors).await,
        fixture.run_raw(&RegistryChanges).await,
        fixture.run_raw(&AllocationUsages).await,
        fixture.run_raw(&Violations).await,
        fixture.run_raw(&OrderRows).await,
    ];
    (fixture, pipelines)
}

async fn register(fixture: &Fixture, kind: &str, id: &str, values: Value) {
    let change = RegistryChange {
        event_time: START,
        resource: format!("{kind}.{id}"),
        kind: kind.to_owned(),
        id: id.to_owned(),
        version: 1,
        change: "created".to_owned(),
        actor: "test".to_owned(),
        after: Some(values.to_string()),
        ..RegistryChange::default()
    };
    let seq = fixture.publisher.record(&change).await.unwrap().seq;
    fixture.until_complete(&RegistryChanges, seq).await;
}

async fn read(fixture: &Fixture, minute: i64, value: f64) -> u64 {
    let sample = Reading {
        event_time: START + minute * MINUTE,
        site: "north".to_owned(),
        sensor: "hall".to_owned(),
        quantity: "temperature_c".to_owned(),
        value,
    };
    fixture.publisher.record(&sample).await.unwrap().seq
}

fn hot() -> Value {
    json!({"type": "SAFETY_TEMP", "subject_kind": "site", "metric": "sensor",
        "quantity": "temperature_c", "comparison": "at_least", "threshold": 40.0,
        "hysteresis": 2.0, "for_s": 600.0, "missing_after_s": 900.0, "order": "stop"})
}

/// Minutes and temperatures: too hot for half an hour, for five minutes, and before silence.
fn temperatures() -> Vec<(i64, f64)> {
    let value = |minute: i64| match minute {
        10..40 | 50..55 | 80..=95 => 45.0,
        _ => 35.0,
    };
    (0..=95).map(|minute| (minute, value(minute))).collect()
}

const SHOWN: &str = "SELECT (CAST(event_time AS BIGINT) - 1772323200000000) / 60000000 AS at, \
    transition, status, condition, severity, (CAST(since AS BIGINT) - 1772323200000000) / 60000000 \
    AS since, (CAST(until AS BIGINT) - 1772323200000000) / 60000000 AS until, version, actor, \
    evidence_through_seq AS seq FROM t ORDER BY since, version";

/// What is in a table, a line a row.
async fn lines(
    fixture: &Fixture,
    stream: &'static dyn headframe_schemas::Stream,
    sql: &str,
) -> Vec<String> {
    let last = fixture.last_seq(stream).await;
    if last > 0 {
        fixture.until_complete(stream, last).await;
    }
    let found = fixture.ask(Table::raw(stream), sql).await;
    let line = |line: &str| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        cells.join(" ").trim().to_owned()
    };
    let rows = found.lines().skip(3).filter(|line| line.starts_with('|'));
    rows.map(line).collect()
}

const ORDERS: &str = "SELECT action, status, version, actor FROM t ORDER BY event_time, version";

/// The rows after looks at these minutes; a new watcher before each where it is killed.
async fn rows_after(looks: &[i64], is_killed: bool) -> (Vec<String>, Vec<String>) {
    let (fixture, pipelines) = mine().await;
    register(&fixture, "rules", "hot", hot()).await;
    let mut seq = 0;
    for (minute, value) in temperatures() {
        seq = read(&fixture, minute, value).await;
    }
    fixture.until_complete(&Sensors, seq).await;
    let context = fixture.context();
    let mut watcher = RuleWatcher::open(&context).await.unwrap();
    for minute in looks {
        if is_killed {
            watcher = RuleWatcher::open(&context).await.unwrap();
        }
        watcher.step(START + minute * MINUTE).await.unwrap();
    }
    let found = lines(&fixture, &Violations, SHOWN).await;
    let orders = lines(&fixture, &OrderRows, ORDERS).await;
    for running in pipelines {
        running.stop().await;
    }
    fixture.end().await;
    (found, orders)
}

/// By hand. The samples of minutes 0 to 95 have the sequences 1 to 96.
const EXPECTED: &[&str] = &[
    "10 detected detected holds high 10  1 rules 11",
    "20 opened open holds high 10  2 rules 21",
    "40 resolved resolved ended high 10 40 3 rules 41",
    "50 detected detected holds high 50  1 rules 51",
    "55 closed closed ended high 50 55 2 rules 56",
    "80 detected detected holds high 80  1 rules 81",
    "90 opened open holds high 80  2 rules 91",
    "110 data_missing open missing high 80  3 rules 96",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_finds_the_same_however_often_somebody_looks_and_is_killed() {
    let (found, orders) = rows_after(&[300], false).await;
    let found: Vec<String> = found.iter().map(|row| severity_left_out(row)).collect();
    let expected: Vec<String> = EXPECTED.iter().map(|row| severity_left_out(row)).collect();
    assert_eq!(found, expected);
    assert_eq!(
        orders,
        [
            "stop proposed 1 rules",
            "stop withdrawn 2 rules",
            "stop proposed 1 rules"
        ]
    );
    let all: Vec<i64> = (1..=130).step_by(7).chain([300]).collect();
    for is_killed in [false, true] {
        let (again, same_orders) = rows_after(&all, is_killed).await;
        let again: Vec<String> = again.iter().map(|row| severity_left_out(row)).collect();
        assert_eq!(
            (again, same_orders),
            (expected.clone(), orders.clone()),
            "{is_killed}"
        );
    }
}

fn severity_left_out(row: &str) -> String {
    let words = row
        .split(' ')
        .filter(|word| !["low", "medium", "high", "critical"].contains(word));
    words.collect::<Vec<_>>().join(" ")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_use_of_an_allocation_violates_the_default_rules_once_a_period() {
    let (fixture, pipelines) = mine().await;
    let mut seq = 0;
    for (hour, period, pct) in [
        (1, 0, 79.0),
        (2, 0, 80.0),
        (3, 0, 97.0),
        (4, 0, 100.5),
        (25, 24, 1.0),
        (26, 24, 96.0),
    ] {
        let row = AllocationUsage {
            event_time: START + hour * 60 * MINUTE,
            allocation: "pool.p1".to_owned(),
            subject_kind: "pool".to_owned(),
            subject: "p1".to_owned(),
            demand_covered_s: 900.0,
            period_start: START + period * 60 * MINUTE,
            period_end: START + (period + 24) * 60 * MINUTE,
            energy_limit_wh: Some(100.0),
            energy_pct: Some(pct),
            used_wh: pct,
            ..AllocationUsage::default()
        };
        seq = fixture.publisher.record(&row).await.unwrap().seq;
    }
    fixture.until_complete(&AllocationUsages, seq).await;
    for _ in 0..2 {
        let mut watcher = RuleWatcher::open(&fixture.context()).await.unwrap();
        watcher.step(START + 4 * 60 * MINUTE).await.unwrap();
        watcher.step(START + 26 * 60 * MINUTE).await.unwrap();
    }
    let sql = "SELECT rule, type, severity, transition, value, threshold FROM t ORDER BY rule, \
        window_start, version";
    let expected = [
        "pool-energy-100 ENERGY_LIMIT_EXCEEDED critical opened 100.5 100.0",
        "pool-energy-100 ENERGY_LIMIT_EXCEEDED critical data_missing 100.5 100.0",
        "pool-energy-100 ENERGY_LIMIT_EXCEEDED critical resolved 100.5 100.0",
        "pool-energy-80 ENERGY_LIMIT_WARNING low opened 80.0 80.0",
        "pool-energy-80 ENERGY_LIMIT_WARNING low data_missing 100.5 80.0",
        "pool-energy-80 ENERGY_LIMIT_WARNING low resolved 100.5 80.0",
        "pool-energy-80 ENERGY_LIMIT_WARNING low opened 96.0 80.0",
        "pool-energy-95 ENERGY_LIMIT_CRITICAL high opened 97.0 95.0",
        "pool-energy-95 ENERGY_LIMIT_CRITICAL high data_missing 100.5 95.0",
        "pool-energy-95 ENERGY_LIMIT_CRITICAL high resolved 100.5 95.0",
        "pool-energy-95 ENERGY_LIMIT_CRITICAL high opened 96.0 95.0",
    ];
    assert_eq!(lines(&fixture, &Violations, sql).await, expected);
    for running in pipelines {
        running.stop().await;
    }
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn decisions_and_findings_that_meet_are_both_kept_in_one_order() {
    let (fixture, pipelines) = mine().await;
    register(&fixture, "rules", "hot", hot()).await;
    for minute in 0..30 {
        read(&fixture, minute, 45.0).await;
    }
    let seq = read(&fixture, 30, 30.0).await;
    fixture.until_complete(&Sensors, seq).await;
    let mut watcher = RuleWatcher::open(&fixture.context()).await.unwrap();
    watcher.step(START + 29 * MINUTE).await.unwrap();
    let settings = StreamSettings::default();
    let opened = SharedState::<ViolationState>::open::<Refusal>(fixture.nats(), &settings);
    let (people, follower) = opened.await.unwrap();
    let stop = CancellationToken::new();
    let following = tokio::spawn(follower.run(stop.clone()));
    let open: Violation = people.state().rows().next().unwrap().clone();
    assert_eq!((open.status.as_str(), open.version), ("open", 2));
    let acknowledge = Decision {
        action: Action::Acknowledge,
        until_us: None,
        seen: 2,
        actor: Actor {
            name: "ann".to_owned(),
            role: None,
            reason: "seen".to_owned(),
        },
    };
    let plan = |state: &ViolationState| {
        let before = state.find(&open.violation).unwrap();
        decide(before, &acknowledge, START + 29 * MINUTE).map(NextMessage::<_, ()>::Message)
    };
    // Whoever comes second is judged by what the first one wrote.
    let (decided, step) = tokio::join!(people.change(plan), watcher.step(START + 31 * MINUTE));
    step.unwrap();
    let last = watcher_state(&fixture, &open.violation).await;
    match decided {
        Ok(_) => assert_eq!((last.version, last.acknowledged_at.is_some()), (4, true)),
        Err(refused) => {
            assert!(refused.to_string().contains("at version 3"), "{refused}");
            assert_eq!(last.version, 3);
        }
    }
    assert_eq!(last.status, "resolved");
    stop.cancel();
    following.await.unwrap();
    for running in pipelines {
        running.stop().await;
    }
    fixture.end().await;
}

/// The newest row of a violation as a process that starts now reads it.
async fn watcher_state(fixture: &Fixture, id: &str) -> Violation {
    let settings = StreamSettings::default();
    let opened = SharedState::<ViolationState>::open::<Refusal>(fixture.nats(), &settings);
    let (state, _) = opened.await.unwrap();
    let found = state.state().find(id).cloned();
    found.unwrap()
}
