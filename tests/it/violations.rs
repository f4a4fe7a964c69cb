//! Violations over a running server: found by a rule, decided by people, reported by one, scored,
//! ordered, and kept over a kill.

use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use headframe_schemas::resource::values::micros_text;
use reqwest::Method;
use serde_json::{Value, json};

use crate::registry::{Answer, nats, site, start, try_send};
use crate::server::{Headframe, http, until};

pub fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    since.as_micros() as i64
}

async fn post(running: &Headframe, path: &str, tag: Option<&str>, body: &Value) -> Answer {
    try_send(&running.url, Method::POST, path, tag, Some(body))
        .await
        .unwrap()
}

async fn send_temperature(running: &Headframe, celsius: f64) {
    let row = json!({"event_time": now_us(), "site": "north", "sensor": "hall",
        "quantity": "temperature_c", "value": celsius});
    let request = http().post(format!("{}/api/v1/ingest/sensors", running.url));
    let request = request.header("Content-Type", "application/x-ndjson");
    let answer = request.body(row.to_string()).send().await.unwrap();
    assert!(answer.status().is_success());
}

/// The one row of a list, once it is there and the condition holds.
async fn one(running: &Headframe, path: &str, what: impl Fn(&Value) -> bool) -> Value {
    until(path, async || {
        let answer = running.read(path).await;
        let rows = answer.body["rows"].as_array().cloned().unwrap_or_default();
        match rows.as_slice() {
            [row] if what(row) => Ok(row.clone()),
            _ => Err(answer.body.to_string()),
        }
    })
    .await
}

async fn decide(running: &Headframe, id: &str, decision: &str, version: i64) -> Answer {
    let tag = format!("\"{version}\"");
    let body = json!({"reason": format!("to {decision}")});
    post(
        running,
        &format!("violations/{id}/{decision}"),
        Some(&tag),
        &body,
    )
    .await
}

async fn register(running: &Headframe) {
    let rule = json!({"id": "hot", "type": "SAFETY_TEMP", "subject_kind": "site",
        "metric": "sensor", "quantity": "temperature_c", "comparison": "at_least",
        "threshold": 40, "hysteresis": 2, "severity": "high", "order": "cap", "cap_kw": 5,
        "valid_from": "2026-01-01T00:00:00Z"});
    let pool = json!({"id": "p1", "name": "One", "operator": "o", "location": "a fjord",
        "site": "north", "power_limit_kw": 1_000, "energy_limit_kwh": 20_000,
        "energy_period": "day"});
    for (kind, body) in [
        ("operators", json!({"id": "o", "name": "O"})),
        ("sites", site("north")),
        ("pools", pool),
        ("rules", rule),
    ] {
        let answer = running.register(kind, &body).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
    }
    let capped = json!({"id": "x", "type": "OTHER", "subject_kind": "pool", "metric": "power_w",
        "comparison": "above", "threshold": 1, "order": "cap", "hours": "9-10"});
    let refused = running.register("rules", &capped).await;
    assert_eq!(refused.status, 400);
    let message = refused.body["error"]["message"].as_str().unwrap();
    assert!(message.contains("field `hours`"), "{message}");
    let useless = json!({"id": "x", "type": "OTHER", "subject_kind": "machine",
        "metric": "efficiency_jth", "comparison": "above", "threshold": 30});
    let refused = running.register("rules", &useless).await;
    assert_eq!(refused.status, 400);
    let message = refused.body["error"]["message"].as_str().unwrap();
    assert!(
        message.contains("field `metric`: no machine has"),
        "{message}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_violation_is_found_decided_ordered_and_closed_and_stays_after_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let nats = nats(folder.path()).await;
    let running = start(folder.path(), &nats).await;
    register(&running).await;
    send_temperature(&running, 45.0).await;
    let path = "violations?type=SAFETY_TEMP&subject=north";
    let open = one(&running, path, |row| row["status"] == "open").await;
    assert_eq!(
        (
            &open["severity"],
            &open["condition"],
            &open["value"],
            &open["actor"]
        ),
        (
            &json!("high"),
            &json!("holds"),
            &json!(45.0),
            &json!("rules")
        ),
        "{open}"
    );
    assert!(open["acknowledge_due_at"].is_string() && open["resolve_due_at"].is_string());
    let id = open["violation"].as_str().unwrap().to_owned();

    refusals(&running, &id).await;
    let known = decide(&running, &id, "acknowledge", 1).await;
    assert_eq!(
        (known.status.as_u16(), known.etag.as_deref()),
        (200, Some("\"2\""))
    );
    assert_eq!(
        (&known.body["status"], &known.body["actor"]),
        (&json!("acknowledged"), &json!("local"))
    );
    order_is_carried_out(&running, &id).await;

    send_temperature(&running, 30.0).await;
    one(&running, path, |row| row["status"] == "resolved").await;
    let other = running.read("violations?status=open").await;
    assert_eq!(other.body["rows"], json!([]));
    assert_eq!(decide(&running, &id, "verify", 3).await.status, 200);
    assert_eq!(decide(&running, &id, "close", 4).await.status, 200);
    let whole = running.read(&format!("violations/{id}")).await;
    let history: Vec<(&str, &str)> = whole.body["history"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            (
                row["transition"].as_str().unwrap(),
                row["actor"].as_str().unwrap(),
            )
        })
        .collect();
    let expected = [
        ("opened", "rules"),
        ("acknowledged", "local"),
        ("resolved", "rules"),
        ("verified", "local"),
        ("closed", "local"),
    ];
    assert_eq!(history, expected);
    reported_and_scored(&running).await;
    shown_to_sql_and_prometheus(&running).await;
    let photo = inspected_with_a_photo(&running).await;

    // A start looks at the same samples again.
    running.kill();
    let running = start(folder.path(), &nats).await;
    send_temperature(&running, 46.0).await;
    let again = "violations?type=SAFETY_TEMP&status=open";
    let again = one(&running, again, |row| row["value"] == 46.0).await;
    assert_ne!(again["violation"], json!(id));
    let kept = running.read(&format!("violations/{id}")).await;
    assert_eq!(
        (&kept.body["version"], &kept.body["status"]),
        (&json!(5), &json!("closed"))
    );
    let facts = "SELECT CAST(count(*) AS BIGINT) AS facts FROM evidence WHERE fact_stream = \
        'violations'";
    running.until(facts, |row| row["facts"] == 8).await;
    let facts = format!(
        "SELECT CAST(count(*) AS BIGINT) AS facts FROM evidence JOIN registry ON fact_seq = \
         registry.seq WHERE fact_stream = 'registry' AND registry.after LIKE '%{photo}%'"
    );
    running.until(&facts, |row| row["facts"] == 1).await;
    running.kill();
    let tables = folder.path().join("tables");
    let (holds, text) = audit_evidence(&tables);
    assert!(holds, "{text}");
    assert!(text.contains("as they were uploaded: 1"), "{text}");
    // One bit of the photo is another.
    let file = tables.join("_photos").join(&photo);
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[20] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let (holds, text) = audit_evidence(&tables);
    let named = text.contains(&format!("photo {photo} of inspection first"));
    assert!(!holds && named, "{text}");
    nats.shutdown().await;
}

