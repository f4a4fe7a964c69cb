//! What the controller before this one promised, and the command line beside it: against one
//! controller with simulated devices.

use std::path::{Path, PathBuf};
use std::process::Command;

use headframe_ingest::simulator::Simulator;
use headframe_site::config::SiteConfig;
use serde_json::{Value, json};

use crate::fixture::until;
use crate::process::write_config;
use crate::recorded::{printed, program};
use crate::service::{Running, TOKEN, config, hashing, nats_server, scenario};

async fn text(running: &Running, path: &str) -> String {
    let request = running.client.get(format!("{}{path}", running.url));
    let answer = request.bearer_auth(TOKEN).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 200, "{path}");
    answer.text().await.unwrap()
}

async fn get(running: &Running, path: &str) -> Value {
    serde_json::from_str(&text(running, path).await).unwrap()
}

/// The status and the body of an answer that may be an error.
async fn read(running: &Running, path: &str) -> (u16, Value) {
    let method = reqwest::Method::GET;
    running.send(method, path, Value::Null).await
}

/// The words of the old controller, with values that can be.
fn check_status(said: &Value) {
    assert_eq!(said["status"], "running", "{said}");
    assert_eq!(
        (&said["miners_on"], &said["miners_off"]),
        (&json!(8), &json!(0))
    );
    assert_eq!(said["power_signal"], json!([{"known": []}]), "{said}");
    assert!(said["power_kw"].as_f64() > Some(18.0), "{said}");
    assert_eq!(said["target_kw"], 24.0, "{said}");
    assert!(
        said["temperature"].is_f64() && said["humidity"].is_null(),
        "{said}"
    );
    assert!(
        said["fans_on"].is_u64() && said["alerts"].is_object(),
        "{said}"
    );
    assert!(said["age_s"].as_f64() < Some(30.0), "{said}");
    assert!(
        said["reason"].as_str().unwrap().starts_with("running at"),
        "{said}"
    );
    assert!(said["timestamp"].as_f64() > Some(1.7e9), "{said}");
}

/// Each has a help and a type, and the numbers are those of the site.
fn check_metrics(text: &str) {
    let value = |name: &str| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{name} ")));
        let line = line.unwrap_or_else(|| panic!("{name} is missing: {text}"));
        line.parse::<f64>().unwrap()
    };
    assert!(value("headframe_site_power_kw") > 18.0);
    assert_eq!(value("headframe_site_target_kw"), 24.0);
    assert_eq!(value("headframe_site_state{state=\"running\"}"), 1.0);
    assert_eq!(value("headframe_site_state{state=\"tripped\"}"), 0.0);
    assert_eq!(value("headframe_site_machines{phase=\"running\"}"), 8.0);
    assert_eq!(value("headframe_site_trips"), 0.0);
    assert_eq!(value("headframe_site_disk_trouble"), 0.0);
    for name in [
        "fans_on",
        "temperature_c",
        "step_age_seconds",
        "commands_open",
    ] {
        assert!(value(&format!("headframe_site_{name}")) >= 0.0);
        assert!(text.contains(&format!("# TYPE headframe_site_{name} gauge\n")));
        assert!(text.contains(&format!("# HELP headframe_site_{name} ")));
    }
}

/// What the program prints when it ends well; it runs beside this controller.
async fn ran(file: &Path, arguments: &[&str]) -> String {
    let (file, arguments) = (file.to_owned(), arguments.join("\n"));
    let running = tokio::task::spawn_blocking(move || {
        let arguments: Vec<&str> = arguments.split('\n').collect();
        printed(&program(&file, &arguments))
    });
    running.await.unwrap()
}

async fn command_line(running: &Running, file: &Path, folder: &Path) {
    let token = folder.join("token");
    let at = [
        "--url",
        running.url.as_str(),
        "--token-file",
        token.to_str().unwrap(),
    ];
    let said = ran(file, &[&["status"], &at[..]].concat()).await;
    assert!(said.starts_with("north: running at "), "{said}");
    assert!(
        said.contains("state running, ") && said.contains("8 machines run, 0 are"),
        "{said}"
    );
    let said = ran(file, &[&["status", "--json"], &at[..]].concat()).await;
    let site: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        site["plan"].as_str().map(str::is_empty),
        Some(false),
        "{site}"
    );
    let tested = ran(file, &["test"]).await;
    for line in [
        "ok    configuration: 8 machines",
        "ok    token: there",
        "ok    data_dir: ",
    ] {
        assert!(tested.contains(line), "{line}: {tested}");
    }
    for name in [
        "signal utility",
        "source room",
        "source old-1",
        "Fan(1) by Device",
    ] {
        assert!(
            tested.contains(&format!("ok    {name}: ")),
            "{name}: {tested}"
        );
    }
    let stop = ["emergency-stop", "--reason", "smoke", "--by", "ann"];
    let said = ran(file, &[&stop[..], &at[..2]].concat()).await;
    assert!(
        said.contains("everything is off") && said.contains("smoke"),
        "{said}"
    );
    running.until_state("tripped").await;
    until("nothing hashes", || async {
        hashing_of(running).await == 0
    })
    .await;
}

