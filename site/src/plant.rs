//! A small virtual site: it obeys commands as real machines do, late and not always, and gives the
//! observations that a controller would get.
//!
//! It exists so that decisions can be proven and compared: a pure function of its configuration and
//! the commands, in virtual time. Machines differ in efficiency, in how fast they answer and stop,
//! and in how long they boot; some do not answer at all. The container is one lump of heat, by
//! Newton's law of cooling, with fans, walls and a day of weather.

mod container;
mod fleet;
mod machine;

use serde::{Deserialize, Serialize};

use crate::command::{Action, Command, CommandReport, Path, Progress, Target};
use crate::control::observation::{
    FanReading, FeederReading, HumidityReading, MachineReading, MeterReading, Observation,
    SensorKind, TemperatureReading, rounded,
};
use crate::control::site_plan::{FanPlan, FeederPlan, SitePlan};
use crate::moment::Moment;
use crate::random::Random;

pub use container::{Container, ContainerConfig};
pub use machine::{Found, Interface, PlantMachine};

/// Feeders of a virtual site; machines take turns on them.
const FEEDERS: usize = 4;
/// Power in low mode, as a share of rated power.
const LOW_SHARE: f64 = 0.7;

/// What a virtual site is like.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PlantConfig {
    /// Where its chances come from.
    pub seed: u64,
    /// Machines.
    pub machines: usize,
    /// Kilowatts of all machines at work.
    pub mining_kw: f64,
    /// Kilowatts of what is neither machine nor fan.
    pub auxiliary_kw: f64,
    /// Fans.
    pub fans: usize,
    /// Watts of a fan.
    pub fan_w: f64,
    /// The share of machines that answer nobody.
    pub dead_share: f64,
    /// The share of machines that answer ten times slower.
    pub slow_share: f64,
    /// Machines have outlets.
    pub has_outlets: bool,
    /// Every machine of so many has a low power mode; none where it is 0.
    pub low_every: usize,
    /// Noise of the site meter, as a share of what it says.
    pub meter_noise: f64,
    /// The container.
    pub container: ContainerConfig,
}

impl Default for PlantConfig {
    fn default() -> Self {
        Self {
            seed: 1,
            machines: 290,
            mining_kw: 940.0,
            auxiliary_kw: 46.5,
            fans: 9,
            fan_w: 1_500.0,
            dead_share: 0.02,
            slow_share: 0.03,
            has_outlets: true,
            low_every: 0,
            meter_noise: 0.0003,
            container: ContainerConfig::default(),
        }
    }
}

impl PlantConfig {
    /// The plan of the site, as its operator would write it.
    pub fn plan(&self) -> SitePlan {
        let mut machines =
            fleet::machines(self.machines, self.mining_kw, FEEDERS, self.has_outlets);
        if self.low_every > 0 {
            for machine in machines.iter_mut().step_by(self.low_every) {
                machine.low_power_w = Some(rounded(LOW_SHARE * machine.power_w));
            }
        }
        let on_feeder = self.machines.div_ceil(FEEDERS) as f64;
        let each_w = self.mining_kw * 1_000.0 / self.machines.max(1) as f64;
        let limit_a = rounded(1.25 * on_feeder * each_w / (415.0 * 3.0_f64.sqrt()));
        let feeders = (1..=FEEDERS).map(|number| FeederPlan {
            name: format!("f{number}"),
            limit_a,
            volts: 415.0,
            phases: 3,
            has_contactor: true,
            is_metered: true,
        });
        SitePlan {
            name: "virtual".to_owned(),
            design_kw: rounded(
                self.mining_kw + self.auxiliary_kw + self.fans as f64 * self.fan_w / 1_000.0,
            ),
            auxiliary_kw: self.auxiliary_kw,
            machines,
            feeders: feeders.collect(),
            fans: vec![
                FanPlan {
                    watts: self.fan_w,
                    is_metered: true,
                };
                self.fans
            ],
            container_sensors: vec!["north".to_owned(), "south".to_owned()],
            interlocks: Vec::new(),
            has_site_meter: true,
        }
    }
}

/// What the next observation leaves out or falsifies.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PlantFaults {
    /// Sensors of the container say nothing.
    pub is_container_silent: bool,
    /// Machines say nothing of their air.
    pub is_air_silent: bool,
    /// The meter says nothing.
    pub is_meter_silent: bool,
    /// Watts of fans are not read.
    pub are_fans_silent: bool,
    /// Degrees that are added to every sensor of the container.
    pub offset_c: f64,
    /// Fans whose motor does not turn, by number.
    pub broken_fans: Vec<u8>,
}

