//! Recorded curtailments under another policy: both scores beside each other.
//!
//! Each curtailment begins with the state that the controller had then. What does not obey the
//! controller is taken from the journal; what does is modelled ([`LIMITS`]). The recorded policy on
//! the same model stands between the two, so that the model's error shows.

mod model;
mod score_column;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use serde::Serialize;

use crate::command::{Action, Path, Progress, Target};
use crate::control::observation::MeterReading;
use crate::control::power::PowerRegion;
use crate::control::{DecisionRecord, Policy, Site, State, advance};
use crate::entry::{Memory, StepEntry};
use crate::episode::ScoredEvent;
use crate::moment::Moment;
use crate::recording::{RecordedPeriod, Step};
use crate::score::{Event, score};
use crate::verify::ReplayedStep;
pub use model::LIMITS;
use model::SiteModel;
pub use score_column::{ScoreColumn, Switches};

/// The model begins so long before the signal.
const LEAD_MS: u64 = 60_000;
/// A curtailment is followed until so long after its release, or until everything runs again.
const RESTORE_LIMIT_MS: u64 = 3_600_000;
/// Between two decisions that are kept though they change nothing.
const ROUTINE_MS: u64 = 60_000;
/// Failures and answers of machines that are remembered.
const MOST_FAILURES: usize = 100_000;
/// Curtailments that are compared at once.
const MOST_EVENTS: usize = 10_000;

/// A curtailment of the recording.
#[derive(Debug, Clone)]
pub struct FoundEvent {
    /// The journal that its end is written in.
    pub journal: u64,
    /// The step that its end is written in.
    pub seq: u64,
    /// What was written.
    pub scored: ScoredEvent,
    deaf: BTreeSet<String>,
}

/// The first pass: finds the curtailments of a period.
#[derive(Debug)]
pub struct Search {
    from_us: i64,
    to_us: i64,
    /// What was recorded in the period.
    pub reach: RecordedPeriod,
    /// The curtailments.
    pub events: Vec<FoundEvent>,
    answered: VecDeque<u64>,
    failed: VecDeque<(u64, String)>,
}

impl Search {
    /// For curtailments that were asked for in a period, microseconds since 1970; the end is not
    /// part of it.
    pub fn new(from_us: i64, to_us: i64) -> Self {
        Self {
            from_us,
            to_us,
            reach: RecordedPeriod::default(),
            events: Vec::new(),
            answered: VecDeque::new(),
            failed: VecDeque::new(),
        }
    }

    /// Takes a step in.
    pub fn take(&mut self, step: &Step) {
        let entry = &step.entry;
        let period = self.from_us..self.to_us;
        let is_within = |at: Moment| period.contains(&at.utc_us);
        if is_within(entry.now) {
            self.reach.add(entry.now);
        }
        self.follow_failures(entry);
        let found = entry.events.iter();
        let found = found.filter(|one| is_within(one.event.asked_at));
        for scored in found {
            if self.events.len() >= MOST_EVENTS {
                return;
            }
            let asked_ms = scored.event.asked_at.elapsed_ms;
            let failed = self.failed.iter().filter(|(at_ms, _)| *at_ms >= asked_ms);
            self.events.push(FoundEvent {
                journal: step.journal,
                seq: step.seq,
                scored: scored.clone(),
                deaf: failed.map(|(_, name)| name.clone()).collect(),
            });
        }
    }

    /// Remembers machines whose own interface did not stop them.
    fn follow_failures(&mut self, entry: &StepEntry) {
        for step in &entry.progress {
            let command = &step.command;
            let (Target::Machine(name), Path::Device) = (&command.target, command.path) else {
                continue;
            };
            match &step.progress {
                Progress::Acknowledged => self.answered.push_back(command.id),
                Progress::Failed(_) | Progress::Escalated(_)
                    if command.action == Action::Off && !self.answered.contains(&command.id) =>
                {
                    self.failed.push_back((entry.now.elapsed_ms, name.clone()));
                }
                _ => {}
            }
        }
        while self.answered.len() > 1_000 {
            self.answered.pop_front();
        }
        while self.failed.len() > MOST_FAILURES {
            self.failed.pop_front();
        }
    }
}

/// One curtailment under both policies.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ComparedEvent {
    /// The journal that its end is written in, hexadecimal, and the decision that began it.
    pub id: String,
    /// Who asked.
    pub signal: String,
    /// The level of the cap at the arbiter.
    pub level: u8,
    /// What was asked.
    pub event: Event,
    /// The version of the policy that was in force.
    pub policy: String,
    /// What came of it.
    pub recorded: ScoreColumn,
    /// The same policy on the model.
    pub modelled: Option<ScoreColumn>,
    /// The other policy: on the model, or replayed exactly where it is the one that was in force.
    pub other: Option<ScoreColumn>,
    /// The other policy is the one that was in force, and gives the recorded decisions.
    pub is_exact: bool,
    /// Why there is no comparison, or what is not whole.
    pub note: Option<String>,
}

