//! `test`: everything that a controller needs, tried once. It switches nothing.

use std::sync::Arc;

use clap::Args;
use headframe_ingest::source::{ConfiguredSource, Exchange};

use super::ConfigFile;
use crate::actuate::Dispatcher;
use crate::clock::SiteClock;
use crate::config::SiteConfig;
use crate::notice::{Notice, Severity};
use crate::notify::Notifier;
use crate::request::SignalValue;
use crate::service::check_folder;
use crate::signal::ConfiguredSignal;

/// What is tried.
#[derive(Debug, Args)]
pub struct Check {
    #[command(flatten)]
    config: ConfigFile,
    /// Send a test notice by every channel, too.
    #[arg(long)]
    notify: bool,
}

/// What was found.
#[derive(Debug, Default)]
struct Report {
    faults: u32,
}

impl Report {
    fn add(&mut self, what: &str, found: Result<String, String>) {
        match found {
            Ok(said) => println!("ok    {what}: {said}"),
            Err(reason) => {
                self.faults += 1;
                println!("FAULT {what}: {reason}");
            }
        }
    }
}

impl Check {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let config = self.config.load()?;
        let site = config.check(true)?;
        let machines = site.plan.machines.len();
        println!(
            "ok    configuration: {machines} machines, policy {}",
            site.policy_version
        );
        let mut report = Report::default();
        report.add("token", token(&config));
        let folder = check_folder(&config.data_dir);
        report.add(
            "data_dir",
            folder.map(|()| config.data_dir.display().to_string()),
        );
        let exchange = Exchange::new().map_err(anyhow::Error::msg)?;
        let clock = SiteClock::starting_after(None);
        signals(&config, &exchange, clock, &mut report).await?;
        devices(&config, &exchange, &mut report).await?;
        relays(&config, &exchange, clock, &mut report).await?;
        if self.notify {
            channels(&config, exchange, clock, &mut report).await?;
        }
        match report.faults {
            0 => Ok(()),
            faults => anyhow::bail!("{faults} faults; each is named above"),
        }
    }
}

fn token(config: &SiteConfig) -> Result<String, String> {
    let token = config.token().map_err(|error| error.to_string())?;
    Ok(match token.is_empty() {
        true => "none: only programs of this machine read, and nobody gives orders but the \
                 emergency stop"
            .to_owned(),
        false => "there".to_owned(),
    })
}

async fn signals(
    config: &SiteConfig,
    exchange: &Exchange,
    clock: SiteClock,
    report: &mut Report,
) -> anyhow::Result<()> {
    for entry in &config.signal {
        let site = &config.plan.name;
        let signal = ConfiguredSignal::new(entry.clone(), site, exchange.clone())?;
        let reading = signal.read(clock.now()).await;
        let found = match reading.value {
            SignalValue::Known(requests) => Ok(format!("{requests:?}")),
            SignalValue::Unknown(reason) => Err(reason),
        };
        report.add(&format!("signal {}", entry.name), found);
    }
    Ok(())
}

async fn devices(
    config: &SiteConfig,
    exchange: &Exchange,
    report: &mut Report,
) -> anyhow::Result<()> {
    for entry in &config.source {
        let source = ConfiguredSource::new(entry.clone(), &config.sources)?;
        let polled = tokio::time::timeout(entry.timeout(), exchange.ask(&source)).await;
        let found = match polled {
            Err(_) => Err(format!("no answer within {} s", entry.timeout_s)),
            Ok(Err(failure)) => Err(failure.to_string()),
            Ok(Ok(answers)) => source
                .read(&answers)
                .map(|readings| format!("{} readings", readings.values.len())),
        };
        report.add(&format!("source {}", entry.name), found);
    }
    Ok(())
}

async fn relays(
    config: &SiteConfig,
    exchange: &Exchange,
    clock: SiteClock,
    report: &mut Report,
) -> anyhow::Result<()> {
    let time = Arc::new(move || clock.now());
    let dispatcher = Dispatcher::new(&config.actuator, exchange.clone(), time)
        .map_err(|faults| anyhow::anyhow!("{faults:?}"))?;
    for target in dispatcher.targets() {
        for path in dispatcher.paths(&target) {
            let read = dispatcher.read_back(&target, path).await;
            let found = read
                .map(|read| format!("{read:?}"))
                .map_err(|error| error.to_string());
            report.add(&format!("{target:?} by {path:?}"), found);
        }
    }
    Ok(())
}

async fn channels(
    config: &SiteConfig,
    exchange: Exchange,
    clock: SiteClock,
    report: &mut Report,
) -> anyhow::Result<()> {
    let (attempts, _taken) = tokio::sync::mpsc::channel(1);
    let mut tasks = tokio::task::JoinSet::new();
    let (site, time) = (&config.plan.name, Arc::new(move || clock.now()));
    let notifier = Notifier::start(&config.channel, site, exchange, time, attempts, &mut tasks)
        .map_err(|faults| anyhow::anyhow!("{faults:?}"))?;
    let notice = Notice {
        id: 0,
        severity: Severity::Info,
        topic: "test".to_owned(),
        title: format!("Test of the controller of {site}"),
        text: "Somebody tests whether notices arrive. Nothing is wrong.".to_owned(),
        at: clock.now(),
    };
    for name in notifier.channels() {
        let sent = notifier.try_channel(name, &notice).await;
        report.add(&format!("channel {name}"), sent);
    }
    Ok(())
}
