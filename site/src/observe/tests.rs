//! What readings mean, against a small plan.

#![allow(clippy::unwrap_used)]
use super::*;
use serde_json::json;

fn plan() -> SitePlan {
    serde_json::from_value(json!({"name": "north", "design_kw": 10.0,
        "machines": [{"name": "m-1", "hashrate_ths": 100.0, "power_w": 3000.0},
            {"name": "m-2", "hashrate_ths": 100.0, "power_w": 3000.0}],
        "feeders": [{"name": "west", "limit_a": 100.0, "volts": 400.0, "phases": 3}],
        "fans": [{"watts": 900.0}]}))
    .unwrap()
}

fn map() -> ReadingMap {
    let config = serde_json::from_value(json!({"site_meter": "main",
        "machine": {"m-2": "pdu/2"},
        "temperature": [{"reading": "room/air", "kind": "container"}],
        "humidity": ["room/air"],
        "interlock": [{"reading": "room/smoke", "kind": "smoke", "trips_when_open": true}],
        "fan": [{"fan": 1, "power": "pdu/9", "relay": "relays/relay1"}],
        "feeder": [{"feeder": "west", "currents": ["main/a", "main/b"]}]}))
    .unwrap();
    ReadingMap::new(&config, &plan()).unwrap()
}

fn at() -> Moment {
    Moment {
        elapsed_ms: 7,
        utc_us: 9,
    }
}

#[test]
fn readings_of_devices_find_what_they_are_of() {
    let mut main = Readings::default();
    main.power("", Some(9_500.0), None);
    main.sensor("a", "current_a", Some(12.0));
    main.sensor("b", "current_a", Some(-14.0));
    let mut pdu = Readings::default();
    pdu.power("2", Some(2_900.0), None);
    pdu.power("9", Some(880.0), None);
    let mut relays = Readings::default();
    relays.sensor("relay1", "relay_state", Some(1.0));
    let mut thermometer = Readings::default();
    thermometer.sensor("air", "temperature_c", Some(24.5));
    thermometer.sensor("air", "humidity_pct", Some(40.0));
    thermometer.sensor("smoke", "switch_state", Some(0.0));
    let mut seen = Observation::default();
    for (device, readings) in [
        ("main", main),
        ("pdu", pdu),
        ("relays", relays),
        ("room", thermometer),
    ] {
        map().add_to(&mut seen, device, &readings, at());
    }
    assert_eq!(seen.site_meter, Some(MeterReading { kw: 9.5, at: at() }));
    assert_eq!(seen.machines[0].machine, 1);
    assert_eq!(seen.feeders[0].amps, Some(-14.0));
    assert_eq!(
        (seen.fans[0].watts, seen.fans[1].is_on),
        (Some(880.0), Some(true))
    );
    assert_eq!(seen.temperatures[0].sensor, "room/air");
    assert_eq!(seen.humidity[0].pct, 40.0);
    assert!(seen.interlocks[0].is_tripped, "an open contact trips");
}

#[test]
fn a_machine_speaks_for_itself_and_what_is_missing_is_not_observed() {
    let mut own = Readings::default();
    own.power("", None, None);
    own.sensor("board-1", "temperature_c", Some(70.0));
    own.sensor("board-2", "temperature_c", Some(75.0));
    own.sensor("inlet", "temperature_c", Some(22.0));
    let mut seen = Observation::default();
    map().add_to(&mut seen, "m-1", &own, at());
    assert!(seen.machines.is_empty(), "no power is not zero power");
    assert_eq!(seen.conditions[0].chip_c, Some(75.0));
    assert_eq!(seen.temperatures[0].kind, SensorKind::MinerAir);
}