/// A virtual site.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plant {
    /// What it is like.
    pub config: PlantConfig,
    /// Its plan.
    pub plan: SitePlan,
    /// Its machines.
    pub machines: Vec<PlantMachine>,
    /// Its air.
    pub container: Container,
    /// Relays of fans.
    pub fans: Vec<bool>,
    /// Contactors.
    pub feeders: Vec<bool>,
    /// What is wrong with its readings.
    pub faults: PlantFaults,
    /// The time of the last tick.
    pub now: Moment,
    reports: Vec<CommandReport>,
    random: Random,
}

impl Plant {
    /// A site whose machines all run.
    pub fn running(config: PlantConfig, now: Moment) -> Self {
        let plan = config.plan();
        let mut random = Random(config.seed);
        let machines = plan.machines.iter().map(|one| {
            let chance = random.share();
            let interface = match chance {
                dead if dead < config.dead_share => Interface::Dead,
                slow if slow < config.dead_share + config.slow_share => Interface::Slow,
                _ => Interface::Sound,
            };
            PlantMachine::running(one, interface, &mut random)
        });
        Self {
            machines: machines.collect(),
            container: Container::new(&config.container),
            fans: vec![false; config.fans],
            feeders: vec![true; plan.feeders.len()],
            faults: PlantFaults::default(),
            now,
            reports: Vec::new(),
            random,
            plan,
            config,
        }
    }

    /// A site as it was found: machines, relays of fans and contactors as they are, in the plan's
    /// order. Its meter has no noise, and it has nothing but machines.
    pub fn as_found(
        plan: SitePlan,
        machines: Vec<PlantMachine>,
        fans: Vec<bool>,
        feeders: Vec<bool>,
        seed: u64,
        now: Moment,
    ) -> Self {
        let config = PlantConfig {
            seed,
            machines: machines.len(),
            auxiliary_kw: 0.0,
            fans: fans.len(),
            fan_w: 0.0,
            meter_noise: 0.0,
            ..PlantConfig::default()
        };
        Self {
            container: Container::new(&config.container),
            faults: PlantFaults::default(),
            now,
            reports: Vec::new(),
            random: Random(seed),
            machines,
            fans,
            feeders,
            plan,
            config,
        }
    }

    /// Gives commands to the site; what comes of them shows later.
    pub fn apply(&mut self, commands: &[Command]) {
        for command in commands {
            match &command.target {
                Target::Machine(name) => self.apply_to_machine(name, command),
                Target::Fan(number) => {
                    if let Some(fan) = self.fans.get_mut(usize::from(*number).wrapping_sub(1)) {
                        *fan = command.action == Action::On;
                    }
                    self.report(command.id, Progress::Verified, self.now.plus_ms(300));
                }
                Target::Feeder(name) => {
                    let at = self.plan.feeders.iter().position(|one| one.name == *name);
                    if let Some(at) = at {
                        self.feeders[at] = command.action != Action::Off;
                        self.cut_feeder(name);
                    }
                    self.report(command.id, Progress::Verified, self.now.plus_ms(500));
                }
            }
        }
    }

    fn cut_feeder(&mut self, name: &str) {
        let now_ms = self.now.elapsed_ms;
        for (machine, plan) in self.machines.iter_mut().zip(&self.plan.machines) {
            if plan.feeder.as_deref() == Some(name) {
                machine.cut(now_ms + 500);
            }
        }
    }

    fn apply_to_machine(&mut self, name: &str, command: &Command) {
        let Some(at) = self.plan.machines.iter().position(|one| one.name == *name) else {
            return;
        };
        let now_ms = self.now.elapsed_ms;
        let delay_ms = match command.path {
            Path::Outlet => self.random.between(200.0, 1_000.0),
            _ => self.random.between(200.0, 2_000.0),
        } as u64;
        let (machine, is_on) = (&mut self.machines[at], command.action == Action::On);
        let (progress, after_ms) = match command.path {
            Path::Outlet => {
                machine.switch_outlet(is_on, now_ms + delay_ms);
                (Progress::Verified, delay_ms)
            }
            _ => match machine.ask(command.action, now_ms, delay_ms) {
                Some(answer_ms) if answer_ms <= 3_000 => (Progress::Acknowledged, answer_ms),
                _ => (Progress::Failed("no answer in 3 s".to_owned()), 3_000),
            },
        };
        self.report(command.id, progress, self.now.plus_ms(after_ms));
    }

