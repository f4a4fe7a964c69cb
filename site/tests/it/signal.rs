//! Signals against servers and files of their own.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::response::Redirect;
use axum::routing::get;
use headframe_ingest::source::Exchange;
use headframe_site::request::{Level, Request, SignalValue};
use headframe_site::signal::{ALL, ConfiguredSignal, Given, SignalConfig, faults};
use serde_json::{Value, json};

use crate::fixture::{now, serve};

fn signal(keys: Value) -> ConfiguredSignal {
    let mut entry = json!({"name": "utility", "class": "mandatory", "timeout_s": 1.0});
    for (key, value) in keys.as_object().unwrap() {
        entry[key] = value.clone();
    }
    let config: SignalConfig = serde_json::from_value(entry).unwrap();
    ConfiguredSignal::new(config, "north", Exchange::new().unwrap()).unwrap()
}

fn page(url: &str) -> ConfiguredSignal {
    signal(
        json!({"kind": "page", "url": url, "pattern": "Level <b>([0-9]+)</b>",
        "max_body_bytes": 1000, "map": [[0, 0, "normal"], [1, 9, "curtail", 500]]}),
    )
}

async fn level(signal: &ConfiguredSignal) -> Result<Option<Level>, String> {
    match signal.read(now()).await.value {
        SignalValue::Known(requests) => Ok(requests.first().map(|request| request.level)),
        SignalValue::Unknown(reason) => Err(reason),
    }
}

#[tokio::test]
async fn a_page_is_read_over_http_and_what_goes_wrong_is_unknown_with_a_reason() {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    let number = move || async move {
        let number = counted.fetch_add(1, Ordering::SeqCst);
        format!("<html><p>Level <b>{number}</b></p></html>")
    };
    let other = serve(Router::new().route("/", get(|| async { "Level <b>0</b>" }))).await;
    let away = move || async move { Redirect::temporary(&other) };
    let slow = || async { std::future::pending::<&str>().await };
    let routes = Router::new()
        .route("/level", get(number))
        .route("/moved", get(|| async { Redirect::permanent("/level") }))
        .route("/away", get(away))
        .route("/loop", get(|| async { Redirect::permanent("/loop") }))
        .route("/slow", get(slow))
        .route("/long", get(|| async { "x".repeat(5_000) }));
    let address = serve(routes).await;
    let at = |path: &str| page(&format!("{address}{path}"));

    let signal = at("/level");
    assert_eq!(level(&signal).await, Ok(Some(Level::Normal)));
    assert_eq!(level(&signal).await, Ok(Some(Level::Curtail)));
    assert_eq!(signal.evidence().len(), 2);
    assert_eq!(level(&at("/moved")).await, Ok(Some(Level::Curtail)));
    for (path, part) in [
        ("/away", "another host"),
        ("/loop", "more than"),
        ("/slow", "within 1s"),
        ("/long", "longer"),
        ("/nothing", "404"),
    ] {
        let reason = level(&at(path)).await.unwrap_err();
        assert!(reason.contains(part), "{path}: {reason}");
    }
    let gone = page("http://127.0.0.1:9/level");
    assert!(level(&gone).await.is_err());
}

fn given(requests: Vec<Request>, for_s: Option<f64>) -> Given {
    Given {
        requests,
        for_s,
        by: "ann".to_owned(),
        reason: "test".to_owned(),
    }
}

#[tokio::test]
async fn what_is_pushed_counts_until_it_expires() {
    let push = signal(json!({"kind": "push", "expires_after_s": 60}));
    let at = |seconds: u64| now().plus_ms(seconds * 1_000);
    assert!(level(&push).await.unwrap_err().contains("yet"));
    let curtail = vec![Request::of_level(Level::Curtail)];
    push.give(given(curtail.clone(), None), now()).unwrap();
    assert_eq!(
        push.read(at(59)).await.value,
        SignalValue::Known(curtail.clone())
    );
    let late = push.read(at(75)).await.value;
    assert!(matches!(late, SignalValue::Unknown(reason) if reason.contains("expired")));
    assert!(
        push.give(given(curtail.clone(), Some(-1.0)), now())
            .is_err()
    );
    assert!(
        push.give(given(curtail.clone(), Some(f64::NAN)), now())
            .is_err()
    );

    let manual = signal(json!({"kind": "manual"}));
    assert_eq!(level(&manual).await, Ok(None));
    assert!(
        manual
            .give(given(curtail.clone(), Some(90_000.0)), now())
            .is_err()
    );
    let nameless = Given {
        by: " ".to_owned(),
        ..given(curtail.clone(), None)
    };
    assert!(manual.give(nameless, now()).is_err());
    manual.give(given(curtail, None), now()).unwrap();
    assert_eq!(level(&manual).await, Ok(Some(Level::Curtail)));
    assert_eq!(
        manual.read(at(3_601)).await.value,
        SignalValue::Known(Vec::new())
    );

    let page = page("http://127.0.0.1:9/");
    assert!(page.give(given(Vec::new(), None), now()).is_err());
}

#[tokio::test]
async fn a_file_counts_while_it_is_young() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("level");
    let file = signal(json!({"kind": "file", "path": path, "max_age_s": 60,
        "map": [[0, 0, "normal"], [1, 1, "emergency"]]}));
    assert!(level(&file).await.unwrap_err().contains("cannot be read"));
    std::fs::write(&path, "1\n").unwrap();
    assert_eq!(level(&file).await, Ok(Some(Level::Emergency)));
    let late = file.read(now().plus_ms(120_000)).await.value;
    assert!(matches!(late, SignalValue::Unknown(reason) if reason.contains("ago")));
    std::fs::write(&path, "x".repeat(300 * 1024)).unwrap();
    assert!(level(&file).await.unwrap_err().contains("longer"));
}

#[test]
fn entries_that_cannot_work_are_refused_by_name() {
    let entry = |more: Value| {
        let mut entry = json!({"kind": "manual", "name": "a", "class": "contract"});
        for (key, value) in more.as_object().unwrap() {
            entry[key] = value.clone();
        }
        serde_json::from_value::<SignalConfig>(entry).unwrap()
    };
    for (more, named) in [
        (json!({"kind": "dream"}), "dream"),
        (json!({"timeout_s": 0}), "timeout_s"),
        (json!({"max_body_bytes": 0}), "max_body_bytes"),
        (json!({"url": "http://a"}), "url"),
        (json!({"name": ""}), "name"),
        (
            json!({"secret_env": "HEADFRAME_IS_NOT_SET"}),
            "HEADFRAME_IS_NOT_SET",
        ),
    ] {
        let faults = faults(&[entry(more.clone())], true);
        assert!(faults[0].to_string().contains(named), "{more}: {faults:?}");
    }
    assert_eq!(
        faults(&[entry(json!({})), entry(json!({}))], false).len(),
        1
    );
    let names: std::collections::BTreeSet<&str> = ALL.iter().map(|kind| kind.kind()).collect();
    assert_eq!(names.len(), ALL.len());
}
