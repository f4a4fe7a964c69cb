//! Energy against a loop over all samples, and whose it is by what the registry says.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, NaiveDate};
use headframe_query_engine::Source;
use headframe_schemas::period::Zone;
use headframe_schemas::rollup::TIERS;
use headframe_schemas::rollup::energy::EnergyRollup;
use headframe_schemas::stream::energy::Energies;
use headframe_schemas::stream::registry::RegistryChanges;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::cases::cases;
use crate::rollups::{block_on, borders, raw, source};
use crate::scripted::{DAY, Scripted, raw_batch, raw_row, split};
use crate::server::{config, get, router, rows, send};

const SECOND: i64 = 1_000_000;

/// A sample: microseconds since 1970, watts, the counter.
type Sample = (i64, f64, Option<f64>);

/// What a window of a meter should hold.
#[derive(Default, Debug)]
struct Window {
    samples: i64,
    repeated: i64,
    energy_wh: f64,
    covered_us: i64,
    counter_wh: f64,
    counter_covered_us: i64,
    resets: i64,
}

/// The windows of one meter's samples in the order in which they came, in the plainest way.
fn windows(arrived: &[Sample], width_us: i64) -> BTreeMap<i64, Window> {
    let mut windows: BTreeMap<i64, Window> = BTreeMap::new();
    let mut first: BTreeMap<i64, Sample> = BTreeMap::new();
    for sample in arrived {
        let window = windows.entry(sample.0 - sample.0 % width_us).or_default();
        match first.contains_key(&sample.0) {
            true => window.repeated += 1,
            false => {
                window.samples += 1;
                first.insert(sample.0, *sample);
            }
        }
    }
    let sorted: Vec<Sample> = first.into_values().collect();
    for pair in sorted.windows(2) {
        let ((t0, p0, c0), (t1, p1, c1)) = (pair[0], pair[1]);
        let lasted = (t1 - t0) as f64;
        if t1 - t0 > 900 * SECOND {
            continue;
        }
        let gained = c1.zip(c0).map(|(new, old)| new - old);
        let most = 10_000.0 + 10.0 * p0.abs().max(p1.abs()) * lasted / 3.6e9;
        let reset = gained.is_some_and(|gained| gained < 0.0 || gained > most);
        let mut from = t0;
        while from < t1 {
            let to = (from - from % width_us + width_us).min(t1);
            let power = |at: i64| p0 + (p1 - p0) * ((at - t0) as f64 / lasted);
            let area = (power(from) + power(to)) / 2.0 * (to - from) as f64 / 3.6e9;
            let window = windows.entry(from - from % width_us).or_default();
            window.energy_wh += area;
            window.covered_us += to - from;
            if let Some(gained) = gained {
                window.counter_covered_us += to - from;
                window.counter_wh += match reset {
                    true => area,
                    false => gained * ((to - from) as f64 / lasted),
                };
                window.resets += i64::from(reset && to == t1);
            }
            from = to;
        }
    }
    windows
}

/// A sample's place in time, its watts, and how far its counter stands from a steady 1 kW.
fn samples() -> impl Strategy<Value = Vec<(i64, i64, Option<i64>)>> {
    let moment = prop_oneof![
        // Whole seconds, so that times repeat.
        4 => (0i64..90).prop_map(|s| s * SECOND),
        3 => 0i64..120 * SECOND,
        2 => -1_200 * SECOND..0i64,
        1 => -10_000 * SECOND..0i64,
    ];
    let counter = prop_oneof![
        1 => Just(None),
        4 => (0i64..3).prop_map(Some),
        1 => Just(Some(50_000)),
        1 => Just(Some(-2_000)),
    ];
    prop::collection::vec((moment, -50_000i64..4_000_000, counter), 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(6)))]

    #[test]
    fn energy_is_what_a_loop_over_all_samples_says(
        dice in samples(), mut marks in [0i64..45, 0i64..45, 0i64..45], tier in 0usize..4,
    ) {
        let samples: Vec<Sample> = dice.iter().map(|(at, mw, counter)| {
            let steady = 100_000.0 + *at as f64 / 3.6e6;
            let counter = counter.map(|off| (steady + off as f64).round());
            (DAY + at, *mw as f64 / 1000.0, counter)
        }).collect();
        let own = samples.iter().map(|(at, watts, counter)| {
            (*at, json!({"site": "s", "meter": "m", "power_w": watts, "energy_total_wh": counter}))
        });
        let all = raw(&Energies, own.collect());
        let last = samples.len() as i64;
        let (steps, stored) = borders(last, &mut marks);
        block_on(compare(samples, all, steps, stored, last, tier));
    }
}