    fn report(&mut self, command: u64, progress: Progress, at: Moment) {
        self.reports.push(CommandReport {
            command,
            progress,
            at,
        });
    }

    /// Lets time pass until a moment.
    pub fn advance(&mut self, now: Moment) {
        let dt_s = now.ms_since(self.now) as f64 / 1_000.0;
        self.now = now;
        for machine in &mut self.machines {
            machine.advance(now.elapsed_ms, &mut self.random);
        }
        let heat_w: f64 = self.machines.iter().map(|machine| machine.power_w).sum();
        let turning = self.turning_fans();
        self.container
            .advance(&self.config.container, heat_w, turning, now, dt_s);
    }

    fn turning_fans(&self) -> usize {
        let turns = |at: usize| {
            let number = u8::try_from(at + 1).unwrap_or(u8::MAX);
            self.fans[at] && !self.faults.broken_fans.contains(&number)
        };
        (0..self.fans.len()).filter(|at| turns(*at)).count()
    }

    /// Kilowatts of the site, without the meter's noise.
    pub fn site_kw(&self) -> f64 {
        let machines_w: f64 = self.machines.iter().map(|machine| machine.power_w).sum();
        let fans_w = self.turning_fans() as f64 * self.config.fan_w;
        self.config.auxiliary_kw + (machines_w + fans_w) / 1_000.0
    }

    /// Terahashes per second of the machines that work.
    pub fn hashrate_ths(&self) -> f64 {
        self.machines
            .iter()
            .map(|machine| machine.hashrate_ths())
            .sum()
    }

    /// What a controller sees at the time of the last tick.
    pub fn observe(&mut self) -> Observation {
        let at = self.now;
        let mut observation = Observation::default();
        if !self.faults.is_meter_silent {
            let noise = 1.0 + self.config.meter_noise * self.random.signed();
            let kw = self.site_kw() * noise;
            observation.site_meter = Some(MeterReading { kw, at });
        }
        let machines = self.machines.iter().enumerate();
        observation.machines = machines
            .map(|(machine, one)| MachineReading {
                machine: machine as u32,
                power_w: one.power_w,
                at,
            })
            .collect();
        self.observe_air(&mut observation);
        self.observe_fans(&mut observation);
        let (due, later) = std::mem::take(&mut self.reports)
            .into_iter()
            .partition(|report| report.at <= at);
        observation.reports = due;
        self.reports = later;
        observation.rounded()
    }

    fn observe_air(&mut self, observation: &mut Observation) {
        let at = self.now;
        let mut reading = |sensor: &str, kind, celsius: f64, noise_c: f64| {
            let celsius = celsius + noise_c * self.random.signed();
            observation.temperatures.push(TemperatureReading {
                sensor: sensor.to_owned(),
                kind,
                celsius,
                at,
            });
        };
        let inside_c = self.container.inside_c;
        if !self.faults.is_container_silent {
            let celsius = inside_c + self.faults.offset_c;
            reading("north", SensorKind::Container, celsius, 0.3);
            reading("south", SensorKind::Container, celsius, 0.3);
        }
        if !self.faults.is_air_silent {
            reading("machines", SensorKind::MinerAir, inside_c, 0.5);
        }
        observation.humidity.push(HumidityReading {
            sensor: "north".to_owned(),
            pct: self.container.humidity_pct,
            at,
        });
    }

    fn observe_fans(&mut self, observation: &mut Observation) {
        let at = self.now;
        for (place, is_on) in self.fans.iter().enumerate() {
            let fan = u8::try_from(place + 1).unwrap_or(u8::MAX);
            let turns = *is_on && !self.faults.broken_fans.contains(&fan);
            let watts = if turns { self.config.fan_w } else { 0.0 };
            observation.fans.push(FanReading {
                fan,
                is_on: Some(*is_on),
                watts: (!self.faults.are_fans_silent).then_some(watts),
                at,
            });
        }
        let mut loads_w = vec![0.0; self.feeders.len()];
        for (place, machine) in self.machines.iter().enumerate() {
            if let Some(load) = loads_w.get_mut(place % FEEDERS) {
                *load += machine.power_w;
            }
        }
        for (place, is_closed) in self.feeders.iter().enumerate() {
            let volts = self.plan.feeders[place].volts;
            observation.feeders.push(FeederReading {
                feeder: place as u32,
                amps: Some(loads_w[place] / (volts * 3.0_f64.sqrt())),
                is_closed: Some(*is_closed),
                at,
            });
        }
    }
}
