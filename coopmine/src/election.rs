//! Which of two coordinators is the active one, decided over a key that both see.
//!
//! Pure: no socket and no clock. The active one writes the key again and again; each write names
//! the revision it saw, so that of two writers one loses. Whoever sees no new revision for long
//! enough takes over. The active one trusts itself for less than that after the moment at which it
//! sent its last write that succeeded, so that it has stopped, by its own clock, before another
//! begins: also when it was stopped itself and does not know it yet.

/// How long what may take, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ElectionTiming {
    /// Between two writes of the active one.
    pub renew_ms: u64,
    /// How long a write is good for, from the moment it was sent.
    pub hold_ms: u64,
    /// How long the key must rest before another takes over. The clocks of two machines may run
    /// apart by the part that this is longer.
    pub takeover_ms: u64,
}

impl ElectionTiming {
    /// With this time to take over.
    pub fn with_takeover(takeover_ms: u64) -> Self {
        Self {
            renew_ms: takeover_ms / 5,
            hold_ms: takeover_ms * 3 / 5,
            takeover_ms,
        }
    }
}

/// One coordinator's view of the election.
#[derive(Debug, Clone)]
pub struct Election {
    timing: ElectionTiming,
    /// The newest revision seen, and when. `None` until the key was looked at.
    seen: Option<(u64, u64)>,
    /// Whether the key is there with somebody's name.
    is_held: bool,
    role: Role,
    /// When the write that has no answer yet was sent.
    writing: Option<u64>,
    tried_ms: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Standby,
    /// Active until this moment, under this token: the revision with which it began, so that
    /// whoever comes later has a higher one.
    Active {
        until_ms: u64,
        token: u64,
    },
}

/// A write to be tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyWrite {
    /// The revision that is written over.
    pub seen: u64,
}

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteEnd {
    /// It is this revision now.
    Written(u64),
    /// Somebody else wrote before.
    Lost,
    /// Nobody knows.
    Unknown,
}

impl Election {
    /// Somebody who knows nothing yet.
    pub fn new(timing: ElectionTiming) -> Self {
        Self {
            timing,
            seen: None,
            is_held: false,
            role: Role::Standby,
            writing: None,
            tried_ms: None,
        }
    }

    /// The key is as it is: its revision (0 when it never was), and whether somebody's name is in
    /// it.
    pub fn saw(&mut self, revision: u64, is_held: bool, now_ms: u64) {
        if self.seen.is_some_and(|(seen, _)| revision <= seen) {
            return;
        }
        self.seen = Some((revision, now_ms));
        self.is_held = is_held;
        // What is newer than everything we know of was written by somebody else, unless a write of
        // ours is under way, whose answer tells.
        if self.writing.is_none() {
            self.role = Role::Standby;
        }
    }

    /// All that the key-value store told at the beginning of a watch: this revision of the key, 0
    /// for none. One before what was seen means that the store was lost and begins anew; then
    /// nobody is active, and the key must rest as if somebody held it.
    pub fn listed(&mut self, revision: u64, now_ms: u64) {
        match self.seen {
            None => self.saw(0, false, now_ms),
            Some((seen, _)) if revision < seen && self.writing.is_none() => {
                self.seen = Some((revision, now_ms));
                self.is_held = true;
                self.role = Role::Standby;
            }
            Some(_) => {}
        }
    }

    /// Stops being active; the revision to delete so that the other one need not wait, where we
    /// were.
    pub fn resign(&mut self, now_ms: u64) -> Option<u64> {
        let revision = self.holds(now_ms).and(self.revision());
        self.role = Role::Standby;
        revision
    }

    /// The token under which we are active at this moment; `None` when we are not.
    pub fn holds(&self, now_ms: u64) -> Option<u64> {
        match self.role {
            Role::Active { until_ms, token } if now_ms < until_ms => Some(token),
            Role::Active { .. } | Role::Standby => None,
        }
    }

    /// The newest revision that was seen.
    pub fn revision(&self) -> Option<u64> {
        self.seen.map(|(revision, _)| revision)
    }

    /// What is to be written now, if anything; then call [`Election::wrote`].
    pub fn step(&mut self, now_ms: u64) -> Option<KeyWrite> {
        let (revision, since_ms) = self.seen?;
        if self.writing.is_some() {
            return None;
        }
        let waited = |from: u64, ms: u64| now_ms.saturating_sub(from) >= ms;
        if self
            .tried_ms
            .is_some_and(|at| !waited(at, self.timing.renew_ms))
        {
            return None;
        }
        if self.holds(now_ms).is_none() {
            self.role = Role::Standby;
            if self.is_held && !waited(since_ms, self.timing.takeover_ms) {
                return None;
            }
        }
        self.writing = Some(now_ms);
        self.tried_ms = Some(now_ms);
        Some(KeyWrite { seen: revision })
    }

