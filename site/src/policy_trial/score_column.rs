//! The numbers of one curtailment that two policies are compared by.

use serde::Serialize;

use crate::command::{Action, Command, Target};
use crate::score::ScoreCard;

/// One curtailment under one policy, or all of them together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct ScoreColumn {
    /// Seconds from the signal to the target; of all: the mean.
    pub target_s: Option<f64>,
    /// Per cent of the samples between deadline and release at or below the target; of all: the
    /// mean.
    pub under_target_pct: Option<f64>,
    /// The share of the obligation that was met, 0 to 1; of all: the mean.
    pub performance_factor: Option<f64>,
    /// Energy that could have been drawn below the target; of all: the sum.
    pub overshoot_kwh: f64,
    /// Energy above the target after the deadline; of all: the sum.
    pub excess_kwh: f64,
    /// The highest power after the release, per cent above the baseline; of all: the highest.
    pub rebound_pct: f64,
    /// Seconds from the release to 95 % of the baseline; of all: the mean.
    pub restore_s: Option<f64>,
    /// Terahash-hours below the best choice of machines; of all: the sum.
    pub lost_ths_h: f64,
    /// Machines that were started; of all: the sum.
    pub starts: u64,
    /// Machines that were stopped; of all: the sum.
    pub stops: u64,
}

impl ScoreColumn {
    /// Of a score card, and how often machines were switched.
    pub fn new(card: &ScoreCard, switches: &Switches) -> Self {
        Self {
            target_s: card.target_s,
            under_target_pct: card.compliance_pct,
            performance_factor: card.performance_factor,
            overshoot_kwh: card.overshoot_kwh,
            excess_kwh: card.excess_kwh,
            rebound_pct: card.rebound_peak_pct,
            restore_s: card.restore_t95_s,
            lost_ths_h: card.lost_ths_h,
            starts: switches.starts,
            stops: switches.stops,
        }
    }

    /// Of all together.
    pub fn of_all(columns: &[Self]) -> Self {
        let mean = |value: fn(&Self) -> Option<f64>| {
            let known: Vec<f64> = columns.iter().filter_map(value).collect();
            (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
        };
        let sum = |value: fn(&Self) -> f64| columns.iter().map(value).sum::<f64>() + 0.0;
        Self {
            target_s: mean(|one| one.target_s),
            under_target_pct: mean(|one| one.under_target_pct),
            performance_factor: mean(|one| one.performance_factor),
            overshoot_kwh: sum(|one| one.overshoot_kwh),
            excess_kwh: sum(|one| one.excess_kwh),
            rebound_pct: columns
                .iter()
                .map(|one| one.rebound_pct)
                .fold(0.0, f64::max),
            restore_s: mean(|one| one.restore_s),
            lost_ths_h: sum(|one| one.lost_ths_h),
            starts: columns.iter().map(|one| one.starts).sum(),
            stops: columns.iter().map(|one| one.stops).sum(),
        }
    }

    /// Its lines: what each is, and its value.
    pub fn lines(&self) -> [(&'static str, String); 10] {
        let known = |value: Option<f64>, digits: usize| {
            value.map_or("-".to_owned(), |value| format!("{value:.digits$}"))
        };
        [
            ("time to target, s", known(self.target_s, 1)),
            ("time under target, %", known(self.under_target_pct, 2)),
            ("performance factor", known(self.performance_factor, 4)),
            ("overshoot, kWh", format!("{:.2}", self.overshoot_kwh)),
            ("above the target, kWh", format!("{:.2}", self.excess_kwh)),
            ("rebound, %", format!("{:.2}", self.rebound_pct)),
            ("restore, s", known(self.restore_s, 0)),
            ("hashrate lost, TH/s·h", format!("{:.1}", self.lost_ths_h)),
            ("starts", self.starts.to_string()),
            ("stops", self.stops.to_string()),
        ]
    }
}

/// How often machines were started and stopped: an order that goes another way, or is given again,
/// counts once.
#[derive(Debug, Clone, Default)]
pub struct Switches {
    /// Machines that were started.
    pub starts: u64,
    /// Machines that were stopped.
    pub stops: u64,
    last: std::collections::BTreeMap<String, Action>,
}

impl Switches {
    /// Takes a command in.
    pub fn add(&mut self, command: &Command) {
        let Target::Machine(name) = &command.target else {
            return;
        };
        let before = self.last.insert(name.clone(), command.action);
        if before == Some(command.action) {
            return;
        }
        match command.action {
            Action::On => self.starts += 1,
            Action::Off => self.stops += 1,
            Action::Mode(_) | Action::LimitWatts(_) => {}
        }
    }
}
