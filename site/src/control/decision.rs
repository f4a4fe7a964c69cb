//! The record of a decision: what was seen, who asked for what, who won, and what was done.
//!
//! "Why is it off?" is the first question of an operator; the record answers it without looking at
//! anything else.

use serde::{Deserialize, Serialize};

use super::arbiter::{Cap, Verdict};
use super::authority::Authority;
use super::health::Health;
use super::machine::{MachinePhase, MachineState};
use super::metering::{Quality, SitePower};
use super::order::Refusal;
use super::power::PowerRegion;
use super::prepared::PreparedShed;
use super::requests::clock;
use super::thermal::ThermalRegion;
use crate::command::{Command, CommandReport};
use crate::moment::Moment;

/// The regions at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Regions {
    /// R1: the site's power.
    pub power: PowerRegion,
    /// R2: the air.
    pub thermal: ThermalRegion,
    /// R4: who decides.
    pub authority: Authority,
}

/// Machines by what they do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineCounts {
    /// Not read since the start.
    pub unknown: u32,
    /// Drawing power, in whatever mode.
    pub running: u32,
    /// Ordered to stop.
    pub stopping: u32,
    /// Off.
    pub stopped: u32,
    /// Ordered to start.
    pub starting: u32,
    /// Not to be stopped.
    pub stuck: u32,
}

impl MachineCounts {
    /// Counts machines.
    pub fn new(machines: &[MachineState]) -> Self {
        let mut counts = Self::default();
        for machine in machines {
            let count = match machine.phase {
                MachinePhase::Unknown => &mut counts.unknown,
                MachinePhase::Running | MachinePhase::Lowering | MachinePhase::Raising => {
                    &mut counts.running
                }
                MachinePhase::Stopping => &mut counts.stopping,
                MachinePhase::Stopped => &mut counts.stopped,
                MachinePhase::Starting => &mut counts.starting,
                MachinePhase::Stuck => &mut counts.stuck,
            };
            *count += 1;
        }
        counts
    }
}

/// A value that the decision used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InputUsed {
    /// Where it came from.
    pub source: String,
    /// When it was read, on the clock of [`Moment::elapsed_ms`].
    pub at_ms: u64,
    /// When it was read, microseconds since 1970.
    #[serde(default)]
    pub at_us: i64,
    /// How far it could be trusted; that of the worst, where it was made of several.
    #[serde(default)]
    pub health: Option<Health>,
    /// The decision whose step took the reading in; none before the first.
    #[serde(default)]
    pub step: Option<u64>,
    /// What it was, in the unit of its source; none when the input is known but not a number.
    pub value: Option<f64>,
}

/// One decision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DecisionRecord {
    /// Its number; commands name it.
    pub number: u64,
    /// When.
    pub at: Moment,
    /// The policy's version.
    pub policy: String,
    /// The plan's version.
    pub plan: String,
    /// The regions before.
    pub before: Regions,
    /// The regions after.
    pub after: Regions,
    /// Every cap that was posted.
    pub caps: Vec<Cap>,
    /// The cap that decided, and the others.
    pub verdict: Verdict,
    /// When the target must be reached, on the clock of [`Moment::elapsed_ms`].
    pub deadline_ms: Option<u64>,
    /// What the site draws.
    pub measured_kw: f64,
    /// How good that is.
    pub quality: Quality,
    /// The wall clock cannot be trusted.
    pub is_clock_doubtful: bool,
    /// The journal could not be written.
    pub is_journal_lost: bool,
    /// Why, in plain words.
    pub reason: String,
    /// What the machines draw.
    pub mining_kw: f64,
    /// The rated hashrate of the machines that run.
    pub hashrate_ths: f64,
    /// Machines by what they do.
    pub machines: MachineCounts,
    /// Fans that run, as commanded.
    pub fans_on: usize,
    /// Fans that are wanted.
    pub fans_wanted: usize,
    /// What was seen.
    pub inputs: Vec<InputUsed>,
    /// Commands that were given out.
    pub commands: Vec<u64>,
    /// How earlier commands ended: proven by power, failed, or taken over by another.
    pub ended: Vec<CommandReport>,
    /// Commands that were found to have failed.
    pub failed_commands: u32,
    /// Warnings and emergencies that people were told of.
    pub alarms: u32,
    /// What was prepared for an announced event, when it was worked out anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prepared: Option<PreparedShed>,
    /// Commands that made-up values would have given out; nothing received them.
    pub simulated: Vec<Command>,
    /// Orders that were not carried out, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<Refusal>,
}

impl DecisionRecord {
    /// Nothing changed but the time: such a record need not be kept.
    pub fn is_routine(&self) -> bool {
        self.before == self.after
            && self.commands.is_empty()
            && self.simulated.is_empty()
            && self.prepared.is_none()
    }
}

/// The line that says why the site does what it does.
pub fn reason(after: PowerRegion, caps: &[Cap], verdict: &Verdict, power: SitePower) -> String {
    let cap = verdict.cap(caps);
    let why = cap.map_or("nobody asks", |cap| cap.reason.as_str());
    let target = verdict.target_kw;
    let until = cap
        .and_then(|cap| cap.expires_us)
        .map_or_else(String::new, |end| format!(", until {}", clock(end)));
    let kw = power.kw;
    match after {
        PowerRegion::Boot | PowerRegion::SelfTest => {
            "started; reading everything back before anything is switched".to_owned()
        }
        PowerRegion::HoldOff => format!("waiting before machines are started; {why}{until}"),
        PowerRegion::Restoring => format!("starting machines, {kw:.0} kW so far; {why}{until}"),
        PowerRegion::Running => format!("running at {kw:.0} kW; {why}{until}"),
        PowerRegion::Notice => format!("running at {kw:.0} kW; an event was announced"),
        PowerRegion::Curtailing => {
            format!("going from {kw:.0} kW to {target:.0} kW: {why}{until}")
        }
        PowerRegion::Curtailed => format!("curtailed to {target:.0} kW: {why}{until}"),
        PowerRegion::Tripped => {
            format!("everything is off or being switched off, {kw:.0} kW now: {why}")
        }
        PowerRegion::Lockout => format!("nothing is switched on: {why}"),
    }
}
