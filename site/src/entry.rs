//! An entry of the journal: everything that went into one step, and everything that came of it.

use serde::{Deserialize, Serialize};

use crate::command_log::{CommandLog, CommandProgress};
use crate::control::{DecisionRecord, Observation, Policy, Site, SitePlan, State, advance};
use crate::episode::{Episodes, ScoredEvent};
use crate::moment::Moment;
use crate::notice::Notice;

/// What the controller remembers between steps, and what a restart begins with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// The state of the decisions.
    pub state: State,
    /// Commands that are not done.
    pub commands: CommandLog,
    /// The curtailment under way.
    #[serde(default)]
    pub episodes: Episodes,
    /// When a decision that changed nothing was written last.
    pub written: Option<Moment>,
}

/// A snapshot of the journal as it is written: the memory, and the policy and plan that the steps
/// after it are taken with.
#[derive(Debug, Clone, Serialize)]
pub struct SnapshotRef<'a> {
    state: &'a State,
    commands: &'a CommandLog,
    episodes: &'a Episodes,
    written: Option<Moment>,
    policy: &'a Policy,
    plan: &'a SitePlan,
}

impl<'a> SnapshotRef<'a> {
    /// The snapshot of a memory.
    pub fn new(memory: &'a Memory, site: &'a Site) -> Self {
        Self {
            state: &memory.state,
            commands: &memory.commands,
            episodes: &memory.episodes,
            written: memory.written,
            policy: &site.policy,
            plan: &site.plan,
        }
    }
}

/// A snapshot as it is read back. Policy and plan are of the version that wrote them.
#[derive(Debug, Clone, Deserialize)]
pub struct Snapshot {
    state: State,
    commands: CommandLog,
    #[serde(default)]
    episodes: Episodes,
    written: Option<Moment>,
    /// The policy, as JSON; older snapshots have none.
    #[serde(default)]
    pub policy: Option<serde_json::Value>,
    /// The plan, as JSON.
    #[serde(default)]
    pub plan: Option<serde_json::Value>,
}

impl Snapshot {
    /// The memory.
    pub fn into_memory(self) -> Memory {
        Memory {
            state: self.state,
            commands: self.commands,
            episodes: self.episodes,
            written: self.written,
        }
    }
}

/// Between two decisions that are written though they change nothing.
const ROUTINE_MS: u64 = 60_000;

/// One step, as it is written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepEntry {
    /// The site's name.
    pub site: String,
    /// When.
    pub now: Moment,
    /// What was observed.
    pub observation: Observation,
    /// Rows of devices for their streams.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<DeviceLine>,
    /// What happened to notices since the last step.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deliveries: Vec<Delivery>,
    /// How far commands came.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub progress: Vec<CommandProgress>,
    /// Curtailments that ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<ScoredEvent>,
    /// New notices.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<Notice>,
    /// The decision; left out of most steps that change nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<DecisionRecord>,
}

/// A row of a device: a reading, or its health.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeviceLine {
    /// The stream.
    pub stream: String,
    /// The value of the stream's key column.
    pub key: String,
    /// The row.
    pub row: serde_json::Value,
}

/// What became of a notice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Delivery {
    /// The notice, without its text.
    pub notice: Notice,
    /// The channel that tried; a person's acknowledgement has none.
    pub channel: Option<String>,
    /// Which try of the channel it was.
    pub attempt: Option<u32>,
    /// When.
    pub at: Moment,
    /// The channel's id of what it delivered, or why it did not.
    pub outcome: Result<Option<String>, String>,
}

impl Memory {
    /// A site that was never controlled.
    pub fn new(site: &Site, seed: u64, now: Moment) -> Self {
        Self {
            state: State::new(site, seed, now),
            commands: CommandLog::default(),
            episodes: Episodes::default(),
            written: None,
        }
    }

    /// Takes a step: what follows from the observation, at this time. Pure but for `self`. The
    /// entry has neither lines nor deliveries.
    pub fn step(&mut self, site: &Site, observation: Observation, now: Moment) -> Stepped {
        let (commands, notices, decision) = advance(site, &mut self.state, &observation, now);
        let progress = self
            .commands
            .follow(site, &observation, &self.state, &commands);
        let events = self.episodes.follow(site, &observation, &decision);
        let is_due = self
            .written
            .is_none_or(|last| now.ms_since(last) >= ROUTINE_MS);
        // A step of the wall clock marks the reports of its time.
        let is_stepped = decision.is_clock_doubtful && observation.clock.stepped_s.is_some();
        let is_written = is_due || is_stepped || !decision.is_routine();
        if is_written {
            self.written = Some(now);
        }
        let entry = StepEntry {
            site: site.plan.name.clone(),
            now,
            observation,
            lines: Vec::new(),
            deliveries: Vec::new(),
            progress,
            events,
            notices,
            decision: is_written.then(|| decision.clone()),
        };
        Stepped {
            entry,
            commands,
            decision,
        }
    }

    /// The memory after an entry that was written.
    pub fn replay(&mut self, site: &Site, entry: &StepEntry) -> Stepped {
        self.step(site, entry.observation.clone(), entry.now)
    }
}

/// What a step gives.
#[derive(Debug, Clone, PartialEq)]
pub struct Stepped {
    /// For the journal.
    pub entry: StepEntry,
    /// To be carried out.
    pub commands: Vec<crate::command::Command>,
    /// Why.
    pub decision: DecisionRecord,
}
