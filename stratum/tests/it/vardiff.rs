//! Vardiff against simulated miners: it arrives, stays, and keeps its nerve in a minute of silence.

use headframe_stratum::vardiff::{Settings, Vardiff};
use proptest::prelude::*;

/// A reproducible stream of exponential waits, as real shares have.
struct Waits(u64);

impl Waits {
    fn next(&mut self, mean_s: f64) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let uniform = ((self.0 >> 11) as f64 + 1.0) / (1u64 << 53) as f64;
        -uniform.ln() * mean_s
    }
}

/// Mines for a while and returns the difficulties after each step, with their times in seconds.
fn mine(hashrate: f64, seconds: f64, settings: &Settings, start: u64, seed: u64) -> Vec<(f64, u64)> {
    let mut waits = Waits(seed | 1);
    let mut vardiff = Vardiff::new(start, settings, 0);
    let mut steps = vec![(0.0, vardiff.difficulty())];
    let (mut now, mut next_share) = (0.0, waits.next(vardiff.difficulty() as f64 / hashrate));
    while now < seconds {
        // The server looks once a second and after each share.
        let tick = now.floor() + 1.0;
        now = tick.min(next_share);
        if now == next_share {
            vardiff.accepted(vardiff.difficulty());
        }
        let changed = vardiff.step(settings, (now * 1000.0) as u64);
        if changed {
            steps.push((now, vardiff.difficulty()));
        }
        if changed || now == next_share {
            next_share = now + waits.next(vardiff.difficulty() as f64 / hashrate);
        }
    }
    steps
}

#[test]
fn silence_of_a_donation_round_changes_nothing() {
    let settings = Settings::default();
    let mut vardiff = Vardiff::new(100_000, &settings, 0);
    for second in 1..=119 {
        assert!(!vardiff.step(&settings, second * 1000), "after {second} s");
    }
    assert!(vardiff.step(&settings, 121_000));
    assert_eq!(vardiff.difficulty(), 50_000);
}

#[test]
fn one_step_is_bounded_and_so_is_the_range() {
    let settings = Settings { min_difficulty: 1_000, max_difficulty: 100_000, ..Settings::default() };
    let mut vardiff = Vardiff::new(1_000, &settings, 0);
    (0..100).for_each(|_| vardiff.accepted(1_000));
    assert!(vardiff.step(&settings, 100));
    assert_eq!(vardiff.difficulty(), 8_000);
    (0..100).for_each(|_| vardiff.accepted(8_000));
    vardiff.step(&settings, 200);
    (0..100).for_each(|_| vardiff.accepted(64_000));
    vardiff.step(&settings, 300);
    assert_eq!(vardiff.difficulty(), 100_000);
    assert_eq!(Vardiff::new(1, &settings, 0).difficulty(), 1_000);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn it_arrives_and_stays(exponent in 1.7f64..7.0, seed: u64) {
        let settings = Settings { min_difficulty: 100, ..Settings::default() };
        let hashrate = 10f64.powf(exponent);
        let ideal = hashrate * settings.target_s;
        let steps = mine(hashrate, 4.0 * 3600.0, &settings, 10_000, seed);
        let late: Vec<_> = steps.iter().filter(|(at, _)| *at > 1800.0).collect();
        let (_, last) = steps[steps.len() - 1];
        prop_assert!((0.25..4.0).contains(&(last as f64 / ideal)), "ends at {last}, ideal {ideal}");
        // Hunting would be hundreds of steps.
        prop_assert!(late.len() < 60, "{} steps after half an hour", late.len());
    }
}
