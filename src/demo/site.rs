//! The demo's mine: a simulated site whose devices are served on loopback, and a site controller,
//! a process of its own as at a real mine, which polls and switches them and sends its facts to the
//! demo's NATS.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use headframe_ingest::NatsConfig;
use headframe_ingest::simulator::{Scenario, Simulator};
use headframe_site::config::SiteConfig;
use headframe_site::simulated_site::site_config;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::child::stop_orphan;
use super::coop::CoopPlan;
use super::wallets::{made_up_token, write_private};

/// What stands at the site.
const SCENARIO: &str = include_str!("../../deploy/scenarios/demo.toml");
/// The signal of the simulated utility.
const SIGNAL: &str = "utility";
/// What the utility leaves to the site, in kilowatts.
const CURTAILED_KW: f64 = 15.0;
/// How long it wants that.
const CURTAILED_FOR: Duration = Duration::from_secs(30);
/// From one request to the next.
const CURTAILED_EVERY: Duration = Duration::from_secs(60);
/// From the start to the first request.
const FIRST_CURTAILMENT: Duration = Duration::from_secs(20);
/// What the site may draw, and use in a day: less than its machines want, so that the pages have a
/// forecast to show.
const ALLOCATED_KW: f64 = 45.0;
const ALLOCATED_KWH: f64 = 800.0;

/// How long the controller may take to answer.
const START: Duration = Duration::from_secs(60);
const STOP: Duration = Duration::from_secs(20);
const PID_FILE: &str = "site.pid";

/// A simulated site with its controller.
pub struct DemoSite {
    child: Child,
    simulator: JoinHandle<()>,
    stop: CancellationToken,
    client: reqwest::Client,
    /// Where the controller's pages are.
    pub url: String,
    token: String,
}

/// Ends the controller that a killed demo left behind, before anything else takes time.
pub async fn stop_controller_left_behind(folder: &Path) {
    // No folder is made before the first start.
    if let Ok(folder) = folder.canonicalize() {
        stop_orphan(&folder.join(PID_FILE), "headframe", &folder).await;
    }
}

