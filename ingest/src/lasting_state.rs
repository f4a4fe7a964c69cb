//! A state that is worth a line in the log only when it lasts.
//!
//! Pure. A state that comes and goes within a moment says nothing to an operator and fills the log;
//! one that lasts is logged once, and its end with how long it lasted.

use std::time::{Duration, Instant};

/// How long a trouble that mostly ends by itself must last before the log says so.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// A state that may last.
#[derive(Debug, Clone)]
pub struct LastingState {
    /// How long it must last before it is logged.
    patience: Duration,
    since: Option<Instant>,
    is_reported: bool,
}

/// What to log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastingChange {
    /// The state has lasted for this long, and lasts on.
    Lasts(Duration),
    /// The state was logged, and ended after this long.
    Ended(Duration),
}

impl Default for LastingState {
    fn default() -> Self {
        Self::new(PATIENCE)
    }
}

impl LastingState {
    /// The state is off; it is logged once it has lasted for `patience`.
    pub fn new(patience: Duration) -> Self {
        Self {
            patience,
            since: None,
            is_reported: false,
        }
    }

    /// The state is on or off now. Says what to log, if anything.
    pub fn update(&mut self, is_on: bool, now: Instant) -> Option<LastingChange> {
        if !is_on {
            let since = self.since.take()?;
            let is_reported = std::mem::take(&mut self.is_reported);
            let lasted = now.saturating_duration_since(since);
            return is_reported.then_some(LastingChange::Ended(lasted));
        }
        let lasted = now.saturating_duration_since(*self.since.get_or_insert(now));
        if self.is_reported || lasted < self.patience {
            return None;
        }
        self.is_reported = true;
        Some(LastingChange::Lasts(lasted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_state_that_lasts_is_logged_once_and_its_end_with_its_duration() {
        let (mut state, start) = (LastingState::default(), Instant::now());
        let mut at = |second, is_on| state.update(is_on, start + Duration::from_secs(second));
        // Thirty-one flickers of a second are no news.
        for second in 0..62 {
            assert_eq!(at(second, second % 2 == 0), None);
        }
        assert_eq!(at(100, true), None);
        assert_eq!(at(104, true), None);
        let lasts = LastingChange::Lasts(Duration::from_secs(5));
        assert_eq!(at(105, true), Some(lasts));
        assert_eq!(at(106, true), None);
        let ended = LastingChange::Ended(Duration::from_secs(30));
        assert_eq!(at(130, false), Some(ended));
        assert_eq!((at(131, false), at(132, true)), (None, None));
    }
}
