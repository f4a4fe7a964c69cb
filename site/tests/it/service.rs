//! A whole controller against a simulated plant: a signal, machines that stop and start, an
//! emergency stop, restarts, and the facts of all of it.

use std::collections::BTreeMap;
use std::path::Path;

use headframe_ingest::simulator::{Scenario, Simulator};
use headframe_ingest::{
    ManagedServer, Nats, NatsConfig, ReadFrom, Reader, ServerConfig, find_nats_server,
    inspect_stream,
};
use headframe_schemas::{Stream, codec, stream};
use headframe_site::config::SiteConfig;
use headframe_site::service::Service;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::decision_inputs::check_inputs;
use crate::fixture::until;
use crate::recorded::{printed, program};

pub const TOKEN: &str = "a token for the tests";

/// Four machines that need 30 J/TH and four that need 20, with fans, a thermometer and a meter.
pub fn scenario() -> Scenario {
    let machine = |name: &str, api: &str, efficiency: f64| {
        json!({"name": name, "count": 4, "hashrate_ths": 100.0, "efficiency_j_th": efficiency,
            "boot_s": 2.0, "standby_w": 15.0, "api": api})
    };
    let text = json!({"seed": 3, "site": "north", "step_s": 0.5, "interval_s": 1.0,
        "weather": {"mean_c": 5.0, "swing_c": 0.0}, "container": {"fans": 2, "initial_c": 15.0},
        "machines": [machine("old", "luxos", 30.0), machine("new", "whatsminer", 20.0)],
        "devices": [
            {"kind": "shelly2", "name": "main", "measures": "site"},
            {"kind": "roomalert", "name": "room"},
            {"kind": "controlbyweb", "name": "relays", "feeds": ["fan-1", "fan-2"]}]});
    serde_json::from_value(text).unwrap()
}

/// A configuration for that plant, with delays of a second instead of minutes.
pub fn config(simulator: &Simulator, folder: &Path, nats: Option<NatsConfig>) -> Value {
    let address = |name: &str| {
        let mut sources = simulator.sources().iter();
        let source = sources.find(|source| source.name == name).unwrap();
        source.address.clone()
    };
    let mut actuators = vec![json!({"kind": "controlbyweb", "name": "relays",
        "address": address("relays"),
        "controls": [{"channel": "1", "fan": 1}, {"channel": "2", "fan": 2}]})];
    let mut machines = Vec::new();
    for (group, firmware, efficiency) in [("old", "luxos", 30.0), ("new", "whatsminer", 20.0)] {
        for number in 1..=4 {
            let name = format!("{group}-{number}");
            actuators.push(json!({"kind": "asic", "name": name, "firmware": firmware,
                "address": address(&name)}));
            machines.push(json!({"name": name, "hashrate_ths": 100.0, "boot_s": 2,
                "efficiency_j_th": efficiency, "power_w": 100.0 * efficiency, "standby_w": 15.0}));
        }
    }
    json!({
        "data_dir": folder.join("data"), "listen": "127.0.0.1:0", "step_s": 0.5,
        "token_file": folder.join("token"), "nats": nats,
        "plan": {"name": "north", "design_kw": 24.0, "machines": machines,
            "fans": [{"watts": 900.0}, {"watts": 900.0}],
            "container_sensors": ["room/Internal Sensor"]},
        "readings": {"site_meter": "main",
            "temperature": [{"reading": "room/Internal Sensor", "kind": "container"}],
            "fan": [{"fan": 1, "relay": "relays/relay1"}, {"fan": 2, "relay": "relays/relay2"}]},
        "sources": {"max_backoff_s": 2},
        "source": simulator.sources(),
        "signal": [{"kind": "push", "name": "utility", "class": "mandatory",
            "silence": "normal"}],
        "actuator": actuators,
        // Waits are long and failures are tried again at once: a busy machine answers late.
        "policy": {
            "dispatch": {"answer_within_s": 120, "proof_within_s": 240, "stuck_retry_s": 1},
            "power": {"restart_delay_s": 0, "restart_jitter_s": 0, "min_off_s": 1,
                "meter_noise_kw": 0.1,
                "release_stable_s": 1},
            "signals": {"debounce_s": 1},
            "restore": {"ramp_pct_per_min": 100.0, "group_pct": 50.0, "group_every_s": 1,
                "retry_s": 1},
        },
    })
}

/// A controller that runs in this process.
pub struct Running {
    pub url: String,
    stop: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
    pub client: reqwest::Client,
}

