//! Configurations that are slips: refused with the key and what to write, or warned of.

use headframe_site::config::SiteConfig;
use serde_json::{Value, json};

fn config() -> Value {
    let machine = |name: &str| json!({"name": name, "hashrate_ths": 100.0, "power_w": 3000.0});
    let source = |kind: &str, name: &str| {
        json!({"kind": kind, "name": name, "site": "north", "interval_s": 5.0,
            "address": "http://127.0.0.1:9"})
    };
    json!({
        "plan": {"name": "north", "design_kw": 8.0, "interlocks": ["room/smoke"],
            "container_sensors": ["room/air"], "machines": [machine("m-1"), machine("m-2")],
            "feeders": [{"name": "west", "limit_a": 100.0, "volts": 400.0, "phases": 3}]},
        "readings": {"site_meter": "main",
            "temperature": [{"reading": "room/air", "kind": "container"}],
            "interlock": [{"reading": "room/smoke", "kind": "smoke"}]},
        "source": [source("shelly", "main"), source("roomalert", "room")],
        "signal": [{"kind": "push", "name": "utility", "class": "mandatory"}],
        "actuator": [
            {"kind": "shelly", "name": "outlets", "address": "http://127.0.0.1:9", "controls": [
                {"channel": "0", "machine": "m-1"}, {"channel": "1", "machine": "m-2"}]}],
    })
}

fn read(config: Value) -> SiteConfig {
    serde_json::from_value(config).unwrap()
}

/// What is said when the value at a pointer is another.
fn with(changes: &[(&str, Value)]) -> SiteConfig {
    let mut config = config();
    for (pointer, value) in changes {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let parent = config.pointer_mut(parent).unwrap();
        match key.parse::<usize>() {
            Ok(at) => parent[at] = value.clone(),
            Err(_) => parent[key] = value.clone(),
        }
    }
    read(config)
}

#[test]
fn what_cannot_work_is_refused_with_its_key() {
    let sound = read(config());
    sound.check(false).unwrap();
    assert_eq!(sound.warnings(), Vec::<String>::new());
    let smoke = json!([{"reading": "rom/smoke", "kind": "smoke"}]);
    for (pointer, value, said) in [
        (
            "/readings/site_meter",
            json!("mian"),
            "readings.site_meter is \"mian\", and no [[source]]",
        ),
        (
            "/readings/interlock",
            smoke,
            "readings.interlock is \"rom/smoke\", and no [[source]]",
        ),
        (
            "/readings/temperature/0/reading",
            json!("room9/air"),
            "no [[source]] has the name",
        ),
        ("/plan/interlocks", json!([]), "is not in plan.interlocks"),
        (
            "/readings/interlock",
            json!([]),
            "plan.interlocks has \"room/smoke\", which no",
        ),
        (
            "/plan/container_sensors",
            json!(["room/oil"]),
            "plan.container_sensors has",
        ),
        (
            "/plan/design_kw",
            json!(0),
            "plan.design_kw: 0 is not more than 0",
        ),
        (
            "/plan/machines/0/power_w",
            json!(3.2),
            "plan.machines.m-1.power_w is 3.2",
        ),
        (
            "/plan/machines/0/standby_w",
            json!(9000),
            "plan.machines.m-1.standby_w is 9000",
        ),
        (
            "/journal_max_bytes",
            json!(0),
            "journal_max_bytes is 0; it must be 16777216",
        ),
        (
            "/policy",
            json!({"trips": {"trip_c": 104.0, "trip_at_once_c": 113.0}}),
            "policy.trips.trip_c: 104 is not 25 to 60 degrees Celsius; 104 °F are 40 °C",
        ),
        (
            "/policy",
            json!({"trips": {"clear_s": 0}}),
            "policy.trips.clear_s: 0 is not 1 to",
        ),
        (
            "/policy",
            json!({"signals": {"sources": {"utilty": {}}}}),
            "sources.utilty: no [[signal]]",
        ),
    ] {
        let error = with(&[(pointer, value.clone())]).check(false).map(|_| ());
        let error = error.expect_err(pointer).to_string();
        assert!(error.contains(said), "{pointer} {value}: {error}");
    }
}

#[test]
fn what_is_probably_not_meant_is_warned_of() {
    let rule = json!({"signals": {"sources": {"utility":
        {"class": "mandatory", "curtail_kw": 14000.0}}}});
    for (pointer, value, said) in [
        (
            "/plan/design_kw",
            json!(48_000),
            "plan.design_kw is 48000, and all that is listed",
        ),
        (
            "/actuator/0/controls",
            json!([{"channel": "0", "machine": "m-1"}]),
            "plan.machines.m-2: no [[actuator]] controls it",
        ),
        (
            "/policy",
            rule,
            "policy.signals.sources.utility.curtail_kw is 14000",
        ),
        (
            "/plan/container_sensors",
            json!([]),
            "readings.temperature \"room/air\" is not in",
        ),
    ] {
        let config = with(&[(pointer, value)]);
        config.check(false).unwrap();
        let warnings = config.warnings();
        assert!(
            warnings.iter().any(|one| one.contains(said)),
            "{pointer}: {warnings:?}"
        );
    }
}

#[test]
fn a_complaint_about_the_token_names_its_own_key() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("nothing");
    let config = with(&[("/token_file", json!(missing))]);
    let error = config.token().unwrap_err().to_string();
    assert!(
        error.starts_with("token_file: ") && !error.contains("secret_file"),
        "{error}"
    );
}

#[test]
fn machines_are_stopped_by_the_ways_that_actuators_have() {
    use headframe_site::command::Path;
    let foreman = json!({"kind": "foreman", "name": "foreman", "address": "http://127.0.0.1:9",
        "controls": [{"channel": "7", "machine": "m-1"}]});
    let asic = json!({"kind": "asic", "name": "m-2", "address": "127.0.0.1",
        "firmware": "whatsminer"});
    let mut config = config();
    let outlets = config["actuator"][0].clone();
    let paths = |actuators: &[&Value], config: &mut Value| {
        config["actuator"] = json!(actuators);
        let site = read(config.clone()).check(false).unwrap();
        let machines = site.plan.machines.iter();
        let ways = machines.map(|one| (one.first_path(), one.has_foreman, one.has_outlet));
        ways.collect::<Vec<_>>()
    };
    // A plan that says nothing of it, and an emergency stop that reaches every machine.
    assert_eq!(
        paths(&[&foreman, &asic], &mut config),
        [(Path::Foreman, true, false), (Path::Device, false, false)]
    );
    assert_eq!(
        paths(&[&foreman, &asic, &outlets], &mut config),
        [(Path::Foreman, true, true), (Path::Device, false, true)]
    );
    assert_eq!(
        paths(&[&outlets], &mut config),
        [(Path::Outlet, false, true); 2]
    );
    // A plan that says what no actuator does.
    config["plan"]["machines"][1]["has_outlet"] = json!(true);
    assert_eq!(
        paths(&[&asic], &mut config)[1],
        (Path::Device, false, false)
    );
}
