//! A site controller that curtails a mine of CoopMine workers: a utility's signal throttles and
//! stops them, the coordinator, the pool and the streams show it, and they come back when it ends.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use headframe_ingest::simulator::{Scenario, Simulator};
use headframe_ingest::{ManagedServer, Nats, NatsConfig};
use headframe_site::config::SiteConfig;
use headframe_site::service::Service;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::facts::{StreamRows, nats_server};
use crate::own_pool::{Process, coordinator_with, worker_with};
use crate::stand_in::{StandIn, job, soon, until};

mod errors;

/// The token of coordinator and controller.
const TOKEN: &str = "a token for the tests";

fn token_file(folder: &Path) -> PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let path = folder.join("token");
    std::fs::write(&path, TOKEN).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path
}

/// Takes every share of whoever comes, and counts them.
pub fn open_pool(pool: StandIn, shares: Arc<AtomicU64>) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut peer = pool.peer(&job("a", 1, 1, 10)).await;
        loop {
            let line = peer.hear().await;
            match line["method"].as_str() {
                Some("submit") => {
                    shares.fetch_add(1, Relaxed);
                    peer.accept(line["id"].as_u64().unwrap()).await;
                }
                Some(_) => {}
                None => peer = pool.peer(&job("b", 2, 1, 10)).await,
            }
        }
    })
}

/// A thermometer of a cool container; the controller starts nothing without one.
async fn thermometer() -> Simulator {
    let scenario = json!({"seed": 3, "site": "north", "step_s": 0.5, "interval_s": 0.5,
        "weather": {"mean_c": 5.0, "swing_c": 0.0}, "container": {"initial_c": 15.0},
        "devices": [{"kind": "roomalert", "name": "room"}]});
    let scenario: Scenario = serde_json::from_value(scenario).unwrap();
    Simulator::start(scenario, 1.0).await.unwrap()
}

/// A site of two workers, 200 W and 150 W, of which one has a low power mode of 110 W. Nothing
/// measures them: their power follows from their load.
fn site_config(sensor: &Simulator, folder: &Path, pages: &str, nats: &NatsConfig) -> SiteConfig {
    let token = token_file(folder);
    let mut sources: Vec<Value> = sensor.sources().iter().map(|one| json!(one)).collect();
    sources.push(
        json!({"kind": "coopmine", "name": "coop", "site": "north", "address": pages,
        "interval_s": 0.5, "secret_file": token, "hashrate": false}),
    );
    let config = json!({
        "data_dir": folder.join("site"), "listen": "127.0.0.1:0", "step_s": 0.5,
        "token_file": token, "nats": nats,
        "plan": {"name": "north", "design_kw": 2.0, "has_site_meter": false,
            "container_sensors": ["room/Internal Sensor"],
            "machines": [
                {"name": "rig-1", "hashrate_ths": 1e-9, "power_w": 200.0, "standby_w": 20.0,
                    "low_power_w": 110.0, "boot_s": 2},
                {"name": "rig-2", "hashrate_ths": 5e-10, "power_w": 150.0, "standby_w": 15.0,
                    "boot_s": 2}]},
        "readings": {"load": {"rig-1": ["coop/rig-1"], "rig-2": ["coop/rig-2"]},
            "temperature": [{"reading": "room/Internal Sensor", "kind": "container"}]},
        "source": sources,
        "signal": [{"kind": "push", "name": "utility", "class": "mandatory",
            "silence": "normal"}],
        "actuator": [{"kind": "coopmine", "name": "coop", "address": pages, "secret_file": token,
            "controls": [{"channel": "rig-1", "machine": "rig-1"},
                {"channel": "rig-2", "machine": "rig-2"}]}],
        // Waits are long and failures are tried again at once: a busy machine answers late.
        "policy": {
            "dispatch": {"answer_within_s": 120, "proof_within_s": 240, "stuck_retry_s": 1},
            "power": {"restart_delay_s": 0, "restart_jitter_s": 0, "min_off_s": 1,
                "meter_noise_kw": 0.001, "release_stable_s": 1},
            "signals": {"debounce_s": 1},
            "restore": {"ramp_pct_per_min": 100.0, "group_pct": 50.0, "group_every_s": 1,
                "retry_s": 1},
        },
    });
    serde_json::from_value(config).unwrap()
}

