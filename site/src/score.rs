//! The score card of an event: what a program, an operator and an engineer would ask afterwards.
//!
//! A pure function of the decisions, the meter and the event. The performance factor is that of
//! ERCOT's emergency response service: over quarter hours, whole and in part, how much of the
//! obligation was met.

mod interval;
mod obligations;
mod oracle;

use serde::{Deserialize, Serialize};

use crate::control::decision::DecisionRecord;
use crate::control::observation::{MeterReading, rounded};
use crate::control::power::PowerRegion;
use crate::control::site_plan::SitePlan;
use crate::moment::Moment;

use interval::intervals;
pub use interval::{Quarter, quarters};
pub use obligations::{Obligation, goes_on, is_bound, is_same_obligation, obligations};
pub use oracle::best_hashrate_ths;

const FIVE_MINUTES_US: i64 = 300_000_000;

/// What was asked.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When the signal changed.
    pub asked_at: Moment,
    /// When the target had to be reached, by the word of who asked; the controller wants to be
    /// there earlier, by `power.deadline_margin_s` of its policy.
    pub deadline: Moment,
    /// When the signal was released.
    pub released_at: Moment,
    /// The most that the site was to draw.
    pub target_kw: f64,
    /// What it would have drawn.
    pub baseline_kw: f64,
}

/// What came of it. Times count from the signal, or for the restore from its release.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScoreCard {
    /// Seconds until the controller's region changed.
    pub detect_s: Option<f64>,
    /// Seconds until the first command.
    pub first_command_s: Option<f64>,
    /// Seconds until the meter was at or below the target, and stayed for two samples.
    pub target_s: Option<f64>,
    /// Samples at or below the target, from the deadline to the release, per cent.
    pub compliance_pct: Option<f64>,
    /// How much of the obligation was met, 0 to 1.
    pub performance_factor: Option<f64>,
    /// Energy that could have been drawn below the target, from when it was reached.
    pub overshoot_kwh: f64,
    /// Energy above the target after the deadline.
    pub excess_kwh: f64,
    /// The mean distance of five-minute means from the target, per cent of it.
    pub tracking_error_pct: Option<f64>,
    /// The highest power after the release, per cent above the baseline.
    pub rebound_peak_pct: f64,
    /// The steepest rise within a minute after the release.
    pub steepest_minute_kw: f64,
    /// Seconds from the release to 95 % of the baseline.
    pub restore_t95_s: Option<f64>,
    /// Terahash-hours below the best choice of machines, from the deadline to the release.
    pub lost_ths_h: f64,
    /// Commands that failed, per cent.
    pub failed_commands_pct: f64,
    /// Warnings and emergencies.
    pub alarms: u32,
}

/// Scores an event.
pub fn score(
    event: &Event,
    decisions: &[DecisionRecord],
    meter: &[MeterReading],
    plan: &SitePlan,
) -> ScoreCard {
    let after = |at: Moment, from: Moment| at.ms_since(from) as f64 / 1_000.0;
    let during = || decisions.iter().filter(|one| one.at >= event.asked_at);
    let reacts = |one: &&DecisionRecord| {
        matches!(
            one.after.power,
            PowerRegion::Curtailing | PowerRegion::Curtailed
        )
    };
    let detected = during()
        .find(reacts)
        .map(|one| after(one.at, event.asked_at));
    let first = during().find(|one| reacts(one) && !one.commands.is_empty());
    let reached = reached_at(event, meter);
    let bound: Vec<MeterReading> = within(meter, event.deadline, event.released_at);
    let fits = bound.iter().filter(|one| one.kw <= event.target_kw).count();
    let held = reached.map_or_else(Vec::new, |at| within(meter, at, event.released_at));
    let later: Vec<MeterReading> = meter
        .iter()
        .filter(|one| one.at >= event.released_at)
        .copied()
        .collect();
    let sent: usize = during().map(|one| one.commands.len()).sum();
    let failed: u32 = during().map(|one| one.failed_commands).sum();
    let peak_kw = later.iter().map(|one| one.kw).fold(0.0, f64::max);
    let is_back = |one: &&MeterReading| one.kw >= 0.95 * event.baseline_kw;
    ScoreCard {
        detect_s: detected,
        first_command_s: first.map(|one| after(one.at, event.asked_at)),
        target_s: reached.map(|at| after(at, event.asked_at)),
        compliance_pct: share_pct(fits, bound.len()),
        performance_factor: performance_factor(event, &bound).map(to_a_millionth),
        overshoot_kwh: energy_kwh(&held, |kw| (event.target_kw - kw).max(0.0)),
        excess_kwh: energy_kwh(&bound, |kw| (kw - event.target_kw).max(0.0)),
        tracking_error_pct: tracking_error_pct(event, &held),
        rebound_peak_pct: rounded(100.0 * (peak_kw / event.baseline_kw - 1.0).max(0.0)),
        steepest_minute_kw: steepest_minute_kw(&later),
        restore_t95_s: later
            .iter()
            .find(is_back)
            .map(|one| after(one.at, event.released_at)),
        lost_ths_h: rounded(oracle::lost_ths_h(event, decisions, plan)),
        failed_commands_pct: share_pct(failed as usize, sent).unwrap_or(0.0),
        alarms: during().map(|one| one.alarms).sum(),
    }
}

/// Fewer digits are read back from their JSON bit for bit.
fn to_a_millionth(number: f64) -> f64 {
    (number * 1e6).round() / 1e6
}

