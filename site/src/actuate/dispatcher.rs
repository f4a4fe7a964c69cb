//! Carries commands out: a bounded number at a time, those to one device, or to one machine behind
//! a service, one after the other, each with the timeout and the retries of its kind; a newer
//! command to the same target by the same way ends an older one that is still being tried.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::{StreamExt, stream};
use headframe_ingest::source::{Credentials, Exchange, Failure};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use super::config::{ActuatorConfig, ActuatorError, Control};
use super::{ActuateFailure, Actuator, Link, Outcome, ReadBack};
use crate::command::{Action, Command, CommandReport, Path, Progress, Target};
use crate::moment::Moment;

/// Devices that are spoken to at the same time.
const MOST_AT_A_TIME: usize = 64;
/// Bytes of an answer of any device.
const MOST_BODY_BYTES: usize = 256 * 1024;

/// Says what time it is.
pub type Clock = Arc<dyn Fn() -> Moment + Send + Sync>;

/// One device.
struct Device {
    actuator: Box<dyn Actuator>,
    credentials: Credentials,
    timeout: Duration,
    retries: &'static [Duration],
}

/// A target by one way.
struct Route {
    device: Arc<Device>,
    control: Control,
    /// Small devices have few connections: all targets of one share its turn.
    turn: Arc<tokio::sync::Mutex<()>>,
    state: Mutex<RouteState>,
}

#[derive(Default)]
struct RouteState {
    /// The newest command.
    newest: Option<u64>,
    /// What it was last brought to, and when.
    last: Option<(Action, Moment)>,
}

struct Shared {
    routes: BTreeMap<(Target, Path), Route>,
    exchange: Exchange,
    permits: Semaphore,
    clock: Clock,
}

/// Carries commands out.
#[derive(Clone)]
pub struct Dispatcher(Arc<Shared>);

impl Dispatcher {
    /// Reads keys and secrets; connects to nothing yet.
    pub fn new(
        entries: &[ActuatorConfig],
        exchange: Exchange,
        clock: Clock,
    ) -> Result<Self, Vec<ActuatorError>> {
        let faults = super::faults(entries, true);
        if !faults.is_empty() {
            return Err(faults);
        }
        let mut routes = BTreeMap::new();
        for entry in entries {
            add_routes(entry, &mut routes).map_err(|reason| vec![entry.error(reason)])?;
        }
        Ok(Self(Arc::new(Shared {
            routes,
            exchange,
            permits: Semaphore::new(MOST_AT_A_TIME),
            clock,
        })))
    }

    /// The ways that lead to a target, in the order in which they are tried.
    pub fn paths(&self, target: &Target) -> Vec<Path> {
        let all = self.0.routes.keys();
        let found = all.filter(|(one, _)| one == target);
        found.map(|(_, path)| *path).collect()
    }

    /// Everything that can be told something.
    pub fn targets(&self) -> Vec<Target> {
        let mut targets: Vec<Target> = self.0.routes.keys().map(|(one, _)| one.clone()).collect();
        targets.dedup();
        targets
    }

    /// Carries one command out; the report is its last.
    pub async fn apply(&self, command: &Command) -> CommandReport {
        self.apply_and_report(command, None).await
    }

    async fn apply_and_report(
        &self,
        command: &Command,
        reports: Option<&mpsc::Sender<CommandReport>>,
    ) -> CommandReport {
        let progress = match self.route(&command.target, command.path) {
            Some(route) => self.0.carry_out(route, command, reports).await,
            None => {
                let (target, path) = (&command.target, command.path);
                Progress::Failed(format!("no actuator controls {target:?} by {path:?}"))
            }
        };
        CommandReport {
            command: command.id,
            progress,
            at: (self.0.clock)(),
        }
    }

    /// Starts all of these; each reports [`Progress::Sent`] when its turn comes and its end then.
    pub fn start(
        &self,
        commands: Vec<Command>,
        reports: &mpsc::Sender<CommandReport>,
        tasks: &mut JoinSet<()>,
    ) {
        for command in &commands {
            if let Some(route) = self.route(&command.target, command.path) {
                route.announce(command.id);
            }
        }
        for command in commands {
            let (dispatcher, reports) = (self.clone(), reports.clone());
            tasks.spawn(async move {
                let report = dispatcher.apply_and_report(&command, Some(&reports)).await;
                // Nobody listens while the controller stops.
                reports.send(report).await.ok();
            });
        }
    }

    /// What a target is by this way, as the device says.
    pub async fn read_back(&self, target: &Target, path: Path) -> Result<ReadBack, ActuateFailure> {
        let route = self.route(target, path).ok_or_else(|| {
            ActuateFailure::Unsupported(format!("no actuator controls {target:?} by {path:?}"))
        })?;
        let device = &route.device;
        let _turn = route.turn.lock().await;
        let _permit = self.0.permits.acquire().await;
        let link = self.0.link(device);
        let read = device.actuator.read_back(&route.control, &link);
        let timeout = device.timeout;
        let read = tokio::time::timeout(timeout, read).await;
        read.unwrap_or(Err(Failure::Timeout(timeout).into()))
    }

