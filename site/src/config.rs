//! The configuration of a controller: one TOML file.

mod references;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use headframe_ingest::NatsConfig;
use headframe_ingest::source::{self, SourceConfig, SourcesConfig};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::actuate::{self, ActuatorConfig};
use crate::command::{Path as CommandPath, Target};
use crate::control::policy::SignalRule;
use crate::control::{Policy, Site, SitePlan};
use crate::notify::{self, ChannelConfig};
use crate::observe::{ReadingMap, ReadingsConfig};
use crate::signal::{self, SignalConfig};

pub use references::named;

/// Everything that a controller is told.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiteConfig {
    /// Its own folder, with the journal.
    #[serde(default = "data_dir")]
    pub data_dir: PathBuf,
    /// Seconds between two steps of the loop.
    #[serde(default = "step_s")]
    pub step_s: f64,
    /// Bytes that the journal may take.
    #[serde(default = "journal_max_bytes")]
    pub journal_max_bytes: u64,
    /// Where routes and pages are; nothing but loopback without a token.
    #[serde(default = "listen")]
    pub listen: SocketAddr,
    /// The file, of mode 0600, with the token of whoever gives orders, of at least 16 characters.
    /// `HEADFRAME_SITE_TOKEN` goes before it.
    #[serde(default)]
    pub token_file: Option<PathBuf>,
    /// A file that the old dashboard's numbers are written into after each step.
    #[serde(default)]
    pub dashboard_file: Option<PathBuf>,
    /// Whether programs of this machine may set made-up values.
    #[serde(default)]
    pub debug: bool,
    /// Where facts go; they stay in the journal without it.
    #[serde(default)]
    pub nats: Option<NatsConfig>,
    /// The numbers that decisions go by.
    #[serde(default)]
    pub policy: Policy,
    /// Machines, feeders, fans.
    pub plan: SitePlan,
    /// What readings mean.
    #[serde(default)]
    pub readings: ReadingsConfig,
    /// How devices are polled.
    #[serde(default)]
    pub sources: SourcesConfig,
    /// Devices that are polled.
    #[serde(default)]
    pub source: Vec<SourceConfig>,
    /// Signals.
    #[serde(default)]
    pub signal: Vec<SignalConfig>,
    /// Devices that obey.
    #[serde(default)]
    pub actuator: Vec<ActuatorConfig>,
    /// Who gets notices.
    #[serde(default)]
    pub channel: Vec<ChannelConfig>,
}

/// The folder of a controller that is told none.
pub const DATA_DIR: &str = "site-data";

fn data_dir() -> PathBuf {
    PathBuf::from(DATA_DIR)
}

fn step_s() -> f64 {
    5.0
}

fn journal_max_bytes() -> u64 {
    2 * 1024 * 1024 * 1024
}

fn listen() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 5000))
}

/// Why a configuration cannot be used: each line names a key.
#[derive(Debug, Error)]
#[error("{}", .0.join("\n"))]
pub struct ConfigError(pub Vec<String>);

