//! A running controller: the loop, with everything that feeds it and everything that it feeds.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use headframe_ingest::source::{Exchange, Poller};
use headframe_ingest::{Nats, Publisher, PublisherConfig};
use headframe_query_front::connection;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::actuate::{Clock, Dispatcher};
use crate::clock::SiteClock;
use crate::command::{Command, Path as CommandPath, Progress, Target};
use crate::config::SiteConfig;
use crate::control::Site;
use crate::control::observation::FanReading;
use crate::controller::{Controller, OutputQueues, Troubles};
use crate::entry::{Delivery, StepEntry};
use crate::facts;
use crate::forward::{ForwardState, Forwarder};
use crate::inbox::{DeviceSink, Inbox};
use crate::notice::{Notice, NoticeEvent};
use crate::notify::{Attempt, AttemptOutcome, Notifier};
use crate::observe::ReadingMap;
use crate::rest::{self, Routes};
use crate::start::{self, StartKind};
use crate::watchdog::Watchdog;
use signals::Signals;

mod dashboard_file;
mod once;
mod signals;
mod supervise;
mod usage;

pub use once::CallTimes;

/// Steps whose commands may wait for their devices.
const COMMANDS: usize = 64;
/// Notices that may wait for their channels.
const NOTICES: usize = 1_024;
/// Notices whose deliveries are followed.
const FOLLOWED: usize = 1_000;
/// Between two looks at timers in devices that must not run out.
const REFRESH: Duration = Duration::from_secs(5);

/// A controller that was set up, and waits to be run.
pub struct Service {
    controller: Controller,
    listener: Option<TcpListener>,
    router: axum::Router,
    poller: Option<Poller<DeviceSink>>,
    signals: Arc<Signals>,
    signal_pause: Duration,
    dispatcher: Dispatcher,
    commands: mpsc::Receiver<Vec<Command>>,
    notices: mpsc::Receiver<NoticeEvent>,
    attempts: mpsc::Receiver<Attempt>,
    notifier: Notifier,
    troubles: watch::Sender<Troubles>,
    forwarder: Option<Forwarder<StepEntry>>,
    inbox: Arc<Inbox>,
    clock: SiteClock,
    dashboard_file: Option<PathBuf>,
    tasks: JoinSet<()>,
}

impl Service {
    /// Opens the journal, binds the address and connects everything; nothing is sent yet.
    pub async fn open(config: &SiteConfig) -> anyhow::Result<Self> {
        Self::open_as(config, StartKind::Anew).await
    }

    async fn open_as(config: &SiteConfig, kind: StartKind) -> anyhow::Result<Self> {
        let site = Arc::new(config.check(true)?);
        let token = config.token()?;
        let opened = start::from_config(config, &site, kind).await?;
        let clock = opened.clock;
        let listener = TcpListener::bind(config.listen)
            .await
            .map_err(|error| anyhow::anyhow!("listen {}: {error}", config.listen))?;
        let map = ReadingMap::new(&config.readings, &config.plan).map_err(anyhow::Error::msg)?;
        let inbox = Arc::new(Inbox::new(map, clock));
        let exchange = Exchange::new().map_err(anyhow::Error::msg)?;
        let time: Clock = Arc::new(move || clock.now());
        let dispatcher = Dispatcher::new(&config.actuator, exchange.clone(), time.clone())
            .map_err(|faults| anyhow::anyhow!(joined(&faults)))?;
        let (command_sender, commands) = mpsc::channel(COMMANDS);
        let (notice_sender, notices) = mpsc::channel(NOTICES);
        let (attempt_sender, attempts) = mpsc::channel(NOTICES);
        let mut tasks = JoinSet::new();
        let name = &site.plan.name;
        let notifier = Notifier::start(
            &config.channel,
            name,
            exchange.clone(),
            time,
            attempt_sender,
            &mut tasks,
        )
        .map_err(|faults| anyhow::anyhow!(joined(&faults)))?;
        let signals = Signals::open(config, &exchange, clock, &inbox)?;
        signals.restore(&opened.signals);
        let poller = poller(config, &inbox)?;
        let (troubles, troubles_seen) = watch::channel(Troubles::default());
        let outlets = OutputQueues {
            commands: command_sender,
            notices: notice_sender,
        };
        let loop_time = Duration::from_secs_f64(config.step_s);
        let mut controller = Controller::new(
            site.clone(),
            opened,
            inbox.clone(),
            outlets,
            troubles_seen,
            loop_time,
        );
        controller.keep_events(&config.data_dir);
        let forwarder = forwarder(config, &controller).await?;
        let forwarder = forwarder.map(|(forwarder, state)| {
            controller.show_forwarding(state);
            forwarder
        });
        let routes = routes(config, &site, &controller, &inbox, &signals, clock);
        Ok(Self {
            router: rest::router(routes, &token),
            controller,
            listener: Some(listener),
            poller,
            signals,
            signal_pause: loop_time,
            dispatcher,
            commands,
            notices,
            attempts,
            notifier,
            troubles,
            forwarder,
            inbox,
            clock,
            dashboard_file: config.dashboard_file.clone(),
            tasks,
        })
    }