#[test]
fn what_the_plan_does_not_have_is_refused_by_its_key() {
    let refused = |config: serde_json::Value| {
        let config = serde_json::from_value(config).unwrap();
        ReadingMap::new(&config, &plan()).unwrap_err()
    };
    let fan = refused(json!({"fan": [{"fan": 2}]}));
    assert!(fan.contains("readings.fan"), "{fan}");
    let feeder = refused(json!({"feeder": [{"feeder": "east"}]}));
    assert!(feeder.contains("\"east\""), "{feeder}");
    for (config, named) in [
        (
            json!({"machine": {"m-9": "x"}}),
            "readings.machine: there is no machine \"m-9\"",
        ),
        (
            json!({"load": {"m-9": ["x"]}}),
            "readings.load: there is no machine \"m-9\"",
        ),
        (json!({"load": {"m-1": []}}), "readings.load.m-1"),
        (
            json!({"load": {"m-1": ["x"]}, "machine": {"m-1": "y"}}),
            "readings.load.m-1",
        ),
    ] {
        let reason = refused(config);
        assert!(reason.contains(named), "{reason}");
    }
}

#[test]
fn the_power_of_a_machine_that_nothing_measures_follows_from_its_load() {
    let config = json!({"load": {"m-1": ["coop/rig-1", "other/rig-1"]}});
    let config = serde_json::from_value(config).unwrap();
    let map = ReadingMap::new(&config, &plan()).unwrap();
    let watts = |device: &str, part: &str, quantity: &str, value: f64| {
        let mut readings = Readings::default();
        readings.sensor(part, quantity, Some(value));
        let mut seen = Observation::default();
        map.add_to(&mut seen, device, &readings, at());
        seen.machines.first().map(|one| (one.machine, one.power_w))
    };
    // 40 W while it waits, and 3 kW at work.
    assert_eq!(watts("coop", "rig-1", "load_pct", 0.0), Some((0, 40.0)));
    assert_eq!(
        watts("other", "rig-1", "load_pct", 50.0),
        Some((0, 1_520.0))
    );
    assert_eq!(
        watts("coop", "rig-1", "load_pct", 100.0),
        Some((0, 3_000.0))
    );
    assert_eq!(watts("coop", "rig-2", "load_pct", 50.0), None);
    assert_eq!(watts("coop", "rig-1", "cpu_pct", 50.0), None);
    let mut power = Readings::default();
    power.power("", Some(2_900.0), None);
    let mut seen = Observation::default();
    map.add_to(&mut seen, "m-1", &power, at());
    assert_eq!(seen.machines, [], "one kind of evidence at a time");
}

#[test]
fn whoever_speaks_for_a_machine_says_what_it_is_busy_with() {
    let config = json!({"machine": {"m-2": "pdu/2"}, "condition": {"m-2": ["foreman/m-2"]}});
    let map = ReadingMap::new(&serde_json::from_value(config).unwrap(), &plan()).unwrap();
    let mut seen = Observation::default();
    let mut own = Readings::default();
    own.sensor("", "busy_state", Some(1.0));
    map.add_to(&mut seen, "m-1", &own, at());
    let mut foreman = Readings::default();
    foreman.sensor("m-2", "out_of_use_state", Some(1.0));
    foreman.sensor("m-2", "failing_state", Some(0.0));
    foreman.sensor("m-1", "out_of_use_state", Some(1.0));
    map.add_to(&mut seen, "foreman", &foreman, at());
    let of = |machine| MachineCondition {
        machine,
        at: Some(at()),
        ..MachineCondition::default()
    };
    let expected = [
        MachineCondition {
            is_busy: Some(true),
            ..of(0)
        },
        MachineCondition {
            is_out_of_use: Some(true),
            ..of(1)
        },
        MachineCondition {
            is_failing: Some(false),
            ..of(1)
        },
    ];
    assert_eq!(seen.conditions, expected);
    let unknown = json!({"condition": {"m-9": ["foreman/m-9"]}});
    let refused = ReadingMap::new(&serde_json::from_value(unknown).unwrap(), &plan());
    assert!(refused.unwrap_err().contains("readings.condition"));
}
