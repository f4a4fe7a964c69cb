//! Fans: how many are wanted, and which of them run.
//!
//! The temperature takes stages with a hysteresis; the load asks for a few more ahead of it. Starts
//! are apart, motors rest and run for a least time and start seldom, except where it is hot. At a
//! steady load a stage that was taken is kept for an hour, so that fans do not hunt.

mod motor;
mod stage;

use serde::{Deserialize, Serialize};

use super::health::{Health, Inputs};
use super::observation::Observation;
use super::output::Output;
use super::policy::{FanPolicy, ms};
use super::site_plan::Site;
use super::thermal::{Air, ThermalRegion};
use crate::command::{Action, Path, Target};
use crate::moment::Moment;
use crate::notice::Severity;

pub use motor::FanState;
pub use stage::StageState;

/// What is remembered of fans.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FansState {
    /// Every fan, in order.
    pub fans: Vec<FanState>,
    /// How many the air asks for.
    pub stage: StageState,
    /// How many are wanted in all.
    pub wanted: usize,
    last_start_ms: Option<u64>,
    cooldown_until_ms: u64,
    cooldown_fans: usize,
    rotate_at_ms: u64,
    extra_until_ms: u64,
}

/// What fans look at.
#[derive(Debug, Clone, Copy)]
pub struct Heat<'a> {
    /// The air.
    pub air: &'a Air,
    /// Kilowatts of the machines.
    pub mining_kw: f64,
    /// Machines are being stopped.
    pub is_stopping: bool,
    /// An event was announced: the container is cooled ahead of it.
    pub is_precooling: bool,
    /// Nothing may be switched on.
    pub is_locked: bool,
}

impl FansState {
    /// Fans of which nothing is known.
    pub fn new(site: &Site, now: Moment) -> Self {
        let new = |plan: &super::site_plan::FanPlan| FanState::new(plan.watts, now.elapsed_ms);
        Self {
            fans: site.plan.fans.iter().map(new).collect(),
            stage: StageState::default(),
            wanted: 0,
            last_start_ms: None,
            cooldown_until_ms: 0,
            cooldown_fans: 0,
            rotate_at_ms: now.elapsed_ms + ms(site.policy.fans.rotate_s),
            extra_until_ms: 0,
        }
    }

    /// The same after a restart: relays are read back before any is written.
    pub fn restart(&mut self, now: Moment) {
        for fan in &mut self.fans {
            fan.restart(now.elapsed_ms);
        }
    }

    /// Takes readings and reports in.
    pub fn read(&mut self, observation: &Observation, policy: &FanPolicy, inputs: &mut Inputs) {
        for reading in &observation.fans {
            let Some(fan) = reading.fan.checked_sub(1) else {
                continue;
            };
            if let Some(fan) = self.fans.get_mut(fan as usize) {
                fan.read(reading, policy);
            }
            if reading.watts.is_some() {
                inputs.read("fans/watts", reading.at);
            }
        }
        for fan in &mut self.fans {
            fan.take_reports(&observation.reports);
        }
    }

    /// Fans that run, as commanded, and are not faulty.
    pub fn sound_on(&self) -> usize {
        self.fans
            .iter()
            .filter(|fan| fan.is_on && !fan.is_faulty)
            .count()
    }

    /// Fans that are faulty.
    pub fn faults(&self) -> usize {
        self.fans.iter().filter(|fan| fan.is_faulty).count()
    }

    /// Decides how many fans are wanted and switches what is missing or too much.
    pub fn step(&mut self, site: &Site, heat: Heat<'_>, inputs: &Inputs, output: &mut Output) {
        let (policy, now_ms) = (&site.policy.fans, output.now.elapsed_ms);
        if self.fans.is_empty() {
            return;
        }
        for (at, fan) in self.fans.iter_mut().enumerate() {
            fan.advance(at, policy, heat.is_locked, output);
        }
        let is_forced = forces_all(heat.air);
        let demand = self.demand(site, heat, inputs, now_ms);
        self.wanted = if is_forced { self.fans.len() } else { demand };
        if heat.is_locked || self.fans.iter().any(|fan| !fan.is_known(now_ms)) {
            // What runs goes on; what was not read back is not written.
            return;
        }
        let on = self.sound_on();
        if on < self.wanted {
            self.start_one(policy, is_forced, now_ms, output);
        } else if on > self.wanted && !is_forced {
            self.stop_one(policy, now_ms, output);
        }
    }

    fn demand(&mut self, site: &Site, heat: Heat<'_>, inputs: &Inputs, now_ms: u64) -> usize {
        let (policy, count) = (&site.policy.fans, self.fans.len());
        let load = heat.mining_kw / site.plan.design_kw;
        let staged = self
            .stage
            .step(policy, heat.air.control_c, load, count, now_ms);
        if heat.is_stopping {
            self.cooldown_fans = self.sound_on().max(1);
            self.cooldown_until_ms = now_ms + ms(policy.cooldown_s);
        }
        let is_cool = heat
            .air
            .board_c
            .is_some_and(|board| board < policy.cooldown_board_c);
        let cooldown = match now_ms < self.cooldown_until_ms && !is_cool {
            true => self.cooldown_fans,
            false => 0,
        };
        if heat.air.region == ThermalRegion::Cold {
            self.stage.chill(policy, now_ms);
            return cooldown;
        }
        let mut wanted = staged.max(cooldown).max(pulse(site, heat.air, now_ms));
        let are_watts_lost = inputs.health("fans/watts") == Health::Stale
            && site.plan.fans.iter().any(|fan| fan.is_metered);
        wanted += usize::from(are_watts_lost) + usize::from(heat.is_precooling);
        wanted += usize::from(self.is_changing_places(policy, now_ms));
        wanted.min(count)
    }

