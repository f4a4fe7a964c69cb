//! The journal replayed gives the same decisions, byte for byte, and a crash loses nothing.

use headframe_site::control::observation::Observation;
use headframe_site::control::{State, step};
use headframe_site::plant::PlantConfig;
use headframe_site::request::Level;
use headframe_site::what_if::{Recorded, compare};

use crate::run::{Run, policy};

#[test]
fn a_journal_replays_to_the_same_decisions_byte_for_byte() {
    let mut run = Run::new(PlantConfig::default(), policy());
    let mut journal = Vec::new();
    let begun = serde_json::to_string(&run.state).unwrap();
    for tick in 0..700 {
        match tick {
            150 => run.ask(Level::Curtail, Some(400.0)),
            300 => run.ask(Level::Normal, None),
            500 => run.plant.faults.is_container_silent = true,
            520 => run.plant.faults.is_meter_silent = true,
            _ => {}
        }
        let mut seen = None;
        let decision = run.tick_with(|observation| seen = Some(observation.clone()));
        let input = serde_json::to_string(&seen).unwrap();
        journal.push((run.now, input, serde_json::to_string(&decision).unwrap()));
    }
    let mut state: State = serde_json::from_str(&begun).unwrap();
    for (at, input, decision) in &journal {
        let observation: Observation = serde_json::from_str(input).unwrap();
        let again = step(&run.site, &state, &observation, *at);
        assert_eq!(serde_json::to_string(&again.decision).unwrap(), *decision);
        // The state goes through its journal, too.
        let kept = serde_json::to_string(&again.state).unwrap();
        state = serde_json::from_str(&kept).unwrap();
    }
    assert_eq!(state, run.state);
    let commands = run.commands.len();
    assert!(commands > 200, "{commands}");
}

#[test]
fn a_recording_under_another_policy_is_scored_on_the_same_site() {
    let config = PlantConfig {
        machines: 60,
        mining_kw: 195.0,
        auxiliary_kw: 10.0,
        fan_w: 300.0,
        container: headframe_site::plant::ContainerConfig {
            capacity_j_k: 5e6,
            walls_w_k: 3_000.0,
            fan_w_k: 1_900.0,
            ..Default::default()
        },
        ..PlantConfig::default()
    };
    let mut run = Run::new(config.clone(), policy());
    let mut recording = Vec::new();
    for tick in 0..900 {
        match tick {
            200 => run.ask(Level::Curtail, Some(100.0)),
            500 => run.ask(Level::Normal, None),
            _ => {}
        }
        run.tick_with(|observation| {
            recording.push(Recorded {
                at: headframe_site::moment::Moment {
                    elapsed_ms: observation.site_meter.unwrap().at.elapsed_ms,
                    utc_us: observation.site_meter.unwrap().at.utc_us,
                },
                observation: observation.clone(),
            });
        });
    }
    let mut outlets = policy();
    outlets.dispatch.is_outlet_first = true;
    let compared = compare(policy(), outlets, &config, &recording).unwrap();
    let target_s = |outcome: &headframe_site::what_if::Outcome| {
        assert_eq!(outcome.events.len(), 1, "{:?}", outcome.events);
        outcome.events[0].1.target_s.unwrap()
    };
    let (network, outlet) = (target_s(&compared.before), target_s(&compared.after));
    println!("target by network {network} s, by outlets {outlet} s");
    assert!(outlet < network);
    assert_ne!(compared.before.policy, compared.after.policy);
    assert!(compared.before.work_ths_h > 0.0 && compared.before.energy_kwh > 0.0);
}
