//! Serves the devices of a scenario on loopback, each on a port of its own.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::device::Wire;
use super::endpoint::{Endpoint, endpoints};
use super::faults::FaultKind;
use super::live_site::{LiveSite, ServedAnswer};
use super::scenario::{Scenario, ScenarioError};
use super::site::SiteState;
use crate::source::SourceConfig;

mod login;
mod modbus;
mod mqtt;
mod snmp;
mod text;

/// How long a slow device takes.
const SLOW: Duration = Duration::from_secs(30);
/// How long a sluggish one takes.
const SLUGGISH: Duration = Duration::from_millis(2_500);

/// A device that is served.
#[derive(Clone)]
struct ServedDevice {
    endpoint: Endpoint,
    site: Arc<Mutex<LiveSite>>,
}

impl ServedDevice {
    fn site(&self) -> MutexGuard<'_, LiveSite> {
        self.site.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fault(&self) -> Option<FaultKind> {
        self.site().fault(&self.endpoint.name)
    }

    /// Waits as long as its fault makes it wait; false when it does not answer at all.
    async fn answers_at_all(&self) -> bool {
        match self.fault() {
            Some(FaultKind::Dead) => false,
            Some(FaultKind::Slow) => {
                tokio::time::sleep(SLOW).await;
                true
            }
            Some(FaultKind::Sluggish) => {
                tokio::time::sleep(SLUGGISH).await;
                true
            }
            _ => true,
        }
    }
}

/// Devices on loopback.
pub struct Simulator {
    site: Arc<Mutex<LiveSite>>,
    sources: Vec<SourceConfig>,
    actuators: Vec<serde_json::Value>,
    tasks: JoinSet<()>,
}

impl Simulator {
    /// Binds a free port of loopback for each device and serves it; `speed` simulated seconds pass
    /// in a second.
    pub async fn start(scenario: Scenario, speed: f64) -> Result<Self, ScenarioError> {
        let endpoints = endpoints(&scenario)?;
        let site = Arc::new(Mutex::new(LiveSite::new(scenario.clone(), speed)));
        let (mut sources, mut actuators) = (Vec::new(), Vec::new());
        let mut tasks = JoinSet::new();
        for endpoint in endpoints {
            let device = ServedDevice {
                endpoint: endpoint.clone(),
                site: site.clone(),
            };
            let address = serve(device, &mut tasks).await.map_err(|error| {
                let name = &endpoint.name;
                ScenarioError(format!("cannot listen for {name}: {error}"))
            })?;
            sources.extend(endpoint.source(&scenario, &address));
            actuators.extend(endpoint.actuator(&scenario, &address));
        }
        Ok(Self {
            site,
            sources,
            actuators,
            tasks,
        })
    }

    /// The `[[source]]` entries that poll its devices.
    pub fn sources(&self) -> &[SourceConfig] {
        &self.sources
    }

    /// The `[[actuator]]` entries of the site controller that switch its machines and relays.
    pub fn actuators(&self) -> &[serde_json::Value] {
        &self.actuators
    }

    /// Sets the fault of a device, or none, from now on.
    pub fn set_fault(&self, device: &str, fault: Option<FaultKind>) {
        self.site
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .set_fault(device, fault);
    }

    /// The site now.
    pub fn state(&self) -> SiteState {
        let mut site = self.site.lock().unwrap_or_else(PoisonError::into_inner);
        site.state().clone()
    }

    /// What devices answered since this was called last.
    pub fn take_answers(&self) -> Vec<ServedAnswer> {
        self.site
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take_answers()
    }

    /// Serves until it is stopped.
    pub async fn run(mut self, stop: CancellationToken) {
        stop.cancelled().await;
        self.tasks.shutdown().await;
    }
}

/// Binds a port, serves the device, and answers its address.
async fn serve(device: ServedDevice, tasks: &mut JoinSet<()>) -> std::io::Result<String> {
    let loopback = (Ipv4Addr::LOCALHOST, 0);
    let wire = device.endpoint.kind.wire();
    if wire == Wire::Snmp {
        let socket = UdpSocket::bind(loopback).await?;
        let address = socket.local_addr()?;
        tasks.spawn(snmp::serve(device, socket));
        return Ok(address.to_string());
    }
    let listener = TcpListener::bind(loopback).await?;
    let address = listener.local_addr()?;
    match wire {
        Wire::Modbus => {
            tasks.spawn(modbus::serve(device, listener));
        }
        Wire::Mqtt => {
            tasks.spawn(mqtt::serve(device, listener));
        }
        _ => {
            tasks.spawn(text::serve(device, listener));
        }
    }
    Ok(match wire {
        Wire::Http => format!("http://{address}"),
        Wire::Mqtt => format!("mqtt://{address}"),
        _ => address.to_string(),
    })
}
