//! The demo's CoopMine cluster: a coordinator in the pool's process, and one worker, which the
//! mine's controller stops and starts as it does its machines.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use headframe_coopmine::config::{
    CoordinatorSection, DashboardSection, DurationSetting, GrpcSection, Listen, MiningSection,
    WorkerConfig, WorkerSection,
};
use headframe_coopmine::worker::Worker;
use headframe_stratum::randomx::plan::ModeSetting;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::MINER_NICE;
use super::child::free_port;
use super::wallets::made_up_token;
use crate::config::{Config, Role};

/// The worker, which is the machine of the same name.
pub const WORKER: &str = "coop-1";
/// What its one thread and the machine around it are said to draw, in watts.
const WORKER_W: f64 = 90.0;
const WORKER_STANDBY_W: f64 = 30.0;
/// What nobody measured: a mean machine's, in terahashes a second.
const WORKER_THS: f64 = 5e-10;
/// How often the worker says how it is; it is known to have stopped when it says so.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// Where the cluster is.
#[derive(Debug, Clone)]
pub struct CoopPlan {
    workers: SocketAddr,
    dashboard: SocketAddr,
    token: String,
    token_file: PathBuf,
}

impl CoopPlan {
    /// Free ports, and a token of orders in this file.
    pub fn new(token_file: &Path) -> anyhow::Result<Self> {
        let loopback = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Ok(Self {
            workers: loopback(free_port()?),
            dashboard: loopback(free_port()?),
            token: made_up_token(token_file)?,
            token_file: token_file.canonicalize()?,
        })
    }

    /// Where people see it.
    pub fn url(&self) -> String {
        format!("http://{}", self.dashboard)
    }

    /// A coordinator beside the other roles, which mines at the pool of the same process.
    pub fn add_coordinator(&self, config: &mut Config, pool: SocketAddr, login: String) {
        config.roles.push(Role::Coopmine);
        let coopmine = &mut config.coopmine;
        coopmine.pool.address = pool.to_string();
        coopmine.pool.wallet = login;
        coopmine.grpc = GrpcSection {
            listen: Listen(self.workers),
            ..GrpcSection::default()
        };
        coopmine.dashboard = DashboardSection {
            listen: Listen(self.dashboard),
            token: self.token.clone(),
            ..DashboardSection::default()
        };
        coopmine.heartbeat_interval = DurationSetting(HEARTBEAT);
    }

    /// The worker as a machine of the site controller's configuration.
    pub fn add_machine(&self, site: &mut Value) {
        let machine = json!({"name": WORKER, "model": "CPU", "hashrate_ths": WORKER_THS,
            "power_w": WORKER_W, "standby_w": WORKER_STANDBY_W, "boot_s": 3});
        let device = json!({"kind": "coopmine", "name": "coop", "address": self.url(),
            "secret_file": self.token_file});
        let mut source = device.clone();
        source["site"] = site["plan"]["name"].clone();
        source["interval_s"] = json!(1.0);
        // The coordinator sends rows of hashrate itself.
        source["hashrate"] = json!(false);
        let mut actuator = device;
        actuator["controls"] = json!([{"channel": WORKER, "machine": WORKER}]);
        push(&mut site["plan"]["machines"], machine);
        push(&mut site["source"], source);
        push(&mut site["actuator"], actuator);
        site["readings"]["load"] = json!({WORKER: [format!("coop/{WORKER}")]});
    }

    /// Mines for the coordinator until it is stopped.
    pub fn start_worker(&self, stop: CancellationToken) -> anyhow::Result<JoinHandle<()>> {
        let worker = Worker::new(WorkerConfig {
            worker: WorkerSection {
                id: WORKER.to_owned(),
                name: WORKER.to_owned(),
            },
            coordinator: CoordinatorSection {
                address: self.workers.to_string(),
                ..CoordinatorSection::default()
            },
            pool: None,
            mining: MiningSection {
                threads: 1,
                mode: ModeSetting::Light,
                nice: MINER_NICE,
                ..MiningSection::default()
            },
        })?;
        Ok(tokio::spawn(async move {
            if let Err(error) = worker.run(stop).await {
                tracing::error!(%error, "the demo's worker does not mine");
            }
        }))
    }
}

/// Adds to a list.
fn push(list: &mut Value, item: Value) {
    if let Value::Array(items) = list {
        items.push(item);
    }
}