    /// Where routes and pages are.
    pub fn address(&self) -> Option<SocketAddr> {
        self.listener.as_ref()?.local_addr().ok()
    }

    /// Runs until it is stopped. Nothing is switched when it ends: devices stay as they are.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let (controller, mut tasks) = self.start(stop.clone()).await;
        controller.run(Watchdog::from_environment(), stop).await;
        tasks.shutdown().await;
        Ok(())
    }

    /// Starts everything but the loop.
    async fn start(self, stop: CancellationToken) -> (Controller, JoinSet<()>) {
        let Self {
            controller,
            listener,
            router,
            poller,
            signals,
            signal_pause,
            dispatcher,
            commands,
            notices,
            attempts,
            notifier,
            troubles,
            forwarder,
            inbox,
            clock,
            dashboard_file,
            mut tasks,
        } = self;
        read_back(&dispatcher, &inbox, clock).await;
        if let Some(poller) = poller {
            tasks.spawn(poller.run(stop.clone()));
        }
        if let Some(forwarder) = forwarder {
            tasks.spawn(forwarder.run(controller.newest(), stop.clone()));
        }
        signals.watch_all(signal_pause, &mut tasks);
        if let Some(file) = dashboard_file {
            let status = controller.status();
            tasks.spawn(dashboard_file::write_each_step(file, clock, status));
        }
        usage::start(&signals, &controller.status(), &mut tasks);
        supervise::start(&controller, &inbox, clock, &mut tasks);
        let (seen, said) = (inbox.clone(), troubles.clone());
        tasks.spawn(carry_out(dispatcher.clone(), commands, seen, said));
        tasks.spawn(async move {
            let mut ticks = tokio::time::interval(REFRESH);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                for (target, reason) in dispatcher.refresh().await {
                    tracing::warn!(?target, reason, "a timer in a device was not wound up");
                }
            }
        });
        tasks.spawn(notify(notifier, notices, attempts, inbox, troubles));
        if let Some(listener) = listener {
            let stopped = stop.clone();
            tasks.spawn(async move {
                let settings = rest::connections();
                connection::serve(listener, router, settings, None, stopped).await;
            });
        }
        (controller, tasks)
    }
}

fn poller(config: &SiteConfig, inbox: &Arc<Inbox>) -> anyhow::Result<Option<Poller<DeviceSink>>> {
    if config.source.is_empty() {
        return Ok(None);
    }
    let sink = DeviceSink(inbox.clone());
    Ok(Some(Poller::new(sink, &config.sources, &config.source)?))
}

fn joined<E: std::fmt::Display>(faults: &[E]) -> String {
    let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
    faults.join("\n")
}

fn routes(
    config: &SiteConfig,
    site: &Arc<Site>,
    controller: &Controller,
    inbox: &Arc<Inbox>,
    signals: &Arc<Signals>,
    clock: SiteClock,
) -> Routes {
    Routes {
        site: site.clone(),
        inbox: inbox.clone(),
        status: controller.status(),
        journal: controller.reader(),
        clock,
        signals: signals.clone(),
        is_debug_on: config.debug,
    }
}

type Forwarding = (Forwarder<StepEntry>, watch::Receiver<ForwardState>);

async fn forwarder(
    config: &SiteConfig,
    controller: &Controller,
) -> anyhow::Result<Option<Forwarding>> {
    let Some(wanted) = &config.nats else {
        return Ok(None);
    };
    let nats = Nats::connect_in_background(wanted).await?;
    let publisher = Publisher::new(nats.clone(), "site", PublisherConfig::default());
    let cursor = config.data_dir.join("sent.json");
    let (reader, name) = (controller.reader(), &config.plan.name);
    Ok(Some(Forwarder::new(
        reader,
        nats,
        publisher,
        name,
        cursor,
        facts::rows,
    )))
}

