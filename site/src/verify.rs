//! Recorded steps taken again from what was seen: the same decisions, bit for bit, or where not.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use crate::control::Site;
use crate::entry::{Memory, StepEntry, Stepped};
use crate::recording::{Piece, Step};
use crate::versions::Versions;

/// Differences that are described; further ones are counted.
const MOST_DIFFERENCES: usize = 10;

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Verification {
    /// Steps that were taken again.
    pub steps: u64,
    /// Decisions that were written, and were compared.
    pub decisions: u64,
    /// Commands that were given out in these steps, and were compared.
    pub commands: u64,
    /// States that were written beside the steps, and were compared.
    pub states: u64,
    /// Steps that could not be taken again, by the reason.
    pub left_out: BTreeMap<String, u64>,
    /// Steps or states that came out otherwise.
    pub differing: u64,
    /// The first of them.
    pub differences: Vec<String>,
    /// Policies that were in force, by version, with the number of steps.
    pub policies: BTreeMap<String, u64>,
}

/// Takes recorded steps again.
#[derive(Debug)]
pub struct Verifier {
    versions: Versions,
    memory: Option<Memory>,
    site: Option<Arc<Site>>,
    /// Steps whose policy is not known yet: no decision of this start was met.
    early: Vec<Step>,
    unknown: String,
    result: Verification,
}

/// A step that was taken again.
#[derive(Debug)]
pub struct ReplayedStep<'a> {
    /// As it was recorded.
    pub step: &'a Step,
    /// As it comes out now; none when what went before is not known.
    pub stepped: Option<Stepped>,
    /// Whether it comes out as it was recorded.
    pub is_same: bool,
    /// The memory after it.
    pub memory: Option<&'a Memory>,
    /// The site that it was taken with.
    pub site: Option<&'a Arc<Site>>,
}

impl Verifier {
    /// Begins with nothing known.
    pub fn new(versions: Versions) -> Self {
        Self {
            versions,
            memory: None,
            site: None,
            early: Vec::new(),
            unknown: "before the first state that was written".to_owned(),
            result: Verification::default(),
        }
    }

