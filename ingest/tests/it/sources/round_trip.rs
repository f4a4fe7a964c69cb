//! What a simulated device shows is what its parser reads, whatever it shows and whatever is wrong.

use headframe_ingest::simulator::{FaultKind, Scenario, SiteState, VirtualRun, endpoints};
use headframe_ingest::source::{Reading, Readings};
use serde_json::Value;

use super::scenario;

/// Readings in an order of their own, with their values apart.
fn sorted(readings: &Readings) -> Vec<(String, Vec<f64>)> {
    let entry = |reading: &Reading| match reading {
        Reading::Power {
            part,
            power_w,
            energy_total_wh,
        } => (
            format!("power {part} {}", energy_total_wh.is_some()),
            vec![*power_w, energy_total_wh.unwrap_or_default()],
        ),
        Reading::Sensor {
            part,
            quantity,
            value,
        } => (format!("{part} {quantity}"), vec![*value]),
        Reading::Hashrate { part, hashrate_hs } => (format!("hashrate {part}"), vec![*hashrate_hs]),
    };
    let mut all: Vec<_> = readings.values.iter().map(entry).collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

#[test]
fn what_a_device_shows_is_what_is_read() {
    let scenario = scenario(1);
    let mut state = SiteState::new(&scenario);
    for round in 0..200 {
        state = state.step(&scenario, 1.0);
        for endpoint in endpoints(&scenario).unwrap() {
            let source = endpoint.reader(&scenario).unwrap();
            for fault in [
                None,
                Some(FaultKind::Fahrenheit),
                Some(FaultKind::Missing),
                Some(FaultKind::Lying),
            ] {
                let now = endpoint
                    .snapshot(&scenario, &state, 1e9, state.elapsed_s)
                    .unwrap();
                let snapshot = now.with(fault);
                let answers = endpoint.answers(&snapshot, &source);
                let name = format!("{} {fault:?} in round {round}", endpoint.name);
                let read = match source.read(&answers) {
                    Ok(read) => read,
                    Err(reason) => panic!("{name}: {reason}"),
                };
                let (read_values, shown) = (sorted(&read), sorted(&snapshot.readings()));
                if fault.is_some_and(|fault| fault != FaultKind::Fahrenheit) {
                    assert_eq!(read_values, [], "{name}");
                    assert!(read.missing + read.rejected > 0, "{name}");
                    continue;
                }
                let names = |list: &[(String, Vec<f64>)]| {
                    list.iter().map(|one| one.0.clone()).collect::<Vec<_>>()
                };
                assert_eq!(names(&read_values), names(&shown), "{name}");
                let pairs = read_values.iter().zip(&shown);
                for (one, other) in pairs.flat_map(|(one, other)| one.1.iter().zip(&other.1)) {
                    let distance = (one - other).abs();
                    assert!(
                        distance <= 0.001 + other.abs() * 1e-9,
                        "{name}: {one} {other}"
                    );
                }
                assert_eq!((read.missing, read.rejected), (0, 0), "{name}");
            }
        }
    }
}

#[test]
fn virtual_time_gives_the_same_rows_again_and_none_for_what_is_broken() {
    let mut scenario = scenario(1);
    scenario.interval_s = 10.0;
    let rows = |scenario: &Scenario| -> Vec<Value> {
        let run = VirtualRun::new(scenario.clone(), 120.0).unwrap();
        run.map(|row| serde_json::from_slice(&row.line).unwrap())
            .collect()
    };
    let whole = rows(&scenario);
    assert_eq!(whole, rows(&scenario));
    let of_roomalert = |rows: &[Value]| {
        let is_it = |row: &&Value| {
            let sensor = row["sensor"].as_str().unwrap_or_default();
            sensor.starts_with("roomalert-1/Internal")
        };
        rows.iter().filter(is_it).count()
    };
    assert_eq!(of_roomalert(&whole), 12);
    for (kind, left) in [
        (FaultKind::Dead, 8),
        (FaultKind::Malformed, 8),
        (FaultKind::Lying, 8),
        (FaultKind::Frozen, 8),
        (FaultKind::Fahrenheit, 12),
        (FaultKind::Stuck, 12),
        (FaultKind::Shifted, 12),
    ] {
        let fault = serde_json::json!({"device": "roomalert-*", "kind": kind, "at_s": 20.0,
            "for_s": 40.0});
        scenario.faults = vec![serde_json::from_value(fault).unwrap()];
        assert_eq!(of_roomalert(&rows(&scenario)), left, "{kind:?}");
    }
}
