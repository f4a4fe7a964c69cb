//! The health: what is known of each daemon, which of them are healthy, and which one is used.
//! Pure; time comes in.
//!
//! Daemons are named in the order of preference. One is healthy when it answers, calls itself
//! synchronised, keeps up with the others, and, on a public network, has seen a block within living
//! memory. A template of any other one would be dead.

use super::breaker::{Breaker, Limits};
use crate::chain::{NoWorkCause, Tip, Unready};

/// When a daemon counts as unfit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HealthRules {
    /// Milliseconds its last answer may be old.
    pub silent_ms: u64,
    /// Milliseconds it may be lower than another synchronised daemon.
    pub lag_ms: u64,
    /// Milliseconds without a new block on a network that goes on without us; `None` on a private
    /// one.
    pub tip_age_ms: Option<u64>,
    /// Milliseconds a preferred daemon must have been healthy before it is used again.
    pub return_ms: u64,
    /// Its breaker's limits.
    pub breaker: Limits,
}

/// What is known of one daemon.
#[derive(Debug, Clone)]
pub struct DaemonState {
    /// Whether to ask it at all.
    pub breaker: Breaker,
    /// Its last answer.
    pub tip: Option<Tip>,
    /// When that came.
    pub heard_ms: u64,
    /// When its tip last changed.
    pub moved_ms: u64,
    /// Why its last question had no answer, if so.
    pub error: Option<String>,
    /// Since when it is lower than another one.
    pub behind_since_ms: Option<u64>,
    /// Since when it is healthy.
    pub healthy_since_ms: Option<u64>,
}

/// Why a daemon must not be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unhealthy {
    /// It does not answer; that may pass.
    Silent(String),
    /// It answers, and its work would be dead.
    Unready(Unready),
}

impl Unhealthy {
    /// The reason in words.
    pub fn reason(&self) -> &str {
        match self {
            Unhealthy::Silent(reason) => reason,
            Unhealthy::Unready(unready) => &unready.reason,
        }
    }
}

/// All daemons.
#[derive(Debug, Clone)]
pub struct DaemonHealth {
    rules: HealthRules,
    states: Vec<DaemonState>,
    active: Option<usize>,
    /// The last one that was active.
    used: Option<usize>,
}

impl DaemonHealth {
    /// So many daemons of which nothing is known, at a given time.
    pub fn new(count: usize, rules: HealthRules, now_ms: u64) -> Self {
        let daemon = DaemonState {
            breaker: Breaker::new(rules.breaker),
            tip: None,
            heard_ms: now_ms,
            moved_ms: now_ms,
            error: None,
            behind_since_ms: None,
            healthy_since_ms: None,
        };
        Self {
            rules,
            states: vec![daemon; count],
            active: None,
            used: None,
        }
    }

    /// What is known of each.
    pub fn daemons(&self) -> &[DaemonState] {
        &self.states
    }

    /// The daemon to use; none when none is healthy.
    pub fn active(&self) -> Option<usize> {
        self.active
    }

    /// Sets how old a tip may be, which is known only when a daemon has told its network.
    pub fn limit_tip_age(&mut self, tip_age_ms: Option<u64>) {
        self.rules.tip_age_ms = tip_age_ms;
    }

    /// Whether a daemon may be asked now.
    pub fn may_ask(&mut self, who: usize, now_ms: u64) -> bool {
        self.states[who].breaker.admit(now_ms)
    }

    /// It told its tip. Returns whether that is another one than before.
    pub fn record_tip(&mut self, who: usize, tip: Tip, now_ms: u64) -> bool {
        let daemon = &mut self.states[who];
        let moved = daemon
            .tip
            .as_ref()
            .is_none_or(|known| known.hash != tip.hash);
        if moved {
            daemon.moved_ms = now_ms;
        }
        (daemon.heard_ms, daemon.error, daemon.tip) = (now_ms, None, Some(tip));
        daemon.breaker.succeeded();
        self.update(now_ms);
        moved
    }

    /// It answered, but not what was asked for: it lives.
    pub fn record_refusal(&mut self, who: usize, reason: String) {
        let daemon = &mut self.states[who];
        daemon.error = Some(reason);
        daemon.breaker.succeeded();
    }

    /// It did not answer.
    pub fn record_failure(&mut self, who: usize, reason: String, now_ms: u64) {
        let daemon = &mut self.states[who];
        daemon.error = Some(reason);
        daemon.breaker.failed(now_ms);
        self.update(now_ms);
    }

