//! A state that is worth a line in the log only when it lasts.
//!
//! Pure. A state that comes and goes within a moment says nothing to an operator and fills the log;
//! one that lasts is told once, and its end with how long it lasted.

use std::time::Duration;

/// A state that may last.
#[derive(Debug, Clone)]
pub struct LastingState {
    /// How long it must last before it is told.
    patience: Duration,
    since: Option<Duration>,
    is_reported: bool,
}

/// What to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastingChange {
    /// The state has lasted for this long, and lasts on.
    Lasts(Duration),
    /// The state was told, and ended after this long.
    Ended(Duration),
}

impl LastingState {
    /// The state is off; it is told once it has lasted for `patience`.
    pub fn new(patience: Duration) -> Self {
        Self {
            patience,
            since: None,
            is_reported: false,
        }
    }

    /// The state is on or off now; times are since any fixed moment. Says what to tell, if
    /// anything.
    pub fn update(&mut self, is_on: bool, now: Duration) -> Option<LastingChange> {
        if !is_on {
            let since = self.since.take()?;
            let is_reported = std::mem::take(&mut self.is_reported);
            return is_reported.then(|| LastingChange::Ended(now.saturating_sub(since)));
        }
        let lasted = now.saturating_sub(*self.since.get_or_insert(now));
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
    fn only_a_state_that_lasts_is_told_once_and_its_end_with_its_duration() {
        let mut state = LastingState::new(Duration::from_secs(5));
        let mut at = |second, is_on| state.update(is_on, Duration::from_secs(second));
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
