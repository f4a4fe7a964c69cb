//! Reads the steps of an event into what its report says.

use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::digest::{Context, SHA256};

use super::{Evidence, FailedCommand, MachineStop, Report};
use crate::command::{Action, Command, Path, PowerMode, Progress, Target};
use crate::command_log::CommandProgress;
use crate::control::Site;
use crate::control::observation::MeterReading;
use crate::event_list::PlacedEvent;
use crate::moment::Moment;
use crate::recording::{Piece, Step};
use crate::request::{Level, Request, SignalClass, SignalReading, SignalValue};
use crate::score::{quarters, within};

/// A report begins so long before the signal.
const LEAD_MS: u64 = 300_000;
/// Samples of the meter that are kept: almost three days at one in five seconds.
const MOST_SAMPLES: usize = 50_000;
/// Points of the chart.
const CHART_POINTS: usize = 1_400;
/// Machines, and failed commands, that a report lists.
const MOST_LISTED: usize = 1_000;

/// What was read so far.
pub(super) struct Collector<'a> {
    site: &'a Site,
    event: &'a PlacedEvent,
    meter: Vec<MeterReading>,
    targets: Vec<(i64, Option<f64>)>,
    class: Option<SignalClass>,
    request: Option<Request>,
    stops: Vec<MachineStop>,
    stops_left_out: usize,
    /// Stops that are not proven, by machine.
    open: BTreeMap<String, usize>,
    paths: BTreeMap<u64, Path>,
    failures: Vec<FailedCommand>,
    failures_left_out: usize,
    evidence: Evidence,
    journals: BTreeSet<u64>,
    policies: BTreeSet<String>,
    plans: BTreeSet<String>,
    hash: Context,
    is_clock_doubtful: bool,
    ended: Option<Moment>,
}

impl<'a> Collector<'a> {
    pub(super) fn new(site: &'a Site, event: &'a PlacedEvent) -> Self {
        Self {
            site,
            event,
            meter: Vec::new(),
            targets: Vec::new(),
            class: None,
            request: None,
            stops: Vec::new(),
            stops_left_out: 0,
            open: BTreeMap::new(),
            paths: BTreeMap::new(),
            failures: Vec::new(),
            failures_left_out: 0,
            evidence: Evidence::default(),
            journals: BTreeSet::new(),
            policies: BTreeSet::new(),
            plans: BTreeSet::new(),
            hash: Context::new(&SHA256),
            is_clock_doubtful: false,
            ended: None,
        }
    }

    /// What is read begins here, microseconds since 1970.
    pub(super) fn begins_us(&self) -> i64 {
        let lead_us = i64::try_from(LEAD_MS).unwrap_or(0) * 1_000;
        self.event
            .scored
            .event
            .asked_at
            .utc_us
            .saturating_sub(lead_us)
    }

    /// The end of the event was read.
    pub(super) fn is_done(&self) -> bool {
        self.ended.is_some()
    }

    /// Takes the next piece of the journal in.
    pub(super) fn take(&mut self, piece: Piece, line: &mut impl FnMut(&str)) {
        match piece {
            _ if self.is_done() => {}
            Piece::Snapshot { .. } => {}
            Piece::Hole(hole) if self.evidence.steps > 0 => self.evidence.holes.push(hole),
            Piece::Hole(_) => {}
            Piece::Step(step) => {
                let asked_ms = self.event.scored.event.asked_at.elapsed_ms;
                if step.entry.now.elapsed_ms + LEAD_MS >= asked_ms {
                    self.step(&step, line);
                }
            }
        }
    }

