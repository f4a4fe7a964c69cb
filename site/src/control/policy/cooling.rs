//! Fans in the policy.

use serde::{Deserialize, Serialize};

/// When fans start and stop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FanPolicy {
    /// The first fan starts at it.
    pub base_c: f64,
    /// Each further fan starts so much higher.
    pub step_c: f64,
    /// A fan stops so much below where it started.
    pub hysteresis_c: f64,
    /// A fan that started runs for at least so long.
    pub min_on_s: u64,
    /// A fan that stopped rests for at least so long; not when it is hot.
    pub min_off_s: u64,
    /// Two starts are at least so far apart.
    pub stagger_s: u64,
    /// A motor starts at most so often in an hour; not when it is hot.
    pub starts_per_hour: u32,
    /// At a steady load a stage that was taken is kept for so long, against hunting.
    pub stage_hold_s: u64,
    /// A load that changed by more, per cent of the design power, is not steady.
    pub steady_load_pct: f64,
    /// The load alone asks for at most so many fans more than the temperature.
    pub feed_forward_fans: u8,
    /// When it got cold, the load asks for none for so long.
    pub feed_forward_pause_s: u64,
    /// Fans that run change places so often, by their hours.
    pub rotate_s: u64,
    /// A fan that rested so long is exercised.
    pub exercise_s: u64,
    /// After machines stopped fans go on for so long …
    pub cooldown_s: u64,
    /// … or until boards are cooler than this.
    pub cooldown_board_c: f64,
    /// Between cold and so much more one fan pulses when it is humid.
    pub pulse_below_c: f64,
    /// On for so long of each `pulse_period_s`.
    pub pulse_on_s: u64,
    /// The period of a pulse.
    pub pulse_period_s: u64,
    /// A fan that draws less than this share of what it is known to draw …
    pub fault_watts_share: f64,
    /// … for so long is faulty.
    pub fault_after_s: u64,
    /// So many faulty fans …
    pub faults_for_cap: u32,
    /// … cap the site at this share of its design power.
    pub fault_cap_share: f64,
    /// A relay that does not read back what was written is written again after so long each.
    pub retry_s: Vec<u64>,
}

impl Default for FanPolicy {
    fn default() -> Self {
        Self {
            base_c: 18.0,
            step_c: 2.0,
            hysteresis_c: 1.5,
            min_on_s: 180,
            min_off_s: 120,
            stagger_s: 5,
            starts_per_hour: 6,
            stage_hold_s: 3_600,
            steady_load_pct: 10.0,
            feed_forward_fans: 2,
            feed_forward_pause_s: 21_600,
            rotate_s: 86_400,
            exercise_s: 604_800,
            cooldown_s: 300,
            cooldown_board_c: 45.0,
            pulse_below_c: 14.0,
            pulse_on_s: 180,
            pulse_period_s: 900,
            fault_watts_share: 0.4,
            fault_after_s: 60,
            faults_for_cap: 3,
            fault_cap_share: 0.7,
            retry_s: vec![1, 2, 4],
        }
    }
}

impl FanPolicy {
    /// The temperature at which the fan in place `k`, from 1, starts.
    pub fn on_c(&self, k: usize) -> f64 {
        self.base_c + self.step_c * (k.saturating_sub(1)) as f64
    }

    /// The temperature at which it stops.
    pub fn off_c(&self, k: usize) -> f64 {
        self.on_c(k) - self.hysteresis_c
    }
}
