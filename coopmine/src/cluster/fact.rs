//! What the cluster notes for those who keep rows: workers, shares and commands as they happen.
//!
//! The shell takes the facts after each change. They tell no time of day, which the cluster does
//! not know.

use std::sync::Arc;

use super::command::CommandKind;
use super::worker_view::WorkerView;
use super::{Cluster, Heartbeat};

/// Facts that nobody has taken yet.
const UNTAKEN: usize = 16_384;
/// Between two reports of a worker that began or ceased to hash, at least.
const TURN_MS: u64 = 5_000;

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub enum ClusterFact {
    /// A worker did something, or is as it is.
    Worker(WorkerEvent, Box<WorkerView>),
    /// A share came to its end.
    Share(ShareFact),
    /// A command came this far.
    Command(CommandFact),
}

/// What a worker did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkerEvent {
    /// It came.
    Registered,
    /// It said goodbye.
    Unregistered,
    /// It was not heard of for too long.
    Silent,
    /// It was heard again in the same session.
    Returned,
    /// Its results were wrong too often.
    Quarantined,
    /// Its quarantine is over.
    Released,
    /// Nothing; this is how it is.
    Report,
}

impl WorkerEvent {
    /// One word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Registered => "registered",
            Self::Unregistered => "unregistered",
            Self::Silent => "silent",
            Self::Returned => "returned",
            Self::Quarantined => "quarantined",
            Self::Released => "released",
            Self::Report => "report",
        }
    }
}

/// A share's end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareFact {
    /// Whose.
    pub worker: Arc<str>,
    /// Of which job.
    pub job: u64,
    /// The nonce.
    pub nonce: u32,
    /// The block to be found.
    pub height: Option<u64>,
    /// Hashes it is worth.
    pub difficulty: u64,
    /// The coordinator's verdict: `right`, `believed`, `wrong` or `unchecked`.
    pub local_verdict: &'static str,
    /// The pool's: `accepted`, `refused`, `unsent` or `unanswered`.
    pub upstream_verdict: Option<&'static str>,
    /// Somebody's words about it.
    pub reason: Option<String>,
    /// Whether it met the network's difficulty.
    pub is_block: bool,
}

/// How far a command has come.
#[derive(Debug, Clone, PartialEq)]
pub struct CommandFact {
    /// Its number.
    pub id: u64,
    /// Whose.
    pub worker: Arc<str>,
    /// What to do.
    pub kind: CommandKind,
    /// `sent`, `acknowledged`, `refused` or `verified`.
    pub state: &'static str,
    /// The worker's words if it refused.
    pub refusal: String,
    /// What the worker said it hashes a second.
    pub hashrate_hs: f64,
}

impl Cluster {
    /// What happened since the last call, in its order.
    pub fn take_facts(&mut self) -> Vec<ClusterFact> {
        self.facts.drain(..).collect()
    }

    pub(super) fn note(&mut self, fact: ClusterFact) {
        // Only where nobody takes them are there so many.
        if self.facts.len() >= UNTAKEN {
            self.facts.pop_front();
        }
        self.facts.push_back(fact);
    }

    pub(super) fn note_worker(&mut self, name: &str, event: WorkerEvent, now_ms: u64) {
        if let Some(view) = self.worker(name, now_ms) {
            self.note(ClusterFact::Worker(event, Box::new(view)));
        }
    }

    /// Notes how far a worker's command has come.
    pub(super) fn note_command(&mut self, name: &str) {
        let Some((worker, known)) = self.workers.get_key_value(name) else {
            return;
        };
        let Some(state) = &known.command else {
            return;
        };
        let fact = CommandFact {
            id: state.command.id,
            worker: worker.clone(),
            kind: state.command.kind,
            state: state.as_str(),
            refusal: state.refusal.clone(),
            hashrate_hs: known.last.hashrate_hs,
        };
        self.note(ClusterFact::Command(fact));
    }

    /// Takes a worker's report into its state and notes what it changed.
    pub(super) fn take_report(&mut self, name: &str, report: Heartbeat, now_ms: u64) {
        let every = self.policy.report_every_ms;
        let Some(worker) = self.workers.get_mut(name) else {
            return;
        };
        let was_online = std::mem::replace(&mut worker.online, true);
        worker.heard_ms = now_ms;
        let mut is_further = false;
        if let Some(command) = &mut worker.command {
            let before = command.as_str();
            command.hear(&report, now_ms);
            is_further = command.as_str() != before;
        }
        if report.searched.iter().any(|(_, searched)| *searched > 0) {
            worker.wasted = 0;
        }
        worker.last = report;
        // Whether somebody hashes at all is not left to wait for its time.
        let hashes = worker.last.hashrate_hs > 0.0;
        let is_turn = worker.reported_hashing.is_some_and(|then| then != hashes);
        let every = if is_turn { every.min(TURN_MS) } else { every };
        let is_time = worker
            .reported_ms
            .is_none_or(|at| now_ms.saturating_sub(at) >= every);
        if is_time {
            worker.reported_ms = Some(now_ms);
            worker.reported_hashing = Some(hashes);
        }
        if !was_online {
            self.note_worker(name, WorkerEvent::Returned, now_ms);
        }
        if is_further {
            self.note_command(name);
        }
        if is_time {
            self.note_worker(name, WorkerEvent::Report, now_ms);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{ClusterPolicy, Registration};

    #[test]
    fn a_worker_that_ceases_to_hash_is_reported_before_its_minute_is_over() {
        let mut cluster = Cluster::new(ClusterPolicy::default(), 0);
        let registration = Registration {
            protocol: crate::cluster::PROTOCOL_VERSION,
            algos: vec!["rx/0".to_owned()],
            threads: 1,
            ..Registration::default()
        };
        assert!(cluster.register("rig-1", 1, registration, 0).is_ok());
        let mut reports = |hashrate_hs: f64, now_ms: u64| {
            let report = Heartbeat {
                hashrate_hs,
                ..Heartbeat::default()
            };
            assert!(cluster.heartbeat("rig-1", 1, report, now_ms).is_ok());
            let facts = cluster.take_facts();
            let is_report =
                |fact: &&ClusterFact| matches!(fact, ClusterFact::Worker(WorkerEvent::Report, _));
            facts.iter().filter(is_report).count()
        };
        assert_eq!(reports(100.0, 1_000), 1);
        assert_eq!(reports(200.0, 30_000), 0, "it still hashes");
        assert_eq!(reports(0.0, 31_000), 1);
        // One that goes back and forth is noted every five seconds at most.
        assert_eq!(reports(90.0, 32_000), 0);
        assert_eq!(reports(0.0, 33_000), 0);
        assert_eq!(reports(80.0, 36_000), 1);
        assert_eq!(reports(80.0, 95_999), 0);
        assert_eq!(reports(80.0, 96_000), 1);
    }
}
