//! A scenario in virtual time: the rows that polling its devices would have stored, as fast as the
//! machine can.
//!
//! Every poll goes through what a real one goes through: the device writes its answer in its own
//! protocol, and the source's parser reads it. What a fault keeps from being read makes no rows.

use std::collections::VecDeque;

use super::answer::Snapshot;
use super::endpoint::{Endpoint, endpoints, is_readable, malformed};
use super::faults::{FaultKind, fault_at};
use super::scenario::{Scenario, ScenarioError};
use super::site::SiteState;
use crate::source::{ConfiguredSource, Row, Standing};

/// A row for a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VirtualRow {
    /// The name of the stream.
    pub stream: &'static str,
    /// The row as a JSON object.
    pub line: bytes::Bytes,
}

struct PolledEndpoint {
    endpoint: Endpoint,
    source: ConfiguredSource,
    last: Option<Snapshot>,
    progress: Option<String>,
}

/// The rows of a scenario, in the order of their time.
pub struct VirtualRun {
    scenario: Scenario,
    state: SiteState,
    polled: Vec<PolledEndpoint>,
    next_poll_s: f64,
    length_s: f64,
    rows: VecDeque<VirtualRow>,
}

impl VirtualRun {
    /// So many seconds of a scenario.
    pub fn new(scenario: Scenario, length_s: f64) -> Result<Self, ScenarioError> {
        let polled = endpoints(&scenario)?.into_iter().map(|endpoint| {
            Ok(PolledEndpoint {
                source: endpoint.reader(&scenario)?,
                endpoint,
                last: None,
                progress: None,
            })
        });
        Ok(Self {
            polled: polled.collect::<Result<_, ScenarioError>>()?,
            state: SiteState::new(&scenario),
            scenario,
            next_poll_s: 0.0,
            length_s,
            rows: VecDeque::new(),
        })
    }

    /// The site at the time of the last rows.
    pub fn state(&self) -> &SiteState {
        &self.state
    }

    /// Plays until the next poll of all devices, and polls them.
    fn poll(&mut self) {
        let at_s = self.next_poll_s;
        while self.state.elapsed_s + self.scenario.step_s <= at_s {
            self.state.advance(&self.scenario, self.scenario.step_s);
        }
        let at_us = self.scenario.start_s * 1_000_000 + (at_s * 1e6) as i64;
        for polled in &mut self.polled {
            let fault = fault_at(&self.scenario.faults, &polled.endpoint.name, at_s);
            let fault = fault.map(|(kind, _)| kind);
            self.rows
                .extend(polled.poll(&self.scenario, &self.state, fault, at_s, at_us));
        }
        self.next_poll_s += self.scenario.interval_s;
    }
}

impl PolledEndpoint {
    fn poll(
        &mut self,
        scenario: &Scenario,
        state: &SiteState,
        fault: Option<FaultKind>,
        at_s: f64,
        at_us: i64,
    ) -> Vec<VirtualRow> {
        if !is_readable(fault) && fault != Some(FaultKind::Malformed) {
            return Vec::new();
        }
        let start_s = scenario.start_s as f64;
        let Some(now) = self.endpoint.snapshot(scenario, state, start_s, at_s) else {
            return Vec::new();
        };
        let snapshot = now.after(self.last.as_ref(), fault);
        let mut answers = self.endpoint.answers(&snapshot, &self.source);
        if fault == Some(FaultKind::Malformed) {
            for answer in answers.iter_mut().flatten() {
                *answer = malformed(answer).into();
            }
        }
        self.last = Some(snapshot);
        let Ok(readings) = self.source.read(&answers) else {
            return Vec::new();
        };
        let is_repeated = readings.progress.is_some() && readings.progress == self.progress;
        if is_repeated || readings.standing != Standing::New {
            return Vec::new();
        }
        let rows = readings.rows(&self.source.config, at_us);
        self.progress = readings.progress;
        let row = |row: Row| VirtualRow {
            stream: row.stream.name(),
            line: row.line,
        };
        rows.into_iter().map(row).collect()
    }
}

impl Iterator for VirtualRun {
    type Item = VirtualRow;

    fn next(&mut self) -> Option<VirtualRow> {
        while self.rows.is_empty() && self.next_poll_s < self.length_s {
            self.poll();
        }
        self.rows.pop_front()
    }
}