impl DemoSite {
    /// Serves the devices and starts the controller in the folder.
    pub async fn start(
        folder: &Path,
        listen: SocketAddr,
        nats: NatsConfig,
        coop: Option<&CoopPlan>,
    ) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
        let folder = folder.canonicalize()?;
        let scenario = scenario()?;
        let simulator = Simulator::start(scenario.clone(), 1.0).await?;
        let token = made_up_token(&folder.join("controller.token"))?;
        let mut config = site_config(&scenario, &simulator)?;
        config.data_dir = folder.join("journal");
        config.listen = listen;
        config.token_file = Some(folder.join("controller.token"));
        config.nats = Some(nats);
        let config = in_seconds(config, coop)?;
        config.check(true)?;
        let config_file = folder.join("site.toml");
        let text = toml::to_string_pretty(&toml::Value::try_from(&config)?)?;
        write_private(&config_file, &text)?;
        let child = spawn(&folder, &config_file)?;
        let stop = CancellationToken::new();
        let mut site = Self {
            child,
            simulator: tokio::spawn(simulator.run(stop.clone())),
            stop,
            client: reqwest::Client::builder().no_proxy().build()?,
            url: format!("http://{listen}"),
            token,
        };
        let answers = site.wait_until_it_answers().await;
        answers.with_context(|| format!("see {}", folder.join("site.log").display()))?;
        Ok(site)
    }

    async fn wait_until_it_answers(&mut self) -> anyhow::Result<()> {
        let deadline = tokio::time::Instant::now() + START;
        while self.summary().await.is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!("the site controller ended with {status} while starting");
            }
            if tokio::time::Instant::now() > deadline {
                let seconds = START.as_secs();
                bail!("the site controller did not answer within {seconds} s");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    async fn summary(&self) -> anyhow::Result<Value> {
        let request = self.client.get(format!("{}/api/v1/site", self.url));
        let answer = request.bearer_auth(&self.token).send().await?;
        Ok(answer.error_for_status()?.json().await?)
    }

    /// What the site does, for the status line.
    pub async fn status(&self) -> String {
        match self.summary().await {
            Ok(site) => {
                let state = site["state"].as_str().unwrap_or("unknown");
                let kw = site["measured_kw"].as_f64();
                let kw = kw.map_or("? kW".to_owned(), |kw| format!("{kw:.1} kW"));
                format!("mine {} at {kw}", state.replace('_', " "))
            }
            Err(error) => format!("mine: no answer: {error:#}"),
        }
    }

    /// Asks the site once a minute to draw less, as a utility would, until it is dropped.
    pub async fn curtail_every_minute(&self) {
        tokio::time::sleep(FIRST_CURTAILMENT).await;
        let mut number = 0_u64;
        loop {
            number += 1;
            let request = json!({
                "requests": [{"level": "curtail", "cap_kw": CURTAILED_KW,
                    "event": format!("demo-{number}")}],
                "for_s": CURTAILED_FOR.as_secs(), "by": "the demo's utility"});
            let url = format!("{}/api/v1/site/signals/{SIGNAL}", self.url);
            let sent = self.client.post(url).bearer_auth(&self.token);
            if let Err(error) = sent.json(&request).send().await {
                tracing::warn!(%error, "the site controller did not take the utility's request");
            }
            tokio::time::sleep(CURTAILED_EVERY).await;
        }
    }

    /// Lets the controller end, and takes the devices away.
    pub async fn stop(mut self) {
        if let Some(pid) = self.child.id() {
            // It may have ended by itself meanwhile.
            let _ = Command::new("kill").arg(pid.to_string()).status().await;
        }
        if tokio::time::timeout(STOP, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
        self.stop.cancel();
        // It ends when it is told to; a panic in it has nothing to hand over.
        let _ = self.simulator.await;
    }
}

fn scenario() -> anyhow::Result<Scenario> {
    toml::from_str(SCENARIO).context("the demo's scenario cannot be read")
}

/// A policy whose delays are seconds where a mine has minutes, and the utility's signal; and the
/// workers of a cluster as further machines.
fn in_seconds(config: SiteConfig, coop: Option<&CoopPlan>) -> anyhow::Result<SiteConfig> {
    let mut config = serde_json::to_value(config)?;
    if let Some(coop) = coop {
        coop.add_machine(&mut config);
    }
    config["step_s"] = json!(1.0);
    config["sources"] = json!({"max_backoff_s": 5});
    config["signal"] = json!([{"kind": "push", "name": SIGNAL, "class": "mandatory",
        "silence": "normal"}]);
    config["policy"] = json!({
        "power": {"restart_delay_s": 0, "restart_jitter_s": 0, "min_off_s": 5,
            "release_stable_s": 2, "meter_noise_kw": 0.2},
        "signals": {"debounce_s": 1,
            "sources": {SIGNAL: {"class": "mandatory", "curtail_within_s": 60}}},
        "dispatch": {"answer_within_s": 10, "stuck_retry_s": 10},
        "restore": {"ramp_pct_per_min": 100.0, "planned_share": 1.0, "group_pct": 40.0,
            "group_every_s": 2, "retry_s": 10},
    });
    Ok(serde_json::from_value(config)?)
}

fn spawn(folder: &Path, config_file: &Path) -> anyhow::Result<Child> {
    let log = std::fs::File::create(folder.join("site.log"))?;
    let program = std::env::current_exe().context("this program's own file is not known")?;
    let child = Command::new(&program)
        .args(["site", "run", "--config"])
        .arg(config_file)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let pid = child.id().unwrap_or_default().to_string();
    std::fs::write(folder.join(PID_FILE), pid)?;
    Ok(child)
}

/// Registers the site, its operator, pool, meter, machines and allocation, as far as they are not
/// registered yet. `controller` is where the pages of its controller are.
pub async fn register(
    http: SocketAddr,
    operator_token: &str,
    controller: SocketAddr,
) -> anyhow::Result<()> {
    let scenario = scenario()?;
    let site = &scenario.site;
    let mut resources = vec![
        (
            "operators",
            json!({"id": "demo", "name": "Demo Mining", "country": "NO",
            "status": "active"}),
        ),
        (
            "sites",
            json!({"id": site, "name": "North", "operator": "demo", "location": "simulated",
            "time_zone": "UTC", "connection_kw": 60.0, "status": "active",
            "controller": format!("http://{controller}")}),
        ),
        (
            "pools",
            json!({"id": site, "name": "North's machines", "operator": "demo", "site": site,
            "location": "simulated", "power_limit_kw": ALLOCATED_KW,
            "energy_limit_kwh": ALLOCATED_KWH, "energy_period": "day", "algorithm": "sha256d",
            "status": "active"}),
        ),
        (
            "meters",
            json!({"id": "main", "serial_number": "simulated-main", "site": site,
            "measures": "site"}),
        ),
        (
            "allocations",
            json!({"id": site, "site": site, "power_kw": ALLOCATED_KW,
            "energy_kwh": ALLOCATED_KWH, "period": "day",
            "valid_from": "2026-01-01T00:00:00Z"}),
        ),
    ];
    for (name, group) in scenario.machine_names() {
        let machine = json!({"id": name, "site": site, "pool": site, "operator": "demo",
            "model": group.name, "serial_number": format!("simulated-{name}"),
            "algorithm": "sha256d", "rated_hashrate_hs": group.hashrate_ths * 1e12,
            "rated_power_w": group.hashrate_ths * group.efficiency_j_th,
            "standby_power_w": group.standby_w, "status": "active"});
        resources.push(("machines", machine));
    }
    let client = reqwest::Client::builder().no_proxy().build()?;
    for (kind, resource) in resources {
        let request = client.post(format!("http://{http}/api/v1/{kind}"));
        let answer = request
            .bearer_auth(operator_token)
            .json(&resource)
            .send()
            .await?;
        let status = answer.status();
        let is_there = status.is_success() || status == StatusCode::CONFLICT;
        ensure!(
            is_there,
            "cannot register {} in {kind}: {}",
            resource["id"],
            answer.text().await?
        );
    }
    Ok(())
}
