//! Vardiff against simulated miners: it arrives, stays, keeps its nerve in a minute of silence, and
//! follows other hardware.
//!
//! The runs are seeded, so every figure is the same on every machine. The bounds are what was
//! measured, with some space; `cargo test -p headframe-stratum vardiff -- --nocapture` prints the
//! figures themselves.

use headframe_stratum::work::vardiff::{Vardiff, VardiffSettings};

use crate::simulated::{Dice, Miner, Trace, mine};

fn runs(count: u64, miner: Miner, settings: &VardiffSettings) -> Vec<Trace> {
    (0..count)
        .map(|run| {
            mine(
                Miner {
                    seed: miner.seed * 1_000 + run,
                    ..miner
                },
                settings,
            )
        })
        .collect()
}

/// Median and 95th percentile of shares and of seconds until within 1.5 times the aim; fails when a
/// run never gets there.
struct Arrivals {
    shares: [f64; 2],
    seconds: [f64; 2],
}

impl Arrivals {
    fn simulate(traces: &[Trace], aim: f64, from_s: f64) -> Self {
        let arrivals: Vec<_> = traces
            .iter()
            .map(|trace| {
                trace
                    .until_near(aim, 1.5, from_s)
                    .expect("it never came near")
            })
            .collect();
        let quantiles = |mut values: Vec<f64>| {
            values.sort_by(f64::total_cmp);
            [0.5, 0.95].map(|part| values[((values.len() - 1) as f64 * part).round() as usize])
        };
        let shares = quantiles(arrivals.iter().map(|arrival| arrival.0).collect());
        let seconds = quantiles(arrivals.iter().map(|arrival| arrival.1).collect());
        Self { shares, seconds }
    }

    fn within(&self, what: &str, shares: [f64; 2], seconds: [f64; 2]) {
        println!(
            "{what}: within 1.5x after {:.0?} shares, {:.0?} s (median, 95 %)",
            self.shares, self.seconds
        );
        let bounds = self
            .shares
            .iter()
            .zip(shares)
            .chain(self.seconds.iter().zip(seconds));
        for (measured, bound) in bounds {
            assert!(
                *measured <= bound,
                "{what}: {:?} shares and {:?} s, allowed {shares:?} and {seconds:?}",
                self.shares,
                self.seconds
            );
        }
    }
}

/// From 50 H/s to 10 MH/s on one port that starts at 10,000. A fast miner's first hundred shares
/// are on their way before it can hear of its first step; a slow one waits 200 s for each share
/// until the first fall.
#[test]
fn it_arrives_within_a_few_shares() {
    let settings = VardiffSettings::default();
    let table = [
        (50.0, [15.0, 60.0], [900.0, 2_000.0]),
        (500.0, [0.0, 0.0], [0.0, 0.0]),
        (5_000.0, [20.0, 50.0], [100.0, 900.0]),
        (50_000.0, [20.0, 50.0], [60.0, 600.0]),
        (500_000.0, [40.0, 80.0], [120.0, 900.0]),
        (2_000_000.0, [70.0, 100.0], [100.0, 700.0]),
        (10_000_000.0, [180.0, 220.0], [150.0, 900.0]),
    ];
    for (hashrate, shares, seconds) in table {
        let traces = runs(60, Miner::new(hashrate, 1), &settings);
        Arrivals::simulate(&traces, hashrate * settings.target_s, 0.0).within(
            &format!("{hashrate} H/s"),
            shares,
            seconds,
        );
        let worst = traces.iter().map(Trace::worst_factor).fold(1.0, f64::max);
        assert!(
            worst <= settings.max_step,
            "{hashrate} H/s: a step by a factor of {worst}"
        );
    }
}

#[test]
fn it_does_not_hunt() {
    let settings = VardiffSettings {
        min_difficulty: 100,
        ..VardiffSettings::default()
    };
    for hashrate in [50.0, 50_000.0, 10_000_000.0] {
        let (hours, aim) = (10.0, hashrate * settings.target_s);
        let traces = runs(
            12,
            Miner {
                seconds: (hours + 1.0) * 3_600.0,
                ..Miner::new(hashrate, 2)
            },
            &settings,
        );
        let count = traces.len() as f64;
        let steps = traces
            .iter()
            .map(|trace| trace.steps_after(3_600.0))
            .sum::<usize>() as f64
            / (count * hours);
        let near = |factor: f64| {
            traces
                .iter()
                .map(|trace| trace.time_near(aim, factor, 1_800.0))
                .sum::<f64>()
                / count
        };
        let (close, far) = (near(1.5), near(2.0));
        println!(
            "{hashrate} H/s: {steps:.2} steps an hour; within 1.5x {:.1} % and within 2x {:.1} % \
             of the time",
            close * 100.0,
            far * 100.0
        );
        assert!(
            steps <= 0.5 && close >= 0.95 && far >= 0.985,
            "{hashrate} H/s: {steps} steps an hour, near for {close} and {far}"
        );
    }
}