    /// Whether a daemon may be used now.
    pub fn check(&self, who: usize, now_ms: u64) -> Result<(), Unhealthy> {
        let daemon = &self.states[who];
        let Some(tip) = &daemon.tip else {
            return Err(Unhealthy::Silent(
                daemon
                    .error
                    .clone()
                    .unwrap_or_else(|| "it has not answered yet".to_owned()),
            ));
        };
        let silent_ms = now_ms.saturating_sub(daemon.heard_ms);
        if !daemon.breaker.is_closed() || silent_ms > self.rules.silent_ms {
            let error = daemon
                .error
                .clone()
                .unwrap_or_else(|| "no answer".to_owned());
            return Err(Unhealthy::Silent(format!(
                "silent for {} s: {error}",
                silent_ms / 1000
            )));
        }
        if let Some(reason) = &tip.unready {
            return Err(Unhealthy::Unready(reason.clone()));
        }
        if let Some(since) = daemon
            .behind_since_ms
            .filter(|since| now_ms.saturating_sub(*since) >= self.rules.lag_ms)
        {
            let (own, best) = (tip.next_height, self.best_height(now_ms));
            let seconds = now_ms.saturating_sub(since) / 1000;
            let reason =
                format!("stuck at height {own} for {seconds} s while another daemon is at {best}");
            return Err(Unhealthy::Unready(reason.into()));
        }
        let age_ms = now_ms.saturating_sub(daemon.moved_ms);
        if self.rules.tip_age_ms.is_some_and(|limit| age_ms > limit) {
            let reason = format!(
                "no new block for {} minutes; it may have lost its peers",
                age_ms / 60_000
            );
            return Err(Unhealthy::Unready(reason.into()));
        }
        Ok(())
    }

    /// Looks at everybody and chooses: stays with the active daemon while it is healthy, unless a
    /// preferred one has been healthy for long enough.
    pub fn update(&mut self, now_ms: u64) {
        let best = self.best_height(now_ms);
        for daemon in &mut self.states {
            let behind = daemon
                .tip
                .as_ref()
                .is_some_and(|tip| tip.next_height < best);
            daemon.behind_since_ms = if behind {
                daemon.behind_since_ms.or(Some(now_ms))
            } else {
                None
            };
        }
        for who in 0..self.states.len() {
            let fit = self.check(who, now_ms).is_ok();
            let daemon = &mut self.states[who];
            daemon.healthy_since_ms = if fit {
                daemon.healthy_since_ms.or(Some(now_ms))
            } else {
                None
            };
        }
        let healthy_for = |who: &usize| {
            self.states[*who]
                .healthy_since_ms
                .map(|since| now_ms.saturating_sub(since))
        };
        let current = self.active.filter(|who| healthy_for(who).is_some());
        self.active = match current {
            None => (0..self.states.len()).find(|who| healthy_for(who).is_some()),
            Some(current) => {
                let ripe = |who: &usize| {
                    healthy_for(who).is_some_and(|healthy| healthy >= self.rules.return_ms)
                };
                (0..current).find(ripe).or(Some(current))
            }
        };
        self.used = self.active.or(self.used);
    }

    /// Why nobody is active: the last daemon in use decides whether that may pass, for its template
    /// is what miners have.
    pub fn why_none(&self, now_ms: u64, names: &[&str]) -> Unhealthy {
        let unfit = |who: usize| self.check(who, now_ms).err();
        let reasons = names
            .iter()
            .enumerate()
            .filter_map(|(who, name)| Some(format!("{name}: {}", unfit(who)?.reason())));
        let reasons = reasons.collect::<Vec<_>>().join("; ");
        let cause = |who: usize| match unfit(who) {
            Some(Unhealthy::Unready(unready)) => Some(unready.cause),
            _ => None,
        };
        let lasting: Option<NoWorkCause> = match self.used {
            Some(used) => cause(used),
            None => (0..self.states.len()).find_map(cause),
        };
        match lasting {
            Some(cause) => Unhealthy::Unready(Unready {
                cause,
                reason: reasons,
            }),
            None => Unhealthy::Silent(reasons),
        }
    }

    /// The height of the highest daemon that answers and is synchronised.
    fn best_height(&self, now_ms: u64) -> u64 {
        let fresh = |daemon: &&DaemonState| {
            daemon.breaker.is_closed()
                && now_ms.saturating_sub(daemon.heard_ms) <= self.rules.silent_ms
        };
        let synchronised = self
            .states
            .iter()
            .filter(fresh)
            .filter_map(|daemon| daemon.tip.as_ref())
            .filter(|tip| tip.unready.is_none());
        synchronised.map(|tip| tip.next_height).max().unwrap_or(0)
    }
}
