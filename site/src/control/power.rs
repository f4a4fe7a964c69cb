//! Region R1: the site's power, as a table of transitions.
//!
//! `BOOT → SELF_TEST → HOLD_OFF → RESTORING ⇄ RUNNING → NOTICE → CURTAILING → CURTAILED →
//! RESTORING`, and from everywhere `TRIPPED` (latched) and `LOCKOUT` (people at work).

use serde::{Deserialize, Serialize};

use super::policy::{PowerPolicy, ms};

/// What the site does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PowerRegion {
    /// The controller has started and asserts nothing.
    Boot,
    /// It waits for fresh safety inputs.
    SelfTest,
    /// It waits, so that a loop of restarts does not cycle the load.
    HoldOff,
    /// Machines are started, group by group.
    Restoring,
    /// Everything runs that may.
    Running,
    /// An event was announced.
    Notice,
    /// Machines are stopped.
    Curtailing,
    /// The target is reached and held.
    Curtailed,
    /// A hard trip stands.
    Tripped,
    /// People work at the site.
    Lockout,
}

/// What is remembered of the site's power.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PowerState {
    /// What the site does.
    pub region: PowerRegion,
    /// Since when, on the clock of `Moment::elapsed_ms`.
    pub since_ms: u64,
    /// The hold-off ends then.
    pub hold_off_until_ms: u64,
    /// The cap of the curtailment in force.
    pub cap_kw: Option<f64>,
    /// Since when the curtailment is in force.
    pub curtailed_since_ms: Option<u64>,
    /// When its target must be reached.
    pub deadline_ms: Option<u64>,
    /// Half of the time to the deadline is over then.
    pub escalate_ms: Option<u64>,
    /// Since when more is allowed than the curtailment in force.
    pub released_since_ms: Option<u64>,
    /// When the controller was started again.
    #[serde(default)]
    pub started_ms: u64,
    /// It was started again while power was not above the cap, so that it may read before it acts.
    #[serde(default)]
    pub may_read_first: bool,
}

impl PowerState {
    /// As at a start.
    pub fn boot(now_ms: u64) -> Self {
        Self {
            region: PowerRegion::Boot,
            since_ms: now_ms,
            hold_off_until_ms: 0,
            cap_kw: None,
            curtailed_since_ms: None,
            deadline_ms: None,
            escalate_ms: None,
            released_since_ms: None,
            started_ms: now_ms,
            may_read_first: false,
        }
    }

    /// After the controller was started again.
    pub fn after_restart(self, now_ms: u64) -> Self {
        use PowerRegion as R;
        // Who was still stopping machines, or ended before it had read, has no time to lose: starts
        // one after another do not put off what they must do.
        let was_proven = !matches!(
            self.region,
            R::Boot | R::SelfTest | R::Curtailing | R::Tripped | R::Lockout
        );
        Self {
            region: R::Boot,
            since_ms: now_ms,
            started_ms: now_ms,
            may_read_first: was_proven,
            ..self
        }
    }

    /// Whether power that is only estimated is not acted on yet: after a start, for as long as the
    /// policy says and the deadline allows.
    pub fn reads_first(&self, policy: &PowerPolicy, deadline_ms: Option<u64>, now_ms: u64) -> bool {
        let wait_ms = ms(policy.read_first_s);
        // A deadline that was kept before the start is no reason to hurry.
        let deadline_ms = deadline_ms.filter(|at| *at > self.started_ms);
        let half_ms = deadline_ms.map_or(u64::MAX, |at| (at - self.started_ms) / 2);
        self.may_read_first && now_ms < self.started_ms.saturating_add(wait_ms.min(half_ms))
    }
}

/// What the table looks at.
#[derive(Debug, Clone, PartialEq)]
pub struct PowerFacts {
    /// The time.
    pub now_ms: u64,
    /// People work at the site.
    pub is_locked: bool,
    /// A trip stands.
    pub is_tripped: bool,
    /// Every safety input is fresh.
    pub is_fit: bool,
    /// No signal asks for less and every required one is read.
    pub is_signal_normal: bool,
    /// It is cool enough to start machines, and no failsafe forbids it.
    pub may_start: bool,
    /// An event with a start in the future was announced.
    pub is_announced: bool,
    /// Somebody asks for less than the design power: how much.
    pub cap_kw: Option<f64>,
    /// When that must be reached.
    pub deadline_ms: Option<u64>,
    /// The site's power.
    pub kw: f64,
    /// That is an estimate of the first seconds after a start, and not acted on yet.
    pub is_reading_first: bool,
    /// Samples at or below the target, in a row.
    pub samples_below: u32,
    /// All machines that can be stopped are proven off, so that no more can be done.
    pub is_floor: bool,
    /// Since when power is above the dead-band.
    pub above_since_ms: Option<u64>,
    /// Machines could be started now or soon, under the cap in force.
    pub has_candidates: bool,
    /// Machines could be started now.
    pub has_ready: bool,
    /// Machines are starting.
    pub is_starting: bool,
}

impl PowerFacts {
    fn is_above_cap(&self) -> bool {
        !self.is_reading_first && self.cap_kw.is_some_and(|cap| self.kw > cap)
    }

