//! `test`: everything that a controller needs, tried once. It switches nothing.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use headframe_ingest::source::{ConfiguredSource, Exchange, Readings, Standing};
use headframe_ingest::{Nats, NatsConfig};

use super::{ConfigFile, print_text};
use crate::actuate::Dispatcher;
use crate::clock::SiteClock;
use crate::config::SiteConfig;
use crate::notice::{Notice, Severity};
use crate::notify::Notifier;
use crate::request::SignalValue;
use crate::service::check_folder;
use crate::shown_text::{plain, plain_lines};
use crate::signal::ConfiguredSignal;

/// How long NATS may take to answer.
const NATS_PATIENCE: Duration = Duration::from_secs(10);

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
            Ok(said) => print_text(&format!("ok    {what}: {}\n", plain(&said))),
            Err(reason) => {
                self.faults += 1;
                print_text(&format!("FAULT {what}: {}\n", plain_lines(&reason)));
            }
        }
    }
}

impl Check {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let config = self.config.load()?;
        let site = config.check(true)?;
        let machines = site.plan.machines.len();
        print_text(&format!(
            "ok    configuration: {machines} machines, policy {}\n",
            site.policy_version
        ));
        for warning in config.warnings() {
            print_text(&format!("WARN  {warning}\n"));
        }
        let mut report = Report::default();
        report.add("token", token(&config));
        let folder = check_folder(&config.data_dir);
        report.add(
            "data_dir",
            folder.map(|()| config.data_dir.display().to_string()),
        );
        if let Some(config) = &config.nats {
            report.add("nats", nats(config).await);
        }
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

/// Without it the controller works on, and its facts wait in the journal.
async fn nats(config: &NatsConfig) -> Result<String, String> {
    let request = tokio::time::timeout(NATS_PATIENCE, async {
        let nats = Nats::connect(config)
            .await
            .map_err(|error| format!("{:#}", anyhow::Error::from(error)))?;
        let account = nats.js.query_account().await;
        account.map_err(|error| format!("{}: JetStream does not answer: {error}", config.url))
    });
    match request.await {
        Ok(answer) => answer.map(|_| format!("{}, with JetStream", config.url)),
        Err(_) => Err(format!(
            "{}: no answer within {NATS_PATIENCE:?}",
            config.url
        )),
    }
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
            Ok(Ok(answers)) => source.read(&answers).and_then(shown),
        };
        report.add(&format!("source {}", entry.name), found);
    }
    Ok(())
}

fn shown(readings: Readings) -> Result<String, String> {
    match readings.standing {
        Standing::New => Ok(format!("{} readings", readings.values.len())),
        // What publishes may do so later.
        Standing::Unchanged(reason) => Ok(format!("it answers, but {reason}")),
        Standing::Offline(reason) => Err(reason),
    }
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
