//! The model of `headframe sim` as a controller sees it, in virtual time: 1 MW, 290 machines, of
//! which some answer late or never. The protocols of devices are left out.

use std::collections::BTreeMap;
use std::sync::Arc;

use headframe_ingest::simulator::{Change, Machine, Scenario, SiteState};
use headframe_site::command::{Action, Command, CommandReport, Path, Progress, Target};
use headframe_site::control::SitePlan;
use headframe_site::control::observation::{
    FanReading, HumidityReading, MachineReading, MeterReading, Observation, SensorKind,
    TemperatureReading, rounded,
};
use headframe_site::moment::Moment;
use headframe_site::plant::Interface;
use headframe_site::random::Random;
use serde_json::{Value, json};

use crate::run::{START, SiteModel};

/// Models: name, terahashes a second, joules per terahash, seconds to boot, and how many.
const MODELS: [(&str, f64, f64, u64, usize); 4] = [
    ("s21", 200.0, 17.5, 240, 58),
    ("s19xp", 140.0, 21.5, 270, 58),
    ("s19jpro", 104.0, 29.5, 330, 87),
    ("s19", 95.0, 34.5, 300, 87),
];
const STANDBY_W: f64 = 40.0;
/// What is neither machine nor fan: the simulator has it as a machine that nobody controls.
const HOUSE_KW: f64 = 46.5;
const FANS: usize = 9;
const FAN_W: f64 = 1_500.0;
/// Shares of machines that answer never, or ten times slower.
const DEAD_SHARE: f64 = 0.02;
const SLOW_SHARE: f64 = 0.03;
/// Until then a machine has answered, or has failed.
const ANSWER_MS: u64 = 3_000;
/// Noise of the site meter, as a share of what it says.
const METER_NOISE: f64 = 0.0003;

/// The places of the scenario's devices.
const FAN_BOARD: usize = 0;
const OUTLETS: usize = 1;

/// Which machines have an outlet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutletsOf {
    /// Every one.
    All,
    /// Those that answer late or never.
    FaultyOnes,
}

/// A machine as its controller reaches it.
#[derive(Debug)]
struct Reached {
    interface: Interface,
    /// Its outlet.
    channel: Option<usize>,
}

/// The model, with what is on its way to it and back.
#[derive(Clone)]
pub struct SimulatedSite {
    scenario: Scenario,
    state: SiteState,
    plan: Arc<SitePlan>,
    reached: Arc<Vec<Reached>>,
    places: Arc<BTreeMap<String, usize>>,
    now: Moment,
    /// When, the place of a machine or a device, and what.
    coming: Vec<(u64, usize, Change)>,
    reports: Vec<CommandReport>,
    random: Random,
}

fn machine_names() -> impl Iterator<Item = String> {
    let models = MODELS.iter();
    models.flat_map(|model| (1..=model.4).map(|number| format!("{}-{number}", model.0)))
}

fn scenario(seed: u64, outlets: &[String]) -> Scenario {
    let machine = |&(name, hashrate_ths, j_th, boot_s, count): &(&str, f64, f64, u64, usize)| {
        json!({"name": name, "count": count, "hashrate_ths": hashrate_ths,
            "efficiency_j_th": j_th, "spread_pct": 2.0, "standby_w": STANDBY_W,
            "boot_s": boot_s, "api": "none"})
    };
    let mut machines: Vec<Value> = MODELS.iter().map(machine).collect();
    machines.push(
        json!({"name": "house", "count": 1, "hashrate_ths": 1.0, "api": "none",
        "efficiency_j_th": 1_000.0 * HOUSE_KW, "spread_pct": 0.0, "boot_s": 1.0}),
    );
    let fans: Vec<String> = (1..=FANS).map(|fan| format!("fan-{fan}")).collect();
    let text = json!({"seed": seed, "site": "virtual", "step_s": 5.0,
        "weather": {"mean_c": 12.0, "swing_c": 5.0, "humidity_pct": 60.0},
        "container": {"initial_c": 24.0, "heat_capacity_j_k": 2.5e7, "walls_w_k": 15_000.0,
            "fans": FANS, "fan_w_k": 9_000.0, "fan_w": FAN_W},
        "machines": machines,
        "devices": [{"kind": "controlbyweb", "name": "fans", "feeds": fans},
            {"kind": "apc_pdu", "name": "outlets", "feeds": outlets}]});
    let scenario: Scenario = serde_json::from_value(text).unwrap();
    scenario.validate().unwrap();
    scenario
}

