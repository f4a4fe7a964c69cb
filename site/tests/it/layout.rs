//! A page of a signal that changes: unknown until a person has looked at it, whatever is started
//! anew meanwhile.

use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::response::Html;
use axum::routing::get;
use headframe_ingest::simulator::Simulator;
use serde_json::{Value, json};

use crate::fixture::{serve, until};
use crate::service::{Running, config, scenario};

pub const OLD: &str = "<table><tr><td>Level</td><td>0</td></tr></table>";
pub const NEW: &str = "<table><tr><td>Yesterday</td><td>Level</td><td>0</td></tr></table>";

pub type Page = Arc<Mutex<&'static str>>;

async fn shown(State(page): State<Page>) -> Html<&'static str> {
    Html(*page.lock().unwrap())
}

/// A page that shows the old layout until a test changes it, and a signal that reads it.
pub async fn page() -> (Page, Value) {
    let page: Page = Arc::new(Mutex::new(OLD));
    let routes = Router::new().route("/", get(shown));
    let address = serve(routes.with_state(page.clone())).await;
    let signal = json!({"kind": "page", "name": "notice", "class": "mandatory",
        "url": address, "pattern": r">(\d)<", "map": [[0, 0, "normal"], [1, 9, "curtail"]],
        "interval_s": 0.2});
    (page, signal)
}

/// The row of the signal, once it is so.
async fn row(running: &Running, what: &str, is_so: fn(&Value) -> bool) -> Value {
    until(what, || async {
        is_so(&running.site().await["signals"][0])
    })
    .await;
    running.site().await["signals"][0].clone()
}

fn is_known(row: &Value) -> bool {
    row["value"]["known"].is_array()
}

fn is_changed(row: &Value) -> bool {
    let why = row["value"]["unknown"].as_str().unwrap_or_default();
    why.contains("layout changed")
}

async fn get_json(running: &Running, path: &str) -> Value {
    let (status, said) = running.send(reqwest::Method::GET, path, Value::Null).await;
    assert_eq!(status, 200, "{said}");
    said
}

async fn site_of(folder: &Path) -> (Simulator, Value, Page) {
    let simulator = Simulator::start(scenario(), 4.0).await.unwrap();
    let (page, signal) = page().await;
    let mut config = config(&simulator, folder, None);
    config["signal"] = json!([signal]);
    (simulator, config, page)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_page_is_unknown_over_restarts_until_somebody_accepts_it() {
    let folder = tempfile::tempdir().unwrap();
    let (_simulator, config, page) = site_of(folder.path()).await;
    let running = Running::start(&config).await;
    row(&running, "the page is read", is_known).await;
    running.stop().await;
    *page.lock().unwrap() = NEW;
    // The layout of the start before is what counts.
    let running = Running::start(&config).await;
    let changed = row(&running, "the change is seen", is_changed).await;
    let (expected, seen) = (&changed["layout"]["expected"], &changed["layout"]["seen"]);
    assert!(
        expected.is_string() && seen.is_string() && expected != seen,
        "{changed}"
    );
    let path = "/api/v1/site/signals/notice/accept-layout";
    for (body, wanted) in [
        (json!({"layout": seen, "reason": " "}), 400),
        (json!({"layout": expected, "reason": "I looked"}), 409),
        (json!({"reason": "I looked"}), 400),
    ] {
        let (status, said) = running.post(path, body.clone()).await;
        assert_eq!(status, wanted, "{body}: {said}");
    }
    let body = json!({"layout": seen, "reason": "a column was added", "by": "ann"});
    let nobody = path.replace("notice", "nobody");
    assert_eq!(running.post(&nobody, body.clone()).await.0, 404);
    assert!(is_changed(&running.site().await["signals"][0]));
    let (status, said) = running.post(path, body).await;
    assert_eq!((status, &said["durable"]), (200, &json!(true)), "{said}");
    row(&running, "it is believed again", is_known).await;
    let evidence = get_json(&running, "/api/v1/site/signals/notice/evidence").await;
    assert_eq!(evidence["bodies"][0]["text"], NEW, "{evidence}");
    assert!(
        evidence["bodies"][0]["reads"].as_u64() > Some(0),
        "{evidence}"
    );
    let journal = get_json(&running, "/api/v1/site/journal?limit=1000")
        .await
        .to_string();
    assert!(
        journal.contains(r#""accept_layout":{"by":"ann ("#),
        "{journal}"
    );
    running.stop().await;
    let running = Running::start(&config).await;
    row(&running, "what was accepted stays so", is_known).await;
    running.stop().await;
}
