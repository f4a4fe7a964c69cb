//! A thousand random curtailments of a virtual site of 290 machines, five in a hundred of them dead
//! or slow, and what they score.

use std::sync::Mutex;

use headframe_site::control::observation::MeterReading;
use headframe_site::control::power::PowerRegion;
use headframe_site::control::{DecisionRecord, Policy};
use headframe_site::plant::PlantConfig;
use headframe_site::random::Random;
use headframe_site::request::{Level, Request};
use headframe_site::score::{Event, ScoreCard, best_hashrate_ths, score};

use crate::run::{Run, policy};

/// What one event gave.
struct Outcome {
    card: ScoreCard,
    target_kw: f64,
    is_full: bool,
    design_kw: f64,
    /// Samples above the target after the deadline.
    above: usize,
}

fn events() -> usize {
    std::env::var("SITE_EVENTS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(1_000)
}

fn percentile(mut values: Vec<f64>, share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = ((values.len() as f64 * share).ceil() as usize).clamp(1, values.len());
    values[at - 1]
}

/// Runs one event from a site that runs until everything runs again.
fn run_event(steady: &Run, seed: u64) -> Outcome {
    let mut random = Random(seed);
    let mut run = steady.clone();
    run.plant.config.container.outside_c = random.between(-5.0, 16.0);
    let quiet_s = random.between(30.0, 300.0) as u64;
    run.seconds(quiet_s);
    let is_full = random.share() < 0.3;
    let target_kw = match is_full {
        true => 100.0,
        false => random.between(150.0, 900.0).round(),
    };
    let level = match random.share() < 0.3 {
        true => Level::Emergency,
        false => Level::Curtail,
    };
    let baseline_kw = run.plant.site_kw();
    let (mut decisions, mut meter) = (Vec::new(), Vec::new());
    run.request = Request {
        cap_kw: Some(target_kw),
        ..Request::of_level(level)
    };
    if random.share() < 0.3 {
        // It is announced some minutes ahead.
        let ahead_us = (random.between(60.0, 900.0) * 1e6) as i64;
        run.request.starts_at_us = Some(run.now.utc_us + ahead_us);
        while run.now.utc_us < run.request.starts_at_us.unwrap() {
            record(&mut run, &mut decisions, &mut meter);
        }
        decisions.clear();
        meter.clear();
    }
    let asked_at = run.now;
    let held_s = random.between(900.0, 3_600.0) as u64;
    for _ in 0..held_s / 5 {
        record(&mut run, &mut decisions, &mut meter);
    }
    let within_s = run.site.policy.signals.rule("utility").within_s(level);
    let event = Event {
        asked_at,
        deadline: asked_at.plus_ms(within_s * 1_000),
        released_at: run.now,
        target_kw,
        baseline_kw,
    };
    run.ask(Level::Normal, None);
    for _ in 0..720 {
        record(&mut run, &mut decisions, &mut meter);
        if run.region() == PowerRegion::Running {
            break;
        }
    }
    assert_eq!(run.region(), PowerRegion::Running, "seed {seed}");
    let after = |one: &&MeterReading| one.at >= event.deadline && one.at < event.released_at;
    Outcome {
        above: meter
            .iter()
            .filter(after)
            .filter(|one| one.kw > target_kw)
            .count(),
        card: score(&event, &decisions, &meter, &run.site.plan),
        target_kw,
        is_full,
        design_kw: run.site.plan.design_kw,
    }
}

fn record(run: &mut Run, decisions: &mut Vec<DecisionRecord>, meter: &mut Vec<MeterReading>) {
    let at = run.now.plus_ms(5_000);
    decisions.push(run.tick());
    // The interval meter of the program is exact; only the controller's has noise.
    let kw = run.plant.site_kw();
    meter.push(MeterReading { kw, at });
}

fn run_all(count: usize, policy: &Policy) -> Vec<Outcome> {
    let outcomes = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let outcomes = &outcomes;
            scope.spawn(move || {
                for site in (thread..10).step_by(2) {
                    let config = PlantConfig {
                        seed: 1 + site as u64,
                        ..PlantConfig::default()
                    };
                    let steady = Run::steady(config, policy.clone());
                    for event in 0..count / 10 {
                        let outcome = run_event(&steady, (1_000 * site + event) as u64);
                        outcomes.lock().unwrap().push(outcome);
                    }
                }
            });
        }
    });
    outcomes.into_inner().unwrap()
}