/// The second pass: takes the curtailments again.
#[derive(Debug)]
pub struct Trial {
    policy: Policy,
    version: String,
    waiting: VecDeque<FoundEvent>,
    active: Vec<Active>,
    done: Vec<ComparedEvent>,
}

#[derive(Debug)]
struct Active {
    found: FoundEvent,
    recorded: Switches,
    recorded_policy: String,
    is_same: bool,
    is_closed: bool,
    runs: Vec<ModelRun>,
}

impl Trial {
    /// With the other policy, on the curtailments of the first pass.
    pub fn new(policy: Policy, mut events: Vec<FoundEvent>) -> Self {
        events.sort_by_key(|one| one.scored.event.asked_at);
        Self {
            version: policy.version(),
            policy,
            waiting: events.into(),
            active: Vec::new(),
            done: Vec::new(),
        }
    }

    /// Takes a step that was taken again as it was recorded.
    pub fn take(&mut self, retaken: &ReplayedStep<'_>) {
        let entry = &retaken.step.entry;
        let now = entry.now;
        let (Some(memory), Some(site)) = (retaken.memory, retaken.site) else {
            self.interrupt("steps of it, or the state before it, are missing in the journal");
            self.skip_until(now);
            return;
        };
        let next_asked = self.waiting.front().map(|one| one.scored.event.asked_at);
        for active in &mut self.active {
            active.follow(retaken, next_asked);
        }
        let (over, active) = std::mem::take(&mut self.active)
            .into_iter()
            .partition(|one| one.is_closed && one.runs.iter().all(|run| run.is_over));
        self.active = active;
        let over: Vec<Active> = over;
        self.done
            .extend(over.into_iter().map(|one| one.compared(None)));
        while let Some(found) = self.next_due(now) {
            self.begin(found, memory, site, now);
        }
    }

    /// The next curtailment whose lead begins now.
    fn next_due(&mut self, now: Moment) -> Option<FoundEvent> {
        let event = &self.waiting.front()?.scored.event;
        match now.elapsed_ms + LEAD_MS >= event.asked_at.elapsed_ms {
            true => self.waiting.pop_front(),
            false => None,
        }
    }

    fn begin(&mut self, found: FoundEvent, memory: &Memory, site: &Arc<Site>, now: Moment) {
        let mut active = Active {
            recorded: Switches::default(),
            recorded_policy: site.policy_version.clone(),
            is_same: true,
            is_closed: false,
            runs: Vec::new(),
            found,
        };
        if now > active.found.scored.event.asked_at {
            let note = "it was under way when the journal begins";
            self.done.push(active.compared(Some(note)));
            return;
        }
        let mut sites = vec![site.clone()];
        if site.policy_version != self.version {
            match Site::new(self.policy.clone(), site.plan.clone()) {
                Ok(other) => sites.push(Arc::new(other)),
                Err(bad) => {
                    let bad: Vec<String> = bad.iter().map(ToString::to_string).collect();
                    let note =
                        format!("the other policy does not fit the plan: {}", bad.join("; "));
                    self.done.push(active.compared(Some(&note)));
                    return;
                }
            }
        }
        let runs = sites.into_iter();
        let runs = runs.map(|site| ModelRun::new(site, &active.found, memory, now));
        active.runs = runs.collect();
        self.active.push(active);
    }

    /// Steps are missing: what is under way cannot be compared.
    pub fn hole(&mut self) {
        self.interrupt("steps of it are missing in the journal");
    }

    fn interrupt(&mut self, note: &str) {
        let active = std::mem::take(&mut self.active);
        self.done
            .extend(active.into_iter().map(|one| one.compared(Some(note))));
    }

    /// Gives up those that begin while nothing is known.
    fn skip_until(&mut self, now: Moment) {
        while let Some(found) = self.next_due(now) {
            let active = Active {
                found,
                recorded: Switches::default(),
                recorded_policy: String::new(),
                is_same: false,
                is_closed: false,
                runs: Vec::new(),
            };
            let note = "the state before it is missing in the journal";
            self.done.push(active.compared(Some(note)));
        }
    }

