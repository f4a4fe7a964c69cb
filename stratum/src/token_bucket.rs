//! A token bucket: so much at once, so much a second, and nothing that needs a timer.

/// How a bucket fills.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Tokens that come back in a second.
    pub per_s: f64,
    /// Tokens it holds at most, and may owe at most.
    pub burst: f64,
}

/// The tokens of one source. Time is in milliseconds of any clock that does not run backwards.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bucket {
    tokens: f64,
    at_ms: u64,
}

impl Bucket {
    /// A full one.
    pub fn full(rate: Rate, now_ms: u64) -> Self {
        Self {
            tokens: rate.burst,
            at_ms: now_ms,
        }
    }

    /// What it holds now; negative when it owes.
    pub fn level(&mut self, rate: Rate, now_ms: u64) -> f64 {
        let elapsed_s = now_ms.saturating_sub(self.at_ms) as f64 / 1000.0;
        self.tokens = (self.tokens + elapsed_s * rate.per_s).min(rate.burst);
        self.at_ms = self.at_ms.max(now_ms);
        self.tokens
    }

    /// Takes so many, if it holds them.
    pub fn take(&mut self, rate: Rate, tokens: f64, now_ms: u64) -> bool {
        let enough = self.level(rate, now_ms) >= tokens;
        if enough {
            self.tokens -= tokens;
        }
        enough
    }

    /// Takes so many in any case; it never owes more than it could hold.
    pub fn charge(&mut self, rate: Rate, tokens: f64, now_ms: u64) {
        self.tokens = (self.level(rate, now_ms) - tokens).max(-rate.burst);
    }

    /// Puts so many back.
    pub fn give(&mut self, rate: Rate, tokens: f64, now_ms: u64) {
        self.tokens = (self.level(rate, now_ms) + tokens).min(rate.burst);
    }
}
