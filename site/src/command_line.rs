//! The command line of the controller, as a program of its own and as `headframe site`.

mod check;
mod order;
mod report;
mod running;
mod source;
mod whatif;

use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use clap::{Args, Subcommand};
use headframe_ingest::source::SourceConfig;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::config::SiteConfig;
use crate::legacy_config::{self, LegacyConfig};
use crate::service::{CallTimes, Service};
pub use whatif::WhatIf;

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
    /// Write the report of a curtailment that is over, for the utility.
    Report(report::ReportArgs),
    /// Replay recorded curtailments under another policy, or prove that the journal replays.
    Whatif(WhatIf),
}

/// Where the configuration is.
#[derive(Debug, Args)]
pub struct ConfigFile {
    /// The configuration, TOML; or the config.txt of the controller before this one, as it is.
    #[arg(long, default_value = "site.toml", env = "HEADFRAME_SITE_CONFIG")]
    config: PathBuf,
    /// With a config.txt: a file of TOML with what it does not say, such as machines and the
    /// signal.
    #[arg(long)]
    add: Option<PathBuf>,
}

impl ConfigFile {
    fn load(&self) -> anyhow::Result<SiteConfig> {
        // What cannot be read is said by whoever wants its content.
        let text = std::fs::read_to_string(&self.config).unwrap_or_default();
        let unusable = "the configuration cannot be used";
        if !legacy_config::is_legacy(&text) {
            let config = self.config.display();
            ensure!(
                self.add.is_none(),
                "--add is for a config.txt; write it into {config}"
            );
            return SiteConfig::load(&self.config).context(unusable);
        }
        let loaded = legacy_config::load(&self.config, self.add.as_deref());
        let (config, warnings) = loaded.context(unusable)?;
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        Ok(config)
    }
}

/// How it runs.
#[derive(Debug, Args)]
pub struct Run {
    #[command(flatten)]
    config: ConfigFile,
    /// Read everything, decide, follow the commands, and end: for cron. The next call goes on.
    #[arg(long)]
    cron: bool,
    /// Seconds that --cron waits at most until everything is read.
    #[arg(long, default_value_t = 20)]
    cron_wait_s: u64,
    /// Seconds that --cron follows its commands at most, until they are proven.
    #[arg(long, default_value_t = 60)]
    cron_follow_s: u64,
}

/// What is converted.
#[derive(Debug, Args)]
pub struct Convert {
    /// The old file, config/config.txt.
    file: PathBuf,
    /// The site's name.
    #[arg(long, default_value = legacy_config::SITE)]
    site: String,
    /// The most that the site draws, in kilowatts.
    #[arg(long, default_value_t = legacy_config::DESIGN_KW)]
    design_kw: f64,
    /// The folder that its secrets are written into, a file of mode 0600 each.
    #[arg(long, default_value = "site-secrets")]
    secrets: PathBuf,
}

impl SiteCommand {
    /// Does it.
    pub async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Run(run) => Box::pin(run.run()).await,
            Self::Test(check) => check.run().await,
            Self::Convert(convert) => convert.run(),
            Self::EmergencyStop(stop) => stop.run().await,
            Self::Reset(reset) => reset.run().await,
            Self::Override(order) => order.run().await,
            Self::Status(status) => status.run().await,
            Self::Report(report) => report.run().await,
            Self::Whatif(whatif) => whatif.run().await,
        }
    }
}

impl Run {
    async fn run(self) -> anyhow::Result<()> {
        let config = self.config.load()?;
        for warning in config.warnings() {
            tracing::warn!("{warning}");
        }
        let service = match self.cron {
            true => Service::open_for_call(&config).await?,
            false => Service::open(&config).await?,
        };
        if let Some(address) = service.address() {
            tracing::info!(%address, site = config.plan.name, "the controller is set up");
        }
        let stop = CancellationToken::new();
        let times = CallTimes {
            read: std::time::Duration::from_secs(self.cron_wait_s),
            follow: std::time::Duration::from_secs(self.cron_follow_s),
        };
        let run = async {
            match self.cron {
                true => {
                    service.run_once(times, stop.clone()).await;
                    Ok(())
                }
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

/// Writes to where a command's answer goes. Whoever reads no further, as `head` does, misses
/// nothing that they wanted, and a command goes on to its end.
fn print_text(text: &str) {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .ok();
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
        let config = settings.site_config(&self.site, self.design_kw);
        let text = toml::to_string_pretty(&config)?;
        print_text(&with_suggestion(&text, &settings.sources));
        eprintln!("the plan has no machines yet: add [[plan.machines]], then try it with test");
        Ok(())
    }
}

/// The configuration with a line, commented out, that would make an IoTaWatt the meter of the site:
/// the old file does not say which of its circuits that is.
fn with_suggestion(text: &str, sources: &[SourceConfig]) -> String {
    let Some(meter) = sources.iter().find(|source| source.kind == "iotawatt") else {
        return text.to_owned();
    };
    let (name, address) = (&meter.name, &meter.address);
    let suggestion = format!(
        "[readings]\n# The circuit or output of the IoTaWatt that measures the whole site; \
         {address}/status?inputs=yes&outputs=yes\n# lists them, inputs as input-1 and so on. \
         Without a meter power is estimated.\n# site_meter = \"{name}/input-1\"\n"
    );
    text.replacen("[readings]\n", &suggestion, 1)
}