/// Days of places whose clocks change, at midnight and by half an hour among them, or show quarters
/// of an hour.
const PLACES: [(&str, &str); 9] = [
    ("Europe/Oslo", "2026-03-29"),
    ("Europe/Oslo", "2026-10-25"),
    ("America/Chicago", "2026-03-08"),
    ("Africa/Cairo", "2026-04-24"),
    ("Africa/Cairo", "2026-10-29"),
    ("America/Havana", "2026-11-01"),
    ("Australia/Lord_Howe", "2026-04-05"),
    ("Asia/Beirut", "2026-03-29"),
    ("Asia/Kathmandu", "2026-10-25"),
];

/// Watt-hours and measured microseconds of each day of a place, by cutting the area between samples
/// at every minute and asking the clocks for its date.
fn days(samples: &[Sample], zone: Zone) -> BTreeMap<NaiveDate, (f64, i64)> {
    let mut days: BTreeMap<NaiveDate, (f64, i64)> = BTreeMap::new();
    for pair in samples.windows(2) {
        let ((t0, p0, _), (t1, p1, _)) = (pair[0], pair[1]);
        if t1 - t0 > 900 * SECOND {
            continue;
        }
        let power = |at: i64| p0 + (p1 - p0) * ((at - t0) as f64 / (t1 - t0) as f64);
        let mut from = t0;
        while from < t1 {
            let to = (from - from % (60 * SECOND) + 60 * SECOND).min(t1);
            let shown = DateTime::from_timestamp_micros(from).unwrap();
            let day = days.entry(shown.with_timezone(&zone).date_naive());
            let (wh, covered) = day.or_default();
            *wh += (power(from) + power(to)) / 2.0 * (to - from) as f64 / 3.6e9;
            *covered += to - from;
            from = to;
        }
    }
    days
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(3)))]

    #[test]
    fn the_days_of_a_place_are_what_a_loop_over_its_minutes_says(
        place in prop::sample::select(&PLACES[..]), first in 0i64..21_600,
        dice in prop::collection::vec((prop_oneof![9 => 60i64..900, 1 => 900i64..9_000],
            -50_000i64..4_000_000), 140..200),
    ) {
        let (name, day) = place;
        let zone: Zone = name.parse().unwrap();
        let noon: DateTime<chrono::Utc> = format!("{day}T12:00:00Z").parse().unwrap();
        let mut at = noon.timestamp_micros() - 20 * 3_600 * SECOND + first * SECOND;
        let samples: Vec<Sample> = dice.iter().map(|(after_s, mw)| {
            at += after_s * SECOND;
            (at, *mw as f64 / 1000.0, None)
        }).collect();
        block_on(compare_days(zone, noon.date_naive(), samples));
    }
}

