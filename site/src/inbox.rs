//! What came in since the last step: readings, reports, orders. Whoever has something puts it here
//! and goes on; the loop takes everything at once.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use headframe_ingest::source::{Readings, SourceConfig};
use headframe_schemas::stream::source_health::SourceHealth;
use tokio::sync::{Notify, watch};

use crate::clock::SiteClock;
use crate::command::CommandReport;
use crate::control::observation::{FanReading, Supervision};
use crate::control::order::{Order, Refusal};
use crate::control::{Observation, Site};
use crate::entry::{Delivery, DeviceLine};
use crate::moment::Moment;
use crate::observe::ReadingMap;
use crate::request::{MOST_KW, SignalReading, TimedRequests};
use crate::safe_state::SignalsKept;
use crate::signal::KeptLayout;

/// Rows of devices that may wait for the next step; more are left out and counted.
const MOST_LINES: usize = 100_000;
/// Orders that may wait for the next step.
const MOST_ORDERS: usize = 256;

/// Steps whose refusals are kept for those who gave the orders.
const REFUSALS_OF_STEPS: u64 = 256;

/// What was gathered.
#[derive(Debug, Default)]
pub struct Gathered {
    /// For the decision.
    pub observation: Observation,
    /// For the streams.
    pub lines: Vec<DeviceLine>,
    /// For the streams.
    pub deliveries: Vec<Delivery>,
    /// Rows that did not fit any more.
    pub lost_lines: u64,
    /// The step that takes it, counted from 0.
    pub step: u64,
}

/// Where everything comes in.
#[derive(Debug)]
pub struct Inbox {
    gathered: Mutex<Gathered>,
    signals: Mutex<SignalsKept>,
    urgent: Notify,
    steps: watch::Sender<u64>,
    /// By step and place in it.
    refused: Mutex<BTreeMap<(u64, usize), String>>,
    map: ReadingMap,
    clock: SiteClock,
}

/// Why an order was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// Too many wait.
    #[error("too many orders wait for the controller's next step")]
    TooMany,
    /// The step that took it refused it.
    #[error("{0}")]
    Refused(String),
}

impl Inbox {
    /// An empty one.
    pub fn new(map: ReadingMap, clock: SiteClock) -> Self {
        Self {
            gathered: Mutex::default(),
            signals: Mutex::default(),
            urgent: Notify::new(),
            steps: watch::Sender::new(0),
            refused: Mutex::default(),
            map,
            clock,
        }
    }

