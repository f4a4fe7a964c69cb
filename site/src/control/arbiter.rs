//! The arbiter: every reason to draw less posts a cap, and the least of the caps holds.
//!
//! Levels: 0 people at work (lockout), 1 emergency trip, 2 safety interlock, 3 mandatory event of
//! the utility, 4 contracted event or allocation, 5 a person's override, 6 economy, 7 the design.
//! An override stands for levels 6 and 7, so that it may raise what they ask; it never raises what
//! levels 0 to 4 ask. Winner and losers are recorded: "why is it off?" is asked first.

use serde::{Deserialize, Serialize};

use super::order::Scope;
use crate::moment::Moment;

/// The level of an override.
pub const OVERRIDE: u8 = 5;
/// The level of the design power.
pub const DEFAULT: u8 = 7;

/// A cap that a source posts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cap {
    /// 0, the strongest, to 7.
    pub level: u8,
    /// At most so much.
    pub kw: f64,
    /// What it holds for.
    pub scope: Scope,
    /// Why, in plain words.
    pub reason: String,
    /// When it ends, microseconds since 1970.
    pub expires_us: Option<i64>,
    /// Who posts it.
    pub source: String,
    /// When its target must be reached, on the clock of `Moment::elapsed_ms`; as fast as can be
    /// without it.
    pub deadline_ms: Option<u64>,
    /// When it was asked for, or became clearly tighter, where a signal asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_at: Option<Moment>,
    /// The asker's own name of the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
}

/// What the arbiter decided for the whole site.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The most that the site may draw.
    pub target_kw: f64,
    /// The place of the cap that decided it.
    pub winner: usize,
    /// The places of the others that hold for the site, the nearest first.
    pub losers: Vec<usize>,
}

impl Verdict {
    /// Somebody asks for less than the design power.
    pub fn is_capped(&self, caps: &[Cap]) -> bool {
        caps.get(self.winner).is_some_and(|cap| cap.level < DEFAULT)
    }

    /// The winning cap.
    pub fn cap<'a>(&self, caps: &'a [Cap]) -> Option<&'a Cap> {
        caps.get(self.winner)
    }
}

/// The least of the caps for the site, with the rule of the override.
pub fn decide(caps: &[Cap], design_kw: f64) -> Verdict {
    let of_site = || {
        caps.iter()
            .enumerate()
            .filter(|(_, cap)| cap.scope == Scope::Site)
    };
    let has_override = of_site().any(|(_, cap)| cap.level == OVERRIDE);
    let counts = |cap: &Cap| cap.level <= OVERRIDE || !has_override;
    // Of equal caps the stronger level wins, so that its reason is the one that is shown.
    let mut order: Vec<usize> = of_site().map(|(at, _)| at).collect();
    order.sort_by(|a, b| {
        let (a, b) = (&caps[*a], &caps[*b]);
        let key = |cap: &Cap| (!counts(cap), cap.kw);
        let (a_key, b_key) = (key(a), key(b));
        a_key
            .0
            .cmp(&b_key.0)
            .then(a_key.1.total_cmp(&b_key.1))
            .then(a.level.cmp(&b.level))
    });
    let winner = order.first().copied().unwrap_or_default();
    Verdict {
        target_kw: caps
            .get(winner)
            .map_or(design_kw, |cap| cap.kw.min(design_kw)),
        winner,
        losers: order.into_iter().skip(1).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cap(level: u8, kw: f64) -> Cap {
        Cap {
            level,
            kw,
            scope: Scope::Site,
            reason: String::new(),
            expires_us: None,
            source: String::new(),
            deadline_ms: None,
            asked_at: None,
            event: None,
        }
    }

    #[test]
    fn the_least_cap_holds_and_of_equals_the_stronger() {
        let caps = [cap(7, 1_000.0), cap(4, 500.0), cap(3, 500.0), cap(6, 700.0)];
        let verdict = decide(&caps, 1_000.0);
        assert_eq!((verdict.target_kw, verdict.winner), (500.0, 2));
        assert_eq!(verdict.losers, [1, 3, 0]);
    }

    #[test]
    fn an_override_raises_economy_and_never_safety_duty_or_contract() {
        let caps = [cap(7, 1_000.0), cap(6, 0.0), cap(5, 800.0)];
        assert_eq!(decide(&caps, 1_000.0).target_kw, 800.0);
        for level in 0..=4 {
            let caps = [cap(7, 1_000.0), cap(level, 300.0), cap(5, 800.0)];
            assert_eq!(decide(&caps, 1_000.0).target_kw, 300.0, "level {level}");
        }
        // Lower than a contract asks it may go.
        let caps = [cap(7, 1_000.0), cap(4, 500.0), cap(5, 200.0)];
        assert_eq!(decide(&caps, 1_000.0).target_kw, 200.0);
        // And never above what the site is built for.
        let caps = [cap(7, 1_000.0), cap(5, 5_000.0)];
        assert_eq!(decide(&caps, 1_000.0).target_kw, 1_000.0);
    }
}