    /// Takes the next piece; each step that comes of it is handed on.
    pub fn take(&mut self, piece: Piece, mut hand_on: impl FnMut(ReplayedStep<'_>)) {
        match piece {
            Piece::Snapshot { memory, is_first } => {
                self.snapshot(*memory, is_first, &mut hand_on);
            }
            Piece::Hole(hole) => {
                self.flush(&mut hand_on);
                self.memory = None;
                self.unknown = format!("after a hole: {hole}");
            }
            Piece::Step(step) => self.step(*step, &mut hand_on),
        }
    }

    /// The end: steps that waited for a policy are handed on, and what was found is given.
    pub fn finish(mut self, mut hand_on: impl FnMut(ReplayedStep<'_>)) -> Verification {
        self.flush(&mut hand_on);
        self.result
    }

    fn snapshot(
        &mut self,
        written: Memory,
        is_first: bool,
        hand_on: &mut impl FnMut(ReplayedStep<'_>),
    ) {
        self.flush(hand_on);
        // A start changes the state, by a clock that is not in the journal.
        if let Some(memory) = self.memory.as_ref().filter(|_| !is_first) {
            self.result.states += 1;
            if let Some(difference) = differing("state", memory, &written) {
                self.note_difference(difference);
            }
        }
        // What was written is what was: a difference is not carried on.
        self.memory = Some(written);
    }

    fn step(&mut self, step: Step, hand_on: &mut impl FnMut(ReplayedStep<'_>)) {
        if step.is_first {
            // After a start the policy may be another, and the state is the one beside the step.
            self.flush(hand_on);
            self.site = None;
        }
        let Some(decision) = &step.entry.decision else {
            match self.site.is_some() || self.memory.is_none() {
                true => self.retake(&step, hand_on),
                false => self.early.push(step),
            }
            return;
        };
        let site = self.versions.site(&decision.policy, &decision.plan);
        if site.is_none() && self.memory.is_some() {
            self.memory = None;
            self.unknown = format!(
                "policy {} with plan {} is neither the configuration's nor kept in versions/",
                decision.policy, decision.plan
            );
        }
        self.site = site;
        self.flush(hand_on);
        self.retake(&step, hand_on);
    }

    fn flush(&mut self, hand_on: &mut impl FnMut(ReplayedStep<'_>)) {
        let early = std::mem::take(&mut self.early);
        if self.site.is_none() && !early.is_empty() {
            self.site = Some(self.versions.current().clone());
        }
        for step in early {
            self.retake(&step, hand_on);
        }
    }

    fn retake(&mut self, step: &Step, hand_on: &mut impl FnMut(ReplayedStep<'_>)) {
        let (Some(memory), Some(site)) = (&mut self.memory, &self.site) else {
            let left_out = self.result.left_out.entry(self.unknown.clone());
            *left_out.or_default() += 1;
            hand_on(ReplayedStep {
                step,
                stepped: None,
                is_same: false,
                memory: None,
                site: None,
            });
            return;
        };
        let stepped = memory.replay(site, &step.entry);
        let policies = &mut self.result.policies;
        *policies.entry(site.policy_version.clone()).or_default() += 1;
        self.result.steps += 1;
        self.result.decisions += u64::from(step.entry.decision.is_some());
        self.result.commands += stepped.commands.len() as u64;
        let difference = compare(step, &stepped.entry);
        hand_on(ReplayedStep {
            step,
            stepped: Some(stepped),
            is_same: difference.is_none(),
            memory: self.memory.as_ref(),
            site: self.site.as_ref(),
        });
        if let Some(difference) = difference {
            self.note_difference(format!("step {}: {difference}", step.seq));
        }
    }

    fn note_difference(&mut self, difference: String) {
        self.result.differing += 1;
        if self.result.differences.len() < MOST_DIFFERENCES {
            self.result.differences.push(difference);
        }
    }
}

/// The first difference of what was decided.
fn compare(step: &Step, again: &StepEntry) -> Option<String> {
    let recorded = &step.entry;
    let progress = match step.is_first {
        // What an earlier start left open is given up before the first step.
        true => {
            let given_up = recorded.progress.len().saturating_sub(again.progress.len());
            recorded.progress.get(given_up..).unwrap_or_default()
        }
        false => recorded.progress.as_slice(),
    };
    differing("decision", &again.decision, &recorded.decision)
        .or_else(|| differing("progress", again.progress.as_slice(), progress))
        .or_else(|| differing("events", &again.events, &recorded.events))
        .or_else(|| differing("notices", &again.notices, &recorded.notices))
}

/// Where two values differ in their JSON.
fn differing<T: Serialize + ?Sized>(name: &str, again: &T, recorded: &T) -> Option<String> {
    let text = |value: &T| serde_json::to_string(value).unwrap_or_default();
    if text(again) == text(recorded) {
        return None;
    }
    let value = |value: &T| serde_json::to_value(value).unwrap_or_default();
    Some(first_difference(name, &value(again), &value(recorded)))
}

fn first_difference(path: &str, again: &Value, recorded: &Value) -> String {
    match (again, recorded) {
        (Value::Object(one), Value::Object(two)) => {
            let keys = one.keys().chain(two.keys());
            for key in keys {
                let null = Value::Null;
                let (a, b) = (one.get(key).unwrap_or(&null), two.get(key).unwrap_or(&null));
                if a != b {
                    return first_difference(&format!("{path}.{key}"), a, b);
                }
            }
        }
        (Value::Array(one), Value::Array(two)) if one.len() == two.len() => {
            for (at, (a, b)) in one.iter().zip(two).enumerate() {
                if a != b {
                    return first_difference(&format!("{path}[{at}]"), a, b);
                }
            }
        }
        _ => {}
    }
    let short = |value: &Value| {
        let text = value.to_string();
        let end = text.floor_char_boundary(80);
        match end < text.len() {
            true => format!("{}…", &text[..end]),
            false => text,
        }
    };
    format!(
        "{path} was {} and comes out as {}",
        short(recorded),
        short(again)
    )
}