/// Sessions that fall by a quarter or more around the silence, against the same sessions without
/// it: chance lowers a few.
#[test]
fn a_donation_round_lowers_nothing() {
    for target_s in [1.0, 2.0, 5.0, 10.0, 20.0, 60.0] {
        let settings = VardiffSettings {
            target_s,
            min_difficulty: 1,
            ..VardiffSettings::default()
        };
        let miner = Miner {
            seconds: 3_300.0,
            start: (1_000.0 * target_s) as u64,
            ..Miner::new(1_000.0, 3)
        };
        let lowered = |miner: Miner| {
            let falls = |trace: &Trace| {
                trace.steps.iter().any(|step| {
                    (3_000.0..3_240.0).contains(&step.at_s) && step.to * 4 < step.from * 3
                })
            };
            runs(200, miner, &settings)
                .iter()
                .filter(|trace| falls(trace))
                .count()
        };
        let (silent, steady) = (
            lowered(Miner {
                silent: (3_000.0, 3_060.0),
                ..miner
            }),
            lowered(miner),
        );
        println!(
            "one share in {target_s} s: {silent} of 200 sessions fall around a minute of silence, \
             {steady} without it"
        );
        assert!(
            silent <= steady + 6,
            "one share in {target_s} s: {silent} of 200 sessions fall around a minute of silence, \
             {steady} without it"
        );
    }
}

#[test]
fn other_hardware_is_followed() {
    let settings = VardiffSettings::default();
    let table = [
        (10.0, [35.0, 80.0], [150.0, 1_200.0]),
        (3.0, [35.0, 80.0], [250.0, 1_500.0]),
        (0.33, [20.0, 110.0], [1_000.0, 3_000.0]),
        (0.1, [20.0, 130.0], [1_200.0, 3_300.0]),
    ];
    for (factor, shares, seconds) in table {
        let miner = Miner {
            seconds: 14_400.0,
            change: (7_200.0, 50_000.0 * factor),
            ..Miner::new(50_000.0, 4)
        };
        let traces = runs(60, miner, &settings);
        Arrivals::simulate(&traces, 50_000.0 * factor * settings.target_s, 7_200.0).within(
            &format!("{factor} times as fast"),
            shares,
            seconds,
        );
    }
}

/// A share every target, then nothing: the clock alone, without chance.
#[test]
fn silence_is_pardoned_for_a_minute_and_then_counts() {
    for target_s in [1u64, 5, 20] {
        let settings = VardiffSettings {
            target_s: target_s as f64,
            ..VardiffSettings::default()
        };
        let mut vardiff = Vardiff::new(100_000, &settings, 0);
        let last = 400 * target_s;
        for second in 1..=last + 65 {
            if second % target_s == 0 && second <= last {
                vardiff.accepted(100_000, second * 1_000);
            }
            assert!(
                !vardiff.step(&settings, second * 1_000),
                "a share every {target_s} s, after {second} s"
            );
        }
        let fallen = (last + 65..last + 1_000)
            .find(|second| vardiff.step(&settings, second * 1_000))
            .expect("silence is never noticed");
        assert!(
            vardiff.difficulty() < 50_000,
            "it fell to {} after {fallen} s",
            vardiff.difficulty()
        );
    }
}

#[test]
fn shares_that_waited_for_the_pool_and_come_at_once_raise_nothing() {
    let settings = VardiffSettings::default();
    let mut vardiff = Vardiff::new(100_000, &settings, 0);
    for share in 1..=100 {
        vardiff.accepted(100_000, share * 20_000);
        vardiff.step(&settings, share * 20_000);
    }
    // As many as one session may have in flight.
    for _ in 0..8 {
        vardiff.accepted(100_000, 2_020_000);
        assert!(!vardiff.step(&settings, 2_020_000));
    }
    assert_eq!(vardiff.difficulty(), 100_000);
}

