//! The configuration of a controller for a simulated site, as it follows from the scenario: to try
//! a policy, or to show what a controller does, without a mine.

use headframe_ingest::simulator::{Api, DeviceEntry, MachineGroup, Scenario, Simulator};
use serde_json::{Map, Value, json};

use crate::config::{ConfigError, SiteConfig};

/// By how much a feeder and the site carry more than their machines draw.
const RESERVE: f64 = 1.25;
/// Volts between the phases of a feeder.
const VOLTS: f64 = 400.0;

/// A configuration that controls every machine, fan and feeder of the scenario over the devices
/// that the simulator serves; folder, address, signals, policy and channels are the defaults.
///
/// # Errors
///
/// Where the scenario has nothing that a controller could go by; the lines say what.
pub fn site_config(scenario: &Scenario, simulator: &Simulator) -> Result<SiteConfig, ConfigError> {
    let parts = Parts::new(scenario, simulator.actuators());
    let config = json!({
        "plan": parts.plan(),
        "readings": parts.readings(),
        "source": simulator.sources(),
        "actuator": simulator.actuators(),
    });
    serde_json::from_value(config).map_err(|error| ConfigError(vec![error.to_string()]))
}

/// What a scenario has, by what it is for the controller.
struct Parts<'a> {
    scenario: &'a Scenario,
    /// What each channel of each device with relays controls.
    relays: Vec<Relay<'a>>,
}

/// A channel that controls something.
struct Relay<'a> {
    kind: &'a str,
    device: &'a str,
    channel: &'a str,
    /// `machine`, `feeder` and `fan`, whichever it has.
    control: &'a Value,
}

impl Relay<'_> {
    /// The reading of its state, where the device tells it by relay.
    fn reading(&self) -> Option<String> {
        let tells = self.kind == "controlbyweb";
        tells.then(|| format!("{}/relay{}", self.device, self.channel))
    }
}

impl<'a> Parts<'a> {
    fn new(scenario: &'a Scenario, actuators: &'a [Value]) -> Self {
        let mut relays = Vec::new();
        for actuator in actuators {
            for control in actuator["controls"].as_array().into_iter().flatten() {
                relays.push(Relay {
                    kind: actuator["kind"].as_str().unwrap_or_default(),
                    device: actuator["name"].as_str().unwrap_or_default(),
                    channel: control["channel"].as_str().unwrap_or_default(),
                    control,
                });
            }
        }
        Self { scenario, relays }
    }

    fn feeders(&self) -> impl Iterator<Item = (&'a str, &Relay<'a>)> {
        let relays = self.relays.iter();
        relays.filter_map(|relay| Some((relay.control["feeder"].as_str()?, relay)))
    }

    fn machine_w(&self, named: impl Fn(&str) -> bool) -> f64 {
        let machines = self.scenario.machine_names();
        let machines = machines.filter(|(name, _)| named(name));
        machines
            .map(|(_, group)| group.hashrate_ths * group.efficiency_j_th)
            .sum()
    }

    fn plan(&self) -> Value {
        let scenario = self.scenario;
        let container = &scenario.container;
        let fans: Vec<Value> = (0..container.fans.min(9))
            .map(|_| json!({"watts": container.fan_w}))
            .collect();
        let machines_w = self.machine_w(|_| true);
        let fans_w = container.fan_w * fans.len() as f64;
        json!({
            "name": scenario.site,
            "design_kw": (machines_w + fans_w) / 1_000.0 * RESERVE,
            "machines": self.machines(),
            "feeders": self.feeders().map(|(name, _)| self.feeder(name)).collect::<Vec<_>>(),
            "fans": fans,
            "container_sensors": self.sensors(),
            "has_site_meter": self.site_meter().is_some(),
        })
    }

