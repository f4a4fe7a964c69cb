//! A site in real time: its state is brought up to now whenever a device is asked.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::answer::Snapshot;
use super::endpoint::Endpoint;
use super::faults::{FaultKind, fault_at};
use super::scenario::Scenario;
use super::site::SiteState;

/// Answers that are held until somebody takes them.
const MOST_ANSWERS: usize = 100_000;

/// An answer that a device gave.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ServedAnswer {
    /// Which.
    pub device: String,
    /// When, in microseconds since 1970.
    pub at_us: i64,
    /// What it showed: part, quantity and value.
    pub shown: Vec<(String, String, Option<f64>)>,
}

/// A site in real time.
pub struct LiveSite {
    scenario: Scenario,
    state: SiteState,
    start: SystemTime,
    speed: f64,
    /// Faults that somebody sets by hand, which go before those of the scenario.
    by_hand: BTreeMap<String, Option<FaultKind>>,
    /// What each device showed last, for those that freeze.
    last: BTreeMap<String, Snapshot>,
    answers: VecDeque<ServedAnswer>,
}

impl LiveSite {
    /// Begins now; `speed` seconds pass in a second.
    pub fn new(scenario: Scenario, speed: f64) -> Self {
        let start = SystemTime::now();
        // The weather of this hour.
        let scenario = Scenario {
            start_s: seconds(start.duration_since(UNIX_EPOCH).unwrap_or_default()) as i64,
            ..scenario
        };
        Self {
            state: SiteState::new(&scenario),
            scenario,
            start,
            speed,
            by_hand: BTreeMap::new(),
            last: BTreeMap::new(),
            answers: VecDeque::new(),
        }
    }

    /// Between two messages of a device that publishes: half of the interval of polls.
    pub fn publishes_every(&self) -> Duration {
        Duration::from_secs_f64(self.scenario.interval_s / 2.0)
    }

    /// The password that a device wants.
    pub fn password(&self, endpoint: &Endpoint) -> Option<&str> {
        endpoint.password(&self.scenario)
    }

    /// Sets the fault of a device, or none.
    pub fn set_fault(&mut self, device: &str, fault: Option<FaultKind>) {
        self.by_hand.insert(device.to_owned(), fault);
    }

    fn elapsed_s(&self) -> f64 {
        seconds(self.start.elapsed().unwrap_or_default()) * self.speed
    }

    /// The fault of a device now.
    pub fn fault(&self, device: &str) -> Option<FaultKind> {
        match self.by_hand.get(device) {
            Some(fault) => *fault,
            None => fault_at(&self.scenario.faults, device, self.elapsed_s()).map(|(kind, _)| kind),
        }
    }

    fn advance(&mut self) -> f64 {
        let elapsed_s = self.elapsed_s();
        while self.state.elapsed_s + self.scenario.step_s <= elapsed_s {
            self.state.advance(&self.scenario, self.scenario.step_s);
        }
        elapsed_s
    }

    /// The site now.
    pub fn state(&mut self) -> &SiteState {
        self.advance();
        &self.state
    }

    /// A device or machine does what a request asks for, unless its fault is not to.
    pub fn obey(&mut self, endpoint: &Endpoint, request: &str) {
        self.advance();
        let fault = self.fault(&endpoint.name);
        let obeys = !matches!(
            fault,
            Some(FaultKind::Ignoring | FaultKind::Refusing | FaultKind::Error500 | FaultKind::Busy)
        );
        if obeys {
            endpoint.obey(&self.scenario, &mut self.state, request);
        }
    }

    /// What a device shows now; nothing when it is cut from power.
    pub fn snapshot(&mut self, endpoint: &Endpoint) -> Option<Snapshot> {
        let elapsed_s = self.advance();
        let start_s = self.scenario.start_s as f64;
        let now = endpoint.snapshot(&self.scenario, &self.state, start_s, elapsed_s)?;
        let fault = self.fault(&endpoint.name);
        let shown = now.after(self.last.get(&endpoint.name), fault);
        self.last.insert(endpoint.name.clone(), shown.clone());
        Some(shown)
    }

    /// Notes what a device answered, unless nobody can read it. One that became slow or dead
    /// meanwhile has answered all the same.
    pub fn note(&mut self, device: &str, snapshot: &Snapshot) {
        let is_unreadable = matches!(
            self.fault(device),
            Some(FaultKind::Malformed | FaultKind::Error500 | FaultKind::Busy)
        );
        if is_unreadable {
            return;
        }
        if self.answers.len() >= MOST_ANSWERS {
            self.answers.pop_front();
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let shown = snapshot.shown.iter();
        let shown = shown.map(|one| (one.part.to_owned(), one.quantity.to_owned(), one.value));
        self.answers.push_back(ServedAnswer {
            device: device.to_owned(),
            at_us: now.map_or(0, |now| now.as_micros() as i64),
            shown: shown.collect(),
        });
    }

    /// The answers since this was called last.
    pub fn take_answers(&mut self) -> Vec<ServedAnswer> {
        self.answers.drain(..).collect()
    }
}

fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}