async fn compare_days(zone: Zone, day: NaiveDate, samples: Vec<Sample>) {
    let own = samples.iter().map(|(at, watts, _)| {
        let sample = json!({"site": "north", "meter": "m", "power_w": watts});
        (*at, sample)
    });
    let all = raw(&Energies, own.collect());
    let machine = json!({"site": "north", "model": "x"});
    let registered = registry(&[("machines", "m", 0, Some(machine))]);
    let last = samples.len() as i64;
    let energies = source(&EnergyRollup, &all, &[last / 2], last, last).await;
    let router = router(config(), vec![registered, energies]).await;
    let path = format!(
        "/api/v1/energy/daily?of=machine&id=m&zone={}&from={day}&to={day}",
        zone.name()
    );
    let answer = send(&router, get(&path)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let found = answer.json()["rows"].as_array().unwrap().clone();
    let (wh, covered) = days(&samples, zone).remove(&day).unwrap_or_default();
    let [row] = found.as_slice() else {
        panic!("{zone} {day}: {found:?}");
    };
    assert!(
        row["from"].as_str().unwrap().starts_with(&day.to_string()),
        "{row}"
    );
    let seconds = row["covered_s"].as_f64().unwrap();
    assert_eq!((seconds * 1e6).round() as i64, covered, "{zone} {row}");
    let is = row["energy_wh"].as_f64().unwrap();
    assert!((is - wh).abs() < 0.01, "{zone} {day}: {wh}, not {row}");
}

async fn compare(
    samples: Vec<Sample>,
    all: arrow::array::RecordBatch,
    steps: Vec<i64>,
    stored: i64,
    last: i64,
    tier: usize,
) {
    let tier = TIERS[tier];
    let source = source(&EnergyRollup, &all, &steps, stored, last).await;
    let router = router(config(), vec![source]).await;
    let found = rows(
        &router,
        &format!(
            "SELECT CAST(window_start AS BIGINT) AS at, * FROM energy_{} ORDER BY 1",
            tier.name
        ),
    )
    .await;
    let expected = windows(&samples, tier.seconds * SECOND);
    let found: BTreeMap<i64, &Value> = found
        .iter()
        .map(|row| (row["at"].as_i64().unwrap(), row))
        .collect();
    let starts: Vec<i64> = expected.keys().copied().collect();
    assert_eq!(found.keys().copied().collect::<Vec<_>>(), starts);
    for (at, window) in &expected {
        let row = found[at];
        let whole = |name: &str| row[name].as_i64().unwrap();
        assert_eq!(whole("samples"), window.samples, "{row}");
        assert_eq!(whole("repeated_samples"), window.repeated, "{row}");
        assert_eq!(whole("counter_resets"), window.resets, "{row}");
        let seconds = |name: &str| (row[name].as_f64().unwrap() * 1e6).round() as i64;
        assert_eq!(seconds("covered_s"), window.covered_us, "{row}");
        assert_eq!(
            seconds("counter_covered_s"),
            window.counter_covered_us,
            "{row}"
        );
        // Each piece of ten seconds is rounded to a millionth of a watt-hour.
        let near = |name: &str, value: f64| {
            let is = row[name].as_f64().unwrap();
            assert!(
                (is - value).abs() < 1e-3,
                "{name} is {is}, not {value}: {row}"
            );
        };
        near("energy_wh", window.energy_wh);
        match window.counter_covered_us {
            0 => assert_eq!(row["counter_energy_wh"], Value::Null),
            _ => near("counter_energy_wh", window.counter_wh),
        }
    }
}

#[tokio::test]
async fn a_meter_that_starts_again_is_counted_by_its_power() {
    // A counter that turns back, and one that was changed for another.
    let counters = [1_000.0, 1_010.0, 5.0, 15.0, 900_000.0, 900_010.0];
    let own = counters.iter().enumerate().map(|(index, counter)| {
        let at = DAY + index as i64 * 36 * SECOND;
        (
            at,
            json!({"site": "s", "meter": "m", "power_w": 1_000.0, "energy_total_wh": counter}),
        )
    });
    let all = raw(&Energies, own.collect());
    for stored in [0, 3, 6] {
        let source = source(&EnergyRollup, &all, &[stored], stored, 6).await;
        let router = router(config(), vec![source]).await;
        let sum = "SELECT round(sum(counter_energy_wh), 2) AS wh, sum(counter_resets) AS resets, \
                   round(sum(energy_wh), 2) AS power_wh FROM energy_1h";
        let found = rows(&router, sum).await;
        assert_eq!(found, [json!({"wh": 50.0, "resets": 2, "power_wh": 50.0})]);
    }
}

/// Kind, id, seconds after the day began, fields.
type RegistryVersion = (&'static str, &'static str, i64, Option<Value>);

/// A registry of these versions: kind, id, seconds after the day began, fields.
fn registry(versions: &[RegistryVersion]) -> Arc<dyn Source> {
    let mut counts: BTreeMap<(&str, &str), i64> = BTreeMap::new();
    let row = |(index, (kind, id, at, after)): (usize, &RegistryVersion)| {
        let version = counts.entry((kind, id)).or_default();
        *version += 1;
        let change = match after {
            None => "deleted",
            Some(_) if *version == 1 => "created",
            Some(_) => "updated",
        };
        let after = after.as_ref().map(Value::to_string);
        raw_row(
            index as i64 + 1,
            0,
            DAY,
            json!({
            "event_time": DAY + at * SECOND, "resource": format!("{kind}.{id}"), "kind": kind,
            "id": id, "version": *version, "change": change, "actor": "test", "after": after}),
        )
    };
    let rows: Vec<_> = versions.iter().enumerate().map(row).collect();
    let last = rows.len() as i64;
    let batch = raw_batch(&RegistryChanges, &rows);
    Scripted::new(&RegistryChanges, split(&batch, last / 2, last))
}

/// Four hours of a steady power of each of these meters, a sample a minute.
async fn steady(meters: &[(&str, f64)]) -> Arc<dyn Source> {
    let mut own = Vec::new();
    for minute in 0..=240 {
        for (meter, watts) in meters {
            let at = DAY + minute * 60 * SECOND;
            own.push((
                at,
                json!({"site": "north", "meter": meter, "power_w": watts}),
            ));
        }
    }
    let last = own.len() as i64;
    let all = raw(&Energies, own);
    source(&EnergyRollup, &all, &[last / 3], last / 2, last).await
}

const HOUR: i64 = 3_600;

#[tokio::test]
async fn energy_belongs_to_whom_the_registry_says() {
    let machine = |pool: &str, meter: Option<&str>| {
        Some(json!({"site": "north", "pool": pool, "meter": meter, "model": "x"}))
    };
    let meter = |measures: &str, pool: Option<&str>, ratio: Option<f64>| {
        Some(json!({"site": "north", "measures": measures, "pool": pool, "ct_ratio": ratio}))
    };
    let changes = registry(&[
        // Registered after the first readings: they are its own all the same.
        (
            "meters",
            "feeder",
            HOUR,
            meter("pool", Some("p1"), Some(2.0)),
        ),
        ("meters", "fans", HOUR, meter("auxiliary", None, None)),
        ("machines", "a", HOUR, machine("p1", Some("m-a"))),
        ("machines", "b", HOUR, machine("p2", Some("m-b"))),
        ("machines", "c", HOUR, machine("p2", Some("m-shared"))),
        ("machines", "d", HOUR, machine("p2", Some("m-shared"))),
        ("machines", "e", HOUR, machine("p3", None)),
        // After two hours it changes hands, and after three one is taken away.
        ("machines", "e", 2 * HOUR, machine("p2", None)),
        ("machines", "b", 3 * HOUR, None),
    ]);
    let meters = [
        ("feeder", 600.0),
        ("fans", 50.0),
        ("m-a", 1_000.0),
        ("m-b", 2_000.0),
        ("m-shared", 3_000.0),
        ("e", 400.0),
        ("stranger", 9.0),
    ];
    let router = router(config(), vec![changes, steady(&meters).await]).await;
    let ask = async |sql: &str| rows(&router, sql).await;
    let hourly = "window_start < TIMESTAMP '2026-01-05T04:00:00Z'";
    let machines = ask(&format!(
        "SELECT machine, round(sum(energy_wh), 2) AS wh, count(*) AS n FROM \
        machine_energy_1h WHERE {hourly} GROUP BY 1 ORDER BY 1"
    ))
    .await;
    assert_eq!(
        machines,
        [
            json!({"machine": "a", "wh": 4_000.0, "n": 4}),
            json!({"machine": "b", "wh": 6_000.0, "n": 3}),
            json!({"machine": "e", "wh": 1_600.0, "n": 4}),
        ]
    );
    let pools = ask(&format!(
        "SELECT pool, metered_by, round(sum(energy_wh), 2) AS wh, round(min(power_mean_w), 2) AS \
        low_w, round(max(power_mean_w), 2) AS high_w, max(meters) AS meters FROM \
         pool_energy_1h WHERE {hourly} GROUP BY 1, 2 ORDER BY 1"
    ))
    .await;
    assert_eq!(
        pools,
        [
            json!({"pool": "p1", "metered_by": "own", "wh": 4_800.0, "low_w": 1_200.0,
            "high_w": 1_200.0, "meters": 1}),
            json!({"pool": "p2", "metered_by": "machines", "wh": 18_800.0, "low_w": 3_400.0,
            "high_w": 5_400.0, "meters": 3}),
            json!({"pool": "p3", "metered_by": "machines", "wh": 800.0, "low_w": 400.0,
            "high_w": 400.0, "meters": 1}),
        ]
    );
    // Days are made of hours, so that both have their part of the day.
    let days =
        ask("SELECT pool, round(energy_wh, 2) AS energy_wh FROM pool_energy_1d ORDER BY pool")
            .await;
    assert_eq!(days[1], json!({"pool": "p2", "energy_wh": 18_800.0}));
    let site =
        ask("SELECT metered_by, round(energy_wh, 2) AS energy_wh, meters FROM site_energy_1d")
            .await;
    assert_eq!(
        site,
        [json!({"metered_by": "machines", "energy_wh": 23_800.0, "meters": 5})]
    );
    let minutes = ask(
        "SELECT count(*) AS n, round(sum(energy_wh), 2) AS wh FROM machine_energy_1m WHERE \
        machine = 'a' AND covered_s = 60",
    )
    .await;
    assert_eq!(minutes, [json!({"n": 240, "wh": 4_000.0})]);
}

#[tokio::test]
async fn a_site_with_a_meter_of_its_own_is_that_meter_even_while_it_is_silent() {
    let changes = registry(&[
        (
            "meters",
            "grid",
            0,
            Some(json!({"site": "north", "measures": "site"})),
        ),
        (
            "machines",
            "a",
            0,
            Some(json!({"site": "north", "model": "x"})),
        ),
    ]);
    let router = router(config(), vec![changes, steady(&[("a", 1_000.0)]).await]).await;
    assert_eq!(
        rows(&router, "SELECT * FROM site_energy_1d").await,
        Vec::<Value>::new()
    );
    let machines = rows(
        &router,
        "SELECT round(energy_wh, 2) AS energy_wh FROM machine_energy_1d",
    )
    .await;
    assert_eq!(machines, [json!({"energy_wh": 4_000.0})]);
}