async fn hashing_of(running: &Running) -> u64 {
    running.site().await["machines"]["running"]
        .as_u64()
        .unwrap_or(u64::MAX)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_old_routes_the_metrics_and_the_command_line_say_what_is_so() {
    let folder = tempfile::tempdir().unwrap();
    let simulator = Simulator::start(scenario(), 4.0).await.unwrap();
    let mut config = config(&simulator, folder.path(), None);
    config["policy"]["health"] = json!({"loop_s": 1});
    let running = Running::start(&config).await;
    running.until_state("running").await;
    until("every machine hashes", || async {
        hashing(&simulator, "") == 8 && running.site().await["measured_kw"].as_f64() > Some(18.0)
    })
    .await;
    // The loop that supervises looks each second here, and finds nothing.
    until("it is supervised", || async {
        let found = running.site().await["supervision"].clone();
        found == json!({"is_advancing": true, "unread": [], "stuck": []})
    })
    .await;
    check_status(&get(&running, "/api/status").await);
    check_status(&get(&running, "/dashboard_data.json").await);
    let state = get(&running, "/api/state").await;
    assert_eq!(state["state"]["power"]["region"], "running", "{state}");
    assert_eq!(state["decision"]["after"]["power"], "running", "{state}");
    assert_eq!(state["state"]["machines"].as_array().unwrap().len(), 8);
    check_metrics(&text(&running, "/metrics").await);
    for wrong in ["journal?after=x", "journal?behind=1", "events?limit=-1"] {
        let (status, answer) = read(&running, &format!("/api/v1/site/{wrong}")).await;
        let hint = answer["error"]["hint"].as_str().unwrap_or_default();
        assert!(
            status == 400 && hint.starts_with("ask for ?"),
            "{wrong}: {answer}"
        );
    }
    let file = write_config(folder.path(), config.clone());
    command_line(&running, &file, folder.path()).await;
    running.stop().await;
    // A fault is named, and the program says so with its status.
    let mut broken = config;
    broken["signal"] = json!([{"kind": "file", "name": "utility", "class": "mandatory",
        "path": folder.path().join("nothing.json")}]);
    let server = nats_server(folder.path()).await;
    broken["nats"] = json!(server.client_config());
    let found = test_fails(write_config(folder.path(), broken.clone())).await;
    assert!(found.contains("FAULT signal utility: "), "{found}");
    assert!(found.contains("ok    nats: "), "{found}");
    server.shutdown().await;
    let file = write_config(folder.path(), broken);
    let found = test_fails(file.clone()).await;
    assert!(found.contains("FAULT nats: cannot connect"), "{found}");
    let errors = tokio::task::spawn_blocking(move || test_unread(&file)).await;
    let errors = errors.unwrap();
    assert!(errors.contains("2 faults"), "{errors}");
    assert!(!errors.contains("panicked"), "{errors}");
}

/// The errors of a `test` whose words nobody reads, as when `head` has seen enough.
fn test_unread(file: &Path) -> String {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let ended = Command::new(env!("CARGO_BIN_EXE_headframe-site"))
        .arg("test")
        .env("HEADFRAME_SITE_CONFIG", file)
        .stdout(writer)
        .output()
        .unwrap();
    String::from_utf8(ended.stderr).unwrap()
}

/// What `test` says of a configuration with faults.
async fn test_fails(file: PathBuf) -> String {
    let ended = tokio::task::spawn_blocking(move || program(&file, &["test"]))
        .await
        .unwrap();
    assert!(!ended.status.success());
    String::from_utf8(ended.stdout).unwrap()
}

#[test]
fn the_example_of_a_configuration_can_be_used_as_it_is() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let file: PathBuf = root.join("deploy/site.example.toml");
    let config = SiteConfig::load(&file).unwrap();
    let site = config.check(true).unwrap();
    assert_eq!(
        (site.plan.name.as_str(), site.plan.machines.len()),
        ("north", 1)
    );
    // Its one machine does not fill its site, which is said; nothing else is wrong.
    let warnings = config.warnings();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("design_kw"), "{warnings:?}");
}
