//! A machine of the virtual site: it answers late or never, stops slowly and boots for minutes.

use serde::{Deserialize, Serialize};

use crate::command::{Action, PowerMode};
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
enum WorkState {
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
    Low,
    Normal,
}

impl Change {
    /// What a machine makes of a command; none where it has no such mode.
    fn from_action(action: Action, has_low: bool) -> Option<Self> {
        match action {
            Action::Off => Some(Self::Stop),
            Action::On => Some(Self::Start),
            Action::Mode(PowerMode::Low) if has_low => Some(Self::Low),
            Action::Mode(PowerMode::Normal) if has_low => Some(Self::Normal),
            Action::Mode(_) | Action::LimitWatts(_) => None,
        }
    }
}

/// What is known of a real machine that a virtual one stands for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Found {
    /// How it answers.
    pub interface: Interface,
    /// Watts at work, in the mode that it is in.
    pub work_w: f64,
    /// Milliseconds that it boots.
    pub boot_ms: u64,
    /// It draws power, or begins to.
    pub is_on: bool,
    /// It was begun to start and has not booted yet.
    pub is_starting: bool,
    /// It works in its low power mode.
    pub is_low: bool,
    /// It has no power.
    pub is_cut: bool,
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
    /// Its power in low mode, as a share of its own; none where it has no such mode.
    low_share: Option<f64>,
    is_low: bool,
    decay_ms: u64,
    boot_ms: u64,
    doing: WorkState,
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
            low_share: plan.low_power_w.map(|_| plan.low_share()),
            is_low: false,
            decay_ms: random.between(8_000.0, 25_000.0) as u64,
            boot_ms: (plan.boot_s as f64 * random.between(800.0, 1_200.0)) as u64,
            doing: WorkState::Works,
            coming: Vec::new(),
        }
    }

    /// A machine as it was found at a time.
    pub fn as_found(plan: &MachinePlan, found: Found, now_ms: u64, random: &mut Random) -> Self {
        let doing = match (found.is_cut, found.is_on, found.is_starting) {
            (true, _, _) => WorkState::Cut,
            (_, false, _) => WorkState::Waits,
            (_, true, true) => WorkState::Boots {
                from_ms: now_ms,
                until_ms: now_ms + found.boot_ms,
            },
            (_, true, false) => WorkState::Works,
        };
        let low_share = plan.low_power_w.map(|_| plan.low_share());
        let share = low_share.filter(|_| found.is_low).unwrap_or(1.0);
        let mut machine = Self {
            own_w: found.work_w / share,
            is_low: found.is_low,
            own_ths: plan.hashrate_ths,
            boot_ms: found.boot_ms,
            doing,
            ..Self::running(plan, found.interface, random)
        };
        machine.advance(now_ms, random);
        machine
    }

    /// Terahashes per second.
    pub fn hashrate_ths(&self) -> f64 {
        match self.doing {
            WorkState::Works => self.own_ths * self.mode_share(),
            _ => 0.0,
        }
    }

    /// The share of its own power at which it works.
    fn mode_share(&self) -> f64 {
        self.low_share.filter(|_| self.is_low).unwrap_or(1.0)
    }

    /// It has power.
    pub fn is_fed(&self) -> bool {
        self.doing != WorkState::Cut
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

    /// It gets a command: after how long it answers, if it does.
    pub fn ask(&mut self, action: Action, now_ms: u64, delay_ms: u64) -> Option<u64> {
        let change = Change::from_action(action, self.low_share.is_some())?;
        let delay_ms = match self.interface {
            Interface::Dead => return None,
            Interface::Slow => delay_ms * SLOWER,
            Interface::Sound => delay_ms,
        };
        let is_deaf = match self.doing {
            WorkState::Cut => true,
            WorkState::Boots { from_ms, .. } => now_ms < from_ms + DEAF_BOOT_MS,
            _ => false,
        };
        if is_deaf {
            return None;
        }
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
            WorkState::Stops { until_ms, .. } if over(until_ms) => WorkState::Waits,
            WorkState::Boots { until_ms, .. } if over(until_ms) => WorkState::Works,
            same => same,
        };
        self.power_w = match self.doing {
            WorkState::Works => self.own_w * self.mode_share() * (1.0 + NOISE * random.signed()),
            WorkState::Stops { from_ms, until_ms } => {
                let left = until_ms.saturating_sub(now_ms) as f64 / (until_ms - from_ms) as f64;
                self.standby_w.max(self.own_w * left)
            }
            WorkState::Waits => self.standby_w,
            WorkState::Boots { .. } => BOOT_SHARE * self.own_w,
            WorkState::Cut => 0.0,
        };
    }

    fn change(&mut self, at_ms: u64, change: Change) {
        let boots = WorkState::Boots {
            from_ms: at_ms,
            until_ms: at_ms + self.boot_ms,
        };
        let was_low = self.is_low;
        match change {
            Change::Low => self.is_low = true,
            Change::Normal => self.is_low = false,
            _ => {}
        }
        self.doing = match (change, self.doing) {
            (Change::Cut, _) => WorkState::Cut,
            (Change::Power, WorkState::Cut) => boots,
            (Change::Stop, WorkState::Works | WorkState::Boots { .. }) => WorkState::Stops {
                from_ms: at_ms,
                until_ms: at_ms + self.decay_ms,
            },
            (Change::Start, WorkState::Waits | WorkState::Stops { .. }) => boots,
            // It begins its work anew in the other mode.
            (Change::Low | Change::Normal, WorkState::Works) if self.is_low != was_low => boots,
            (_, same) => same,
        };
    }
}
