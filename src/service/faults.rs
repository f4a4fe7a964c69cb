//! What stopped in this process and why, so that readiness and answers say it instead of
//! pretending that all is well.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// The pipeline that feeds this process's tails.
const RAW: &str = "raw";

/// What kind of task stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TaskKind {
    /// The pipeline of this name does not write a stream's rows any more.
    Pipeline(&'static str),
    /// A stream is not followed any more, in a process without its pipelines.
    Tail,
    /// The upkeep of a table.
    Maintenance,
}

impl TaskKind {
    /// Whether it is a pipeline, of whatever name.
    pub fn is_pipeline(&self) -> bool {
        matches!(self, Self::Pipeline(_))
    }
}

impl fmt::Display for TaskKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pipeline(name) => write!(out, "pipeline {name}"),
            Self::Tail => out.write_str("tail"),
            Self::Maintenance => out.write_str("maintenance"),
        }
    }
}

/// Picks kinds of tasks.
pub type TaskFilter = fn(&TaskKind) -> bool;

/// Faults by the task that stopped and the stream or table it worked on. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Faults(Arc<Mutex<BTreeMap<(TaskKind, String), String>>>);

impl Faults {
    /// Remembers why a task stopped; logs it when that is news.
    pub fn record(&self, kind: TaskKind, subject: &str, reason: &str) {
        let before = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert((kind, subject.to_owned()), reason.to_owned());
        if before.as_deref() != Some(reason) {
            tracing::error!(task = %kind, subject, reason, "a task stopped");
        }
    }

    /// Forgets a fault: the task goes on.
    pub fn clear(&self, kind: TaskKind, subject: &str) {
        if self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&(kind, subject.to_owned()))
            .is_some()
        {
            tracing::info!(task = %kind, subject, "a task goes on");
        }
    }

    /// Why rows of a stream no longer reach this process, if so.
    pub fn of_stream(&self, stream: &str) -> Option<String> {
        let faults = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let feeding = [TaskKind::Pipeline(RAW), TaskKind::Tail];
        feeding.into_iter().find_map(|kind| {
            let reason = faults.get(&(kind, stream.to_owned()))?;
            Some(format!("the {kind} of {stream} stopped: {reason}"))
        })
    }

    /// The faults of the tasks that `includes` picks, one sentence each.
    pub fn of_tasks(&self, includes: TaskFilter) -> Vec<String> {
        let faults = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = faults.iter().filter(|((kind, _), _)| includes(kind));
        wanted
            .map(|((kind, subject), reason)| format!("{kind} of {subject} stopped: {reason}"))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use headframe_pipelines::pipeline;

    use super::*;

    #[test]
    fn a_fault_is_reported_until_it_passes_and_only_where_it_matters() {
        let faults = Faults::default();
        faults.record(TaskKind::Pipeline("rollups"), "shares", "disk on fire");
        assert_eq!(
            faults.of_stream("shares"),
            None,
            "rows still reach this process"
        );
        faults.record(TaskKind::Tail, "shares", "stream was made anew");
        assert_eq!(
            faults.of_stream("shares").as_deref(),
            Some("the tail of shares stopped: stream was made anew")
        );
        assert_eq!(faults.of_stream("blocks"), None);
        assert_eq!(
            faults.of_tasks(TaskKind::is_pipeline),
            ["pipeline rollups of shares stopped: disk on fire"]
        );
        faults.clear(TaskKind::Tail, "shares");
        assert_eq!(faults.of_stream("shares"), None);
    }

    #[test]
    fn the_pipeline_that_feeds_the_tails_exists() {
        assert!(pipeline::ALL.iter().any(|pipeline| pipeline.name() == RAW));
        let faults = Faults::default();
        faults.record(TaskKind::Pipeline(RAW), "shares", "no space");
        assert!(faults.of_stream("shares").is_some());
    }
}
