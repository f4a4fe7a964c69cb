//! What a rule makes of a series of values, one after the other: when what it forbids began, when
//! it had lasted long enough, when it ended, and when nothing could be said.
//!
//! Missing data are a state of their own: they neither end what holds, nor count for the time that
//! a rule waits. Findings have the times of the samples, and silence is found at the time at which
//! it lasted long enough, whenever somebody looks. So it does not matter in which portions samples
//! come, nor how often the clock is looked at between them.

/// When values are beyond a limit, and for how long they may be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Condition {
    /// How values are compared.
    pub comparison: Comparison,
    /// The limit.
    pub threshold: f64,
    /// How far back a value must go to be within the limit again.
    pub hysteresis: f64,
    /// How long it may last, microseconds.
    pub for_us: i64,
    /// Silence after which data are missing, microseconds; never where a value holds until there is
    /// another.
    pub missing_after_us: Option<i64>,
}

/// When a value is beyond the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// The limit itself, too.
    AtLeast,
    /// More than the limit.
    Above,
    /// The limit itself, too.
    AtMost,
    /// Less than the limit.
    Below,
}

impl Comparison {
    /// The comparison of this name in the registry.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "at_least" => Some(Self::AtLeast),
            "above" => Some(Self::Above),
            "at_most" => Some(Self::AtMost),
            "below" => Some(Self::Below),
            _ => None,
        }
    }

    fn is_upward(self) -> bool {
        matches!(self, Self::AtLeast | Self::Above)
    }
}

/// One value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// When, microseconds since 1970.
    pub at_us: i64,
    /// What was measured; `None` where it was found that nothing was.
    pub value: Option<f64>,
    /// Where the window begins that the value is of, such as a period of energy.
    pub window_us: Option<i64>,
    /// Its place in its table.
    pub seq: i64,
    /// Whether the rule does not hold at this time, whatever the value.
    pub is_exempt: bool,
}

/// What was found out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Finding {
    /// What.
    pub kind: FindingKind,
    /// The time at which it is so, microseconds since 1970.
    pub at_us: i64,
    /// What it is about.
    pub episode: Episode,
    /// The value then.
    pub value: Option<f64>,
    /// The place of the sample in its table.
    pub seq: i64,
}

/// What can be found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FindingKind {
    /// It began, and may last for a while.
    Began,
    /// It has lasted as long as it may.
    Held,
    /// It still holds.
    Continued,
    /// It ended.
    Ended,
    /// Nothing can be said.
    Missing,
    /// Something can be said again, and it still holds.
    Returned,
}

/// What is forbidden, while it lasts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Episode {
    /// When it began, microseconds since 1970.
    pub since_us: i64,
    /// Where its window begins; `since_us` where there are no windows.
    pub window_us: i64,
    /// The worst value.
    pub peak: f64,
    /// The place of its first sample in its table.
    pub from_seq: i64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Phase {
    Clear,
    /// With the time that counts, microseconds.
    Pending(Episode, i64),
    Holding(Episode),
}

/// The state of a rule and one series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Evaluation {
    phase: Phase,
    /// The newest sample with a value.
    last: Option<Sample>,
    is_missing: bool,
    /// Samples up to this time are known.
    through_us: i64,
}

impl Default for Evaluation {
    fn default() -> Self {
        Self {
            phase: Phase::Clear,
            last: None,
            is_missing: false,
            through_us: i64::MIN,
        }
    }
}

impl Evaluation {
    /// Goes on where an episode was found that has not ended, with a sample at `observed_us`.
    /// `is_held` says whether it has lasted long enough.
    pub fn resumed(episode: Episode, observed_us: i64, is_held: bool, is_missing: bool) -> Self {
        let last = Sample {
            at_us: observed_us,
            value: Some(episode.peak),
            window_us: None,
            seq: episode.from_seq,
            is_exempt: false,
        };
        Self {
            phase: match is_held {
                true => Phase::Holding(episode),
                false => Phase::Pending(episode, observed_us - episode.since_us),
            },
            last: Some(last),
            is_missing,
            through_us: observed_us,
        }
    }

    /// Goes on after an episode that ended at this time, microseconds since 1970.
    pub fn cleared(at_us: i64) -> Self {
        Self {
            through_us: at_us,
            ..Self::default()
        }
    }

