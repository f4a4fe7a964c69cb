//! How much of an allocation is used, from rows in JetStream to rows in a table.

use headframe_pipelines::pipeline::allocations::AllocationWriter;
use headframe_schemas::Table;
use headframe_schemas::stream::allocation_usage::AllocationUsages;
use headframe_schemas::stream::energy::{Energies, Energy};
use headframe_schemas::stream::registry::{RegistryChange, RegistryChanges};
use serde_json::{Value, json};

use crate::fixture::Fixture;

const MINUTE: i64 = 60_000_000;
/// Noon in Oslo of a day that has 23 hours there, 2026-03-29T10:00:00Z, microseconds since 1970.
const NOON: i64 = 1_774_778_400_000_000;
/// That day's midnight in Oslo.
const MIDNIGHT: i64 = NOON - 11 * 60 * MINUTE;

/// Registers these resources at midnight, in this order; answers the last sequence.
async fn register(fixture: &Fixture, resources: &[(&str, &str, Value)]) -> u64 {
    let mut seq = 0;
    for (kind, id, values) in resources {
        let change = RegistryChange {
            event_time: MIDNIGHT,
            resource: format!("{kind}.{id}"),
            kind: (*kind).to_owned(),
            id: (*id).to_owned(),
            version: 1,
            change: "created".to_owned(),
            actor: "test".to_owned(),
            after: Some(values.to_string()),
            ..RegistryChange::default()
        };
        seq = fixture.publisher.record(&change).await.unwrap().seq;
    }
    seq
}

/// Samples of a meter at each minute of a range, all of one power; answers the last sequence.
async fn measure(fixture: &Fixture, meter: &str, minutes: std::ops::Range<i64>, watts: f64) -> u64 {
    let mut seq = 0;
    for minute in minutes {
        let sample = Energy {
            event_time: NOON + minute * MINUTE,
            site: "north".to_owned(),
            meter: meter.to_owned(),
            power_w: watts,
            energy_total_wh: None,
        };
        seq = fixture.publisher.record(&sample).await.unwrap().seq;
    }
    seq
}

fn mine() -> Vec<(&'static str, &'static str, Value)> {
    let machine = |pool: &str| json!({"site": "north", "pool": pool, "model": "x"});
    vec![
        ("sites", "north", json!({"time_zone": "Europe/Oslo"})),
        (
            "pools",
            "p1",
            json!({"operator": "o", "site": "north", "power_limit_kw": 2.0,
            "energy_limit_kwh": 3.0, "energy_period": "day"}),
        ),
        (
            "pools",
            "p2",
            json!({"operator": "o", "site": "north", "power_limit_kw": 100.0,
            "energy_limit_kwh": 0.0, "energy_period": "month"}),
        ),
        ("machines", "m1", machine("p1")),
        ("machines", "m2", machine("p2")),
        (
            "allocations",
            "both",
            json!({"operator": "o", "power_kw": 5.0, "period": "week",
            "valid_from": "2026-01-01T00:00:00Z"}),
        ),
        (
            "allocations",
            "ended",
            json!({"operator": "o", "power_kw": 5.0, "period": "week",
            "valid_from": "2026-01-01T00:00:00Z", "valid_to": "2026-02-01T00:00:00Z"}),
        ),
    ]
}

const SHOWN: &str = "SELECT (CAST(event_time AS BIGINT) - 1774778400000000) / 60000000 AS minute, \
    allocation, round(demand_w) AS demand_w, power_level, round(used_wh) AS used_wh, \
    energy_level, (CAST(exhausted_at AS BIGINT) - 1774778400000000) / 60000000 AS exhausted, \
    (CAST(period_end AS BIGINT) - CAST(period_start AS BIGINT)) / 3600000000 AS hours \
    FROM t ORDER BY allocation, event_time, seq";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn use_is_stated_each_quarter_and_when_a_level_changes_each_once() {
    let fixture = Fixture::new(&Energies).await;
    let pipelines = [
        fixture.run_raw(&RegistryChanges).await,
        fixture.run_raw(&AllocationUsages).await,
        fixture.run_tables(&Energies).await,
    ];
    let registry = register(&fixture, &mine()).await;
    fixture.until_complete(&RegistryChanges, registry).await;
    // Half an hour of 1.5 kW, of which the last quarter is 1.7 kW.
    measure(&fixture, "m1", -60..-15, 1_500.0).await;
    measure(&fixture, "m1", -15..0, 1_700.0).await;
    let energy = measure(&fixture, "m2", -60..0, 400.0).await;
    fixture.until_complete(&Energies, energy).await;
    let mut writer = AllocationWriter::open(fixture.context()).await.unwrap();
    writer.step(NOON - 7 * MINUTE).await.unwrap();
    // As after a kill: what was stated stays, and what passed meanwhile is made up for.
    for _ in 0..2 {
        writer = AllocationWriter::open(fixture.context()).await.unwrap();
        writer.step(NOON - 7 * MINUTE).await.unwrap();
        writer.step(NOON - MINUTE).await.unwrap();
        writer.step(NOON + 2 * MINUTE).await.unwrap();
    }
    let last = fixture.last_seq(&AllocationUsages).await;
    fixture.until_complete(&AllocationUsages, last).await;
    let found = fixture.ask(Table::raw(&AllocationUsages), SHOWN).await;
    let rows: Vec<String> = found
        .lines()
        .skip(3)
        .filter(|line| line.starts_with('|'))
        .map(|line| {
            line.split('|')
                .map(str::trim)
                .collect::<Vec<_>>()
                .join(" ")
                .trim()
                .to_owned()
        })
        .collect();
    assert_eq!(rows, EXPECTED, "\n{found}");
    for running in pipelines {
        running.stop().await;
    }
    fixture.end().await;
}

/// By hand. The samples end a minute before noon, so that the last quarter has 14 minutes; the
/// hour before noon had 1,549 W in the mean, at which 1,477 Wh last 57 minutes.
const EXPECTED: &[&str] = &[
    "-7 both 2013.0 normal 1707.0   168",
    "0 both 2100.0 normal 1917.0   168",
    "-7 pool.p1 1613.0 warning 1353.0 normal  23",
    "0 pool.p1 1700.0 warning 1523.0 normal 57 23",
    "-7 pool.p2 400.0 normal 353.0 critical -7 743",
    "0 pool.p2 400.0 normal 393.0 critical 0 743",
];
