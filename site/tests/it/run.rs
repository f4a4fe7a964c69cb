//! A controller and the model of a site, run against each other in virtual time.

use headframe_site::command::Command;
use headframe_site::control::observation::Observation;
use headframe_site::control::order::Order;
use headframe_site::control::policy::{Policy, SignalRule};
use headframe_site::control::power::PowerRegion;
use headframe_site::control::{DecisionRecord, Site, SitePlan, State, advance};
use headframe_site::moment::Moment;
use headframe_site::notice::Notice;
use headframe_site::plant::{Plant, PlantConfig};
use headframe_site::request::{Level, Request, SignalClass, SignalReading, SignalValue};

/// 2025-06-01 12:00 UTC.
pub const START: Moment = Moment {
    elapsed_ms: 0,
    utc_us: 1_748_779_200_000_000,
};

/// What a controller can be run against.
pub trait SiteModel: Clone {
    /// The plan, as its operator would write it.
    fn plan(&self) -> SitePlan;
    /// Lets time pass until a moment.
    fn advance(&mut self, now: Moment);
    /// What a controller sees at the time of the last tick.
    fn observe(&mut self) -> Observation;
    /// Gives commands to the site; what comes of them shows later.
    fn apply(&mut self, commands: &[Command]);
    /// Kilowatts of the site.
    fn site_kw(&self) -> f64;
    /// Kilowatts of its machines.
    fn mining_kw(&self) -> f64;
    /// Terahashes per second of the machines that work.
    fn hashrate_ths(&self) -> f64;
    /// The mean of the day outside.
    fn set_outside(&mut self, celsius: f64);
}

impl SiteModel for Plant {
    fn plan(&self) -> SitePlan {
        self.plan.clone()
    }
    fn advance(&mut self, now: Moment) {
        Plant::advance(self, now);
    }
    fn observe(&mut self) -> Observation {
        Plant::observe(self)
    }
    fn apply(&mut self, commands: &[Command]) {
        Plant::apply(self, commands);
    }
    fn site_kw(&self) -> f64 {
        Plant::site_kw(self)
    }
    fn mining_kw(&self) -> f64 {
        self.machines.iter().map(|one| one.power_w / 1_000.0).sum()
    }
    fn hashrate_ths(&self) -> f64 {
        Plant::hashrate_ths(self)
    }
    fn set_outside(&mut self, celsius: f64) {
        self.config.container.outside_c = celsius;
    }
}

/// A controller with its site.
#[derive(Clone)]
pub struct Run<M = Plant> {
    pub site: std::sync::Arc<Site>,
    pub state: State,
    pub plant: M,
    pub now: Moment,
    pub request: Request,
    /// The signal says nothing.
    pub is_signal_silent: bool,
    pub orders: Vec<Order>,
    pub notices: Vec<Notice>,
    pub commands: Vec<Command>,
    pub signal_period_ms: u64,
    pub signal_read_ms: Option<u64>,
}

/// The policy of the tests: one contracted signal that is read every five seconds.
pub fn policy() -> Policy {
    let mut policy = Policy::default();
    let rule = SignalRule {
        class: SignalClass::Contract,
        period_s: 5,
        curtail_kw: 100.0,
        emergency_kw: 0.0,
        ..SignalRule::default()
    };
    policy.signals.sources.insert("utility".to_owned(), rule);
    policy
}

impl Run {
    pub fn new(config: PlantConfig, policy: Policy) -> Self {
        Self::against(Plant::running(config, START), policy)
    }

    /// A run whose controller has found everything running.
    pub fn steady(config: PlantConfig, policy: Policy) -> Self {
        Self::new(config, policy).settled()
    }
}

impl<M: SiteModel> Run<M> {
    /// A controller that is started at a site.
    pub fn against(plant: M, policy: Policy) -> Self {
        let site = Site::new(policy, plant.plan()).unwrap();
        let state = State::new(&site, 7, START);
        let period_s = site
            .policy
            .signals
            .sources
            .get("utility")
            .map_or(5, |rule| rule.period_s);
        Self {
            signal_period_ms: period_s * 1_000,
            site: std::sync::Arc::new(site),
            state,
            plant,
            now: START,
            request: Request::of_level(Level::Normal),
            is_signal_silent: false,
            orders: Vec::new(),
            notices: Vec::new(),
            commands: Vec::new(),
            signal_read_ms: None,
        }
    }