/// Everything that a test looks at.
struct Mine {
    pages: String,
    site: String,
    client: reqwest::Client,
    shares: Arc<AtomicU64>,
}

impl Mine {
    async fn get(&self, base: &str, path: &str) -> Value {
        let request = self.client.get(format!("{base}{path}")).bearer_auth(TOKEN);
        match request.send().await {
            Ok(answer) => answer.json().await.unwrap_or_default(),
            Err(_) => Value::Null,
        }
    }

    async fn worker(&self, id: &str) -> Value {
        self.get(&self.pages, &format!("/api/workers/{id}")).await
    }

    async fn site(&self) -> Value {
        self.get(&self.site, "/api/v1/site").await
    }

    /// The utility says something.
    async fn ask(&self, request: Value) {
        let url = format!("{}/api/v1/site/signals/utility", self.site);
        let body = json!({"requests": [request], "for_s": 600.0});
        let sent = self.client.post(url).bearer_auth(TOKEN).json(&body).send();
        assert_eq!(sent.await.unwrap().status(), 200);
    }

    async fn until_site(&self, what: &str, is_so: impl Fn(&Value) -> bool) {
        until(what, async || {
            let site = self.site().await;
            is_so(&site).then_some(())
        })
        .await;
    }

    /// Waits until workers hash on so many threads each, and hash at all.
    async fn until_threads(&self, one: u64, two: u64) {
        until(&format!("{one} and {two} threads hash"), async || {
            for (id, threads) in [("rig-1", one), ("rig-2", two)] {
                let worker = self.worker(id).await;
                let hashes = worker["hashrate_hs"].as_f64()? > 0.0;
                if worker["threads_active"] != threads || hashes != (threads > 0) {
                    return None;
                }
            }
            Some(())
        })
        .await;
    }
}

/// The states of the last command of this action to a worker, in the order of their rows.
fn states(rows: &[Value], target: &str, action: &str) -> Vec<String> {
    let own = rows
        .iter()
        .filter(|row| row["target"] == target && row["action"] == action);
    let own: Vec<&Value> = own.collect();
    let Some(last) = own.last().map(|row| &row["command"]) else {
        return Vec::new();
    };
    let states = own.iter().filter(|row| row["command"] == *last);
    states
        .map(|row| row["state"].as_str().unwrap().to_owned())
        .collect()
}

/// Waits until the last command of this action went all the way, in the controller's stream and in
/// the coordinator's.
async fn until_verified(nats: &Nats, target: &str, action: &str, coordinators: &str) {
    let what = format!("{action} of {target} is verified");
    let mut rows = StreamRows::new(nats, "site_commands");
    Box::pin(until(&what, async || {
        rows.read_on().await?;
        // A worker that is quick has carried it out before anybody sees that it has it.
        let mut states = states(&rows.found, target, action);
        states.retain(|state| state != "acknowledged");
        (states == ["queued", "sent", "verified"]).then_some(())
    }))
    .await;
    let what = format!("{coordinators} of {target} is verified by the coordinator");
    let mut rows = StreamRows::new(nats, "commands");
    Box::pin(until(&what, async || {
        rows.read_on().await?;
        let is_it = |row: &&Value| row["worker"] == target && row["kind"] == coordinators;
        let verified = rows
            .found
            .iter()
            .filter(is_it)
            .any(|row| row["state"] == "verified");
        verified.then_some(())
    }))
    .await;
}

/// The newest hashrates of the workers in the stream.
async fn until_streamed(nats: &Nats, what: &str, is_so: impl Fn(f64) -> bool) {
    let mut rows = StreamRows::new(nats, "hashrate");
    Box::pin(until(what, async || {
        rows.read_on().await?;
        for id in ["rig-1", "rig-2"] {
            let newest = rows.found.iter().rev().find(|row| row["worker"] == id)?;
            if !is_so(newest["hashrate_hs"].as_f64()?) {
                return None;
            }
        }
        Some(())
    }))
    .await;
}

struct Parts {
    mine: Mine,
    nats: Nats,
    server: ManagedServer,
    stop: CancellationToken,
    controller: JoinHandle<anyhow::Result<()>>,
    pool: JoinHandle<()>,
    _processes: [Process; 3],
    _thermometer: Simulator,
    _folder: tempfile::TempDir,
}

