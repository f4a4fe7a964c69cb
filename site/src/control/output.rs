//! What a step gives out: commands, notices, and the alarms that stand while their cause stands.

use serde::{Deserialize, Serialize};

use super::order::Refusal;
use crate::command::{Action, Command, CommandReport, Path, Progress, Target};
use crate::moment::Moment;
use crate::notice::Severity;

/// The next numbers of commands, notices and decisions; they grow over restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// The next command.
    pub command: u64,
    /// The next notice.
    pub notice: u64,
    /// The next decision.
    pub decision: u64,
}

/// Something that stands, and that people are told of once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alarm {
    /// How serious it is.
    pub severity: Severity,
    /// What it is about, for one fact always the same.
    pub topic: String,
    /// One line.
    pub title: String,
    /// What happened, what was done and what to do.
    pub text: String,
}

/// What a step collects.
#[derive(Debug)]
pub struct Output {
    /// The step's time.
    pub now: Moment,
    /// Commands, in the order in which they are sent.
    pub commands: Vec<Command>,
    /// What stands.
    pub alarms: Vec<Alarm>,
    /// What happened once.
    pub news: Vec<Alarm>,
    /// How commands ended.
    pub ended: Vec<CommandReport>,
    /// Commands that were found to have failed.
    pub failed_commands: u32,
    /// Orders that were not carried out.
    pub refused: Vec<Refusal>,
    decision: u64,
    next_command: u64,
}

impl Output {
    /// An empty output of a step.
    pub fn new(now: Moment, counters: &Counters) -> Self {
        Self {
            now,
            commands: Vec::new(),
            alarms: Vec::new(),
            news: Vec::new(),
            ended: Vec::new(),
            failed_commands: 0,
            refused: Vec::new(),
            decision: counters.decision,
            next_command: counters.command,
        }
    }

    /// Adds a command: its number.
    pub fn command(&mut self, target: Target, action: Action, path: Path) -> u64 {
        let id = self.next_command;
        self.next_command += 1;
        self.commands.push(Command {
            id,
            decision: self.decision,
            target,
            action,
            path,
            at: self.now,
        });
        id
    }

    /// A command ended: it was proven, it failed, or another took its place.
    pub fn end(&mut self, command: u64, progress: Progress) {
        if matches!(progress, Progress::Failed(_) | Progress::Escalated(_)) {
            self.failed_commands += 1;
        }
        self.ended.push(CommandReport {
            command,
            progress,
            at: self.now,
        });
    }

    /// Says that something stands.
    pub fn alarm(
        &mut self,
        severity: Severity,
        topic: impl Into<String>,
        title: impl Into<String>,
        text: impl Into<String>,
    ) {
        self.alarms.push(Alarm {
            severity,
            topic: topic.into(),
            title: title.into(),
            text: text.into(),
        });
    }

    /// Says that something happened.
    pub fn news(
        &mut self,
        severity: Severity,
        topic: impl Into<String>,
        title: impl Into<String>,
        text: impl Into<String>,
    ) {
        self.news.push(Alarm {
            severity,
            topic: topic.into(),
            title: title.into(),
            text: text.into(),
        });
    }

    /// The number of the next command, for the state.
    pub fn next_command(&self) -> u64 {
        self.next_command
    }
}