    fn step(&mut self, step: &Step, line: &mut impl FnMut(&str)) {
        let (entry, evidence) = (&step.entry, &mut self.evidence);
        if evidence.steps == 0 {
            evidence.first_seq = step.seq;
        }
        evidence.last_seq = step.seq;
        evidence.steps += 1;
        self.journals.insert(step.journal);
        self.hash.update(step.line.as_bytes());
        self.hash.update(b"\n");
        line(&step.line);
        if let Some(reading) = entry.observation.site_meter {
            let last = self.meter.last().map(|last| last.at.elapsed_ms);
            let is_new = last.is_none_or(|last| reading.at.elapsed_ms > last);
            if is_new && self.meter.len() < MOST_SAMPLES {
                self.meter.push(reading);
            }
        }
        let target = &self.event.scored.event;
        for reading in &entry.observation.signals {
            if reading.read_at <= target.released_at {
                self.signal(reading);
            }
        }
        if let Some(decision) = &entry.decision {
            self.policies.insert(decision.policy.clone());
            self.plans.insert(decision.plan.clone());
            self.is_clock_doubtful |= decision.is_clock_doubtful;
            let is_capped = decision.verdict.is_capped(&decision.caps);
            let kw = is_capped.then_some(decision.verdict.target_kw);
            if self.targets.last().is_none_or(|(_, last)| *last != kw) {
                self.targets.push((entry.now.utc_us, kw));
            }
        }
        if entry.now >= target.asked_at {
            for progress in &entry.progress {
                self.progress(entry.now, progress);
            }
        }
        if step.journal == self.event.journal && step.seq >= self.event.seq {
            self.ended = Some(entry.now);
        }
    }

    /// The request of the signal that began the event: the last that asks for less.
    fn signal(&mut self, reading: &SignalReading) {
        if reading.source != self.event.scored.signal {
            return;
        }
        self.class = Some(reading.class);
        let SignalValue::Known(requests) = &reading.value else {
            return;
        };
        let asks = |one: &&Request| matches!(one.level, Level::Curtail | Level::Emergency);
        if let Some(request) = requests.iter().find(asks) {
            self.request = Some(request.clone());
        }
    }

    fn progress(&mut self, now: Moment, progress: &CommandProgress) {
        let command = &progress.command;
        match &progress.progress {
            Progress::Queued => {
                self.paths.insert(command.id, command.path);
                self.queued(now, command);
            }
            Progress::Verified => self.close(command, Some(now), None),
            Progress::Superseded(_) => {
                self.close(command, None, Some("it was started again".to_owned()));
            }
            Progress::Failed(reason) => {
                self.failed(now, command, reason.clone());
                if let (Target::Machine(name), Action::Off) = (&command.target, command.action) {
                    let open = self.open.get(name).and_then(|at| self.stops.get_mut(*at));
                    if let Some(stop) = open {
                        stop.trouble = Some(reason.clone());
                    }
                }
            }
            Progress::Escalated(next) => {
                let outcome = format!("taken over by command {next}");
                self.failed(now, command, outcome);
            }
            Progress::Sent | Progress::Acknowledged => {}
        }
    }

    fn queued(&mut self, now: Moment, command: &Command) {
        let (Target::Machine(name), Action::Off) = (&command.target, command.action) else {
            return;
        };
        let path = path_word(command.path).to_owned();
        if let Some(stop) = self.open.get(name).and_then(|at| self.stops.get_mut(*at)) {
            stop.paths.push(path);
            return;
        }
        if self.stops.len() >= MOST_LISTED {
            self.stops_left_out += 1;
            return;
        }
        self.open.insert(name.clone(), self.stops.len());
        let plan = self
            .site
            .machine(name)
            .map(|at| &self.site.plan.machines[at]);
        self.stops.push(MachineStop {
            at: now,
            machine: name.clone(),
            efficiency_j_th: plan.and_then(|plan| plan.efficiency_j_th),
            paths: vec![path],
            proven: None,
            trouble: None,
        });
    }

    fn close(&mut self, command: &Command, proven: Option<Moment>, trouble: Option<String>) {
        let (Target::Machine(name), Action::Off) = (&command.target, command.action) else {
            return;
        };
        let open = self.open.remove(name);
        if let Some(stop) = open.and_then(|at| self.stops.get_mut(at)) {
            stop.proven = proven;
            stop.trouble = trouble;
        }
    }

    fn failed(&mut self, now: Moment, command: &Command, outcome: String) {
        if self.failures.len() >= MOST_LISTED {
            self.failures_left_out += 1;
            return;
        }
        self.failures.push(FailedCommand {
            at: now,
            command: command.id,
            target: target_words(&command.target),
            action: action_words(command.action),
            path: path_word(command.path).to_owned(),
            outcome,
        });
    }

