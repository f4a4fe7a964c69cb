//! Commands to workers: given, acknowledged by the worker, and verified by what it then reports.

use super::heartbeat::Heartbeat;

/// What a worker can be told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandKind {
    /// Hash nothing until `Resume`.
    Pause,
    /// Hash again, on all threads.
    Resume,
    /// Hash on so many threads.
    Threads(u32),
    /// Draw no more than so many watts, as far as the worker knows what its threads draw.
    Watts(u32),
    /// End the worker.
    Shutdown,
}

impl CommandKind {
    /// Its name, as users write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Threads(_) => "throttle_threads",
            Self::Watts(_) => "throttle_watts",
            Self::Shutdown => "shutdown",
        }
    }

    /// Whether a worker that comes again must be told again.
    pub(super) fn lasts(self) -> bool {
        matches!(self, Self::Pause | Self::Threads(_) | Self::Watts(_))
    }
}

/// A command on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkerCommand {
    /// Counts the commands.
    pub id: u64,
    /// What to do.
    pub kind: CommandKind,
}

/// How far a command has come.
#[derive(Debug, Clone, PartialEq)]
pub struct CommandState {
    /// The command.
    pub command: WorkerCommand,
    /// When it was given.
    pub given_ms: u64,
    /// The worker's hashrate then.
    pub rate_before_hs: f64,
    /// The worker's hashing threads then.
    pub threads_before: u32,
    /// When the worker said that it does so.
    pub acknowledged_ms: Option<u64>,
    /// The worker's words if it does not.
    pub refusal: String,
    /// Whether what it reports agrees.
    pub verified: bool,
}

impl CommandState {
    /// One word for how far it has come.
    pub fn as_str(&self) -> &'static str {
        match (self.verified, self.acknowledged_ms, self.refusal.is_empty()) {
            (true, ..) => "verified",
            (_, _, false) => "refused",
            (_, Some(_), _) => "acknowledged",
            (_, None, _) => "sent",
        }
    }

    /// Whether the worker has not answered it yet.
    pub(super) fn is_open(&self) -> bool {
        self.acknowledged_ms.is_none() && self.refusal.is_empty()
    }

    /// Takes what a worker reports as the answer to the command, and as evidence.
    pub(super) fn hear(&mut self, report: &Heartbeat, now_ms: u64) {
        let was_acknowledged = self.acknowledged_ms.is_some();
        if report.command_id == self.command.id && self.is_open() {
            self.refusal.clone_from(&report.command_refusal);
            if self.refusal.is_empty() {
                self.acknowledged_ms = Some(now_ms);
            }
        }
        if self.acknowledged_ms.is_none() {
            return;
        }
        // A limit above the one before lets more threads hash.
        let is_within = report.hashrate_hs <= self.rate_before_hs.max(1.0) * 1.1
            || report.threads_active > self.threads_before;
        self.verified |= match self.command.kind {
            // The report that acknowledges is about a moment, after which threads end their nonces.
            CommandKind::Pause => was_acknowledged && report.hashrate_hs == 0.0,
            CommandKind::Resume => report.hashrate_hs > 0.0,
            CommandKind::Threads(count) => report.threads_active <= count && is_within,
            // Less than one thread draws is obeyed with none.
            CommandKind::Watts(_) => is_within,
            CommandKind::Shutdown => false,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_verified_by_a_report_after_the_one_that_acknowledges_it() {
        let mut state = CommandState {
            command: WorkerCommand {
                id: 7,
                kind: CommandKind::Pause,
            },
            given_ms: 0,
            rate_before_hs: 900.0,
            threads_before: 4,
            acknowledged_ms: None,
            refusal: String::new(),
            verified: false,
        };
        let report = |hashrate_hs| Heartbeat {
            command_id: 7,
            hashrate_hs,
            ..Heartbeat::default()
        };
        state.hear(&report(0.0), 1);
        assert_eq!(state.as_str(), "acknowledged");
        // A thread ended the nonce it had.
        state.hear(&report(80.0), 2);
        assert_eq!(state.as_str(), "acknowledged");
        state.hear(&report(0.0), 3);
        assert_eq!(state.as_str(), "verified");
    }

    #[test]
    fn a_limit_that_is_raised_is_verified_by_more_threads() {
        let mut state = CommandState {
            command: WorkerCommand {
                id: 7,
                kind: CommandKind::Threads(4),
            },
            given_ms: 0,
            rate_before_hs: 100.0,
            threads_before: 1,
            acknowledged_ms: None,
            refusal: String::new(),
            verified: false,
        };
        let report = |threads_active| Heartbeat {
            command_id: 7,
            threads_active,
            hashrate_hs: 400.0,
            ..Heartbeat::default()
        };
        state.hear(&report(5), 1);
        assert_eq!(state.as_str(), "acknowledged");
        state.hear(&report(1), 1);
        assert_eq!(state.as_str(), "acknowledged");
        state.hear(&report(4), 2);
        assert_eq!(state.as_str(), "verified");
    }

    #[test]
    fn fewer_watts_than_one_thread_draws_are_verified_with_no_thread() {
        let mut state = CommandState {
            command: WorkerCommand {
                id: 7,
                kind: CommandKind::Watts(5),
            },
            given_ms: 0,
            rate_before_hs: 900.0,
            threads_before: 4,
            acknowledged_ms: None,
            refusal: String::new(),
            verified: false,
        };
        state.hear(&Heartbeat::default(), 1);
        assert_eq!(state.as_str(), "sent");
        let report = Heartbeat {
            command_id: 7,
            ..Heartbeat::default()
        };
        state.hear(&report, 2);
        assert_eq!(state.as_str(), "verified");
    }
}
