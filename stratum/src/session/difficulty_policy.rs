//! Who decides a session's difficulty: the login, else the port, else the shares it sends.

use crate::net::port::Port;
use crate::protocol::login::Login;
use crate::work::vardiff::Vardiff;

/// A session's difficulty.
pub(crate) enum DifficultyPolicy {
    Fixed(u64),
    Following(Vardiff),
}

impl DifficultyPolicy {
    /// What the login wishes, within the port's bounds, else what the port says.
    pub(crate) fn new(login: &Login, port: &Port, now_ms: u64) -> Self {
        let vardiff = &port.vardiff;
        match login.fixed_difficulty.or(port.fixed_difficulty) {
            Some(fixed) => {
                DifficultyPolicy::Fixed(fixed.clamp(vardiff.min_difficulty, vardiff.max_difficulty))
            }
            None => {
                DifficultyPolicy::Following(Vardiff::new(port.start_difficulty, vardiff, now_ms))
            }
        }
    }

    /// Hashes a share of the next job costs.
    pub(crate) fn difficulty(&self) -> u64 {
        match self {
            DifficultyPolicy::Fixed(fixed) => *fixed,
            DifficultyPolicy::Following(vardiff) => vardiff.difficulty(),
        }
    }

    /// Hashes a second of a miner that sends shares as often as the port aims at.
    pub(crate) fn hashrate(&self, port: &Port) -> f64 {
        self.difficulty() as f64 / port.vardiff.target_s
    }
}