impl Running {
    pub async fn start(config: &Value) -> Self {
        let token_file = config["token_file"].as_str().unwrap();
        write_secret(Path::new(token_file), TOKEN);
        let mut config = config.clone();
        if config["nats"].is_null() {
            config.as_object_mut().unwrap().remove("nats");
        }
        let config: SiteConfig = serde_json::from_value(config).unwrap();
        let service = Service::open(&config).await.unwrap();
        let url = format!("http://{}", service.address().unwrap());
        let stop = CancellationToken::new();
        Self {
            url,
            task: tokio::spawn(service.run(stop.clone())),
            stop,
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
        }
    }

    pub async fn site(&self) -> Value {
        let request = self.client.get(format!("{}/api/v1/site", self.url));
        match request.bearer_auth(TOKEN).send().await {
            Ok(answer) => answer.json().await.unwrap_or_default(),
            Err(_) => Value::Null,
        }
    }

    pub async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.send(reqwest::Method::POST, path, body).await
    }

    pub async fn send(&self, method: reqwest::Method, path: &str, body: Value) -> (u16, Value) {
        let request = self.client.request(method, format!("{}{path}", self.url));
        let answer = request.bearer_auth(TOKEN).json(&body).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    pub async fn delete(&self, path: &str, body: Value) -> (u16, Value) {
        let request = self.client.delete(format!("{}{path}", self.url));
        let answer = request.bearer_auth(TOKEN).json(&body).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    pub async fn until_state(&self, state: &str) {
        until(&format!("the state {state}"), || async {
            self.site().await["state"] == state
        })
        .await;
    }

    pub async fn ask(&self, requests: Value) {
        let body = json!({"requests": requests, "for_s": 600.0});
        let (status, said) = self.post("/api/v1/site/signals/utility", body).await;
        assert_eq!(status, 200, "{said}");
    }

    pub async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }
}

