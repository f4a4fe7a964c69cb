//! A site that answers as the recorded one might have: its machines as they were found, everything
//! that does not obey the controller as it was recorded.

use std::collections::BTreeSet;

use crate::command::{Action, Command};
use crate::control::machine::{MachinePhase, MachineState};
use crate::control::observation::{MeterReading, Observation, rounded};
use crate::control::site_plan::MachinePlan;
use crate::control::{Site, State};
use crate::moment::Moment;
use crate::plant::{Found, Interface, Plant, PlantMachine};
use crate::random::Random;

/// What a replay cannot know, and what it takes instead. People read it beside every comparison.
pub const LIMITS: [&str; 5] = [
    "Signals, orders, air, interlocks and the currents of feeders are those recorded, at the times \
     of the recorded steps; other decisions would have changed air and currents.",
    "The answers of machines are modelled: each answers in 0.2 to 2 s (an outlet in 0.2 to 1 s) \
     and its power falls within 8 to 25 s, by chance from a fixed seed; it boots as long as the \
     controller had learned, else as the plan says; at work it draws what was read before the \
     event.",
    "A machine whose own interface failed to stop it in the recorded event answers nobody in the \
     model; its outlet or feeder stops it.",
    "Everything else at the site, but fans, draws what it drew before the event, all along.",
    "Both policies are scored against what was asked then: target, deadline, release and baseline \
     of the recorded event.",
];

/// The site.
#[derive(Debug)]
pub struct SiteModel {
    plant: Plant,
    fan_w: Vec<f64>,
    other_kw: f64,
}

impl SiteModel {
    /// As the controller knew it at a time. `deaf` are the machines that answer nobody.
    pub fn new(
        site: &Site,
        state: &State,
        deaf: &BTreeSet<String>,
        seed: u64,
        now: Moment,
    ) -> Self {
        let mut random = Random(seed);
        let plans = site.plan.machines.iter().zip(&state.machines);
        let machines: Vec<PlantMachine> = plans
            .map(|(plan, known)| {
                let found = found(plan, known, deaf.contains(&plan.name));
                let mut machine = PlantMachine::as_found(plan, found, now.elapsed_ms, &mut random);
                if known.phase == MachinePhase::Stopping {
                    machine.ask(Action::Off, now.elapsed_ms, 0);
                }
                machine
            })
            .collect();
        let fans: Vec<bool> = state.fans.fans.iter().map(|fan| fan.is_on).collect();
        let fan_w: Vec<f64> = state.fans.fans.iter().map(|fan| fan.usual_w).collect();
        let feeders = state.feeders.iter();
        let feeders = feeders.map(|one| one.is_closed.unwrap_or(true)).collect();
        let plant = Plant::as_found(site.plan.clone(), machines, fans, feeders, seed, now);
        let mut model = Self {
            plant,
            fan_w,
            other_kw: 0.0,
        };
        model.other_kw = match state.metering.last {
            Some(meter) => (meter.kw - model.site_kw()).max(0.0),
            None => state.metering.auxiliary_kw,
        };
        model
    }

    fn site_kw(&self) -> f64 {
        let machines_w: f64 = self.plant.machines.iter().map(|one| one.power_w).sum();
        let fans = self.plant.fans.iter().zip(&self.fan_w);
        let fans_w: f64 = fans
            .filter(|(is_on, _)| **is_on)
            .map(|(_, watts)| watts)
            .sum();
        self.other_kw + (machines_w + fans_w) / 1_000.0
    }

    /// What a controller sees at the time of a recorded step: what was read then, with the values
    /// of the model where it obeys.
    pub fn observe(&mut self, recorded: &Observation, now: Moment) -> Observation {
        self.plant.advance(now);
        let mut seen = recorded.clone();
        seen.reports = self.plant.observe().reports;
        seen.acknowledged.clear();
        for reading in &mut seen.machines {
            if let Some(machine) = self.plant.machines.get(reading.machine as usize) {
                reading.power_w = rounded(machine.power_w);
            }
        }
        for reading in &mut seen.fans {
            let at = usize::from(reading.fan).wrapping_sub(1);
            if let (Some(is_on), Some(usual_w)) = (self.plant.fans.get(at), self.fan_w.get(at)) {
                reading.is_on = reading.is_on.map(|_| *is_on);
                reading.watts = reading.watts.map(|_| if *is_on { *usual_w } else { 0.0 });
            }
        }
        for reading in &mut seen.feeders {
            if let Some(is_closed) = self.plant.feeders.get(reading.feeder as usize) {
                reading.is_closed = reading.is_closed.map(|_| *is_closed);
            }
        }
        let kw = rounded(self.site_kw());
        seen.site_meter = recorded.site_meter.map(|read| MeterReading { kw, ..read });
        seen
    }

    /// Gives commands to the site; what comes of them shows later.
    pub fn apply(&mut self, commands: &[Command]) {
        self.plant.apply(commands);
    }
}

fn found(plan: &MachinePlan, known: &MachineState, is_deaf: bool) -> Found {
    let is_on = !matches!(known.phase, MachinePhase::Stopped);
    let is_starting = known.phase == MachinePhase::Starting;
    let is_cut = !is_on && (known.cut_outlet || known.cut_feeder);
    let is_at_work = is_on && !is_starting;
    let read_w = known.power_w.filter(|_| is_at_work);
    Found {
        interface: match is_deaf {
            true => Interface::Dead,
            false => Interface::Sound,
        },
        work_w: read_w.unwrap_or(if known.is_low() {
            plan.low_w()
        } else {
            plan.power_w
        }),
        boot_ms: known.boot_ms.unwrap_or(plan.boot_s * 1_000),
        is_on,
        is_starting,
        is_low: known.is_low(),
        is_cut,
    }
}
