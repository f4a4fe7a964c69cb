//! The plan of a site: its machines, feeders, fans and inputs, as the configuration names them.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::policy::{BadValue, Policy, fingerprint};
use crate::command::Path;

/// Everything that stands at the site.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SitePlan {
    /// Its name.
    pub name: String,
    /// The most that it draws: machines, fans and the rest.
    pub design_kw: f64,
    /// What is neither machine nor fan, before it was learned.
    #[serde(default)]
    pub auxiliary_kw: f64,
    /// Every machine; readings name a machine by its place in this list.
    pub machines: Vec<MachinePlan>,
    /// Every feeder; readings name a feeder by its place in this list.
    #[serde(default)]
    pub feeders: Vec<FeederPlan>,
    /// Fans 1 to 9.
    #[serde(default)]
    pub fans: Vec<FanPlan>,
    /// Temperature sensors that must be read.
    #[serde(default)]
    pub container_sensors: Vec<String>,
    /// Smoke, leak, door and emergency-stop inputs that must be read.
    #[serde(default)]
    pub interlocks: Vec<String>,
    /// There is a meter for the whole site.
    #[serde(default = "yes")]
    pub has_site_meter: bool,
}

/// One machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachinePlan {
    /// Its name, unique within the site.
    pub name: String,
    /// Its model, as people call it.
    #[serde(default)]
    pub model: String,
    /// Terahashes per second.
    pub hashrate_ths: f64,
    /// Joules per terahash; a machine without it is taken for the least efficient.
    #[serde(default)]
    pub efficiency_j_th: Option<f64>,
    /// Watts at work.
    pub power_w: f64,
    /// Watts while it waits.
    #[serde(default = "standby_w")]
    pub standby_w: f64,
    /// Watts in its low power mode; a machine without it has none that is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub low_power_w: Option<f64>,
    /// The feeder it hangs on.
    #[serde(default)]
    pub feeder: Option<String>,
    /// The phase it hangs on, 1 to 3.
    #[serde(default)]
    pub phase: Option<u8>,
    /// Its own interface can be told to stop and start. This and the two below follow from the
    /// actuators where any controls it.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub has_interface: bool,
    /// An outlet or relay can cut it.
    #[serde(default)]
    pub has_outlet: bool,
    /// Foreman knows it.
    #[serde(default)]
    pub has_foreman: bool,
    /// The higher, the later it is stopped; 1 is usual.
    #[serde(default = "one")]
    pub sla_weight: f64,
    /// Only safety stops it.
    #[serde(default)]
    pub is_mandatory_run: bool,
    /// It runs at least so long once it was started.
    #[serde(default)]
    pub min_on_s: u64,
    /// From start to work, before it was learned.
    #[serde(default = "boot_s")]
    pub boot_s: u64,
}

/// One feeder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeederPlan {
    /// Its name, unique within the site.
    pub name: String,
    /// The current that it carries for ever.
    pub limit_a: f64,
    /// Volts, between phases where there are three.
    pub volts: f64,
    /// 1 or 3.
    pub phases: u8,
    /// A contactor can open it.
    #[serde(default)]
    pub has_contactor: bool,
    /// Its current is measured.
    #[serde(default)]
    pub is_metered: bool,
}

/// One fan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FanPlan {
    /// What it draws, before it was learned.
    pub watts: f64,
    /// Its watts are measured.
    #[serde(default)]
    pub is_metered: bool,
}