    fn machines(&self) -> Vec<Value> {
        let machines = self.scenario.machine_names();
        let machine = |(name, group): (String, &MachineGroup)| {
            let has_outlet = self
                .relays
                .iter()
                .any(|relay| relay.control["machine"] == *name);
            let feeder = self.feeders().find(|(feeder, _)| is_on(&name, feeder));
            json!({
                "name": name, "model": group.name, "hashrate_ths": group.hashrate_ths,
                "efficiency_j_th": group.efficiency_j_th,
                "power_w": group.hashrate_ths * group.efficiency_j_th,
                "standby_w": group.standby_w, "boot_s": group.boot_s.ceil() as u64,
                "has_outlet": has_outlet, "feeder": feeder.map(|(feeder, _)| feeder),
            })
        };
        machines.map(machine).collect()
    }

    fn feeder(&self, name: &str) -> Value {
        let watts = self.machine_w(|machine| is_on(machine, name)) * RESERVE;
        json!({"name": name, "limit_a": watts / (VOLTS * 3.0_f64.sqrt()), "volts": VOLTS,
            "phases": 3, "has_contactor": true})
    }

    /// The first meter of the whole site.
    fn site_meter(&self) -> Option<String> {
        let mut devices = self.scenario.devices.iter();
        devices.find_map(|device| match device.measures == "site" {
            true => power_reading(&device.kind, &device.name),
            false => None,
        })
    }

    /// The thermometers of the container.
    fn sensors(&self) -> Vec<String> {
        let devices = self.scenario.devices.iter();
        let sensor = |device: &DeviceEntry| match device.kind.as_str() {
            "roomalert" => Some(format!("{}/Internal Sensor", device.name)),
            "roomalert_flat" => Some(device.name.clone()),
            _ => None,
        };
        devices.filter_map(sensor).collect()
    }

    /// A machine whose API tells no power is known by the meter that measures it alone.
    fn machine_meters(&self) -> Map<String, Value> {
        let mut meters = Map::new();
        for (name, group) in self.scenario.machine_names() {
            let measures_it_alone = |device: &&DeviceEntry| {
                let mut measured = self.scenario.machine_names();
                name.starts_with(&device.measures)
                    && measured
                        .all(|(other, _)| other == name || !other.starts_with(&device.measures))
            };
            let meter = self.scenario.devices.iter().find(measures_it_alone);
            let reading = meter.and_then(|meter| power_reading(&meter.kind, &meter.name));
            let is_silent = matches!(group.api, Api::Antminer | Api::None);
            if let (true, Some(reading)) = (is_silent, reading) {
                meters.insert(name, reading.into());
            }
        }
        meters
    }

    fn readings(&self) -> Value {
        let fan = |relay: &Relay<'_>| {
            let number = relay.control["fan"].as_u64()?;
            Some(json!({"fan": number, "relay": relay.reading()}))
        };
        let contactor = |(name, relay): (&str, &Relay<'_>)| {
            let reading = relay.reading()?;
            Some(json!({"feeder": name, "contactor": reading}))
        };
        let temperature = |reading| json!({"reading": reading, "kind": "container"});
        json!({
            "site_meter": self.site_meter(),
            "machine": self.machine_meters(),
            "temperature": self.sensors().into_iter().map(temperature).collect::<Vec<_>>(),
            "fan": self.relays.iter().filter_map(fan).collect::<Vec<_>>(),
            "feeder": self.feeders().filter_map(contactor).collect::<Vec<_>>(),
        })
    }
}

/// Whether a relay that feeds the machines of this beginning feeds this one.
fn is_on(machine: &str, feeder: &str) -> bool {
    let rest = machine.strip_prefix(feeder);
    rest.is_some_and(|rest| rest.starts_with('-'))
}

/// The reading of a device's power; nothing where it measures none.
fn power_reading(kind: &str, name: &str) -> Option<String> {
    match kind {
        "iotawatt" | "iotawatt_query" => Some(format!("{name}/main")),
        "shelly1" | "shelly2" | "tasmota" | "modbus" | "http_json" => Some(name.to_owned()),
        _ => None,
    }
}
