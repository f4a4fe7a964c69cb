//! The state: everything that the next step needs, and nothing else.
//!
//! It is written to the journal and read back after a restart. Trips, lockouts and overrides
//! survive; what machines and fans do is read back before anything is asserted.

use serde::{Deserialize, Serialize};

use super::authority::AuthorityState;
use super::fans::FansState;
use super::feeder::FeederState;
use super::health::Inputs;
use super::machine::MachineState;
use super::metering::Metering;
use super::notices::NoticeState;
use super::observation::Supervision;
use super::output::Counters;
use super::power::PowerState;
use super::prepared::PreparedShed;
use super::requests::Requests;
use super::restore::RestoreState;
use super::site_plan::Site;
use super::thermal::ThermalState;
use super::trip::TripState;
use crate::moment::Moment;

/// The controller's memory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The plan that machines, fans and feeders belong to.
    pub plan_version: String,
    /// The next numbers.
    pub counters: Counters,
    /// Where chances come from.
    pub seed: u64,
    /// When the last step was.
    pub stepped: Option<Moment>,
    /// R1.
    pub power: PowerState,
    /// R2.
    pub thermal: ThermalState,
    /// R3.
    pub inputs: Inputs,
    /// R4.
    pub authority: AuthorityState,
    /// Trips.
    pub trips: TripState,
    /// Signals.
    pub requests: Requests,
    /// The meter.
    pub metering: Metering,
    /// Machines, in the plan's order.
    pub machines: Vec<MachineState>,
    /// Feeders, in the plan's order.
    pub feeders: Vec<FeederState>,
    /// Fans.
    pub fans: FansState,
    /// Starting.
    pub restore: RestoreState,
    /// What is prepared for an announced event.
    #[serde(default)]
    pub prepared: Option<PreparedShed>,
    /// What the loop that supervises found last.
    #[serde(default)]
    pub supervision: Option<Supervision>,
    /// Since when the journal cannot be written, on the clock of `Moment::elapsed_ms`.
    #[serde(default)]
    pub journal_lost_since_ms: Option<u64>,
    /// What was said to people.
    pub notices: NoticeState,
    /// What made-up values lead to, beside the real site.
    pub shadow: Option<Box<State>>,
}

impl State {
    /// The state of a site that was never controlled.
    pub fn new(site: &Site, seed: u64, now: Moment) -> Self {
        Self {
            plan_version: site.plan_version.clone(),
            counters: Counters {
                command: 1,
                notice: 1,
                decision: 1,
            },
            seed,
            stepped: None,
            power: PowerState::boot(now.elapsed_ms),
            thermal: ThermalState::default(),
            inputs: Inputs::default(),
            authority: AuthorityState::default(),
            trips: TripState::default(),
            requests: Requests::default(),
            metering: Metering::new(site.plan.auxiliary_kw),
            machines: vec![MachineState::unknown(now); site.plan.machines.len()],
            feeders: vec![FeederState::default(); site.plan.feeders.len()],
            fans: FansState::new(site, now),
            restore: RestoreState::default(),
            prepared: None,
            supervision: None,
            journal_lost_since_ms: None,
            notices: NoticeState::default(),
            shadow: None,
        }
    }

    /// The state after the controller was started again, perhaps with another plan.
    ///
    /// Machines, fans and feeders of another plan are unknown; everything else stays.
    pub fn after_restart(mut self, site: &Site, now: Moment) -> Self {
        self.power = self.power.after_restart(now.elapsed_ms);
        if self.plan_version == site.plan_version {
            self.machines = self
                .machines
                .into_iter()
                .map(|one| one.after_restart(now))
                .collect();
            self.fans.restart(now);
        } else {
            self.plan_version = site.plan_version.clone();
            self.machines = vec![MachineState::unknown(now); site.plan.machines.len()];
            self.feeders = vec![FeederState::default(); site.plan.feeders.len()];
            self.fans = FansState::new(site, now);
            self.inputs.forget_readings(now);
            self.trips.forget_readings();
        }
        self.metering = Metering::new(self.metering.auxiliary_kw);
        self.thermal = ThermalState::default();
        self.inputs.restart(now);
        self.prepared = None;
        self.supervision = None;
        self.shadow = None;
        self
    }
}