    /// One fan more for a while: to change places by hours, or to exercise one that rested long.
    fn is_changing_places(&mut self, policy: &FanPolicy, now_ms: u64) -> bool {
        let rests_long = |fan: &FanState| {
            !fan.is_on && now_ms.saturating_sub(fan.ran_ms) >= ms(policy.exercise_s)
        };
        let on = self.sound_on();
        let is_rotation = now_ms >= self.rotate_at_ms;
        if is_rotation {
            self.rotate_at_ms = now_ms + ms(policy.rotate_s);
        }
        if is_rotation && on > 0 && on < self.fans.len() || self.fans.iter().any(rests_long) {
            self.extra_until_ms = now_ms + ms(policy.min_on_s);
        }
        now_ms < self.extra_until_ms
    }

    fn start_one(&mut self, policy: &FanPolicy, is_forced: bool, now_ms: u64, output: &mut Output) {
        let since_start_ms = self.last_start_ms.map(|last| now_ms.saturating_sub(last));
        if since_start_ms.is_some_and(|ago| ago < ms(policy.stagger_s)) {
            return;
        }
        let may_start = |fan: &&mut FanState| {
            let is_fit = is_forced || !fan.is_faulty && fan.may_start(policy, now_ms);
            !fan.is_on && is_fit
        };
        // The fan with the fewest hours; one that has rested for a week comes first.
        let next = self
            .fans
            .iter_mut()
            .enumerate()
            .filter(|(_, fan)| may_start(fan))
            .min_by_key(|(at, fan)| {
                let rests = now_ms.saturating_sub(fan.ran_ms) >= ms(policy.exercise_s);
                (fan.is_faulty, fan.is_deaf, !rests, fan.run_ms, *at)
            });
        if let Some((at, fan)) = next {
            fan.switch(true, now_ms);
            fan.write = Some(motor::Write::new(command(at, true, output), now_ms));
            self.last_start_ms = Some(now_ms);
        }
    }

    fn stop_one(&mut self, policy: &FanPolicy, now_ms: u64, output: &mut Output) {
        let longest = self
            .fans
            .iter_mut()
            .enumerate()
            .filter(|(_, fan)| fan.is_on && !fan.is_faulty && fan.may_stop(policy, now_ms))
            .max_by_key(|(at, fan)| (!fan.is_deaf, fan.run_ms, *at));
        if let Some((at, fan)) = longest {
            fan.switch(false, now_ms);
            fan.write = Some(motor::Write::new(command(at, false, output), now_ms));
        }
    }

    /// Says which fans are faulty, and that verification is not possible.
    pub fn say(&self, site: &Site, inputs: &Inputs, output: &mut Output) {
        for (at, fan) in self
            .fans
            .iter()
            .enumerate()
            .filter(|(_, fan)| fan.is_faulty)
        {
            let (number, watts) = (at + 1, fan.watts.unwrap_or_default());
            output.alarm(
                Severity::Warning,
                format!("fan/{number}/fault"),
                format!("fan {number} is on and draws {watts:.0} W"),
                "Another fan was started in its place. Look at its motor, belt and fuse.",
            );
        }
        let is_metered = site.plan.fans.iter().any(|fan| fan.is_metered);
        if is_metered && inputs.health("fans/watts") == Health::Stale {
            output.alarm(
                Severity::Warning,
                "fans/unverified",
                "watts of fans are not known",
                "Whether fans run cannot be verified; one more runs than is needed.",
            );
        }
    }
}

/// Every fan runs: it is hot, or nobody knows how warm it is.
pub fn forces_all(air: &Air) -> bool {
    let is_hot = matches!(
        air.region,
        ThermalRegion::Hot | ThermalRegion::Critical | ThermalRegion::Unknown
    );
    is_hot || air.is_blind || air.lost_since_ms.is_some()
}

/// One fan for a part of each period, where it is nearly cold and humid.
fn pulse(site: &Site, air: &Air, now_ms: u64) -> usize {
    let policy = &site.policy.fans;
    let is_humid = air
        .humidity_pct
        .is_some_and(|pct| pct > site.policy.thermal.humid_pct);
    let is_cool = air
        .control_c
        .is_some_and(|celsius| celsius < policy.pulse_below_c);
    let in_period_ms = now_ms % ms(policy.pulse_period_s).max(1);
    usize::from(is_humid && is_cool && in_period_ms < ms(policy.pulse_on_s))
}

fn command(at: usize, is_on: bool, output: &mut Output) -> u64 {
    let number = u8::try_from(at + 1).unwrap_or(u8::MAX);
    let action = if is_on { Action::On } else { Action::Off };
    output.command(Target::Fan(number), action, Path::Device)
}