    /// What was read; nothing when the end of the event was not.
    pub(super) fn finish(mut self) -> Option<Report> {
        let ended = self.ended?;
        let target = &self.event.scored.event;
        for failure in &mut self.failures {
            let next = failure.outcome.strip_prefix("taken over by command ");
            let path = next.and_then(|next| self.paths.get(&next.parse::<u64>().ok()?));
            if let Some(path) = path {
                failure.outcome = format!("{}, by {}", failure.outcome, path_word(*path));
            }
        }
        let notes = self.notes();
        if !self.plans.contains(&self.site.plan_version) {
            // Machines of another plan may have the same names.
            self.stops
                .iter_mut()
                .for_each(|stop| stop.efficiency_j_th = None);
        }
        let bound = within(&self.meter, target.deadline, target.released_at);
        self.evidence.journals = self.journals.iter().map(|one| format!("{one:x}")).collect();
        self.evidence.policies = self.policies.into_iter().collect();
        self.evidence.plans = self.plans.into_iter().collect();
        self.evidence.sha256 = hex::encode(self.hash.finish().as_ref());
        Some(Report {
            site: self.site.plan.name.clone(),
            design_kw: self.site.plan.design_kw,
            event: self.event.clone(),
            class: self.class,
            request: self.request,
            ended,
            quarters: quarters(target, &bound),
            metered: thinned(&self.meter),
            targets: self.targets,
            stops: self.stops,
            failures: self.failures,
            evidence: self.evidence,
            notes,
        })
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let scored = &self.event.scored;
        if scored.is_estimated {
            notes.push(
                "ESTIMATED: the site's meter was lost for a part of it, and the power was taken \
                 from the machines' own."
                    .to_owned(),
            );
        }
        if self.is_clock_doubtful {
            notes.push("The wall clock could not be trusted for a part of it.".to_owned());
        }
        for hole in &self.evidence.holes {
            notes.push(format!("The journal has a hole: {hole}."));
        }
        if scored.event.deadline >= scored.event.released_at {
            notes.push(
                "It was released before its deadline: nothing was obliged, and no performance \
                 factor is given."
                    .to_owned(),
            );
        }
        if self.meter.len() >= MOST_SAMPLES {
            notes.push(format!(
                "Only the first {MOST_SAMPLES} samples of the meter are shown."
            ));
        }
        for (count, what) in [
            (self.stops_left_out, "machines that were stopped"),
            (self.failures_left_out, "failed commands"),
        ] {
            if count > 0 {
                notes.push(format!(
                    "{count} more {what} are left out; the journal has them."
                ));
            }
        }
        notes
    }
}

/// So many samples that a chart has a point for: of each stretch the lowest and the highest.
fn thinned(meter: &[MeterReading]) -> Vec<(i64, f64)> {
    let point = |one: &MeterReading| (one.at.utc_us, one.kw);
    let each = meter.len().div_ceil(CHART_POINTS / 2).max(1);
    if each <= 2 {
        return meter.iter().map(point).collect();
    }
    let mut points = Vec::with_capacity(CHART_POINTS);
    for stretch in meter.chunks(each) {
        let lowest = stretch.iter().min_by(|a, b| a.kw.total_cmp(&b.kw));
        let highest = stretch.iter().max_by(|a, b| a.kw.total_cmp(&b.kw));
        let mut both: Vec<(i64, f64)> =
            [lowest, highest].into_iter().flatten().map(point).collect();
        both.sort_by_key(|(at, _)| *at);
        points.extend(both);
    }
    points
}

fn path_word(path: Path) -> &'static str {
    match path {
        Path::Device => "its own interface",
        Path::Foreman => "Foreman",
        Path::Outlet => "its outlet",
        Path::Feeder => "its feeder",
    }
}

fn target_words(target: &Target) -> String {
    match target {
        Target::Machine(name) => name.clone(),
        Target::Fan(number) => format!("fan {number}"),
        Target::Feeder(name) => format!("feeder {name}"),
    }
}

fn action_words(action: Action) -> String {
    match action {
        Action::Off => "off".to_owned(),
        Action::On => "on".to_owned(),
        Action::Mode(PowerMode::Low) => "low power".to_owned(),
        Action::Mode(PowerMode::Normal) => "normal power".to_owned(),
        Action::Mode(PowerMode::High) => "high power".to_owned(),
        Action::LimitWatts(watts) => format!("at most {watts} W"),
    }
}
