//! What stopped in this process and why, so that readiness and answers can tell instead of
//! pretending.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// What kind of work stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Work {
    /// A stream's raw table is not written any more.
    RawTable,
    /// A stream's rollups are not written any more.
    Rollups,
    /// Windows and payouts are not stated any more.
    Payouts,
    /// A stream is not followed any more, in a process without its pipeline.
    Tail,
    /// A table's upkeep.
    Maintenance,
}

impl Work {
    /// The work of a pipeline of this name.
    pub fn of_pipeline(name: &str) -> Self {
        match name {
            "raw" => Self::RawTable,
            "payouts" => Self::Payouts,
            _ => Self::Rollups,
        }
    }

    /// As readiness calls it.
    pub fn word(self) -> &'static str {
        match self {
            Self::RawTable => "raw table",
            Self::Rollups => "rollups",
            Self::Payouts => "payouts",
            Self::Tail => "tail",
            Self::Maintenance => "maintenance",
        }
    }
}

/// Faults by work and by the stream or table it is of. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Faults(Arc<Mutex<BTreeMap<(Work, String), String>>>);

impl Faults {
    /// Remembers why a work stopped; logs it when that is news.
    pub fn note(&self, work: Work, of: &str, why: &str) {
        let before = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert((work, of.to_owned()), why.to_owned());
        if before.as_deref() != Some(why) {
            tracing::error!(work = work.word(), of, why, "stopped");
        }
    }

    /// Forgets a fault: the work goes on.
    pub fn clear(&self, work: Work, of: &str) {
        if self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&(work, of.to_owned()))
            .is_some()
        {
            tracing::info!(work = work.word(), of, "goes on");
        }
    }

    /// Why rows of a stream no longer reach this process, if so.
    pub fn of_stream(&self, stream: &str) -> Option<String> {
        let faults = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        [Work::RawTable, Work::Tail].into_iter().find_map(|work| {
            let why = faults.get(&(work, stream.to_owned()))?;
            Some(format!("the {} of {stream} stopped: {why}", work.word()))
        })
    }

    /// The faults of some kinds of work, one sentence each.
    pub fn of_work(&self, kinds: &[Work]) -> Vec<String> {
        let faults = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = faults.iter().filter(|((work, _), _)| kinds.contains(work));
        wanted
            .map(|((work, of), why)| format!("{} of {of} stopped: {why}", work.word()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_told_until_it_passes_and_only_to_those_it_concerns() {
        let faults = Faults::default();
        faults.note(Work::Rollups, "shares", "disk on fire");
        assert_eq!(
            faults.of_stream("shares"),
            None,
            "rows still reach this process"
        );
        faults.note(Work::Tail, "shares", "stream was made anew");
        assert_eq!(
            faults.of_stream("shares").as_deref(),
            Some("the tail of shares stopped: stream was made anew")
        );
        assert_eq!(faults.of_stream("blocks"), None);
        assert_eq!(
            faults.of_work(&[Work::RawTable, Work::Rollups]),
            ["rollups of shares stopped: disk on fire"]
        );
        faults.clear(Work::Tail, "shares");
        assert_eq!(faults.of_stream("shares"), None);
    }
}