    /// The end of a write.
    pub fn wrote(&mut self, end: WriteEnd, now_ms: u64) {
        let Some(sent_ms) = self.writing.take() else {
            return;
        };
        match end {
            WriteEnd::Written(revision) => {
                // A revision that was seen beyond ours is somebody's who came after.
                let is_newest = self.seen.is_none_or(|(seen, _)| seen <= revision);
                if is_newest {
                    self.seen = Some((revision, now_ms));
                    self.is_held = true;
                    // What was decided while it was not trusted was not done: that is another term.
                    let token = self.holds(now_ms).unwrap_or(revision);
                    let until_ms = sent_ms + self.timing.hold_ms;
                    self.role = Role::Active { until_ms, token };
                } else {
                    self.role = Role::Standby;
                }
            }
            WriteEnd::Lost => self.role = Role::Standby,
            // The write may have succeeded: the other waits out `takeover_ms` after any revision it
            // sees, and we do not extend our own term.
            WriteEnd::Unknown => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMING: ElectionTiming = ElectionTiming {
        renew_ms: 2_000,
        hold_ms: 6_000,
        takeover_ms: 10_000,
    };

    #[test]
    fn the_first_is_active_and_the_other_takes_over_when_the_key_rests() {
        let (mut one, mut other) = (Election::new(TIMING), Election::new(TIMING));
        assert_eq!(one.step(0), None, "it has not looked yet");
        one.saw(0, false, 0);
        assert_eq!(one.step(0), Some(KeyWrite { seen: 0 }));
        one.wrote(WriteEnd::Written(1), 5);
        other.saw(1, true, 10);
        assert_eq!((one.holds(5_999), one.holds(6_000)), (Some(1), None));
        assert_eq!(other.step(10_009), None, "the key rested too short");
        assert_eq!(other.step(10_010), Some(KeyWrite { seen: 1 }));
        other.wrote(WriteEnd::Written(2), 10_020);
        assert_eq!(other.holds(10_020), Some(2));
        // What was stopped meanwhile is not active for a moment when it goes on, and loses.
        assert_eq!(one.holds(10_020), None);
        one.saw(2, true, 10_050);
        assert_eq!((one.holds(10_050), one.step(12_060)), (None, None));
    }

    #[test]
    fn a_lost_store_begins_anew_when_the_key_has_rested() {
        let mut one = Election::new(TIMING);
        one.listed(0, 0);
        assert_eq!(one.step(0), Some(KeyWrite { seen: 0 }));
        one.wrote(WriteEnd::Written(7), 5);
        one.listed(7, 100);
        assert_eq!(one.holds(100), Some(7), "nothing was lost");
        one.listed(0, 3_000);
        assert_eq!(one.holds(3_000), None);
        assert_eq!(
            one.step(12_999),
            None,
            "somebody may still trust an old write"
        );
        assert_eq!(one.step(13_000), Some(KeyWrite { seen: 0 }));
        one.wrote(WriteEnd::Written(1), 13_010);
        assert_eq!((one.holds(13_010), one.resign(13_011)), (Some(1), Some(1)));
        assert_eq!((one.holds(13_012), one.resign(13_012)), (None, None));
    }

    #[test]
    fn a_key_that_was_let_go_is_taken_at_once_and_an_unknown_write_is_not_trusted() {
        let mut one = Election::new(TIMING);
        one.saw(7, true, 0);
        one.saw(8, false, 1_000);
        assert_eq!(one.step(1_000), Some(KeyWrite { seen: 8 }));
        one.wrote(WriteEnd::Unknown, 3_500);
        assert_eq!(one.holds(3_500), None);
        assert_eq!(one.step(3_500), Some(KeyWrite { seen: 8 }));
        one.wrote(WriteEnd::Written(9), 3_600);
        assert_eq!(one.holds(3_600), Some(9));
        // It renews in time, counts from the moment of the write, and keeps its token.
        assert_eq!(one.step(5_000), None);
        assert_eq!(one.step(5_500), Some(KeyWrite { seen: 9 }));
        one.wrote(WriteEnd::Written(10), 6_000);
        assert_eq!((one.holds(11_499), one.holds(11_500)), (Some(9), None));
        // An answer that comes when the write before it is not trusted any more begins another
        // term: meanwhile nothing was done.
        assert_eq!(one.step(9_900), Some(KeyWrite { seen: 10 }));
        one.wrote(WriteEnd::Written(11), 11_550);
        assert_eq!((one.holds(11_550), one.holds(15_900)), (Some(11), None));
        // A write that comes too late to trust begins a term of its own.
        assert_eq!(
            one.step(15_900),
            None,
            "the key is held, by nobody knows whom"
        );
        let mut late = Election::new(TIMING);
        late.saw(3, false, 0);
        assert!(late.step(0).is_some());
        late.wrote(WriteEnd::Lost, 10);
        assert_eq!(late.holds(10), None);
    }
}