/// Whether the evidence holds, and what the command says.
fn audit_evidence(tables: &Path) -> (bool, String) {
    let audit = Command::new(env!("CARGO_BIN_EXE_headframe"))
        .args(["audit", "evidence", "--tables"])
        .arg(tables)
        .output()
        .unwrap();
    let text = [audit.stdout, audit.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    (audit.status.success(), text)
}

/// An inspection with a photo, which is sent as it came; its digest.
async fn inspected_with_a_photo(running: &Headframe) -> String {
    let first = json!({"id": "first", "site": "north", "type": "routine", "status": "done",
        "planned_at": "2026-03-01T12:00:00Z", "findings": "A fire door was blocked."});
    let made = running.register("inspections", &first).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let upload = async |bytes: &'static [u8]| {
        let url = format!("{}/api/v1/inspections/first/photos", running.url);
        let request = http().post(url).header("Content-Type", "image/jpeg");
        request.body(bytes).send().await.unwrap()
    };
    let svg = b"<svg xmlns=\"http://www.w3.org/2000/svg\"/>";
    assert_eq!(upload(svg).await.status(), 415);
    let photo = b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01 and what the camera said of where it was";
    let made = upload(photo).await;
    assert_eq!(made.status(), 201);
    let path = made.headers()["location"].to_str().unwrap().to_owned();
    let made: Value = made.json().await.unwrap();
    let url = format!("{}{path}", running.url);
    let found = http().get(url).send().await.unwrap();
    assert_eq!(found.headers()["content-type"], "image/jpeg");
    assert_eq!(found.bytes().await.unwrap().as_ref(), photo);
    made["photos"].as_str().unwrap().to_owned()
}

/// What cannot be done, and says so.
async fn refusals(running: &Headframe, id: &str) {
    let body = json!({"reason": "x"});
    let path = |decision: &str| format!("violations/{id}/{decision}");
    for (decision, tag, body, status, code) in [
        ("acknowledge", None, &body, 428, "version_required"),
        ("acknowledge", Some("\"9\""), &body, 412, "version_changed"),
        (
            "acknowledge",
            Some("\"1\""),
            &json!({"reason": " "}),
            400,
            "bad_request",
        ),
        ("resolve", Some("\"1\""), &body, 409, "conflict"),
        ("close", Some("\"1\""), &body, 409, "conflict"),
        ("waive", Some("\"1\""), &body, 400, "bad_request"),
    ] {
        let answer = post(running, &path(decision), tag, body).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.body["error"]["code"]),
            (status, &json!(code)),
            "{decision}: {}",
            answer.body
        );
    }
    let nobody = post(running, "violations/v0/acknowledge", Some("\"1\""), &body).await;
    assert_eq!(nobody.status, 404);
    for query in [
        "type=WRONG",
        "status=new",
        "from=yesterday",
        "after=x",
        "limit=0",
    ] {
        let answer = running.read(&format!("violations?{query}")).await;
        assert_eq!(answer.status, 400, "{query}");
    }
}

