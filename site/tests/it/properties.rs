//! Random sequences of events against a small virtual site: no unsafe output, every timer honoured.
//!
//! `SITE_SEQUENCES` sets how many; a failure is shrunk to the shortest sequence that shows it.

mod events;
mod guard;
mod timers;

use headframe_site::plant::PlantConfig;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::run::{Run, small_policy};
use events::{Happening, happening};
use guard::Guard;

fn sequences() -> u32 {
    let set = std::env::var("SITE_SEQUENCES")
        .ok()
        .and_then(|text| text.parse().ok());
    set.unwrap_or(3_000)
}

/// Six machines, three fans, a third of the machines dead or slow, every second one with a low
/// power mode.
fn tiny() -> PlantConfig {
    let mut config = crate::run::small();
    config.machines = 6;
    config.mining_kw = 19.5;
    config.auxiliary_kw = 1.0;
    config.fans = 3;
    config.low_every = 2;
    config.dead_share = 0.1;
    config.slow_share = 0.2;
    config.container.capacity_j_k = 5e5;
    config.container.walls_w_k = 800.0;
    config
}

/// Runs a sequence: what was unsafe first.
fn run_sequence(steady: &Run, happenings: &[Happening]) -> Result<(), String> {
    let mut run = steady.clone();
    let mut guard = Guard::new(&run);
    for happening in happenings {
        let ticks = happening.begin(&mut run, &mut guard);
        guard
            .timers
            .count_turns(matches!(happening, Happening::Hour));
        for _ in 0..ticks {
            guard.tick(&mut run)?;
        }
    }
    Ok(())
}

fn check(base: u64, cases: u32) {
    let mut policy = small_policy();
    policy.restore.group_pct = 30.0;
    policy.restore.ramp_pct_per_min = 80.0;
    let mut config = tiny();
    config.seed = base;
    let mut running = Run::steady(config.clone(), policy.clone());
    let mut booting = Run::new(config, policy);
    for run in [&mut running, &mut booting] {
        run.notices.clear();
        run.commands.clear();
        run.signal_period_ms = 5_000;
    }
    let mut runner = TestRunner::new(Config {
        cases,
        failure_persistence: None,
        rng_seed: proptest::test_runner::RngSeed::Fixed(base),
        ..Config::default()
    });
    let strategy = (any::<bool>(), prop::collection::vec(happening(), 1..24));
    let result = runner.run(&strategy, |(is_running, happenings)| {
        let steady = if is_running { &running } else { &booting };
        run_sequence(steady, &happenings).map_err(TestCaseError::fail)
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

#[test]
fn no_sequence_of_events_leads_to_an_unsafe_output() {
    let half = sequences() / 2;
    let begun = std::time::Instant::now();
    std::thread::scope(|scope| {
        let threads = [11, 12].map(|base| scope.spawn(move || check(base, half)));
        for thread in threads {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
    println!(
        "{} sequences in {:.1} s",
        2 * half,
        begun.elapsed().as_secs_f64()
    );
}