/// A low power that is not between waiting and full work.
fn bad_low_power(machine: &MachinePlan) -> Option<BadValue> {
    let low_w = machine.low_power_w?;
    let is_between = low_w > machine.standby_w && low_w < machine.power_w;
    (!is_between).then(|| {
        let (standby_w, power_w) = (machine.standby_w, machine.power_w);
        let problem = format!("{low_w} is not between standby_w {standby_w} and power_w {power_w}");
        BadValue::new(format!("machines.{}.low_power_w", machine.name), problem)
    })
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
fn is_true(value: &bool) -> bool {
    *value
}

fn one() -> f64 {
    1.0
}

fn standby_w() -> f64 {
    40.0
}

fn boot_s() -> u64 {
    300
}

impl MachinePlan {
    /// The way that it is told to stop and start by.
    pub fn first_path(&self) -> Path {
        match self {
            Self {
                has_interface: true,
                ..
            } => Path::Device,
            Self {
                has_foreman: true, ..
            } => Path::Foreman,
            Self {
                has_outlet: true, ..
            } => Path::Outlet,
            _ => Path::Device,
        }
    }

    /// Takes over the ways by which actuators control it, where there are any.
    pub fn take_paths(&mut self, paths: &[Path]) {
        if !paths.is_empty() {
            self.has_interface = paths.contains(&Path::Device);
            self.has_foreman = paths.contains(&Path::Foreman);
            self.has_outlet = paths.contains(&Path::Outlet);
        }
    }

    /// Watts at work in its low power mode; its rated watts where it has none.
    pub fn low_w(&self) -> f64 {
        self.low_power_w.unwrap_or(self.power_w)
    }

    /// The share of its rated power that it draws in its low power mode.
    pub fn low_share(&self) -> f64 {
        self.low_w() / self.power_w
    }
}

impl FeederPlan {
    /// Kilowatts at its limit.
    pub fn limit_kw(&self) -> f64 {
        let root = if self.phases == 3 {
            3.0_f64.sqrt()
        } else {
            1.0
        };
        self.limit_a * self.volts * root / 1_000.0
    }
}

/// Policy and plan that were checked together, with what follows from them.
#[derive(Debug, Clone)]
pub struct Site {
    /// The numbers.
    pub policy: Policy,
    /// The machines.
    pub plan: SitePlan,
    /// The policy's version.
    pub policy_version: String,
    /// The plan's version.
    pub plan_version: String,
    machines: HashMap<String, usize>,
    feeder_of: Vec<Option<usize>>,
}

impl Site {
    /// Checks policy and plan.
    ///
    /// # Errors
    ///
    /// Every value that makes no sense, by its key.
    pub fn new(policy: Policy, plan: SitePlan) -> Result<Self, Vec<BadValue>> {
        let under = |section: &'static str| {
            move |bad: BadValue| BadValue::new(format!("{section}.{}", bad.key), bad.problem)
        };
        let of_policy = policy.problems().into_iter().map(under("policy"));
        let of_plan = plan.problems().into_iter().map(under("plan"));
        let bad: Vec<BadValue> = of_policy.chain(of_plan).collect();
        if !bad.is_empty() {
            return Err(bad);
        }
        let feeder = |name: &String| plan.feeders.iter().position(|one| one.name == *name);
        let machines = plan.machines.iter().enumerate();
        Ok(Self {
            policy_version: policy.version(),
            plan_version: fingerprint(&plan),
            machines: machines.map(|(at, one)| (one.name.clone(), at)).collect(),
            feeder_of: plan
                .machines
                .iter()
                .map(|one| one.feeder.as_ref().and_then(feeder))
                .collect(),
            policy,
            plan,
        })
    }

    /// The place of a machine in the plan.
    pub fn machine(&self, name: &str) -> Option<usize> {
        self.machines.get(name).copied()
    }

    /// The place of a feeder in the plan.
    pub fn feeder(&self, name: &str) -> Option<usize> {
        self.plan.feeders.iter().position(|one| one.name == name)
    }

    /// The feeder that a machine hangs on.
    pub fn feeder_of(&self, machine: usize) -> Option<usize> {
        self.feeder_of.get(machine).copied().flatten()
    }

    /// Kilowatts kept free below the target.
    pub fn margin_kw(&self) -> f64 {
        self.policy.power.margin_kw(self.plan.design_kw)
    }
}

impl SitePlan {
    /// Every complaint about the plan.
    pub fn problems(&self) -> Vec<BadValue> {
        let mut bad = Vec::new();
        let mut positive = |key: String, value: f64| {
            if !(value.is_finite() && value > 0.0) {
                bad.push(BadValue::new(
                    key,
                    format!("{value} is not more than 0; say a number that is"),
                ));
            }
        };
        positive("design_kw".to_owned(), self.design_kw);
        for one in &self.machines {
            let key = |field: &str| format!("machines.{}.{field}", one.name);
            positive(key("power_w"), one.power_w);
            positive(key("sla_weight"), one.sla_weight);
            positive(key("hashrate_ths"), one.hashrate_ths);
            if let Some(efficiency) = one.efficiency_j_th {
                positive(key("efficiency_j_th"), efficiency);
            }
        }
        for one in &self.feeders {
            positive(format!("feeders.{}.limit_a", one.name), one.limit_a);
            positive(format!("feeders.{}.volts", one.name), one.volts);
        }
        bad.extend(self.machines.iter().filter_map(bad_low_power));
        let mut names: Vec<&str> = self.machines.iter().map(|one| one.name.as_str()).collect();
        names.sort_unstable();
        for pair in names.windows(2).filter(|pair| pair[0] == pair[1]) {
            bad.push(BadValue::new(
                format!("machines.{}", pair[0]),
                "two have this name",
            ));
        }
        for one in &self.machines {
            let Some(feeder) = &one.feeder else { continue };
            if !self.feeders.iter().any(|known| known.name == *feeder) {
                let problem = format!("there is no feeder {feeder}; add it, or name another");
                bad.push(BadValue::new(
                    format!("machines.{}.feeder", one.name),
                    problem,
                ));
            }
        }
        if self.fans.len() > 9 {
            bad.push(BadValue::new("fans", "at most 9 fans are controlled"));
        }
        bad
    }
}
