//! One call of a loop of somebody else, such as cron: everything is read, a decision is taken, and
//! what came of it is followed until it is proven or the time is over.
//!
//! The site's state and its timers go on from call to call, as between two steps of the loop.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, timeout};
use tokio_util::sync::CancellationToken;

use super::Service;
use crate::command::Progress;
use crate::config::SiteConfig;
use crate::control::power::PowerRegion;
use crate::control::{Observation, Site};
use crate::controller::Controller;
use crate::inbox::Inbox;
use crate::notify::Notifier;
use crate::start::StartKind;
use crate::status::Status;

/// Between two looks at what came in.
const LOOK: Duration = Duration::from_millis(50);
/// The least between two steps.
const LEAST_PAUSE: Duration = Duration::from_millis(200);
/// How long the commands of the last step may take to be answered, and its facts to be sent.
const CLOSING: Duration = Duration::from_secs(5);

/// How long a call may take.
#[derive(Debug, Clone, Copy)]
pub struct CallTimes {
    /// Until everything is read.
    pub read: Duration,
    /// Until what was decided is proven, and people are told.
    pub follow: Duration,
}

impl Service {
    /// Opens everything for a call: the site goes on as the last call left it, unless that was too
    /// long ago, or something of it is lost.
    ///
    /// # Errors
    ///
    /// As [`Service::open`].
    pub async fn open_for_call(config: &SiteConfig) -> anyhow::Result<Self> {
        Self::open_as(config, StartKind::GoesOn).await
    }

    /// Reads everything, decides, and follows what came of it. Devices stay as they are then.
    pub async fn run_once(self, times: CallTimes, stop: CancellationToken) {
        let call = Call {
            site: self.controller.site().clone(),
            signals: self.signals.names(),
            inbox: self.inbox.clone(),
            notifier: self.notifier.clone(),
            status: self.controller.status(),
            pause: self.signal_pause,
            stop: stop.clone(),
        };
        let (mut controller, mut tasks) = self.start(stop.clone()).await;
        call.wait(times.read, |observation| {
            is_all_read(&call.site, &call.signals, observation)
        })
        .await;
        call.follow(&mut controller, times.follow).await;
        call.close(&controller).await;
        stop.cancel();
        tasks.shutdown().await;
    }
}

/// What a call looks at.
struct Call {
    site: std::sync::Arc<Site>,
    signals: Vec<String>,
    inbox: std::sync::Arc<Inbox>,
    notifier: Notifier,
    status: watch::Receiver<Option<std::sync::Arc<Status>>>,
    pause: Duration,
    stop: CancellationToken,
}

impl Call {
    /// Waits until what came in since the last step is enough, at most so long.
    async fn wait(&self, within: Duration, is_enough: impl Fn(&Observation) -> bool) {
        let deadline = Instant::now() + within;
        while Instant::now() < deadline && !self.inbox.inspect(&is_enough) {
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = self.stop.cancelled() => return,
            }
        }
    }

    /// Takes steps until nothing is under way any more, at most so long; at least one.
    async fn follow(&self, controller: &mut Controller, within: Duration) {
        let deadline = Instant::now() + within;
        let first_notice = controller.next_notice();
        let mut ticks = tokio::time::interval(self.pause);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !self.stop.is_cancelled() {
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.inbox.urgent() => {}
                () = self.stop.cancelled() => return,
            }
            // What channels say of the notices of earlier steps is part of this one.
            let given = controller.next_notice() - first_notice;
            let is_said = self.notifier.taken() >= given && self.notifier.is_idle();
            controller.step().await;
            let is_settled = self.status.borrow().as_deref().is_some_and(is_settled);
            if is_settled && is_said && controller.next_notice() - first_notice == given
                || Instant::now() >= deadline
            {
                return;
            }
            tokio::time::sleep(LEAST_PAUSE).await;
        }
    }

    /// Waits for the answers to the commands of the last step, and until facts are sent.
    async fn close(&self, controller: &Controller) {
        let status = self.status.borrow().clone();
        let commands = status.map(|status| status.decision.commands.clone());
        let commands = commands.unwrap_or_default();
        self.wait(CLOSING, |observation| {
            let reports = &observation.reports;
            let is_answered = |id: &u64| {
                let mut own = reports.iter().filter(|one| one.command == *id);
                own.any(|one| one.progress != Progress::Sent)
            };
            commands.iter().all(is_answered)
        })
        .await;
        // Facts that wait are sent by the next call.
        let _late = timeout(CLOSING, controller.forwarded()).await;
    }
}

/// Every signal, meter, sensor, input and machine was read.
fn is_all_read(site: &Site, signals: &[String], observation: &Observation) -> bool {
    let plan = &site.plan;
    let has_signal = |name: &String| observation.signals.iter().any(|one| one.source == *name);
    let has_sensor = |name: &String| {
        observation
            .temperatures
            .iter()
            .any(|one| one.sensor == *name)
    };
    let has_input = |name: &String| observation.interlocks.iter().any(|one| one.input == *name);
    let mut machines: Vec<u32> = observation.machines.iter().map(|one| one.machine).collect();
    machines.sort_unstable();
    machines.dedup();
    signals.iter().all(has_signal)
        && (observation.site_meter.is_some() || !plan.has_site_meter)
        && plan.container_sensors.iter().all(has_sensor)
        && plan.interlocks.iter().all(has_input)
        && machines.len() == plan.machines.len()
}

/// Nothing is under way that a further step would bring on soon.
fn is_settled(status: &Status) -> bool {
    use PowerRegion as R;
    let (memory, decision) = (&status.memory, &status.decision);
    let is_at_rest = !matches!(decision.after.power, R::Boot | R::Curtailing | R::Restoring);
    let signals = &status.site.policy.signals;
    is_at_rest
        && decision.before.power == decision.after.power
        && decision.commands.is_empty()
        && memory.commands.open().next().is_none()
        && !memory.state.requests.is_any_doubtful(signals, status.at)
}