fn plan(reached: &[Reached]) -> SitePlan {
    let models = MODELS
        .iter()
        .flat_map(|model| std::iter::repeat_n(model, model.4));
    let machines = machine_names().zip(models).zip(reached);
    let machines = machines.map(
        |((name, (model, hashrate_ths, j_th, boot_s, _)), reached)| {
            json!({"name": name, "model": model, "hashrate_ths": hashrate_ths,
            "efficiency_j_th": j_th, "power_w": hashrate_ths * j_th, "standby_w": STANDBY_W,
            "has_outlet": reached.channel.is_some(), "has_foreman": true, "boot_s": boot_s})
        },
    );
    let mining_w: f64 = MODELS
        .iter()
        .map(|model| model.1 * model.2 * model.4 as f64)
        .sum();
    let plan = json!({"name": "virtual", "auxiliary_kw": HOUSE_KW,
        "design_kw": rounded((mining_w + FANS as f64 * FAN_W) / 1_000.0 + HOUSE_KW),
        "machines": machines.collect::<Vec<_>>(), "container_sensors": ["north", "south"],
        "fans": vec![json!({"watts": FAN_W, "is_metered": true}); FANS]});
    serde_json::from_value(plan).unwrap()
}

impl SimulatedSite {
    /// A site whose machines all run.
    pub fn running(seed: u64, outlets_of: OutletsOf) -> Self {
        let mut random = Random(seed);
        let mut outlets = Vec::new();
        let mut reach = |name: String| {
            let interface = match random.share() {
                chance if chance < DEAD_SHARE => Interface::Dead,
                chance if chance < DEAD_SHARE + SLOW_SHARE => Interface::Slow,
                _ => Interface::Sound,
            };
            let has_outlet = outlets_of == OutletsOf::All || interface != Interface::Sound;
            let channel = has_outlet.then_some(outlets.len());
            outlets.extend(has_outlet.then_some(name));
            Reached { interface, channel }
        };
        let reached: Vec<Reached> = machine_names().map(&mut reach).collect();
        let scenario = scenario(seed, &outlets);
        let mut state = SiteState::new(&scenario);
        // All have booted by then.
        for _ in 0..60 {
            state.advance(&scenario, 10.0);
        }
        Self {
            state,
            scenario,
            plan: Arc::new(plan(&reached)),
            reached: Arc::new(reached),
            places: Arc::new(machine_names().zip(0..).collect()),
            now: START,
            coming: Vec::new(),
            reports: Vec::new(),
            random,
        }
    }

    fn apply_to_machine(&mut self, name: &str, command: &Command) {
        let place = self.places[name];
        let (reached, is_on) = (&self.reached[place], command.action == Action::On);
        let now_ms = self.now.elapsed_ms;
        if command.path == Path::Outlet {
            let channel = reached.channel.unwrap();
            let after_ms = self.random.between(200.0, 1_000.0) as u64;
            self.switch(OUTLETS, channel, is_on, after_ms);
            return self.report(command.id, Progress::Verified, after_ms);
        }
        let answer_ms = self.random.between(200.0, 2_000.0) as u64;
        let answer_ms = match reached.interface {
            _ if !self.state.machines[place].is_fed => None,
            Interface::Dead => None,
            Interface::Slow => Some(10 * answer_ms),
            Interface::Sound => Some(answer_ms),
        };
        let change = if is_on { Change::Wake } else { Change::Sleep };
        let coming = answer_ms.map(|after_ms| (now_ms + after_ms, place, change));
        self.coming.extend(coming);
        match answer_ms.filter(|after_ms| *after_ms <= ANSWER_MS) {
            Some(after_ms) => self.report(command.id, Progress::Acknowledged, after_ms),
            None => {
                let failed = Progress::Failed("no answer in 3 s".to_owned());
                self.report(command.id, failed, ANSWER_MS);
            }
        }
    }