    /// Takes the next sample. One that is not newer than those before changes nothing.
    pub fn take(&mut self, condition: &Condition, sample: Sample) -> Vec<Finding> {
        if sample.at_us <= self.through_us {
            return Vec::new();
        }
        let mut found = self.tick(condition, sample.at_us);
        self.through_us = sample.at_us;
        let Some(value) = sample.value else {
            return found;
        };
        self.end_window(sample, &mut found);
        let was_missing = std::mem::take(&mut self.is_missing);
        let before = self.last.replace(sample);
        let is_beyond = !sample.is_exempt && self.is_beyond(condition, value);
        let finding = |kind, episode| Finding {
            kind,
            at_us: sample.at_us,
            episode,
            value: Some(value),
            seq: sample.seq,
        };
        match (self.phase, is_beyond) {
            (Phase::Clear, false) => {}
            (Phase::Clear, true) => {
                let episode = Episode {
                    since_us: sample.at_us,
                    window_us: sample.window_us.unwrap_or(sample.at_us),
                    peak: value,
                    from_seq: sample.seq,
                };
                let (phase, kind) = match condition.for_us <= 0 {
                    true => (Phase::Holding(episode), FindingKind::Held),
                    false => (Phase::Pending(episode, 0), FindingKind::Began),
                };
                self.phase = phase;
                found.push(finding(kind, episode));
            }
            (Phase::Pending(episode, _) | Phase::Holding(episode), false) => {
                self.phase = Phase::Clear;
                found.push(finding(FindingKind::Ended, episode));
            }
            (Phase::Pending(mut episode, counted_us), true) => {
                episode.peak = worst(condition, episode.peak, value);
                let passed = before.map_or(0, |before| sample.at_us - before.at_us);
                let counted_us = counted_us + if was_missing { 0 } else { passed };
                if was_missing {
                    found.push(finding(FindingKind::Returned, episode));
                }
                self.phase = match counted_us >= condition.for_us {
                    true => {
                        found.push(finding(FindingKind::Held, episode));
                        Phase::Holding(episode)
                    }
                    false => Phase::Pending(episode, counted_us),
                };
            }
            (Phase::Holding(mut episode), true) => {
                episode.peak = worst(condition, episode.peak, value);
                self.phase = Phase::Holding(episode);
                let kind = match was_missing {
                    true => FindingKind::Returned,
                    false => FindingKind::Continued,
                };
                found.push(finding(kind, episode));
            }
        }
        found
    }

    /// Looks at the clock: what has lasted, and what is missing, by this time.
    pub fn tick(&mut self, condition: &Condition, now_us: i64) -> Vec<Finding> {
        let Some(last) = self.last else {
            return Vec::new();
        };
        let finding = |kind, at_us, episode| Finding {
            kind,
            at_us,
            episode,
            value: last.value,
            seq: last.seq,
        };
        match (condition.missing_after_us, self.phase) {
            (Some(patience_us), phase) if now_us - last.at_us > patience_us && !self.is_missing => {
                self.is_missing = true;
                match phase {
                    Phase::Clear => Vec::new(),
                    Phase::Pending(episode, _) | Phase::Holding(episode) => {
                        let at_us = last.at_us + patience_us;
                        vec![finding(FindingKind::Missing, at_us, episode)]
                    }
                }
            }
            // A value that holds until there is another counts on by itself.
            (None, Phase::Pending(episode, counted_us)) => {
                let held_us = last.at_us + condition.for_us - counted_us;
                match now_us >= held_us {
                    true => {
                        self.phase = Phase::Holding(episode);
                        vec![finding(FindingKind::Held, held_us, episode)]
                    }
                    false => Vec::new(),
                }
            }
            _ => Vec::new(),
        }
    }

    /// Whether data are missing.
    pub fn is_missing(&self) -> bool {
        self.is_missing
    }

    /// Whether what is forbidden holds, as far as is known.
    pub fn holds(&self) -> bool {
        self.phase != Phase::Clear
    }

    /// A window that is over ends what began in it.
    fn end_window(&mut self, sample: Sample, found: &mut Vec<Finding>) {
        let (Phase::Pending(episode, _) | Phase::Holding(episode)) = self.phase else {
            return;
        };
        if sample
            .window_us
            .is_some_and(|window| window != episode.window_us)
        {
            self.phase = Phase::Clear;
            found.push(Finding {
                kind: FindingKind::Ended,
                at_us: sample.at_us,
                episode,
                value: None,
                seq: sample.seq,
            });
        }
    }

    fn is_beyond(&self, condition: &Condition, value: f64) -> bool {
        let limit = condition.threshold;
        if self.phase == Phase::Clear {
            return match condition.comparison {
                Comparison::AtLeast => value >= limit,
                Comparison::Above => value > limit,
                Comparison::AtMost => value <= limit,
                Comparison::Below => value < limit,
            };
        }
        // Without a hysteresis it ends where it began.
        let back = condition.hysteresis;
        match condition.comparison {
            Comparison::AtLeast if back <= 0.0 => value >= limit,
            Comparison::AtMost if back <= 0.0 => value <= limit,
            Comparison::AtLeast | Comparison::Above => value > limit - back,
            Comparison::AtMost | Comparison::Below => value < limit + back,
        }
    }
}

fn worst(condition: &Condition, one: f64, other: f64) -> f64 {
    match condition.comparison.is_upward() {
        true => one.max(other),
        false => one.min(other),
    }
}

#[cfg(test)]
mod tests;
