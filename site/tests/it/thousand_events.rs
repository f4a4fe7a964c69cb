//! A thousand random curtailments of a virtual site of 290 machines, five in a hundred of them dead
//! or slow, and what they score; and some of the model that `headframe sim` serves.

use std::sync::Mutex;

use headframe_site::control::DecisionRecord;
use headframe_site::control::observation::MeterReading;
use headframe_site::control::power::PowerRegion;
use headframe_site::plant::{Plant, PlantConfig};
use headframe_site::random::Random;
use headframe_site::request::{Level, Request};
use headframe_site::score::{Event, ScoreCard, best_hashrate_ths, score};

use crate::run::{Run, START, SiteModel, policy};
use crate::simulated_model::{OutletsOf, SimulatedSite};

/// Sites that differ by their seed.
const SITES: usize = 10;
/// Events of the model of `headframe sim` in `make test`, where its crate is not optimised.
const SIMULATED_EVENTS: usize = 20;

/// What one event gave.
struct Outcome {
    card: ScoreCard,
    target_kw: f64,
    is_full: bool,
    design_kw: f64,
    /// Samples above the target after the deadline.
    above: usize,
}

/// As many as a variable says.
fn count_of(variable: &str, default: usize) -> usize {
    let text = std::env::var(variable).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn plant(seed: u64) -> Plant {
    let config = PlantConfig {
        seed,
        ..PlantConfig::default()
    };
    Plant::running(config, START)
}

fn percentile(mut values: Vec<f64>, share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = ((values.len() as f64 * share).ceil() as usize).clamp(1, values.len());
    values[at - 1]
}

/// Runs one event from a site that runs until everything runs again.
fn run_event<M: SiteModel>(steady: &Run<M>, seed: u64) -> Outcome {
    let mut random = Random(seed);
    let mut run = steady.clone();
    run.plant.set_outside(random.between(-5.0, 16.0));
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

fn record<M: SiteModel>(
    run: &mut Run<M>,
    decisions: &mut Vec<DecisionRecord>,
    meter: &mut Vec<MeterReading>,
) {
    let at = run.now.plus_ms(5_000);
    decisions.push(run.tick());
    // The interval meter of the program is exact; only the controller's has noise.
    let kw = run.plant.site_kw();
    meter.push(MeterReading { kw, at });
}

/// So many events, on sites that a seed gives.
fn run_all<M: SiteModel>(count: usize, site: impl Fn(u64) -> M + Sync) -> Vec<Outcome> {
    let outcomes = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let (outcomes, site) = (&outcomes, &site);
            scope.spawn(move || {
                for number in (thread..SITES).step_by(2) {
                    let steady = Run::against(site(1 + number as u64), policy()).settled();
                    for event in 0..count / SITES {
                        let outcome = run_event(&steady, (1_000 * number + event) as u64);
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
    assert_goals(&run_all(count_of("SITE_EVENTS", 1_000), plant));
}

#[test]
fn events_of_the_model_of_headframe_sim_score_as_well() {
    let count = count_of("SITE_SIMULATED_EVENTS", SIMULATED_EVENTS);
    let site = |seed| SimulatedSite::running(seed, OutletsOf::FaultyOnes);
    assert_goals(&run_all(count, site));
}

/// Prints what the events scored, and asserts what programs ask.
fn assert_goals(outcomes: &[Outcome]) {
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

/// Seconds until the outlets have stopped a site.
fn outlets_take<M: SiteModel>(site: M) -> f64 {
    let mut policy = policy();
    policy.dispatch.is_outlet_first = true;
    let mut run = Run::against(site, policy).settled();
    run.ask(Level::Emergency, Some(100.0));
    let taken = run.until(120, |run| run.plant.site_kw() <= 100.0);
    taken.unwrap() as f64
}

#[test]
fn the_outlets_stop_the_site_within_ten_seconds() {
    let times: Vec<f64> = (1..=20).map(|seed| outlets_take(plant(seed))).collect();
    let simulated = outlets_take(SimulatedSite::running(1, OutletsOf::All));
    println!(
        "full shed by outlets: p95 {} s; in the model of headframe sim {simulated} s",
        percentile(times.clone(), 0.95)
    );
    assert!(percentile(times, 0.95) <= 10.0);
    assert!(simulated <= 10.0, "{simulated} s");
}

#[test]
fn the_efficient_machines_keep_a_quarter_more_hashrate_than_a_random_choice() {
    let best = kept_of_best(plant(1));
    assert!(best >= 0.98, "{best}");
    kept_of_best(SimulatedSite::running(1, OutletsOf::FaultyOnes));
}

/// At 500 kW at least a quarter more is kept than by chance: what is kept as a share of the best
/// choice.
fn kept_of_best<M: SiteModel>(site: M) -> f64 {
    let mut run = Run::against(site, policy()).settled();
    run.ask(Level::Curtail, Some(500.0));
    assert!(
        run.until(600, |run| run.region() == PowerRegion::Curtailed)
            .is_some()
    );
    run.seconds(600);
    let machines = &run.site.plan.machines;
    let mining_kw = run.plant.mining_kw();
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
    kept / best
}