impl SiteConfig {
    /// Reads a file and checks it.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, not only the first.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError(vec![format!("{}: {error}", path.display())]))?;
        let config: Self = toml::from_str(&text).map_err(|error| {
            let said = error.to_string();
            ConfigError(vec![format!("{}: {}", path.display(), said.trim_end())])
        })?;
        config.check(false)?;
        Ok(config)
    }

    /// Refuses what cannot work. Secrets are read where they are needed, or here when asked.
    ///
    /// # Errors
    ///
    /// Everything that is wrong.
    pub fn check(&self, reads_secrets: bool) -> Result<Site, ConfigError> {
        let mut faults: Vec<String> = Vec::new();
        if !(0.2..=600.0).contains(&self.step_s) {
            faults.push(format!("step_s is {}; it must be 0.2 to 600", self.step_s));
        }
        let policy = self.policy_with_signals(&mut faults);
        let site = match Site::new(policy, self.plan_with_paths()) {
            Ok(site) => Some(site),
            Err(bad) => {
                faults.extend(bad.iter().map(ToString::to_string));
                None
            }
        };
        faults.extend(ReadingMap::new(&self.readings, &self.plan).err());
        faults.extend(self.reference_faults());
        faults.extend(self.sources.validate().err());
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let sources = source::faults(&self.source, reads_secrets);
        faults.extend(sources.iter().map(|error| text(error)));
        let signals = signal::faults(&self.signal, reads_secrets);
        faults.extend(signals.iter().map(|error| text(error)));
        let actuators = actuate::faults(&self.actuator, reads_secrets);
        faults.extend(actuators.iter().map(|error| text(error)));
        let channels = notify::faults(&self.channel, reads_secrets);
        faults.extend(channels.iter().map(|error| text(error)));
        if let Some(site) = &site {
            faults.extend(self.unknown_targets(site));
        }
        for source in &self.source {
            if source.site != self.plan.name {
                faults.push(format!(
                    "source {:?}: site is {:?}, and the plan's name is {:?}",
                    source.name, source.site, self.plan.name
                ));
            }
        }
        if let Some(nats) = &self.nats {
            faults.extend(
                nats.validate()
                    .err()
                    .map(|reason| format!("nats: {reason}")),
            );
        }
        match site {
            Some(site) if faults.is_empty() => Ok(site),
            _ => Err(ConfigError(faults)),
        }
    }

    /// The policy with a rule for every signal: one that it does not name is of its own class, and
    /// means what the defaults say.
    fn policy_with_signals(&self, faults: &mut Vec<String>) -> Policy {
        let mut policy = self.policy.clone();
        for signal in &self.signal {
            let rules = &mut policy.signals.sources;
            let rule = rules
                .entry(signal.name.clone())
                .or_insert_with(|| SignalRule {
                    class: signal.class,
                    period_s: signal.interval_s.unwrap_or(self.step_s).ceil() as u64,
                    ..SignalRule::default()
                });
            if rule.class != signal.class {
                faults.push(format!(
                    "policy.signals.sources.{}.class is {:?}, the signal's is {:?}; say the same",
                    signal.name, rule.class, signal.class
                ));
            }
        }
        policy
    }

    /// The plan with the ways by which the actuators reach machines and feeders: a way that only
    /// the plan knows, or only the actuators, would stop nothing.
    fn plan_with_paths(&self) -> SitePlan {
        let mut plan = self.plan.clone();
        let routes: Vec<(Target, CommandPath)> = self
            .actuator
            .iter()
            .flat_map(ActuatorConfig::routes)
            .collect();
        let paths = |wanted: &Target| -> Vec<CommandPath> {
            let found = routes.iter().filter(|(target, _)| target == wanted);
            found.map(|(_, path)| *path).collect()
        };
        for machine in &mut plan.machines {
            machine.take_paths(&paths(&Target::Machine(machine.name.clone())));
        }
        for feeder in &mut plan.feeders {
            feeder.has_contactor |= !paths(&Target::Feeder(feeder.name.clone())).is_empty();
        }
        plan
    }

    /// Controls of machines, fans and feeders that the plan does not have.
    fn unknown_targets(&self, site: &Site) -> Vec<String> {
        let mut faults = Vec::new();
        for actuator in &self.actuator {
            for target in actuator.targets() {
                let is_known = match &target {
                    Target::Machine(name) => site.machine(name).is_some(),
                    Target::Feeder(name) => site.feeder(name).is_some(),
                    Target::Fan(number) => usize::from(*number) <= site.plan.fans.len(),
                };
                if !is_known {
                    faults.push(format!(
                        "actuator {:?}: the plan has no {target:?}",
                        actuator.name
                    ));
                }
            }
        }
        faults
    }

    /// The token of whoever gives orders; empty where there is none.
    ///
    /// # Errors
    ///
    /// The file cannot be read, is open to others, or its token is too short.
    pub fn token(&self) -> Result<String, ConfigError> {
        let fail = |reason: String| ConfigError(vec![named("token_file", &reason)]);
        let env = Some("HEADFRAME_SITE_TOKEN").filter(|name| std::env::var_os(name).is_some());
        if env.is_none() && self.token_file.is_none() {
            return match self.listen.ip().is_loopback() {
                true => Ok(String::new()),
                false => Err(fail(format!(
                    "listen is {}, which others reach; name a file with a token",
                    self.listen
                ))),
            };
        }
        let file = self.token_file.as_deref().filter(|_| env.is_none());
        let secret = source::read_secret(env, file).map_err(fail)?;
        let token = secret.unwrap_or_default();
        match token.len() >= 16 {
            true => Ok(token),
            false => Err(fail("the token has fewer than 16 characters".to_owned())),
        }
    }
}