/// Reads the relays of fans and feeders before the first step: what is so is not asserted anew.
async fn read_back(dispatcher: &Dispatcher, inbox: &Inbox, clock: SiteClock) {
    let fans = dispatcher
        .targets()
        .into_iter()
        .filter_map(|target| match target {
            Target::Fan(fan) => Some((fan, target)),
            Target::Machine(_) | Target::Feeder(_) => None,
        });
    let reads = fans.map(|(fan, target)| async move {
        let path = dispatcher.paths(&target).first().copied()?;
        match dispatcher.read_back(&target, path).await {
            Ok(read) => Some(FanReading {
                fan,
                is_on: read.is_on,
                watts: read.power_w,
                at: clock.now(),
            }),
            Err(error) => {
                tracing::warn!(fan, %error, "a fan's relay cannot be read back");
                None
            }
        }
    });
    for reading in futures::future::join_all(reads).await.into_iter().flatten() {
        inbox.fan(reading);
    }
}

/// Hands commands to devices, and their reports to the inbox.
async fn carry_out(
    dispatcher: Dispatcher,
    mut commands: mpsc::Receiver<Vec<Command>>,
    inbox: Arc<Inbox>,
    troubles: watch::Sender<Troubles>,
) {
    // Commands that Foreman has, and its troubles.
    let mut at_foreman: BTreeSet<u64> = BTreeSet::new();
    let (reports, mut reported) = mpsc::channel(COMMANDS);
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            next = commands.recv() => match next {
                Some(commands) => {
                    let foreman = commands.iter().filter(|one| one.path == CommandPath::Foreman);
                    at_foreman.extend(foreman.map(|one| one.id));
                    dispatcher.start(commands, &reports, &mut tasks);
                }
                None => return,
            },
            Some(report) = reported.recv() => {
                let is_over = report.progress != Progress::Sent;
                if is_over && at_foreman.remove(&report.command) {
                    troubles.send_modify(|troubles| troubles.note_foreman(&report.progress));
                }
                inbox.report(report);
            }
            Some(_) = tasks.join_next() => {}
        }
    }
}

/// Hands notices to channels, and what became of them to the inbox.
async fn notify(
    notifier: Notifier,
    mut notices: mpsc::Receiver<NoticeEvent>,
    mut attempts: mpsc::Receiver<Attempt>,
    inbox: Arc<Inbox>,
    troubles: watch::Sender<Troubles>,
) {
    let mut followed: BTreeMap<u64, Notice> = BTreeMap::new();
    let mut tries: BTreeMap<(u64, String), u32> = BTreeMap::new();
    loop {
        tokio::select! {
            notice = notices.recv() => {
                let notice = match notice {
                    None => return,
                    Some(NoticeEvent::Raised(notice)) => notice,
                    Some(NoticeEvent::Acknowledged { topic, notice }) => {
                        notifier.settle(&topic, notice);
                        continue;
                    }
                };
                let short = Notice { text: String::new(), ..notice.clone() };
                followed.insert(notice.id, short);
                while followed.len() > FOLLOWED {
                    followed.pop_first();
                }
                notifier.notify(notice);
            }
            Some(attempt) = attempts.recv() => {
                let number = tries.entry((attempt.notice, attempt.channel.clone())).or_default();
                *number += 1;
                let number = *number;
                let oldest = followed.first_key_value().map_or(0, |(id, _)| *id);
                tries.retain(|(notice, _), _| *notice >= oldest);
                let (outcome, trouble) = match attempt.outcome {
                    AttemptOutcome::Delivered(receipt) => {
                        // That nobody acknowledges it is the decision's to say again.
                        notifier.acknowledge(attempt.notice);
                        (Ok(Some(receipt)), None)
                    }
                    AttemptOutcome::Failed { reason, .. } => {
                        let said = format!("{}: {reason}", attempt.channel);
                        (Err(reason), Some(said))
                    }
                    AttemptOutcome::Dropped => {
                        let said = format!("{} has too many notices waiting", attempt.channel);
                        (Err("too many wait".to_owned()), Some(said))
                    }
                };
                troubles.send_modify(|troubles| troubles.notifier = trouble);
                if let Some(notice) = followed.get(&attempt.notice) {
                    inbox.delivery(Delivery {
                        notice: notice.clone(),
                        channel: Some(attempt.channel),
                        attempt: Some(number),
                        at: attempt.at,
                        outcome,
                    });
                }
            }
        }
    }
}

/// Whether a folder can be written: the answer of `headframe-site test`.
pub fn check_folder(folder: &Path) -> Result<(), String> {
    let probe = folder.join(".probe");
    let checked = std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(&probe, b"ok"))
        .and_then(|()| std::fs::remove_file(&probe));
    checked.map_err(|error| format!("{}: {error}", folder.display()))
}