    /// The same once its controller has found everything running.
    pub fn settled(mut self) -> Self {
        let reached = self.until(3_600, |run| run.region() == PowerRegion::Running);
        assert!(reached.is_some(), "{:?}", self.region());
        self.seconds(300);
        self
    }

    pub fn region(&self) -> PowerRegion {
        self.state.power.region
    }

    pub fn ask(&mut self, level: Level, cap_kw: Option<f64>) {
        self.request = Request {
            cap_kw,
            ..Request::of_level(level)
        };
    }

    /// What the controller sees now.
    pub fn observe(&mut self) -> Observation {
        let mut observation = self.plant.observe();
        let now_ms = self.now.elapsed_ms;
        let due = self
            .signal_read_ms
            .is_none_or(|last| now_ms - last >= self.signal_period_ms);
        if due && !self.is_signal_silent {
            self.signal_read_ms = Some(now_ms);
            observation.signals.push(SignalReading {
                source: "utility".to_owned(),
                class: SignalClass::Contract,
                read_at: self.now,
                value: SignalValue::Known(vec![self.request.clone()]),
            });
        }
        observation.orders = std::mem::take(&mut self.orders);
        observation
    }

    /// One poll of five seconds.
    pub fn tick(&mut self) -> DecisionRecord {
        self.tick_with(|_| {})
    }

    /// One poll whose observation is changed first.
    pub fn tick_with(&mut self, change: impl FnOnce(&mut Observation)) -> DecisionRecord {
        self.now = self.now.plus_ms(5_000);
        self.plant.advance(self.now);
        let mut observation = self.observe();
        change(&mut observation);
        let (commands, notices, decision) =
            advance(&self.site, &mut self.state, &observation, self.now);
        self.plant.apply(&commands);
        self.commands.extend(commands);
        self.notices.extend(notices);
        decision
    }

    pub fn seconds(&mut self, seconds: u64) {
        for _ in 0..seconds / 5 {
            self.tick();
        }
    }

    /// Runs until something is true: after how many seconds.
    pub fn until(&mut self, seconds: u64, test: impl Fn(&Self) -> bool) -> Option<u64> {
        let begun = self.now;
        for _ in 0..seconds / 5 {
            self.tick();
            if test(self) {
                return Some(self.now.ms_since(begun) / 1_000);
            }
        }
        None
    }

    pub fn has_notice(&self, topic: &str) -> bool {
        self.notices.iter().any(|notice| notice.topic == topic)
    }
}

/// A small site of 12 machines and 4 fans, quick to run.
pub fn small() -> PlantConfig {
    PlantConfig {
        machines: 12,
        mining_kw: 39.0,
        auxiliary_kw: 2.0,
        fans: 4,
        fan_w: 100.0,
        dead_share: 0.0,
        slow_share: 0.0,
        container: headframe_site::plant::ContainerConfig {
            capacity_j_k: 1e6,
            walls_w_k: 1_500.0,
            fan_w_k: 1_600.0,
            initial_c: 19.0,
            ..Default::default()
        },
        ..PlantConfig::default()
    }
}

/// The small site, running, with a signal that asks for at most 10 kW.
pub fn small_running() -> Run {
    Run::steady(small(), small_policy())
}

pub fn small_policy() -> Policy {
    let mut policy = policy();
    let rule = policy.signals.sources.get_mut("utility").unwrap();
    rule.curtail_kw = 10.0;
    rule.period_s = 120;
    // Twelve machines are few: a group of one must fit in the ramp.
    policy.fans.feed_forward_fans = 0;
    policy.restore.group_pct = 20.0;
    policy.restore.ramp_pct_per_min = 60.0;
    policy
}