    /// The comparisons, the oldest first.
    pub fn finish(mut self) -> Vec<ComparedEvent> {
        let active = std::mem::take(&mut self.active);
        let note = "the journal ends before everything runs again in the model";
        let ended = active.into_iter().map(|one| match one.is_closed {
            true => one.compared(None).with_note(note),
            false => one.compared(Some(note)),
        });
        self.done.extend(ended);
        self.done.sort_by_key(|one| one.event.asked_at);
        self.done
    }
}

impl ComparedEvent {
    fn with_note(mut self, note: &str) -> Self {
        self.note = self.note.or(Some(note.to_owned()));
        self
    }
}

impl Active {
    fn follow(&mut self, retaken: &ReplayedStep<'_>, next_asked: Option<Moment>) {
        let step = retaken.step;
        let event = &self.found.scored.event;
        if !self.is_closed {
            self.is_same &= retaken.is_same;
            let queued = step.entry.progress.iter();
            let queued = queued.filter(|one| one.progress == Progress::Queued);
            for one in queued.filter(|_| step.entry.now >= event.asked_at) {
                self.recorded.add(&one.command);
            }
            self.is_closed = step.journal == self.found.journal && step.seq >= self.found.seq;
        }
        // The model must not go into the next curtailment.
        let is_cut = next_asked.is_some_and(|next| {
            next > event.released_at && step.entry.now.elapsed_ms + LEAD_MS >= next.elapsed_ms
        });
        for run in self.runs.iter_mut().filter(|run| !run.is_over) {
            match is_cut {
                true => run.is_over = true,
                false => run.step(&step.entry, event),
            }
        }
    }

    /// The comparison; without columns of the model where there is a reason for that.
    fn compared(self, note: Option<&str>) -> ComparedEvent {
        let scored = &self.found.scored;
        let recorded = ScoreColumn::new(&scored.card, &self.recorded);
        let mut columns = self.runs.iter().map(|run| run.column(&scored.event));
        let modelled = columns.next().filter(|_| note.is_none());
        let other = columns.next().filter(|_| note.is_none());
        let is_exact = note.is_none() && self.runs.len() == 1 && self.is_same;
        let differs = "its recorded decisions do not come out again: --verify says where";
        let note = note.or((!self.is_same && !self.runs.is_empty()).then_some(differs));
        ComparedEvent {
            id: format!("{:x}-{}", self.found.journal, scored.decision),
            signal: scored.signal.clone(),
            level: scored.level,
            event: scored.event,
            policy: self.recorded_policy,
            recorded,
            modelled,
            other: if is_exact { Some(recorded) } else { other },
            is_exact,
            note: note.map(str::to_owned),
        }
    }
}

/// A policy on the model.
#[derive(Debug)]
struct ModelRun {
    site: Arc<Site>,
    state: State,
    model: SiteModel,
    decisions: Vec<DecisionRecord>,
    meter: Vec<MeterReading>,
    switches: Switches,
    is_over: bool,
}

impl ModelRun {
    fn new(site: Arc<Site>, found: &FoundEvent, memory: &Memory, now: Moment) -> Self {
        let state = memory.state.clone();
        let seed = found.scored.decision;
        Self {
            model: SiteModel::new(&site, &state, &found.deaf, seed, now),
            site,
            state,
            decisions: Vec::new(),
            meter: Vec::new(),
            switches: Switches::default(),
            is_over: false,
        }
    }

    fn step(&mut self, entry: &StepEntry, event: &Event) {
        let now = entry.now;
        let seen = self.model.observe(&entry.observation, now);
        let (commands, _, decision) = advance(&self.site, &mut self.state, &seen, now);
        self.model.apply(&commands);
        let after = now >= event.asked_at;
        for command in commands.iter().filter(|_| after) {
            self.switches.add(command);
        }
        let last = self.meter.last().map(|last| last.at);
        let new = seen
            .site_meter
            .filter(|one| last.is_none_or(|last| one.at > last));
        self.meter.extend(new);
        let last = self.decisions.last().map(|last| last.at);
        let is_due = last.is_none_or(|last| now.ms_since(last) >= ROUTINE_MS);
        let counts = decision.failed_commands > 0 || decision.alarms > 0;
        let region = decision.after.power;
        if is_due || counts || !decision.is_routine() {
            self.decisions.push(decision);
        }
        let is_released = now > event.released_at;
        let is_late = now.ms_since(event.released_at) >= RESTORE_LIMIT_MS;
        self.is_over = is_released && (region == PowerRegion::Running || is_late);
    }

    fn column(&self, event: &Event) -> ScoreColumn {
        let own = self.meter.iter().filter(|one| one.at >= event.asked_at);
        let own: Vec<MeterReading> = own.copied().collect();
        let card = score(event, &self.decisions, &own, &self.site.plan);
        ScoreColumn::new(&card, &self.switches)
    }
}
