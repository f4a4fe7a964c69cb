//! The relays of simulated devices: what they feed, and the timers that put them back.

use std::collections::BTreeMap;

use super::faults::picks;
use super::scenario::{Scenario, fan_number};

/// What a request changes.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// A relay is switched.
    Relay {
        /// Which, from 0.
        channel: usize,
        /// On or off.
        is_on: bool,
        /// Seconds after which it goes back by itself.
        back_after_s: Option<f64>,
    },
    /// A relay goes back by itself whenever it is switched away from its resting state.
    Pulse {
        /// Which, from 0.
        channel: usize,
        /// Seconds; never when there are none.
        after_s: Option<f64>,
    },
    /// All relays of the device rest on, not off.
    RestsOn(bool),
    /// A machine stops and draws its standby power.
    Sleep,
    /// A machine works again.
    Wake,
    /// A machine works in its low power mode, or in its normal one.
    LowPower(bool),
}

/// One relay.
#[derive(Debug, Clone, Default, PartialEq)]
struct Relay {
    is_on: bool,
    back_at_s: Option<f64>,
    pulse_s: Option<f64>,
    rests_on: bool,
}

/// The relays of every device of a scenario; all are on at the start.
#[derive(Debug, Clone, PartialEq)]
pub struct Relays(Vec<Vec<Relay>>);

impl Relays {
    /// As many for each device as it feeds something with.
    pub fn new(scenario: &Scenario) -> Self {
        let on = Relay {
            is_on: true,
            ..Relay::default()
        };
        let devices = scenario.devices.iter();
        Self(
            devices
                .map(|one| vec![on.clone(); one.feeds.len()])
                .collect(),
        )
    }

    /// Which relays of a device are on.
    pub fn are_on(&self, device: usize) -> Vec<bool> {
        let relays = self.0.get(device).into_iter().flatten();
        relays.map(|relay| relay.is_on).collect()
    }

    /// Switches, or sets a timer.
    pub fn change(&mut self, device: usize, change: &Change, now_s: f64) {
        let Some(relays) = self.0.get_mut(device) else {
            return;
        };
        match change {
            Change::Relay {
                channel,
                is_on,
                back_after_s,
            } => {
                let Some(relay) = relays.get_mut(*channel) else {
                    return;
                };
                relay.is_on = *is_on;
                let pulse = relay.pulse_s.filter(|_| *is_on != relay.rests_on);
                relay.back_at_s = back_after_s.or(pulse).map(|after_s| now_s + after_s);
            }
            Change::Pulse { channel, after_s } => {
                if let Some(relay) = relays.get_mut(*channel) {
                    relay.pulse_s = *after_s;
                }
            }
            Change::RestsOn(rests_on) => {
                for relay in relays {
                    relay.rests_on = *rests_on;
                }
            }
            Change::Sleep | Change::Wake | Change::LowPower(_) => {}
        }
    }

    /// Puts back what is due.
    pub fn advance(&mut self, now_s: f64) {
        for relay in self.0.iter_mut().flatten() {
            if relay.back_at_s.is_some_and(|back_at_s| now_s >= back_at_s) {
                relay.is_on = !relay.is_on;
                relay.back_at_s = None;
            }
        }
    }

    /// Whether everything before a machine is on.
    pub fn feed(&self, scenario: &Scenario, machine: &str) -> bool {
        let mut pairs = self.pairs(scenario);
        pairs.all(|(feeds, relay)| relay.is_on || !picks(feeds, machine))
    }

    /// Every fan that a relay feeds, and whether everything before it is on.
    fn fans(&self, scenario: &Scenario) -> BTreeMap<u32, bool> {
        let mut fans = BTreeMap::new();
        for (feeds, relay) in self.pairs(scenario) {
            if let Some(fan) = fan_number(feeds) {
                *fans.entry(fan).or_insert(true) &= relay.is_on;
            }
        }
        fans
    }

    /// The fans that run; none where relays do not say.
    pub fn fans_on(&self, scenario: &Scenario) -> Option<u32> {
        let fans = self.fans(scenario);
        let on = fans.values().filter(|is_on| **is_on).count();
        (!fans.is_empty()).then_some(on as u32)
    }

    /// Whether a fan is fed by relays that are all on.
    pub fn runs(&self, scenario: &Scenario, fan: u32) -> bool {
        self.fans(scenario).get(&fan) == Some(&true)
    }

    fn pairs<'a>(&'a self, scenario: &'a Scenario) -> impl Iterator<Item = (&'a str, &'a Relay)> {
        let devices = scenario.devices.iter().zip(&self.0);
        devices.flat_map(|(device, relays)| device.feeds.iter().map(String::as_str).zip(relays))
    }
}
