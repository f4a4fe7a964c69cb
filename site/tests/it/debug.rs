//! Made-up values: they show what the controller would do, and drive nothing; only programs of the
//! controller's own machine set them, and only where they are on.

use headframe_ingest::simulator::Simulator;
use serde_json::{Value, json};

use crate::fixture::until;
use crate::run::small_running;
use crate::service::{Running, config, scenario};
use headframe_site::command::{Action, Target};
use headframe_site::control::machine::MachinePhase;
use headframe_site::control::order::{DebugFan, DebugValues, Order};
use headframe_site::request::Level;

fn order(values: DebugValues) -> Order {
    Order::Debug {
        by: "ann".to_owned(),
        values,
    }
}

#[test]
fn machines_and_fans_that_are_made_up_move_the_shadow_and_nothing_else() {
    let mut run = small_running();
    let before = run.state.machines.clone();
    let name = run.site.plan.machines[3].name.clone();
    let mut values = DebugValues::default();
    values.miners.insert(name, 20.0);
    let stands = DebugFan {
        is_on: Some(true),
        watts: Some(0.0),
    };
    values.fans = (1..=4).map(|fan| (fan, stands)).collect();
    run.orders.push(order(values));
    run.commands.clear();
    run.seconds(300);
    let shadow = run.state.shadow.as_ref().unwrap();
    assert_eq!(shadow.machines[3].phase, MachinePhase::Stopped);
    assert_eq!(shadow.machines[3].power_w, Some(20.0));
    assert_eq!(shadow.fans.fans[0].watts, Some(0.0));
    assert_eq!(run.state.machines[3].phase, before[3].phase);
    assert!(
        run.state.machines[3].power_w > Some(2_000.0),
        "the real one works on"
    );
    let machines = run.commands.iter();
    let machines = machines.filter(|one| matches!(one.target, Target::Machine(_)));
    assert_eq!(machines.count(), 0, "nothing is done to the real ones");
    run.orders.push(Order::EndDebug {
        by: "ann".to_owned(),
    });
    run.tick();
    assert!(run.state.shadow.is_none());
}

#[test]
fn made_up_values_drive_the_site_only_where_the_policy_allows_it() {
    for is_live in [false, true] {
        let mut run = small_running();
        let mut policy = run.site.policy.clone();
        policy.authority.allow_live_debug = is_live;
        let site = headframe_site::control::Site::new(policy, run.site.plan.clone()).unwrap();
        run.site = std::sync::Arc::new(site);
        let name = run.site.plan.machines[3].name.clone();
        let mut values = DebugValues {
            signal: Some(Level::Curtail),
            ..DebugValues::default()
        };
        // It is made out to draw nothing, so that others must stop in its place.
        values.miners.insert(name.clone(), 0.0);
        run.orders.push(order(values));
        run.commands.clear();
        run.seconds(300);
        let off = run.commands.iter().filter(|one| one.action == Action::Off);
        let off: Vec<_> = off
            .filter(|one| matches!(one.target, Target::Machine(_)))
            .collect();
        assert_eq!(!off.is_empty(), is_live, "{off:?}");
        assert!(
            off.iter()
                .all(|one| one.target != Target::Machine(name.clone()))
        );
    }
}

#[test]
fn made_up_values_end_by_themselves() {
    let mut run = small_running();
    run.orders.push(order(DebugValues {
        signal: Some(Level::Curtail),
        ..DebugValues::default()
    }));
    run.tick();
    let for_s = run.site.policy.authority.override_default_s;
    run.seconds(for_s - 10);
    assert!(run.state.shadow.is_some(), "they stand");
    run.seconds(20);
    assert_eq!(run.state.authority.debug, None);
    assert!(run.state.shadow.is_none());
    assert!(run.has_notice("debug/ended"));
}

async fn give(running: &Running, path: &str, body: Value) -> (u16, Value) {
    running.post(&format!("/api/debug/{path}"), body).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_routes_take_machines_and_fans_by_name_and_refuse_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let simulator = Simulator::start(scenario(), 4.0).await.unwrap();
    let mut config = config(&simulator, folder.path(), None);
    let running = Running::start(&config).await;
    for path in ["miners", "fans"] {
        let (status, _) = give(&running, path, json!({"state": "off"})).await;
        assert_eq!(status, 404, "debugging is off");
    }
    running.stop().await;
    config["debug"] = json!(true);
    let running = Running::start(&config).await;
    running.until_state("running").await;
    for (path, body, expected) in [
        ("miners", json!({"machine": "old-9", "state": "off"}), 404),
        ("miners", json!({"machine": "old-1"}), 400),
        (
            "miners",
            json!({"machine": "old-1", "state": "off", "power_w": 1}),
            400,
        ),
        ("miners", json!({"power_w": -1}), 400),
        ("miners", json!({"power_w": 1e9}), 400),
        ("miners", json!({"state": "melted"}), 400),
        (
            "miners",
            json!({"machine": "old-1", "state": "off", "more": 1}),
            400,
        ),
        ("fans", json!({"fan": 3, "state": "off"}), 404),
        ("fans", json!({"fan": 1}), 400),
        ("fans", json!({"fan": 300, "state": "on"}), 400),
        ("fans", json!({"watts": -5}), 400),
    ] {
        let (status, said) = give(&running, path, body.clone()).await;
        assert_eq!(status, expected, "{path} {body}: {said}");
        assert!(said["error"]["hint"].is_string(), "{said}");
    }
    for (path, body) in [
        ("miners", json!({"machine": "old-1", "state": "off"})),
        ("miners", json!({"machine": "new-2", "power_w": 1234.5})),
        ("fans", json!({"state": "on", "watts": 0})),
        ("fans", json!({"fan": 2, "state": "off"})),
    ] {
        let (status, said) = give(&running, path, body.clone()).await;
        assert_eq!(status, 200, "{path} {body}: {said}");
    }
    let values = running.site().await["debug"][1].clone();
    assert_eq!(values["miners"], json!({"old-1": 15.0, "new-2": 1234.5}));
    let (one, two) = (
        json!({"is_on": true, "watts": 0.0}),
        json!({"is_on": false, "watts": null}),
    );
    assert_eq!(values["fans"], json!({"1": one, "2": two}));
    let is_real = |machine: &headframe_ingest::simulator::Machine| machine.hashrate_hs > 0.0;
    assert!(
        simulator.state().machines.iter().all(is_real),
        "nothing is done to them"
    );
    let (status, _) = give(&running, "end", json!({})).await;
    assert_eq!(status, 200);
    until("the values are real again", || async {
        running.site().await["debug"].is_null()
    })
    .await;
    running.stop().await;
}
