//! The timers of the table of transitions, kept beside the controller's own.

use std::collections::VecDeque;

use headframe_site::control::DecisionRecord;
use headframe_site::control::observation::{Observation, SensorKind};
use headframe_site::control::order::Order;
use headframe_site::control::power::PowerRegion;
use headframe_site::request::{Level, SignalValue};

use crate::run::Run;

/// Beginnings of curtailments, and of restores, in an hour in which nothing happens.
const MOST_TURNS: usize = 2;
/// Rounding, in kilowatts.
const ROUNDING_KW: f64 = 0.01;

/// What is remembered.
#[derive(Default)]
pub struct Timers {
    hold_since_ms: Option<u64>,
    /// Since when the signal asks for less, how often it did, and whether at once.
    asks: Option<Asks>,
    /// The cap of the curtailment, and since when more is allowed.
    cap_kw: Option<f64>,
    looser_since_ms: Option<u64>,
    override_until_ms: Option<u64>,
    /// When a cause of a trip was there last, and whether one was latched.
    cause_ms: Option<u64>,
    is_latched: bool,
    /// Power of the machines in the last minute.
    minute: VecDeque<(u64, f64)>,
    /// Curtailments and restores that began, while nothing happens.
    turns: Option<(usize, usize)>,
}

#[derive(Clone, Copy)]
struct Asks {
    since_ms: u64,
    reads: u32,
    level: Level,
}

impl Timers {
    /// From now on nothing happens for an hour, or that is over.
    pub fn count_turns(&mut self, is_steady: bool) {
        self.turns = is_steady.then_some((0, 0));
    }

    /// Somebody put power back by hand, which is nobody's ramp.
    pub fn forget_ramp(&mut self) {
        self.minute.clear();
    }

    /// One step: which timer was not honoured.
    pub fn tick(
        &mut self,
        run: &Run,
        observation: &Observation,
        decision: &DecisionRecord,
        gap_ms: u64,
    ) -> Result<(), String> {
        let now_ms = run.now.elapsed_ms;
        let change = (decision.before.power, decision.after.power);
        self.hold_off(run, change, now_ms)?;
        self.debounce(run, observation, decision, now_ms)?;
        self.release(run, decision, now_ms)?;
        self.overrides(observation, decision, now_ms)?;
        self.clear(run, observation, now_ms)?;
        self.ramp(run, now_ms, gap_ms)?;
        self.turn(change)
    }

    fn hold_off(
        &mut self,
        run: &Run,
        change: (PowerRegion, PowerRegion),
        now_ms: u64,
    ) -> Result<(), String> {
        use PowerRegion::{HoldOff, Restoring};
        let least_ms = run.site.policy.power.restart_delay_s * 1_000;
        let held_ms = self.hold_since_ms.map(|since| now_ms - since);
        if change == (HoldOff, Restoring) && held_ms.is_none_or(|held| held < least_ms) {
            return Err(format!("the hold-off ended after {held_ms:?} ms"));
        }
        self.hold_since_ms = match change {
            (_, HoldOff) => self.hold_since_ms.or(Some(now_ms)),
            _ => None,
        };
        Ok(())
    }

    fn debounce(
        &mut self,
        run: &Run,
        observation: &Observation,
        decision: &DecisionRecord,
        now_ms: u64,
    ) -> Result<(), String> {
        for reading in &observation.signals {
            let SignalValue::Known(requests) = &reading.value else {
                continue;
            };
            let level = requests.iter().map(|one| one.level).max();
            let before = self.asks;
            self.asks = level
                .filter(|one| *one >= Level::Curtail)
                .map(|level| Asks {
                    since_ms: before.map_or(now_ms, |asks| asks.since_ms),
                    reads: before.map_or(0, |asks| asks.reads) + 1,
                    level,
                });
        }
        let begins = decision.before.power == PowerRegion::Running
            && decision.after.power == PowerRegion::Curtailing;
        let winner = decision.verdict.cap(&decision.caps);
        let by_signal =
            winner.is_some_and(|cap| cap.source == "utility" && !cap.reason.contains("is lost"));
        if !begins || !by_signal {
            return Ok(());
        }
        let policy = &run.site.policy.signals;
        let has_stood = self.asks.is_some_and(|asks| {
            asks.level == Level::Emergency
                || asks.reads >= policy.debounce_reads
                || now_ms - asks.since_ms >= policy.debounce_s * 1_000
        });
        match has_stood {
            true => Ok(()),
            false => Err("a request was believed that had not stood long enough".to_owned()),
        }
    }

