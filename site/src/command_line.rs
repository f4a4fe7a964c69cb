//! The command line of the controller, as a program of its own and as `headframe site`.

mod check;
mod order;

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::config::SiteConfig;
use crate::legacy_config::LegacyConfig;
use crate::service::Service;

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum SiteCommand {
    /// Control the site until Ctrl-C or SIGTERM; devices stay as they are then.
    Run(Run),
    /// Read the configuration, every signal, device and relay once, and say what is wrong.
    Test(check::Check),
    /// Print what an old config.txt says as a configuration of this controller.
    Convert(Convert),
    /// Everything off, now, at the running controller.
    EmergencyStop(order::Stop),
    /// End a trip at the running controller, after its cause was looked at.
    Reset(order::Reset),
    /// Let the site draw at most so much for a time.
    Override(order::Override),
    /// Say what the running controller does, and why.
    Status(order::Status),
}

/// Where the configuration is.
#[derive(Debug, Args)]
pub struct ConfigFile {
    /// The configuration, TOML.
    #[arg(long, default_value = "site.toml", env = "HEADFRAME_SITE_CONFIG")]
    config: PathBuf,
}

impl ConfigFile {
    fn load(&self) -> anyhow::Result<SiteConfig> {
        SiteConfig::load(&self.config).context("the configuration cannot be used")
    }
}

/// How it runs.
#[derive(Debug, Args)]
pub struct Run {
    #[command(flatten)]
    config: ConfigFile,
    /// Take one step on fresh readings, wait for its commands, and end: for cron.
    #[arg(long)]
    cron: bool,
    /// Seconds that --cron waits for readings before its step, and for commands after it.
    #[arg(long, default_value_t = 20)]
    cron_wait_s: u64,
}

/// What is converted.
#[derive(Debug, Args)]
pub struct Convert {
    /// The old file, config/config.txt.
    file: PathBuf,
    /// The site's name.
    #[arg(long, default_value = "site")]
    site: String,
    /// The most that the site draws, in kilowatts.
    #[arg(long, default_value_t = 1000.0)]
    design_kw: f64,
    /// The folder that its secrets are written into, a file of mode 0600 each.
    #[arg(long, default_value = "site-secrets")]
    secrets: PathBuf,
}

impl SiteCommand {
    /// Does it.
    pub async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Run(run) => run.run().await,
            Self::Test(check) => check.run().await,
            Self::Convert(convert) => convert.run(),
            Self::EmergencyStop(stop) => stop.run().await,
            Self::Reset(reset) => reset.run().await,
            Self::Override(order) => order.run().await,
            Self::Status(status) => status.run().await,
        }
    }
}

impl Run {
    async fn run(self) -> anyhow::Result<()> {
        let config = self.config.load()?;
        let service = Service::open(&config).await?;
        if let Some(address) = service.address() {
            tracing::info!(%address, site = config.plan.name, "the controller is set up");
        }
        let stop = CancellationToken::new();
        let wait = std::time::Duration::from_secs(self.cron_wait_s);
        let run = async {
            match self.cron {
                true => service.run_once(wait, stop.clone()).await,
                false => service.run(stop.clone()).await,
            }
        };
        tokio::select! {
            ended = run => ended,
            never = stop_at_signal(stop.clone()) => never,
        }
    }
}

/// Cancels at SIGTERM and SIGINT; never ends well, since the loop does.
async fn stop_at_signal(stop: CancellationToken) -> anyhow::Result<()> {
    let mut terminated = signal(SignalKind::terminate())?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminated.recv() => tracing::info!("SIGTERM: the controller ends"),
        _ = interrupted.recv() => tracing::info!("Ctrl-C: the controller ends"),
    }
    stop.cancel();
    std::future::pending().await
}

impl Convert {
    fn run(self) -> anyhow::Result<()> {
        let fail = |errors: Vec<crate::legacy_config::LegacyError>| {
            let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
            anyhow::anyhow!("{}: {}", self.file.display(), errors.join("\n"))
        };
        let old = LegacyConfig::read(&self.file).map_err(fail)?;
        let settings = old.settings(&self.site, &self.secrets).map_err(fail)?;
        for warning in &settings.warnings {
            eprintln!("warning: {warning}");
        }
        let fans: Vec<Value> = match settings.actuators.is_empty() {
            true => Vec::new(),
            false => vec![json!({"watts": 900.0}); 9],
        };
        let sensors: Vec<&str> = settings
            .sources
            .iter()
            .filter(|source| source.kind == "roomalert")
            .map(|source| source.name.as_str())
            .collect();
        let temperature = sensors
            .iter()
            .map(|name| json!({"reading": name, "kind": "container"}));
        let config = json!({
            "policy": {
                "health": {"loop_s": 5},
                "thermal": {"hot_c": settings.max_temp_celsius,
                    "cold_c": settings.min_temp_celsius, "humid_pct": settings.max_humidity},
            },
            "plan": {"name": self.site, "design_kw": self.design_kw, "machines": [],
                "fans": fans, "container_sensors": sensors},
            "readings": {"temperature": temperature.collect::<Vec<_>>(), "humidity": sensors},
            "source": settings.sources,
            "actuator": settings.actuators,
            "channel": settings.channels,
        });
        let config = without_nothing(config);
        print!("{}", toml::to_string_pretty(&config)?);
        eprintln!("the plan has no machines yet: add [[plan.machines]], then try it with test");
        Ok(())
    }
}

/// TOML has no null.
fn without_nothing(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(
                kept.map(|(key, value)| (key, without_nothing(value)))
                    .collect(),
            )
        }
        Value::Array(all) => Value::Array(all.into_iter().map(without_nothing).collect()),
        value => value,
    }
}
