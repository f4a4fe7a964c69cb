//! A simulator of a mine: machines, a container with weather and fans, meters, and the protocols
//! of the devices that watch them, with faults at chosen times.
//!
//! The model is pure: [`SiteState::step`] is a function of scenario, state and time, and all
//! randomness comes from the scenario's seed, so that a scenario always gives the same site. Around
//! it stand two shells: [`Simulator`] serves the devices on loopback in real time, and
//! [`VirtualRun`] writes what polling them would have found, as fast as the machine can.
//!
//! It stands in this crate because this crate alone knows the protocols of devices: each kind's
//! parser and its simulated device are tested against each other without the rest of the system.

mod agent;
mod answer;
mod device;
mod endpoint;
mod faults;
mod live_site;
mod random;
mod relays;
mod scenario;
mod serve;
mod site;
mod virtual_run;

pub use answer::{Shown, Snapshot};
pub use endpoint::{Endpoint, endpoints};
pub use faults::{FaultKind, ScheduledFault};
pub use live_site::ServedAnswer;
pub use relays::Change;
pub use scenario::{
    Api, Container, DeviceEntry, MachineGroup, Scenario, ScenarioError, SwitchAction, SwitchEvent,
    Weather,
};
pub use serve::Simulator;
pub use site::{Machine, Mode, SiteState};
pub use virtual_run::{VirtualRow, VirtualRun};