async fn order_is_carried_out(running: &Headframe, id: &str) {
    let path = format!("orders?violation={id}");
    let order = one(running, &path, |row| row["status"] == "proposed").await;
    assert_eq!(
        (&order["action"], &order["cap_kw"]),
        (&json!("cap"), &json!(5.0))
    );
    let name = order["order"].as_str().unwrap();
    let step = async |step: &str, tag: &str| {
        let body = json!({"reason": "the breaker was turned"});
        post(running, &format!("orders/{name}/{step}"), Some(tag), &body).await
    };
    assert_eq!(step("sign-off", "\"1\"").await.status, 409);
    assert_eq!(step("carry-out", "\"1\"").await.status, 200);
    assert_eq!(step("carry-out", "\"1\"").await.status, 412);
    let signed = step("sign-off", "\"2\"").await;
    assert_eq!(
        (signed.status.as_u16(), &signed.body["status"]),
        (200, &json!("signed_off"))
    );
}

/// A person's report, and what it costs until it is waived.
async fn reported_and_scored(running: &Headframe) {
    let score = async |path: &str| {
        let answer = running.read(path).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.body
    };
    assert_eq!(score("pools/p1/score").await["score"], json!(100.0));
    let report = json!({"type": "LOCATION_CHANGE_UNDECLARED", "subject_kind": "pool",
        "subject": "p1", "severity": "critical", "since": "2026-05-01T00:00:00Z",
        "reason": "two containers were moved"});
    let made = post(running, "violations", None, &report).await;
    assert_eq!(
        (made.status.as_u16(), &made.body["status"]),
        (201, &json!("open")),
        "{}",
        made.body
    );
    assert_eq!(post(running, "violations", None, &report).await.status, 409);
    let costs = score("pools/p1/score").await;
    assert_eq!(
        (&costs["score"], &costs["grade"]),
        (&json!(70.0), &json!("C")),
        "{costs}"
    );
    assert_eq!(costs["terms"][0]["points"], json!(30.0));
    assert_eq!(score("operators/o/score").await["score"], json!(70.0));
    assert_eq!(running.read("pools/none/score").await.status, 404);
    let until = micros_text(now_us() + 30 * 86_400_000_000);
    let waiver = json!({"reason": "allowed in writing", "until": until});
    let path = format!(
        "violations/{}/waive",
        made.body["violation"].as_str().unwrap()
    );
    let waived = post(running, &path, Some("\"1\""), &waiver).await;
    assert_eq!(
        (waived.status.as_u16(), &waived.body["status"]),
        (200, &json!("waived"))
    );
    assert_eq!(score("pools/p1/score").await["score"], json!(100.0));
    let page = running.read("violations?limit=1").await;
    let next = page.body["next"].as_str().unwrap();
    let rest = running
        .read(&format!("violations?limit=1&after={next}"))
        .await;
    assert_eq!(
        (
            rest.body["rows"].as_array().unwrap().len(),
            &rest.body["next"]
        ),
        (1, &json!(null))
    );
    let dated = running
        .read("violations?from=2026-05-01T00:00:00Z&to=2026-05-02T00:00:00Z")
        .await;
    assert_eq!(
        dated.body["rows"][0]["type"],
        json!("LOCATION_CHANGE_UNDECLARED")
    );
}

async fn shown_to_sql_and_prometheus(running: &Headframe) {
    let sql = "SELECT CAST(count(*) AS BIGINT) AS rows, CAST(count(*) FILTER (WHERE status = \
        'waived') AS BIGINT) AS waived FROM violations_now";
    running
        .until(sql, |row| row["rows"] == 2 && row["waived"] == 1)
        .await;
    running
        .until("SELECT status FROM orders_now", |row| {
            row["status"] == "signed_off"
        })
        .await;
    let metrics = format!("{}/metrics", running.url);
    until("the gauge of violations", async || {
        let answer = http()
            .get(&metrics)
            .send()
            .await
            .map_err(|error| error.to_string())?;
        let text = answer.text().await.map_err(|error| error.to_string())?;
        let line = |line: &str| {
            line.starts_with("headframe_violations{") && line.contains("severity=\"high\"")
        };
        match text.lines().any(line) {
            true => Ok(()),
            false => Err("not yet".to_owned()),
        }
    })
    .await;
}