    fn switch(&mut self, device: usize, channel: usize, is_on: bool, after_ms: u64) {
        let change = Change::Relay {
            channel,
            is_on,
            back_after_s: None,
        };
        self.coming
            .push((self.now.elapsed_ms + after_ms, device, change));
    }

    fn report(&mut self, command: u64, progress: Progress, after_ms: u64) {
        self.reports.push(CommandReport {
            command,
            progress,
            at: self.now.plus_ms(after_ms),
        });
    }

    fn machines(&self) -> &[Machine] {
        // The last one is the house.
        &self.state.machines[..self.places.len()]
    }
}

impl SiteModel for SimulatedSite {
    fn plan(&self) -> SitePlan {
        SitePlan::clone(&self.plan)
    }

    fn advance(&mut self, now: Moment) {
        let coming = std::mem::take(&mut self.coming).into_iter();
        let (mut due, later): (Vec<_>, Vec<_>) =
            coming.partition(|(at_ms, ..)| *at_ms <= now.elapsed_ms);
        due.sort_by_key(|(at_ms, ..)| *at_ms);
        self.coming = later;
        for (_, place, change) in due {
            match &change {
                Change::Relay { .. } => {
                    let elapsed_s = self.state.elapsed_s;
                    self.state.relays.change(place, &change, elapsed_s);
                }
                _ => self.state.change(&self.scenario, place, &change),
            }
        }
        let dt_s = now.ms_since(self.now) as f64 / 1_000.0;
        self.state.advance(&self.scenario, dt_s);
        self.now = now;
    }

    fn observe(&mut self) -> Observation {
        let at = self.now;
        let noise = 1.0 + METER_NOISE * self.random.signed();
        let mut air = |sensor: &str, kind, noise_c: f64| TemperatureReading {
            sensor: sensor.to_owned(),
            kind,
            celsius: self.state.inside_c + noise_c * self.random.signed(),
            at,
        };
        let temperatures = vec![
            air("north", SensorKind::Container, 0.3),
            air("south", SensorKind::Container, 0.3),
            air("machines", SensorKind::MinerAir, 0.5),
        ];
        let machine = |(machine, power_w)| MachineReading {
            machine,
            power_w,
            at,
        };
        let fan = |fan: usize| {
            let runs = self.state.relays.runs(&self.scenario, fan as u32);
            FanReading {
                fan: fan as u8,
                is_on: Some(runs),
                watts: Some(if runs { FAN_W } else { 0.0 }),
                at,
            }
        };
        let watts = self.machines().iter().map(|one| one.power_w);
        let observation = Observation {
            site_meter: Some(MeterReading {
                kw: self.site_kw() * noise,
                at,
            }),
            machines: (0..).zip(watts).map(machine).collect(),
            temperatures,
            humidity: vec![HumidityReading {
                sensor: "north".to_owned(),
                pct: self.state.humidity_pct,
                at,
            }],
            fans: (1..=FANS).map(fan).collect(),
            ..Observation::default()
        };
        let (due, later) = std::mem::take(&mut self.reports)
            .into_iter()
            .partition(|report| report.at <= at);
        self.reports = later;
        Observation {
            reports: due,
            ..observation
        }
        .rounded()
    }

    fn apply(&mut self, commands: &[Command]) {
        for command in commands {
            match &command.target {
                Target::Machine(name) => self.apply_to_machine(name, command),
                Target::Fan(number) => {
                    let channel = usize::from(*number) - 1;
                    self.switch(FAN_BOARD, channel, command.action == Action::On, 300);
                    self.report(command.id, Progress::Verified, 300);
                }
                Target::Feeder(name) => panic!("the plan has no feeder {name}"),
            }
        }
    }

    fn site_kw(&self) -> f64 {
        self.state.power_of(&self.scenario, "site") / 1_000.0
    }

    fn mining_kw(&self) -> f64 {
        self.machines()
            .iter()
            .map(|one| one.power_w / 1_000.0)
            .sum()
    }

    fn hashrate_ths(&self) -> f64 {
        self.machines()
            .iter()
            .map(|one| one.hashrate_hs / 1e12)
            .sum()
    }

    fn set_outside(&mut self, celsius: f64) {
        self.scenario.weather.mean_c = celsius;
    }
}