#[test]
fn each_step_upwards_needs_shares_of_its_own() {
    let settings = VardiffSettings::default();
    let mut vardiff = Vardiff::new(1_000, &settings, 0);
    for share in 1..=6 {
        assert!(!vardiff.step(&settings, 10), "after {} shares", share - 1);
        vardiff.accepted(1_000, 10);
    }
    assert!(vardiff.step(&settings, 10));
    assert_eq!(vardiff.difficulty(), 8_000);
    // One more share of the new job, or any number of the old one's worth less than two, is not
    // enough.
    for hashes in [8_000, 1_000, 1_000, 1_000] {
        vardiff.accepted(hashes, 20);
        assert!(!vardiff.step(&settings, 20), "{}", vardiff.difficulty());
    }
    vardiff.accepted(8_000, 30);
    assert!(vardiff.step(&settings, 30));
    assert!(
        (32_000..=64_000).contains(&vardiff.difficulty()),
        "{}",
        vardiff.difficulty()
    );
}

#[test]
fn one_step_is_bounded_and_so_is_the_range() {
    let settings = VardiffSettings {
        min_difficulty: 1_000,
        max_difficulty: 100_000,
        ..VardiffSettings::default()
    };
    let mut vardiff = Vardiff::new(1_000, &settings, 0);
    let mut rise = |hashes: u64, now_ms: u64| {
        (0..100).for_each(|_| vardiff.accepted(hashes, now_ms));
        vardiff.step(&settings, now_ms);
        // Without new shares there is no second step.
        assert!(!vardiff.step(&settings, now_ms + 1));
        vardiff.difficulty()
    };
    assert_eq!(
        [
            rise(1_000, 100),
            rise(8_000, 200),
            rise(64_000, 300),
            rise(100_000, 400)
        ],
        [8_000, 64_000, 100_000, 100_000]
    );
    assert_eq!(Vardiff::new(1, &settings, 0).difficulty(), 1_000);
    assert_eq!(Vardiff::new(u64::MAX, &settings, 0).difficulty(), 100_000);
}

/// A million steps on anything a session, an attacker or a broken clock may bring.
#[test]
fn no_input_breaks_a_bound() {
    let mut dice = Dice(5);
    let mut moved = 0;
    for session in 0..10_000 {
        let min = dice.magnitude().clamp(1, i64::MAX as u64);
        let max = dice.magnitude().clamp(min, i64::MAX as u64);
        let max_step =
            1.001 + (dice.below(1_000) as f64) / [1_000.0, 100.0, 1.0][dice.below(3) as usize];
        let settings = VardiffSettings {
            target_s: (1 + dice.below(36_000)) as f64 / 10.0,
            min_difficulty: min,
            max_difficulty: max,
            max_step,
        };
        let mut now_ms = dice.magnitude();
        let mut vardiff = Vardiff::new(dice.magnitude(), &settings, now_ms);
        for _ in 0..100 {
            match dice.below(8) {
                // A clock that jumps anywhere.
                0 => now_ms = dice.magnitude(),
                1..3 => now_ms = now_ms.saturating_add(dice.below(1_000_000)),
                _ => now_ms = now_ms.saturating_add(dice.below(2_000)),
            }
            match dice.below(4) {
                0 => vardiff.accepted(dice.magnitude(), now_ms),
                1 => vardiff.accepted([0, 1, u64::MAX][dice.below(3) as usize], now_ms),
                2 => {
                    (0..dice.below(4)).for_each(|_| vardiff.accepted(vardiff.difficulty(), now_ms))
                }
                _ => {}
            }
            let before = vardiff.difficulty();
            let changed = vardiff.step(&settings, now_ms);
            let after = vardiff.difficulty();
            assert_eq!(changed, before != after, "session {session}");
            assert!(
                (min..=max).contains(&after),
                "session {session}: {after} is not between {min} and {max}"
            );
            let (lower, upper) = (before.min(after) as f64, before.max(after) as f64);
            assert!(
                upper <= lower * max_step * (1.0 + 1e-12),
                "session {session}: from {before} to {after}, limit {max_step}"
            );
            moved += u32::from(changed);
        }
    }
    assert!(
        moved > 50_000,
        "only {moved} of a million steps changed anything: the cases test nothing"
    );
}