    fn is_target_proven(&self, policy: &PowerPolicy) -> bool {
        self.samples_below >= policy.proof_samples || self.is_floor
    }

    /// The cap in force is lower than the one before.
    fn is_tighter(&self, before: Option<f64>) -> bool {
        match (self.cap_kw, before) {
            (Some(now), Some(before)) => now < before,
            (Some(_), None) => true,
            _ => false,
        }
    }
}

/// The next region: one row of the table a match arm.
pub fn next(state: &PowerState, facts: &PowerFacts, policy: &PowerPolicy) -> PowerRegion {
    use PowerRegion as R;
    let lasted_ms = facts.now_ms.saturating_sub(state.since_ms);
    let since = |at: Option<u64>, least_ms: u64| {
        at.is_some_and(|at| facts.now_ms.saturating_sub(at) >= least_ms)
    };
    if facts.is_locked {
        return R::Lockout;
    }
    if facts.is_tripped {
        return R::Tripped;
    }
    match state.region {
        R::Boot => R::SelfTest,
        R::Lockout | R::Tripped => R::HoldOff,
        R::SelfTest | R::HoldOff | R::Restoring if facts.is_above_cap() => R::Curtailing,
        R::SelfTest if facts.is_fit => R::HoldOff,
        R::HoldOff
            if !facts.is_reading_first
                && facts.now_ms >= state.hold_off_until_ms
                && facts.is_signal_normal
                && facts.may_start =>
        {
            R::Restoring
        }
        R::Restoring if facts.is_tighter(state.cap_kw) => R::Curtailing,
        R::Restoring
            if !facts.is_starting && !facts.has_candidates
                || lasted_ms >= ms(policy.restore_limit_s) =>
        {
            if facts.cap_kw.is_some() {
                R::Curtailed
            } else {
                R::Running
            }
        }
        R::Running | R::Notice if facts.cap_kw.is_some() => R::Curtailing,
        R::Running if facts.is_announced => R::Notice,
        R::Running if facts.has_ready && facts.may_start => R::Restoring,
        R::Notice if !facts.is_announced => R::Running,
        R::Curtailing | R::Curtailed if is_released(state, facts, policy) => R::Restoring,
        R::Curtailing if facts.is_target_proven(policy) => R::Curtailed,
        R::Curtailed if facts.is_tighter(state.cap_kw) && facts.is_above_cap() => R::Curtailing,
        R::Curtailed if since(facts.above_since_ms, ms(policy.drift_s)) => R::Curtailing,
        same => same,
    }
}

/// More is allowed, has been for long enough, and the site was off for long enough.
fn is_released(state: &PowerState, facts: &PowerFacts, policy: &PowerPolicy) -> bool {
    let since = |at: Option<u64>, least_s: u64| {
        at.is_some_and(|at| facts.now_ms.saturating_sub(at) >= ms(least_s))
    };
    !facts.is_above_cap()
        && since(state.released_since_ms, policy.release_stable_s)
        && since(state.curtailed_since_ms, policy.min_off_s)
}

impl PowerState {
    /// Keeps the cap in force, its deadline, and since when more is allowed.
    pub fn follow_cap(&mut self, facts: &PowerFacts, policy: &PowerPolicy) {
        match (facts.cap_kw, self.cap_kw) {
            (Some(cap), before) if before.is_none_or(|before| cap < before) => {
                let is_first = self.curtailed_since_ms.is_none();
                self.cap_kw = Some(cap);
                if is_first {
                    self.curtailed_since_ms = Some(facts.now_ms);
                }
                let margin_ms = ms(policy.deadline_margin_s);
                let deadline_ms = facts.deadline_ms.map(|at| at.saturating_sub(margin_ms));
                self.deadline_ms = deadline_ms;
                self.escalate_ms = deadline_ms.map(|deadline| {
                    let left = deadline.saturating_sub(facts.now_ms) as f64;
                    facts.now_ms + (left * policy.escalate_share) as u64
                });
                self.released_since_ms = None;
            }
            (now, Some(before)) if now.is_none_or(|now| now > before) => {
                self.released_since_ms = self.released_since_ms.or(Some(facts.now_ms));
            }
            _ => self.released_since_ms = None,
        }
    }

    /// Goes over to a region at a time. A hold-off begins with a chance of up to the policy's
    /// jitter.
    pub fn enter(
        &mut self,
        region: PowerRegion,
        facts: &PowerFacts,
        policy: &PowerPolicy,
        chance: f64,
    ) {
        if region == self.region {
            return;
        }
        self.region = region;
        self.since_ms = facts.now_ms;
        match region {
            PowerRegion::HoldOff => {
                let jitter_ms = (chance * ms(policy.restart_jitter_s) as f64) as u64;
                self.hold_off_until_ms = facts.now_ms + ms(policy.restart_delay_s) + jitter_ms;
                self.cap_kw = None;
                self.curtailed_since_ms = None;
            }
            PowerRegion::Restoring => {
                self.cap_kw = facts.cap_kw;
                self.released_since_ms = None;
                self.deadline_ms = None;
                self.escalate_ms = None;
                if facts.cap_kw.is_none() {
                    self.curtailed_since_ms = None;
                }
            }
            _ => {}
        }
    }
}
