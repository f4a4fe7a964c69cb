//! A circuit breaker: stops asking a daemon that does not answer, and tries again with a single
//! question.
//!
//! A daemon that hangs costs a whole timeout with every question; without a breaker a dead second
//! daemon would slow the first one down. Pure: time comes in as milliseconds.

/// When it opens and how long it waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Failures in a row that open it.
    pub failures: u32,
    /// Milliseconds until the first probe.
    pub first_wait_ms: u64,
    /// The wait doubles with every failed probe up to this.
    pub longest_wait_ms: u64,
    /// Milliseconds after which a probe without an outcome counts as failed.
    pub probe_ms: u64,
}

/// What it lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Everything; so many failures in a row so far.
    Closed { failures: u32 },
    /// Nothing until then.
    Open { until_ms: u64, wait_ms: u64 },
    /// One probe, which is under way since then.
    HalfOpen { since_ms: u64, wait_ms: u64 },
}

/// A breaker.
#[derive(Debug, Clone)]
pub struct Breaker {
    limits: Limits,
    state: State,
}

impl Breaker {
    /// A closed one.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            state: State::Closed { failures: 0 },
        }
    }

    /// Its state.
    pub fn state(&self) -> State {
        self.state
    }

    /// Whether it is closed.
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed { .. })
    }

    /// Whether a question may be asked now. After a yes, the outcome must be told.
    pub fn admit(&mut self, now_ms: u64) -> bool {
        match self.state {
            State::Closed { .. } => true,
            State::Open { until_ms, wait_ms } if now_ms >= until_ms => {
                self.state = State::HalfOpen {
                    since_ms: now_ms,
                    wait_ms,
                };
                true
            }
            State::Open { .. } => false,
            // A probe whose caller went away would keep everybody out for ever.
            State::HalfOpen { since_ms, wait_ms }
                if now_ms.saturating_sub(since_ms) >= self.limits.probe_ms =>
            {
                self.open(now_ms, wait_ms);
                false
            }
            State::HalfOpen { .. } => false,
        }
    }

    /// The daemon answered.
    pub fn succeeded(&mut self) {
        self.state = State::Closed { failures: 0 };
    }

    /// The daemon did not answer.
    pub fn failed(&mut self, now_ms: u64) {
        match self.state {
            State::Closed { failures } if failures.saturating_add(1) < self.limits.failures => {
                self.state = State::Closed {
                    failures: failures + 1,
                };
            }
            State::Closed { .. } => {
                let wait_ms = self.limits.first_wait_ms;
                self.state = State::Open {
                    until_ms: now_ms.saturating_add(wait_ms),
                    wait_ms,
                };
            }
            // A question asked before it opened; its failure is no news.
            State::Open { .. } => {}
            State::HalfOpen { wait_ms, .. } => self.open(now_ms, wait_ms),
        }
    }

    fn open(&mut self, now_ms: u64, waited_ms: u64) {
        let longest = self.limits.longest_wait_ms.max(self.limits.first_wait_ms);
        let wait_ms = waited_ms.saturating_mul(2).min(longest);
        self.state = State::Open {
            until_ms: now_ms.saturating_add(wait_ms),
            wait_ms,
        };
    }
}