/// Samples from a moment on, before another.
pub fn within(meter: &[MeterReading], from: Moment, to: Moment) -> Vec<MeterReading> {
    let between = meter.iter().filter(|one| one.at >= from && one.at < to);
    between.copied().collect()
}

fn share_pct(part: usize, whole: usize) -> Option<f64> {
    (whole > 0).then(|| rounded(100.0 * part as f64 / whole as f64))
}

/// The first of two samples in a row at or below the target.
fn reached_at(event: &Event, meter: &[MeterReading]) -> Option<Moment> {
    let after: Vec<&MeterReading> = meter
        .iter()
        .filter(|one| one.at >= event.asked_at && one.at < event.released_at)
        .collect();
    let pair = after
        .windows(2)
        .find(|pair| pair.iter().all(|one| one.kw <= event.target_kw))?;
    Some(pair[0].at)
}

/// Over quarter hours, weighted by their length: the share of the obligation that was met.
fn performance_factor(event: &Event, bound: &[MeterReading]) -> Option<f64> {
    let quarters = quarters(event, bound);
    let seconds: f64 = quarters.iter().map(|one| one.metered_s).sum();
    let sum: Option<f64> = quarters
        .iter()
        .map(|one| one.factor.map(|factor| factor * one.metered_s))
        .sum();
    (seconds > 0.0).then(|| sum.map(|sum| sum / seconds))?
}

fn tracking_error_pct(event: &Event, held: &[MeterReading]) -> Option<f64> {
    let means = intervals(held, FIVE_MINUTES_US);
    let error: f64 = means
        .iter()
        .map(|one| (one.mean_kw - event.target_kw).abs())
        .sum();
    let mean_kw = error / means.len().max(1) as f64;
    (!means.is_empty() && event.target_kw > 0.0).then(|| rounded(100.0 * mean_kw / event.target_kw))
}

fn energy_kwh(meter: &[MeterReading], part: impl Fn(f64) -> f64) -> f64 {
    let pieces = meter.windows(2).map(|pair| {
        let hours = pair[1].at.ms_since(pair[0].at) as f64 / 3_600_000.0;
        part(pair[0].kw) * hours
    });
    // The sum of nothing is -0.
    rounded(pieces.sum::<f64>() + 0.0)
}

/// The most by which power rises within a minute.
pub fn steepest_minute_kw(meter: &[MeterReading]) -> f64 {
    let mut steepest: f64 = 0.0;
    let mut first = 0;
    for (at, one) in meter.iter().enumerate() {
        while one.at.ms_since(meter[first].at) > 60_000 {
            first += 1;
        }
        let lowest = meter[first..=at]
            .iter()
            .map(|one| one.kw)
            .fold(f64::MAX, f64::min);
        steepest = steepest.max(one.kw - lowest);
    }
    rounded(steepest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment {
            elapsed_ms: 0,
            utc_us: 0,
        }
        .plus_ms(seconds * 1_000)
    }

    fn event() -> Event {
        Event {
            asked_at: at(0),
            deadline: at(600),
            released_at: at(2_400),
            target_kw: 500.0,
            baseline_kw: 1_000.0,
        }
    }

    /// A meter read every ten seconds.
    fn meter(kw: impl Fn(u64) -> f64) -> Vec<MeterReading> {
        let readings = (0..600).map(|i| MeterReading {
            kw: kw(10 * i),
            at: at(10 * i),
        });
        readings.collect()
    }

    #[test]
    fn an_obligation_that_is_half_met_for_half_of_the_time_scores_three_quarters() {
        let half = meter(|s| {
            if (600..1_500).contains(&s) {
                750.0
            } else {
                500.0
            }
        });
        let bound = within(&half, at(600), at(2_400));
        let factor = performance_factor(&event(), &bound).unwrap_or_default();
        assert!((factor - 0.75).abs() < 0.01, "{factor}");
        let full = within(&meter(|_| 400.0), at(600), at(2_400));
        assert_eq!(performance_factor(&event(), &full), Some(1.0));
        let none = within(&meter(|_| 1_200.0), at(600), at(2_400));
        assert_eq!(performance_factor(&event(), &none), Some(0.0));
    }

    #[test]
    fn times_energies_peak_and_ramp_are_those_of_the_meter() {
        let kw = |s: u64| match s {
            0..100 => 1_000.0,
            100..2_400 => 490.0,
            2_400..2_930 => 490.0 + (s - 2_400) as f64,
            _ => 1_020.0,
        };
        let plan = crate::plant::PlantConfig {
            machines: 3,
            ..Default::default()
        }
        .plan();
        let card = score(&event(), &[], &meter(kw), &plan);
        assert_eq!(card.target_s, Some(100.0));
        assert_eq!(card.compliance_pct, Some(100.0));
        assert_eq!(card.excess_kwh, 0.0);
        assert!(
            (card.overshoot_kwh - 10.0 * 2_290.0 / 3_600.0).abs() < 0.1,
            "{card:?}"
        );
        assert!(
            (card.tracking_error_pct.unwrap_or_default() - 2.0).abs() < 0.01,
            "{card:?}"
        );
        assert!((card.rebound_peak_pct - 2.0).abs() < 0.01, "{card:?}");
        assert!((card.steepest_minute_kw - 60.0).abs() < 0.01, "{card:?}");
        assert_eq!(card.restore_t95_s, Some(460.0));
        assert_eq!((card.detect_s, card.alarms), (None, 0));
    }
}