    /// Sends again what keeps dead-man timers from running out; call it in every loop. Each is sent
    /// once a third of its time has passed. What could not be sent, and why.
    pub async fn refresh(&self) -> Vec<(Target, String)> {
        let refreshed = self.0.routes.iter().map(|((target, _), route)| async move {
            let action = route.due((self.0.clock)())?;
            let _turn = route.turn.lock().await;
            // A command may have come first.
            if route.due((self.0.clock)()) != Some(action) {
                return None;
            }
            match self.0.attempt(route, action).await {
                Ok(_) => {
                    route.done(action, (self.0.clock)());
                    None
                }
                Err(failure) => Some((target.clone(), failure.to_string())),
            }
        });
        let refreshed: Vec<_> = refreshed.collect();
        let mut refreshed = stream::iter(refreshed).buffer_unordered(MOST_AT_A_TIME);
        let mut failed = Vec::new();
        while let Some(failure) = refreshed.next().await {
            failed.extend(failure);
        }
        failed
    }

    fn route(&self, target: &Target, path: Path) -> Option<&Route> {
        self.0.routes.get(&(target.clone(), path))
    }
}

fn add_routes(
    entry: &ActuatorConfig,
    routes: &mut BTreeMap<(Target, Path), Route>,
) -> Result<(), String> {
    let kind = entry.kind_of_actuator()?;
    let timeout_s = entry.timeout_s.unwrap_or_else(|| kind.timeout_s());
    let device = Arc::new(Device {
        actuator: entry.actuator()?,
        credentials: entry.credentials()?,
        timeout: Duration::from_secs_f64(timeout_s),
        retries: kind.retries(),
    });
    let turn = Arc::<tokio::sync::Mutex<()>>::default();
    for control in entry.all_controls() {
        let target = control.target()?;
        let path = kind.path(&target);
        let route = Route {
            device: device.clone(),
            control,
            turn: match kind.is_one_at_a_time() {
                true => turn.clone(),
                false => Arc::default(),
            },
            state: Mutex::default(),
        };
        routes.insert((target, path), route);
    }
    Ok(())
}

impl Route {
    fn state(&self) -> MutexGuard<'_, RouteState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn announce(&self, command: u64) {
        let mut state = self.state();
        state.newest = state.newest.max(Some(command));
    }

    /// The command that came after this one.
    fn newer(&self, command: u64) -> Option<u64> {
        self.state().newest.filter(|newest| *newest > command)
    }

    fn done(&self, action: Action, at: Moment) {
        self.state().last = Some((action, at));
    }

    /// What must be sent again so that the timer in the device does not run out.
    fn due(&self, now: Moment) -> Option<Action> {
        let dead_man = self.control.dead_man?;
        let (action, at) = self.state().last?;
        let runs = match action {
            Action::On => !dead_man.rests_on,
            Action::Off => dead_man.rests_on,
            Action::Mode(_) | Action::LimitWatts(_) => false,
        };
        let third_ms = u64::from(dead_man.after_s) * 1_000 / 3;
        (runs && now.ms_since(at) >= third_ms).then_some(action)
    }
}

impl Shared {
    fn link<'a>(&'a self, device: &'a Device) -> Link<'a> {
        Link {
            exchange: &self.exchange,
            credentials: &device.credentials,
            most: MOST_BODY_BYTES,
        }
    }

    /// Tries a command until it is done, failed or followed by another. That its turn has come is
    /// reported.
    async fn carry_out(
        &self,
        route: &Route,
        command: &Command,
        mut reports: Option<&mpsc::Sender<CommandReport>>,
    ) -> Progress {
        route.announce(command.id);
        let mut pauses = route.device.retries.iter();
        loop {
            let result = {
                let _turn = route.turn.lock().await;
                if let Some(newer) = route.newer(command.id) {
                    return Progress::Superseded(newer);
                }
                if let Some(reports) = reports.take() {
                    let sent = CommandReport {
                        command: command.id,
                        progress: Progress::Sent,
                        at: (self.clock)(),
                    };
                    reports.send(sent).await.ok();
                }
                let result = self.attempt(route, command.action).await;
                if result.is_ok() {
                    route.done(command.action, (self.clock)());
                }
                result
            };
            match result {
                Ok(Outcome::Acknowledged) => return Progress::Acknowledged,
                Ok(Outcome::Verified) => return Progress::Verified,
                Err(failure @ ActuateFailure::Unsupported(_)) => {
                    return Progress::Failed(failure.to_string());
                }
                Err(failure) => match pauses.next() {
                    Some(pause) => tokio::time::sleep(*pause).await,
                    None => return Progress::Failed(failure.to_string()),
                },
            }
        }
    }

    /// One attempt, while it is the device's turn.
    async fn attempt(&self, route: &Route, action: Action) -> Result<Outcome, ActuateFailure> {
        let device = &route.device;
        // The semaphore is never closed.
        let _permit = self.permits.acquire().await;
        let link = self.link(device);
        let attempt = device.actuator.apply(&route.control, action, &link);
        let attempt = tokio::time::timeout(device.timeout, attempt).await;
        attempt.unwrap_or(Err(Failure::Timeout(device.timeout).into()))
    }
}