#[test]
fn a_thousand_random_events_score_what_programs_ask() {
    let outcomes = run_all(events(), &policy());
    let of = |value: fn(&Outcome) -> Option<f64>| -> Vec<f64> {
        outcomes.iter().filter_map(value).collect()
    };
    let factors = of(|one| one.card.performance_factor);
    let mean = factors.iter().sum::<f64>() / factors.len() as f64;
    let least = percentile(factors.clone(), 0.0);
    let full = of(|one| one.is_full.then_some(one.card.target_s)?);
    let all = of(|one| one.card.target_s);
    let above: usize = outcomes.iter().map(|one| one.above).sum();
    let rebound = percentile(of(|one| Some(one.card.rebound_peak_pct)), 1.0);
    let ramp = percentile(
        of(|one| Some(100.0 * one.card.steepest_minute_kw / one.design_kw)),
        1.0,
    );
    println!("{} events", outcomes.len());
    println!("performance factor: mean {mean:.4}, least {least:.4}");
    println!(
        "target reached: median {} s, p95 {} s; full shed: median {} s, p95 {} s, most {} s",
        percentile(all.clone(), 0.5),
        percentile(all.clone(), 0.95),
        percentile(full.clone(), 0.5),
        percentile(full.clone(), 0.95),
        percentile(full.clone(), 1.0),
    );
    println!("samples above the target after the deadline: {above}");
    println!("rebound peak: {rebound:.2} %; steepest minute: {ramp:.2} % of the design");
    let overshoot = of(|one| {
        let card = &one.card;
        Some(card.tracking_error_pct? * one.target_kw / 100.0)
    });
    println!(
        "below the target, mean of five-minute means: {:.1} kW median",
        percentile(overshoot, 0.5)
    );
    let failed = of(|one| Some(one.card.failed_commands_pct));
    println!("failed commands: {:.1} % median", percentile(failed, 0.5));
    let restored = of(|one| one.card.restore_t95_s);
    println!(
        "95 % again after: median {} s, p95 {} s",
        percentile(restored.clone(), 0.5),
        percentile(restored.clone(), 0.95)
    );
    assert_eq!(
        all.len(),
        outcomes.len(),
        "an event never reached its target"
    );
    assert_eq!(
        restored.len(),
        outcomes.len(),
        "an event was never restored"
    );
    assert!(mean >= 0.99 && least >= 0.99, "{mean} {least}");
    assert!(percentile(full, 0.95) <= 90.0);
    assert_eq!(above, 0);
    assert!(rebound <= 2.0, "{rebound}");
    assert!(ramp <= 10.0, "{ramp}");
}

#[test]
fn the_outlets_stop_the_site_within_ten_seconds() {
    let mut policy = policy();
    policy.dispatch.is_outlet_first = true;
    let mut times = Vec::new();
    for seed in 1..=20 {
        let config = PlantConfig {
            seed,
            ..PlantConfig::default()
        };
        let mut run = Run::steady(config, policy.clone());
        run.ask(Level::Emergency, Some(100.0));
        let taken = run.until(120, |run| run.plant.site_kw() <= 100.0);
        times.push(taken.unwrap() as f64);
    }
    println!(
        "full shed by outlets: p95 {} s",
        percentile(times.clone(), 0.95)
    );
    assert!(percentile(times, 0.95) <= 10.0);
}

#[test]
fn the_efficient_machines_keep_a_quarter_more_hashrate_than_a_random_choice() {
    let mut run = Run::steady(PlantConfig::default(), policy());
    run.ask(Level::Curtail, Some(500.0));
    assert!(
        run.until(600, |run| run.region() == PowerRegion::Curtailed)
            .is_some()
    );
    run.seconds(600);
    let machines = &run.site.plan.machines;
    let mining_kw: f64 = run
        .plant
        .machines
        .iter()
        .map(|one| one.power_w / 1_000.0)
        .sum();
    let mut random = Random(1);
    let mut sum_ths = 0.0;
    for _ in 0..200 {
        let mut order: Vec<usize> = (0..machines.len()).collect();
        for at in (1..order.len()).rev() {
            order.swap(at, (random.next_u64() % (at as u64 + 1)) as usize);
        }
        let waiting_w: f64 = machines.iter().map(|one| one.standby_w).sum();
        let mut left_w = mining_kw * 1_000.0 - waiting_w;
        for at in order {
            let adds_w = machines[at].power_w - machines[at].standby_w;
            if adds_w > left_w {
                break;
            }
            left_w -= adds_w;
            sum_ths += machines[at].hashrate_ths;
        }
    }
    let (kept, by_chance) = (run.plant.hashrate_ths(), sum_ths / 200.0);
    let best = best_hashrate_ths(&run.site.plan, mining_kw);
    println!(
        "at 500 kW: {:.1} PH/s kept, {:.1} by chance ({:+.0} %), {:.1} at best",
        kept / 1_000.0,
        by_chance / 1_000.0,
        100.0 * (kept / by_chance - 1.0),
        best / 1_000.0
    );
    assert!(kept >= 1.25 * by_chance, "{kept} {by_chance}");
    assert!(kept >= 0.98 * best, "{kept} {best}");
}