    fn release(&mut self, run: &Run, decision: &DecisionRecord, now_ms: u64) -> Result<(), String> {
        use PowerRegion as R;
        let target = decision.verdict.target_kw;
        let target = decision.verdict.is_capped(&decision.caps).then_some(target);
        let (before, after) = (decision.before.power, decision.after.power);
        let least_ms = run.site.policy.power.release_stable_s * 1_000;
        let looser_ms = self.looser_since_ms.map(|since| now_ms - since);
        let is_over = matches!(before, R::Curtailing | R::Curtailed) && after == R::Restoring;
        if is_over && looser_ms.is_none_or(|looser| looser < least_ms) {
            return Err(format!(
                "released after {looser_ms:?} ms in which more was allowed"
            ));
        }
        if before != after && matches!(after, R::HoldOff | R::Restoring) {
            self.cap_kw = target.filter(|_| after == R::Restoring);
            self.looser_since_ms = None;
        }
        let is_tighter = match (target, self.cap_kw) {
            (Some(now), Some(before)) => now < before,
            (now, None) => now.is_some(),
            _ => false,
        };
        if is_tighter {
            self.cap_kw = target;
        }
        let is_looser = match (target, self.cap_kw) {
            (Some(now), Some(before)) => now > before,
            (None, before) => before.is_some(),
            _ => false,
        };
        self.looser_since_ms = match is_looser {
            true => self.looser_since_ms.or(Some(now_ms)),
            false => None,
        };
        Ok(())
    }

    fn overrides(
        &mut self,
        observation: &Observation,
        decision: &DecisionRecord,
        now_ms: u64,
    ) -> Result<(), String> {
        for (place, order) in observation.orders.iter().enumerate() {
            let is_refused = decision.refused.iter().any(|one| one.order == place);
            if let Order::Override { for_s, .. } = order
                && !is_refused
            {
                let for_s = for_s.ok_or("an override without a time")?;
                self.override_until_ms = Some(now_ms + for_s * 1_000);
            }
        }
        let is_posted = decision.caps.iter().any(|cap| cap.level == 5);
        match self.override_until_ms {
            Some(until) if now_ms < until => Ok(()),
            until if is_posted => Err(format!("an override counts at {now_ms} after {until:?}")),
            _ => Ok(()),
        }
    }

    fn clear(&mut self, run: &Run, observation: &Observation, now_ms: u64) -> Result<(), String> {
        let is_latched = !run.state.trips.latches.is_empty();
        let was_latched = std::mem::replace(&mut self.is_latched, is_latched);
        let least_ms = run.site.policy.trips.clear_s * 1_000;
        let clear_ms = self.cause_ms.map(|at| now_ms - at);
        if was_latched && !is_latched && clear_ms.is_some_and(|clear| clear < least_ms) {
            return Err(format!("a trip was reset {clear_ms:?} ms after its cause"));
        }
        let orders = &observation.orders;
        let air = &observation.temperatures;
        let is_hot = |kind: SensorKind, celsius: f64| {
            kind == SensorKind::MinerAir && celsius >= run.site.policy.trips.trip_at_once_c
        };
        let has_cause = orders
            .iter()
            .any(|one| matches!(one, Order::EmergencyStop { .. }))
            || observation.interlocks.iter().any(|one| one.is_tripped)
            || air.iter().any(|one| is_hot(one.kind, one.celsius));
        if has_cause {
            self.cause_ms = Some(now_ms);
        }
        Ok(())
    }

    fn ramp(&mut self, run: &Run, now_ms: u64, gap_ms: u64) -> Result<(), String> {
        if gap_ms > 5_000 {
            self.minute.clear();
        }
        let watts: f64 = run.plant.machines.iter().map(|one| one.power_w).sum();
        let kw = watts / 1_000.0;
        self.minute.push_back((now_ms, kw));
        while self
            .minute
            .front()
            .is_some_and(|(at, _)| now_ms - at > 60_000)
        {
            self.minute.pop_front();
        }
        let least = self
            .minute
            .iter()
            .map(|(_, kw)| *kw)
            .fold(f64::MAX, f64::min);
        let policy = &run.site.policy.restore;
        let most_kw = policy.ramp_pct_per_min / 100.0 * run.site.plan.design_kw;
        match kw - least <= most_kw + ROUNDING_KW {
            true => Ok(()),
            false => Err(format!(
                "power rose from {least} to {kw} kW within a minute"
            )),
        }
    }

    fn turn(&mut self, change: (PowerRegion, PowerRegion)) -> Result<(), String> {
        let Some((curtailed, restored)) = &mut self.turns else {
            return Ok(());
        };
        let (before, after) = change;
        let begins = |region| usize::from(before != after && after == region);
        *curtailed += begins(PowerRegion::Curtailing);
        *restored += begins(PowerRegion::Restoring);
        match *curtailed <= MOST_TURNS && *restored <= MOST_TURNS {
            true => Ok(()),
            false => Err(format!(
                "{curtailed} curtailments and {restored} restores began within an hour in which \
                 nothing happened"
            )),
        }
    }
}