    fn with<T>(&self, change: impl FnOnce(&mut Gathered) -> T) -> T {
        // It is changed in single pushes, so that it is whole even after a panic.
        change(&mut self.gathered.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes everything, for the next step.
    pub fn take(&self) -> Gathered {
        self.with(|gathered| {
            let step = gathered.step + 1;
            let next = Gathered {
                step,
                ..Gathered::default()
            };
            std::mem::replace(gathered, next)
        })
    }

    /// Looks at what came in since the last step.
    pub fn inspect<T>(&self, inspect: impl FnOnce(&Observation) -> T) -> T {
        self.with(|gathered| inspect(&gathered.observation))
    }

    /// Waits until something must be decided at once.
    pub async fn urgent(&self) {
        self.urgent.notified().await;
    }

    /// The step that took this is done, and refused these of its orders.
    pub fn stepped(&self, gathered_step: u64, refused: Vec<Refusal>) {
        {
            // It is changed in single inserts, so that it is whole even after a panic.
            let mut all = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
            let oldest = gathered_step.saturating_sub(REFUSALS_OF_STEPS);
            all.retain(|(step, _), _| *step >= oldest);
            let new = refused.into_iter();
            all.extend(new.map(|one| ((gathered_step, one.order), one.reason)));
        }
        self.steps.send_replace(gathered_step + 1);
    }

    /// A signal was read.
    pub fn signal(&self, reading: SignalReading) {
        self.with(|gathered| gathered.observation.signals.push(reading));
        self.urgent.notify_one();
    }

    /// Somebody gave a signal something that counts for a time; the next step keeps it.
    pub fn give(&self, signal: &str, held: TimedRequests) {
        self.signals().given.insert(signal.to_owned(), held);
    }

    /// The page of a signal is expected to have this layout; the next step keeps it.
    pub fn expect_layout(&self, signal: &str, layout: KeptLayout) {
        self.signals().layouts.insert(signal.to_owned(), layout);
    }

    /// What is to be kept of signals.
    pub fn signals_kept(&self, now: Moment) -> SignalsKept {
        let mut signals = self.signals();
        let given = &mut signals.given;
        given.retain(|_, held| held.until.elapsed_ms > now.elapsed_ms);
        signals.clone()
    }

    fn signals(&self) -> MutexGuard<'_, SignalsKept> {
        // It is changed in single inserts, so that it is whole even after a panic.
        self.signals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the next step has kept what came before.
    pub async fn kept(&self) {
        let mut steps = self.steps.subscribe();
        let step = self.with(|gathered| gathered.step);
        self.urgent.notify_one();
        // It ends with an error when the controller stops.
        let _taken = steps.wait_for(|done| *done > step).await;
    }

    /// The loop that supervises has looked.
    pub fn supervised(&self, found: Supervision) {
        self.with(|gathered| gathered.observation.supervision = Some(found));
    }

    /// A command came further.
    pub fn report(&self, report: CommandReport) {
        self.with(|gathered| gathered.observation.reports.push(report));
    }

    /// Relays of fans were read back.
    pub fn fan(&self, reading: FanReading) {
        self.with(|gathered| gathered.observation.fans.push(reading));
    }

    /// Something became of a notice.
    pub fn delivery(&self, delivery: Delivery) {
        self.with(|gathered| gathered.deliveries.push(delivery));
    }

    /// A person acknowledged a notice.
    pub fn acknowledged(&self, delivery: Delivery) {
        self.with(|gathered| {
            let acknowledged = &mut gathered.observation.acknowledged;
            if !acknowledged.contains(&delivery.notice.id) {
                acknowledged.push(delivery.notice.id);
                gathered.deliveries.push(delivery);
            }
        });
        self.urgent.notify_one();
    }

    /// Gives an order and waits until a step has taken it.
    ///
    /// # Errors
    ///
    /// There are too many, or the step refused it; nothing was ordered.
    pub async fn order(&self, order: Order) -> Result<(), OrderError> {
        let mut steps = self.steps.subscribe();
        let (step, place) = self.with(|gathered| {
            let orders = &mut gathered.observation.orders;
            // An emergency stop always has a place.
            let is_stop = matches!(order, Order::EmergencyStop { .. });
            if orders.len() >= MOST_ORDERS && !is_stop {
                return Err(OrderError::TooMany);
            }
            orders.push(order);
            Ok((gathered.step, orders.len() - 1))
        })?;
        self.urgent.notify_one();
        // It ends with an error when the controller stops, and the order with it.
        let _taken = steps.wait_for(|done| *done > step).await;
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        match refused.remove(&(step, place)) {
            Some(reason) => Err(OrderError::Refused(reason)),
            None => Ok(()),
        }
    }
}

/// Takes what the poller of devices finds.
#[derive(Debug, Clone)]
pub struct DeviceSink(pub std::sync::Arc<Inbox>);

impl headframe_ingest::source::ReadingSink for DeviceSink {
    async fn take_readings(
        &self,
        source: &SourceConfig,
        readings: &Readings,
        at_us: i64,
    ) -> Vec<String> {
        let inbox = &self.0;
        let rows = readings.rows(source, at_us);
        let at = inbox.clock.moment_of(at_us);
        inbox.with(|gathered| {
            let observation = &mut gathered.observation;
            inbox.map.add_to(observation, &source.name, readings, at);
            for row in rows {
                if gathered.lines.len() >= MOST_LINES {
                    gathered.lost_lines += 1;
                    continue;
                }
                // Rows are made as JSON; what could not be read back is no row.
                if let Ok(value) = serde_json::from_slice(&row.line) {
                    gathered.lines.push(DeviceLine {
                        stream: row.stream.name().to_owned(),
                        key: row.key,
                        row: value,
                    });
                }
            }
        });
        Vec::new()
    }

    async fn take_health(&self, row: &SourceHealth) -> Result<(), String> {
        let value = serde_json::to_value(row).map_err(|error| error.to_string())?;
        self.0.with(|gathered| {
            gathered.lines.push(DeviceLine {
                stream: "source_health".to_owned(),
                key: row.site.clone(),
                row: value,
            });
        });
        Ok(())
    }
}

/// Checks that an order names what there is.
///
/// # Errors
///
/// What is wrong, in a sentence.
pub fn check_order(order: &Order, site: &Site) -> Result<(), String> {
    use crate::control::order::Scope;
    let check_scope = |scope: &Scope| match scope {
        Scope::Site => Ok(()),
        Scope::Feeder(name) if site.feeder(name).is_some() => Ok(()),
        Scope::Feeder(name) => Err(format!("there is no feeder {name:?}")),
        Scope::Machine(name) if site.machine(name).is_some() => Ok(()),
        Scope::Machine(name) => Err(format!("there is no machine {name:?}")),
    };
    let check_reason = |reason: &str| match reason.trim().is_empty() {
        true => Err("a reason is needed".to_owned()),
        false if reason.len() > 512 => Err("the reason is longer than 512 bytes".to_owned()),
        false => Ok(()),
    };
    match order {
        Order::EmergencyStop { .. } | Order::EndOverride { .. } | Order::EndBypass { .. } => Ok(()),
        Order::Debug { .. } | Order::EndDebug { .. } => Ok(()),
        Order::ResetTrip { reason, .. }
        | Order::Bypass { reason, .. }
        | Order::AcceptLayout { reason, .. } => check_reason(reason),
        Order::Override {
            reason,
            scope,
            cap_kw,
            ..
        } => {
            if !(0.0..=MOST_KW).contains(cap_kw) {
                return Err(format!(
                    "cap_kw is {cap_kw}; it must be 0 to {MOST_KW}, in kilowatts"
                ));
            }
            check_scope(scope)?;
            check_reason(reason)
        }
        Order::Lockout { reason, scope, .. } => {
            check_scope(scope)?;
            check_reason(reason)
        }
        // A lockout may be of something that the plan no longer has.
        Order::EndLockout { reason, .. } => check_reason(reason),
    }
}