async fn start() -> Parts {
    let folder = tempfile::tempdir().unwrap();
    let server = nats_server(&folder.path().join("nats"), 0).await;
    let nats = server.client_config();
    let (stand_in, shares) = (StandIn::open().await, Arc::new(AtomicU64::new(0)));
    let address = stand_in.address();
    let pool = open_pool(stand_in, shares.clone());
    let more = format!(
        "token = {TOKEN:?}\n[facts]\nfolder = {:?}\n[facts.nats]\nurl = {:?}\nnkey_file = {:?}\n",
        folder.path().join("facts"),
        nats.url,
        nats.nkey_file.as_ref().unwrap(),
    );
    let (coordinator, workers, pages) = coordinator_with(folder.path(), &address, &more);
    let one = worker_with(&workers, "rig-1", 2);
    let two = worker_with(&workers, "rig-2", 1);
    let sensor = thermometer().await;
    let config = site_config(&sensor, folder.path(), &pages, &nats);
    let service = Service::open(&config).await.unwrap();
    let site = format!("http://{}", service.address().unwrap());
    let stop = CancellationToken::new();
    Parts {
        mine: Mine {
            pages,
            site,
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
            shares,
        },
        nats: Nats::connect(&nats).await.unwrap(),
        server,
        controller: tokio::spawn(service.run(stop.clone())),
        stop,
        pool,
        _processes: [coordinator, one, two],
        _thermometer: sensor,
        _folder: folder,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_throttles_and_stops_workers_and_its_end_brings_them_back() {
    let parts = start().await;
    let (mine, nats) = (&parts.mine, &parts.nats);
    mine.until_threads(2, 1).await;
    mine.until_site("it runs", |site| site["state"] == "running")
        .await;
    until("shares", async || {
        (mine.shares.load(Relaxed) > 3).then_some(())
    })
    .await;

    // 300 W of 368: one worker on half of its threads is enough, and fits closer than none of it.
    mine.ask(json!({"level": "curtail", "cap_kw": 0.3})).await;
    mine.until_site("it is trimmed", |site| site["state"] == "curtailed")
        .await;
    mine.until_threads(1, 1).await;
    until_verified(nats, "rig-1", "mode_low", "throttle_threads").await;
    let site = mine.site().await;
    assert_eq!(site["quality"], "estimated", "{site}");
    assert!(site["measured_kw"].as_f64() <= Some(0.3), "{site}");
    mine.ask(json!({"level": "normal"})).await;
    mine.until_site("it runs again", |site| site["state"] == "running")
        .await;
    mine.until_threads(2, 1).await;
    until_verified(nats, "rig-1", "mode_normal", "resume").await;

    // Everything off: nobody hashes, and nothing comes to the pool any more.
    mine.ask(json!({"level": "curtail", "cap_kw": 0.045})).await;
    mine.until_site("it is off", |site| site["state"] == "curtailed")
        .await;
    mine.until_threads(0, 0).await;
    for id in ["rig-1", "rig-2"] {
        until_verified(nats, id, "off", "pause").await;
    }
    until_streamed(nats, "the stream shows that nobody hashes", |rate| {
        rate == 0.0
    })
    .await;
    let stats = mine.get(&mine.pages, "/api/stats").await;
    assert_eq!(stats["hashrate_hs"], 0.0, "{stats}");
    let (shares, since_ms) = (
        mine.shares.load(Relaxed),
        mine.site().await["now_ms"].clone(),
    );
    let passed = since_ms.as_u64().unwrap() + 2_000;
    mine.until_site("two seconds", |site| {
        site["now_ms"].as_u64() >= Some(passed)
    })
    .await;
    assert_eq!(
        mine.shares.load(Relaxed),
        shares,
        "a share came from a mine that is off"
    );
    assert_eq!(mine.site().await["state"], "curtailed");

    mine.ask(json!({"level": "normal"})).await;
    mine.until_site("it runs as before", |site| site["state"] == "running")
        .await;
    mine.until_threads(2, 1).await;
    for id in ["rig-1", "rig-2"] {
        until_verified(nats, id, "on", "resume").await;
    }
    until("shares again", async || {
        (mine.shares.load(Relaxed) > shares).then_some(())
    })
    .await;
    until_streamed(nats, "the stream shows that they hash", |rate| rate > 0.0).await;

    parts.stop.cancel();
    soon("the controller's end", parts.controller)
        .await
        .unwrap()
        .unwrap();
    parts.pool.abort();
    parts.server.shutdown().await;
}
