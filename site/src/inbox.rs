//! What came in since the last step: readings, reports, orders. Whoever has something puts it here
//! and goes on; the loop takes everything at once.

use std::sync::{Mutex, PoisonError};

use headframe_ingest::source::{Readings, SourceConfig};
use headframe_schemas::stream::source_health::SourceHealth;
use tokio::sync::{Notify, watch};

use crate::clock::SiteClock;
use crate::command::CommandReport;
use crate::control::observation::FanReading;
use crate::control::order::Order;
use crate::control::{Observation, Site};
use crate::entry::{Delivery, DeviceLine};
use crate::observe::ReadingMap;
use crate::request::SignalReading;

/// Rows of devices that may wait for the next step; more are left out and counted.
const MOST_LINES: usize = 100_000;
/// Orders that may wait for the next step.
const MOST_ORDERS: usize = 256;

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
    urgent: Notify,
    steps: watch::Sender<u64>,
    map: ReadingMap,
    clock: SiteClock,
}

/// Too many orders wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many orders wait for the controller's next step; try again in some seconds")]
pub struct TooManyOrders;

impl Inbox {
    /// An empty one.
    pub fn new(map: ReadingMap, clock: SiteClock) -> Self {
        Self {
            gathered: Mutex::default(),
            urgent: Notify::new(),
            steps: watch::Sender::new(0),
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

    /// Waits until something must be decided at once.
    pub async fn urgent(&self) {
        self.urgent.notified().await;
    }

    /// The step that took this is done.
    pub fn stepped(&self, gathered_step: u64) {
        self.steps.send_replace(gathered_step + 1);
    }

    /// A signal was read.
    pub fn signal(&self, reading: SignalReading) {
        self.with(|gathered| gathered.observation.signals.push(reading));
        self.urgent.notify_one();
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
            gathered.observation.acknowledged.push(delivery.notice.id);
            gathered.deliveries.push(delivery);
        });
    }

    /// Gives an order and waits until a step has taken it.
    ///
    /// # Errors
    ///
    /// There are too many; nothing was ordered.
    pub async fn order(&self, order: Order) -> Result<(), TooManyOrders> {
        let mut steps = self.steps.subscribe();
        let step = self.with(|gathered| {
            let orders = &mut gathered.observation.orders;
            // An emergency stop always has a place.
            let is_stop = matches!(order, Order::EmergencyStop { .. });
            if orders.len() >= MOST_ORDERS && !is_stop {
                return Err(TooManyOrders);
            }
            orders.push(order);
            Ok(gathered.step)
        })?;
        self.urgent.notify_one();
        // It ends with an error when the controller stops, and the order with it.
        let _taken = steps.wait_for(|done| *done > step).await;
        Ok(())
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
        Order::ResetTrip { reason, .. } | Order::Bypass { reason, .. } => check_reason(reason),
        Order::Override {
            reason,
            scope,
            cap_kw,
            ..
        } => {
            if !(cap_kw.is_finite() && *cap_kw >= 0.0) {
                return Err(format!("cap_kw is {cap_kw}; it must be 0 or more"));
            }
            check_scope(scope)?;
            check_reason(reason)
        }
        Order::Lockout { reason, scope, .. } | Order::EndLockout { reason, scope, .. } => {
            check_scope(scope)?;
            check_reason(reason)
        }
    }
}
