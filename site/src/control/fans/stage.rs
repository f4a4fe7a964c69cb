//! How many fans the air and the load ask for.

use serde::{Deserialize, Serialize};

use crate::control::observation::rounded;
use crate::control::policy::{FanPolicy, ms};

/// A falling load gives a fan back only when it is clearly too many, as a share of the design.
const LOAD_HYSTERESIS: f64 = 0.03;
/// Less load asks for no fan: machines that wait.
const NO_LOAD: f64 = 0.05;

/// What is remembered of the demand.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StageState {
    /// Fans that the temperature asks for.
    pub stage: usize,
    /// Fans that the load asks for.
    pub for_load: usize,
    hold_until_ms: u64,
    held_load: f64,
    no_ahead_until_ms: u64,
}

impl StageState {
    /// It got cold: no fan is wanted, and what the load asks ahead of the temperature was too much.
    pub fn chill(&mut self, policy: &FanPolicy, now_ms: u64) {
        self.stage = 0;
        self.hold_until_ms = now_ms;
        self.no_ahead_until_ms = now_ms + ms(policy.feed_forward_pause_s);
    }

    /// The demand at a temperature and a load, as a share of the design.
    pub fn step(
        &mut self,
        policy: &FanPolicy,
        control_c: Option<f64>,
        load: f64,
        count: usize,
        now_ms: u64,
    ) -> usize {
        let Some(celsius) = control_c else {
            return count;
        };
        let before = self.stage;
        while self.stage < count && celsius >= policy.on_c(self.stage + 1) {
            self.stage += 1;
        }
        if self.stage > before {
            self.hold_until_ms = now_ms + ms(policy.stage_hold_s);
            self.held_load = rounded(load);
        }
        let is_steady = (load - self.held_load).abs() * 100.0 <= policy.steady_load_pct;
        while self.stage > 0 && celsius <= policy.off_c(self.stage) {
            if is_steady && now_ms < self.hold_until_ms {
                break;
            }
            self.stage -= 1;
            if is_steady {
                // One stage at a time, so that the next one shows whether it was right.
                self.hold_until_ms = now_ms + ms(policy.stage_hold_s);
            }
        }
        let fans = |load: f64| (load * count as f64).ceil().clamp(0.0, count as f64) as usize;
        if load < NO_LOAD {
            self.for_load = 0;
        } else if fans(load) > self.for_load {
            self.for_load = fans(load);
        } else if fans(load + LOAD_HYSTERESIS) < self.for_load {
            self.for_load = fans(load + LOAD_HYSTERESIS);
        }
        let is_paused = now_ms < self.no_ahead_until_ms;
        let ahead = self.stage
            + if is_paused {
                0
            } else {
                policy.feed_forward_fans as usize
            };
        self.stage.max(self.for_load.min(ahead)).min(count)
    }
}
