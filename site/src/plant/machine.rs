//! A machine of the virtual site: it answers late or never, stops slowly and boots for minutes.

use serde::{Deserialize, Serialize};

use crate::control::site_plan::MachinePlan;
use crate::random::Random;

/// Watts of a machine that boots, as a share of its own.
const BOOT_SHARE: f64 = 0.4;
/// How far its power lies from its mean, as a share.
const NOISE: f64 = 0.01;
/// How much slower a slow machine answers.
const SLOWER: u64 = 10;
/// A booting machine answers after so long.
const DEAF_BOOT_MS: u64 = 30_000;

/// How it answers over the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Interface {
    /// In 0.2 to 2 s.
    Sound,
    /// Ten times slower.
    Slow,
    /// Never.
    Dead,
}

/// What it does.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Doing {
    Works,
    /// Its power falls.
    Stops {
        from_ms: u64,
        until_ms: u64,
    },
    Waits,
    Boots {
        from_ms: u64,
        until_ms: u64,
    },
    /// Without power.
    Cut,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Change {
    Stop,
    Start,
    Cut,
    Power,
}

/// One machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlantMachine {
    /// How it answers.
    pub interface: Interface,
    /// Watts now.
    pub power_w: f64,
    own_w: f64,
    own_ths: f64,
    standby_w: f64,
    decay_ms: u64,
    boot_ms: u64,
    doing: Doing,
    coming: Vec<(u64, Change)>,
}

impl PlantMachine {
    /// A machine at work.
    pub fn running(plan: &MachinePlan, interface: Interface, random: &mut Random) -> Self {
        let own = 1.0 + 0.02 * random.signed();
        Self {
            interface,
            power_w: plan.power_w * own,
            own_w: plan.power_w * own,
            own_ths: plan.hashrate_ths * own,
            standby_w: plan.standby_w,
            decay_ms: random.between(8_000.0, 25_000.0) as u64,
            boot_ms: (plan.boot_s as f64 * random.between(800.0, 1_200.0)) as u64,
            doing: Doing::Works,
            coming: Vec::new(),
        }
    }

    /// Terahashes per second.
    pub fn hashrate_ths(&self) -> f64 {
        match self.doing {
            Doing::Works => self.own_ths,
            _ => 0.0,
        }
    }

    /// It has power.
    pub fn is_fed(&self) -> bool {
        self.doing != Doing::Cut
    }

    /// Its power is cut at a time, whatever it does.
    pub fn cut(&mut self, at_ms: u64) {
        self.coming.push((at_ms, Change::Cut));
    }

    /// Its outlet is switched at a time.
    pub fn switch_outlet(&mut self, is_on: bool, at_ms: u64) {
        self.coming
            .push((at_ms, if is_on { Change::Power } else { Change::Cut }));
    }

    /// It is asked to start or stop: after how long it answers, if it does.
    pub fn ask(&mut self, is_on: bool, now_ms: u64, delay_ms: u64) -> Option<u64> {
        let delay_ms = match self.interface {
            Interface::Dead => return None,
            Interface::Slow => delay_ms * SLOWER,
            Interface::Sound => delay_ms,
        };
        let is_deaf = match self.doing {
            Doing::Cut => true,
            Doing::Boots { from_ms, .. } => now_ms < from_ms + DEAF_BOOT_MS,
            _ => false,
        };
        if is_deaf {
            return None;
        }
        let change = if is_on { Change::Start } else { Change::Stop };
        self.coming.push((now_ms + delay_ms, change));
        Some(delay_ms)
    }

    /// Lets time pass until then.
    pub fn advance(&mut self, now_ms: u64, random: &mut Random) {
        if !self.coming.is_empty() {
            self.coming.sort_by_key(|(at_ms, _)| *at_ms);
            while self
                .coming
                .first()
                .is_some_and(|(at_ms, _)| *at_ms <= now_ms)
            {
                let (at_ms, change) = self.coming.remove(0);
                self.change(at_ms, change);
            }
        }
        let over = |until_ms: u64| now_ms >= until_ms;
        self.doing = match self.doing {
            Doing::Stops { until_ms, .. } if over(until_ms) => Doing::Waits,
            Doing::Boots { until_ms, .. } if over(until_ms) => Doing::Works,
            same => same,
        };
        self.power_w = match self.doing {
            Doing::Works => self.own_w * (1.0 + NOISE * random.signed()),
            Doing::Stops { from_ms, until_ms } => {
                let left = until_ms.saturating_sub(now_ms) as f64 / (until_ms - from_ms) as f64;
                self.standby_w.max(self.own_w * left)
            }
            Doing::Waits => self.standby_w,
            Doing::Boots { .. } => BOOT_SHARE * self.own_w,
            Doing::Cut => 0.0,
        };
    }

    fn change(&mut self, at_ms: u64, change: Change) {
        let boots = Doing::Boots {
            from_ms: at_ms,
            until_ms: at_ms + self.boot_ms,
        };
        self.doing = match (change, self.doing) {
            (Change::Cut, _) => Doing::Cut,
            (Change::Power, Doing::Cut) => boots,
            (Change::Stop, Doing::Works | Doing::Boots { .. }) => Doing::Stops {
                from_ms: at_ms,
                until_ms: at_ms + self.decay_ms,
            },
            (Change::Start, Doing::Waits | Doing::Stops { .. }) => boots,
            (_, same) => same,
        };
    }
}
