//! Rules from rows in JetStream to transitions and orders, each once, whoever looks how often.

mod cost;
mod metrics;

use headframe_ingest::StreamSettings;
use headframe_ingest::registry::shared_state::{NextMessage, SharedState, StreamState};
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
    let seq = send_change(fixture, kind, id, values).await;
    fixture.until_complete(&RegistryChanges, seq).await;
}

async fn send_change(fixture: &Fixture, kind: &str, id: &str, values: Value) -> u64 {
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
    fixture.publisher.record(&change).await.unwrap().seq
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

/// What happens to the watcher between its looks.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Between {
    Nothing,
    /// It is killed before each.
    Killed,
    /// It learns of the rule after the first.
    Registered,
}

/// The rows after looks at these minutes.
async fn rows_after(looks: &[i64], between: Between) -> (Vec<String>, Vec<String>) {
    let (fixture, pipelines) = mine().await;
    if between != Between::Registered {
        register(&fixture, "rules", "hot", hot()).await;
    }
    let mut seq = 0;
    for (minute, value) in temperatures() {
        seq = read(&fixture, minute, value).await;
    }
    fixture.until_complete(&Sensors, seq).await;
    let context = fixture.context();
    let mut watcher = RuleWatcher::open(&context).await.unwrap();
    for (place, minute) in looks.iter().enumerate() {
        if between == Between::Killed {
            watcher = RuleWatcher::open(&context).await.unwrap();
        }
        watcher.step(START + minute * MINUTE).await.unwrap();
        if between == Between::Registered && place == 0 {
            register(&fixture, "rules", "hot", hot()).await;
        }
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
    let (found, orders) = Box::pin(rows_after(&[300], Between::Nothing)).await;
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
    for (looks, between) in [
        (&all[..], Between::Nothing),
        (&all, Between::Killed),
        (&[95, 300], Between::Registered),
    ] {
        let (again, same_orders) = Box::pin(rows_after(looks, between)).await;
        let again: Vec<String> = again.iter().map(|row| severity_left_out(row)).collect();
        assert_eq!(
            (again, same_orders),
            (expected.clone(), orders.clone()),
            "{between:?}"
        );
    }
}

fn severity_left_out(row: &str) -> String {
    let words = row
        .split(' ')
        .filter(|word| !["low", "medium", "high", "critical"].contains(word));
    words.collect::<Vec<_>>().join(" ")
}

/// A site's statements of each quarter of an hour from the first hour on: for an hour and a half
/// less than half of the time is measured, then a little more, then all of it.
fn statements_with_a_gap() -> Vec<AllocationUsage> {
    let covered_s = [900.0, 200.0, 0.0, 0.0, 0.0, 0.0, 440.0, 460.0, 900.0];
    let statement = |(quarter, demand_covered_s): (i64, f64)| AllocationUsage {
        event_time: START + (60 + 15 * quarter) * MINUTE,
        allocation: "a1".to_owned(),
        subject_kind: "site".to_owned(),
        subject: "north".to_owned(),
        demand_covered_s,
        period_start: START,
        period_end: START + 24 * 60 * MINUTE,
        power_limit_w: Some(1_000.0),
        ..AllocationUsage::default()
    };
    (0..).zip(covered_s).map(statement).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_use_of_an_allocation_violates_the_default_rules_once_a_period() {
    let (fixture, pipelines) = mine().await;
    let mut seq = 0;
    for row in statements_with_a_gap() {
        fixture.publisher.record(&row).await.unwrap();
    }
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
    let sql = "SELECT rule, type, severity, transition, value, threshold FROM t \
        WHERE subject_kind = 'pool' ORDER BY rule, window_start, version";
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
    // The gap is one when it has lasted for an hour, and over with 2 % above the limit.
    let sql = "SELECT (CAST(event_time AS BIGINT) - 1772323200000000) / 60000000 AS at, \
        rule, type, transition, (CAST(since AS BIGINT) - 1772323200000000) / 60000000 AS since \
        FROM t WHERE subject_kind = 'site' ORDER BY version";
    let expected = ["75 detected", "135 opened", "180 resolved"].map(|step| {
        let (at, transition) = step.split_once(' ').unwrap();
        format!("{at} site-data-gap METER_TAMPER_OR_GAP {transition} 75")
    });
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

/// A state with memory for one violation, if it is not over.
struct Small(ViolationState);

impl Default for Small {
    fn default() -> Self {
        Self(ViolationState::with_most(1))
    }
}

impl StreamState for Small {
    type Row = Violation;

    fn apply(&mut self, seq: u64, row: &Violation) -> Result<(), String> {
        self.0.apply(seq, row)
    }

    fn may_have_left(&self, key: &str) -> bool {
        self.0.may_have_left(key)
    }

    fn recall(&mut self, seq: u64, row: &Violation) -> Result<(), String> {
        self.0.recall(seq, row)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_left_memory_is_taken_in_again_and_decided_about() {
    let fixture = Fixture::new(&Violations).await;
    for (number, status) in [(1, "closed"), (2, "closed"), (3, "open")] {
        let row = Violation {
            event_time: START + number,
            violation: format!("v{number}"),
            version: 4,
            kind: "OTHER".to_owned(),
            subject_kind: "site".to_owned(),
            subject: "north".to_owned(),
            severity: "low".to_owned(),
            transition: "closed".to_owned(),
            status: status.to_owned(),
            actor: "ann".to_owned(),
            since: START,
            window_start: START,
            opened_at: Some(START),
            ..Violation::default()
        };
        fixture.publisher.record(&row).await.unwrap();
    }
    let settings = StreamSettings::default();
    let opened = SharedState::<Small>::open::<Refusal>(fixture.nats(), &settings);
    let (state, follower) = opened.await.unwrap();
    let stop = CancellationToken::new();
    let following = tokio::spawn(follower.run(stop.clone()));
    let found = |id: &str| state.state().0.find(id).map(|row| row.version);
    assert_eq!(["v1", "v2", "v3"].map(found), [None, None, Some(4)]);
    assert!(state.state().0.has_left());
    state.recall::<Refusal>("v1").await.unwrap();
    state.recall::<Refusal>("v9").await.unwrap();
    assert_eq!(
        ["v1", "v2", "v3", "v9"].map(found),
        [Some(4), None, Some(4), None]
    );
    let reopen = Decision {
        action: Action::Reopen,
        until_us: None,
        seen: 4,
        actor: Actor::default(),
    };
    let plan = |state: &Small| {
        let before = state.0.find("v1").unwrap();
        decide(before, &reopen, START + 9).map(NextMessage::<_, ()>::Message)
    };
    state.change(plan).await.unwrap();
    assert_eq!(["v1", "v3"].map(found), [Some(5), Some(4)]);
    stop.cancel();
    following.await.unwrap();
    fixture.end().await;
}