pub fn write_secret(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

pub async fn nats_server(folder: &Path) -> ManagedServer {
    let binary = find_nats_server().unwrap();
    let config = ServerConfig::new(binary, folder.join("nats"));
    ManagedServer::start(config).await.unwrap()
}

/// The rows of a stream, each with its producer and number. Rows that were sent again are left out
/// by their numbers, as every reader does; they must be the same.
pub async fn rows(nats: &Nats, name: &str) -> Vec<(String, i64, Value)> {
    let stream: &'static dyn Stream = stream::find(name).unwrap();
    let Some(identity) = inspect_stream(&nats.js, stream).await.unwrap() else {
        return Vec::new();
    };
    let mut found: Vec<(String, i64, Value)> = Vec::new();
    if identity.first_seq > identity.last_seq {
        return found;
    }
    let from = ReadFrom {
        next: identity.first_seq,
        ..ReadFrom::default()
    };
    let mut reader = Reader::open(nats.clone(), stream, from).await.unwrap();
    while reader.position() <= identity.last_seq {
        for message in reader.next().await.unwrap() {
            for (place, (_, line)) in codec::lines(&message.payload).enumerate() {
                let (producer, number) = message.identity(place).unwrap();
                let row: Value = serde_json::from_slice(line).unwrap();
                let known = |one: &&(String, i64, Value)| one.0 == producer && one.1 == number;
                match found.iter().find(known) {
                    Some((_, _, first)) => assert_eq!(*first, row, "{name} {producer} {number}"),
                    None => found.push((producer.to_owned(), number, row)),
                }
            }
        }
    }
    found
}

/// Every producer's numbers are 0, 1, 2 … and each row is of the stream's shape.
pub fn assert_each_once(name: &str, rows: &[(String, i64, Value)]) {
    let mut next: BTreeMap<&str, i64> = BTreeMap::new();
    for (producer, number, row) in rows {
        let wanted = next.entry(producer).or_default();
        assert_eq!(number, wanted, "{name}: {producer} {row}");
        *wanted += 1;
    }
    let stream = stream::find(name).unwrap();
    for (_, _, row) in rows {
        for column in stream.columns() {
            let value = &row[column.name];
            assert!(
                !column.required || !value.is_null(),
                "{name}.{}: {row}",
                column.name
            );
        }
        for key in row.as_object().unwrap().keys() {
            assert!(
                stream.columns().iter().any(|one| one.name == key),
                "{name}.{key}"
            );
        }
    }
}

pub fn hashing(simulator: &Simulator, group: &str) -> usize {
    let state = simulator.state();
    let own = state.machines.iter();
    own.filter(|one| one.name.starts_with(group) && one.hashrate_hs > 0.0)
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_stops_the_least_efficient_machines_and_its_end_starts_them() {
    let folder = tempfile::tempdir().unwrap();
    let server = nats_server(folder.path()).await;
    let nats_config = server.client_config();
    let simulator = Simulator::start(scenario(), 4.0).await.unwrap();
    let config = config(&simulator, folder.path(), Some(nats_config.clone()));
    let running = Running::start(&config).await;
    running.until_state("running").await;
    until("every machine hashes", || async {
        hashing(&simulator, "") == 8
    })
    .await;
    running
        .ask(json!([{"level": "curtail", "cap_kw": 14.0, "event": "heat"}]))
        .await;
    running.until_state("curtailed").await;
    // How many stop exactly, and how soon, is a matter of the pure steps; here a busy machine may
    // read its meter late.
    until("the less efficient ones stand and others go on", || async {
        hashing(&simulator, "old") < hashing(&simulator, "new")
    })
    .await;
    until("the meter shows it", || async {
        let site = running.site().await;
        let is_below = site["measured_kw"].as_f64().is_some_and(|kw| kw <= 14.0);
        is_below && site["winner"]["level"] == 3
    })
    .await;
    running.ask(json!([{"level": "normal"}])).await;
    running.until_state("running").await;
    until("every machine hashes again", || async {
        hashing(&simulator, "") == 8
    })
    .await;
    // Facts follow on; the last of them is the score of what was just seen.
    let nats = Nats::connect(&nats_config).await.unwrap();
    until("the event is scored", || async {
        !rows(&nats, "curtailment_events").await.is_empty()
    })
    .await;
    let events = rows(&nats, "curtailment_events").await;
    let (_, _, event) = &events[0];
    assert_eq!(
        (&event["signal"], &event["level"]),
        (&json!("utility"), &json!(3))
    );
    assert_eq!(event["target_kw"], 14.0, "{event}");
    let seconds = |key: &str| event[key].as_f64().unwrap_or(f64::MAX);
    assert!(seconds("detect_s") <= seconds("target_s"), "{event}");
    assert!(seconds("target_s") < f64::MAX, "{event}");
    assert!(event["baseline_kw"].as_f64() > Some(18.0), "{event}");
    check_reports(&running, event, folder.path()).await;
    check_inputs(&running, &nats).await;
    running.stop().await;
    check_facts(&nats).await;
}

/// The event over the routes, with its reports, and a journal of real devices that replays bit for
/// bit while its controller runs.
async fn check_reports(running: &Running, event: &Value, folder: &Path) {
    let get = async |path: &str| {
        let request = running.client.get(format!("{}{path}", running.url));
        request.bearer_auth(TOKEN).send().await.unwrap()
    };
    let listed: Value = get("/api/v1/site/events").await.json().await.unwrap();
    let listed = listed["events"].as_array().unwrap();
    let id = listed[0]["id"].as_str().unwrap();
    let columns = [&event["journal"], &event["event"]];
    let named = columns
        .map(|value| value.to_string().replace('"', ""))
        .join("-");
    assert_eq!(
        (listed.len(), id),
        (1, named.as_str()),
        "as the stream names it"
    );
    let older = get(&format!("/api/v1/site/events?before={id}")).await;
    assert_eq!(older.json::<Value>().await.unwrap()["events"], json!([]));
    for (form, kind, begins) in [
        ("html", "text/html", "<!doctype html>"),
        ("csv", "text/csv", "event,site,"),
        ("pdf", "application/pdf", "%PDF-"),
    ] {
        let answer = get(&format!("/api/v1/site/events/{id}/report.{form}")).await;
        let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
        assert!(header("content-type").starts_with(kind));
        assert!(header("content-security-policy").starts_with("default-src 'none'"));
        let body = answer.bytes().await.unwrap();
        assert!(body.starts_with(begins.as_bytes()), "{form}");
    }
    for missing in [
        "events/1f-7/report.html",
        "events/x/report.pdf",
        "journal/segments/none",
    ] {
        let answer = get(&format!("/api/v1/site/{missing}")).await;
        assert_eq!(answer.status().as_u16(), 404, "{missing}");
    }
    let answer = get(&format!("/api/v1/site/events/{id}/report.doc")).await;
    assert_eq!(answer.status().as_u16(), 404);
    let (url, token) = (running.url.clone(), folder.join("token"));
    let printing = tokio::task::spawn_blocking(move || {
        let token = token.to_str().unwrap();
        let at = ["--url", &url, "--token-file", token];
        let verify = [&["whatif", "--verify"], &at[..]].concat();
        let report = [&["report", "last", "--format", "csv"], &at[..]].concat();
        let nowhere = Path::new("none.toml");
        [verify, report].map(|all| printed(&program(nowhere, &all)))
    });
    let [proof, csv] = printing.await.unwrap();
    assert!(proof.contains("all the same, bit for bit"), "{proof}");
    assert!(csv.starts_with("event,site,"), "{csv}");
}

/// The facts of one curtailment: each once, and machines that were proven to have stopped.
async fn check_facts(nats: &Nats) {
    for name in [
        "signals",
        "curtailment",
        "curtailment_events",
        "site_commands",
        "energy",
        "sensors",
        "hashrate",
        "source_health",
    ] {
        let rows = rows(nats, name).await;
        assert!(!rows.is_empty(), "{name}");
        assert_each_once(name, &rows);
    }
    let commands = rows(nats, "site_commands").await;
    let verified: Vec<&str> = commands
        .iter()
        .filter(|(_, _, row)| row["state"] == "verified" && row["action"] == "off")
        .filter_map(|(_, _, row)| row["target"].as_str())
        .collect();
    assert!(
        verified.iter().any(|name| name.starts_with("old-")),
        "{verified:?}"
    );
    assert!(verified.len() >= 3, "{verified:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_and_answers_are_sent_compressed_to_whoever_takes_that() {
    let folder = tempfile::tempdir().unwrap();
    let simulator = Simulator::start(scenario(), 4.0).await.unwrap();
    let running = Running::start(&config(&simulator, folder.path(), None)).await;
    until("a first step", || async {
        running.site().await["state"].is_string()
    })
    .await;
    for path in [
        "/site",
        "/site/machines",
        "/api/v1/site",
        "/api/v1/site/machines",
    ] {
        let mut bytes = Vec::new();
        for wanted in ["gzip", "identity"] {
            let request = running.client.get(format!("{}{path}", running.url));
            let request = request.bearer_auth(TOKEN).header("Accept-Encoding", wanted);
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status().as_u16(), 200, "{path}");
            let encoding = answer.headers().get("content-encoding");
            assert_eq!(
                encoding.is_some_and(|one| one == "gzip"),
                wanted == "gzip",
                "{path}"
            );
            bytes.push(answer.bytes().await.unwrap().len());
        }
        println!("{path}: {} of {} bytes", bytes[0], bytes[1]);
        assert!(2 * bytes[0] < bytes[1], "{path}: {bytes:?}");
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emergency_stop_holds_over_restarts_until_somebody_says_why_it_is_safe() {
    let folder = tempfile::tempdir().unwrap();
    let simulator = Simulator::start(scenario(), 4.0).await.unwrap();
    let mut config = config(&simulator, folder.path(), None);
    config["policy"]["trips"]["clear_s"] = json!(1);
    let running = Running::start(&config).await;
    running.until_state("running").await;
    // Every program of this machine may stop it, without a token.
    let stop = running
        .client
        .post(format!("{}/api/v1/site/emergency-stop", running.url));
    let answer = stop.send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    let said: Value = answer.json().await.unwrap();
    assert_eq!(said["state"]["power"], "tripped", "{said}");
    until("no machine hashes", || async {
        hashing(&simulator, "") == 0
    })
    .await;
    // A page of another site may not.
    let stop = running
        .client
        .post(format!("{}/api/v1/site/emergency-stop", running.url));
    let answer = stop
        .header("Sec-Fetch-Site", "cross-site")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status().as_u16(), 403);
    running.stop().await;
    let running = Running::start(&config).await;
    until("it knows again", || async {
        running.site().await["state"] == "tripped"
    })
    .await;
    let (status, _) = running
        .post("/api/v1/site/reset", json!({"reason": " "}))
        .await;
    assert_eq!(status, 400, "a reset needs a reason");
    let client = &running.client;
    let reset = client.post(format!("{}/api/v1/site/reset", running.url));
    let answer = reset
        .json(&json!({"reason": "looked at it"}))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status().as_u16(), 401, "and whoever may give orders");
    until("the reset is taken", || async {
        let body = json!({"reason": "looked at it", "by": "ann"});
        let (status, said) = running.post("/api/v1/site/reset", body).await;
        assert!(status == 200 || status == 409, "{said}");
        status == 200
    })
    .await;
    // The ramp is a minute long; the first machines show that it began.
    until("machines hash", || async { hashing(&simulator, "") > 0 }).await;
    running.stop().await;
}
