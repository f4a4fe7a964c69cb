//! Notices through servers that behave as Telegram, Twilio and others do, and misbehave.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::hmac;
use axum::extract::{Path as UrlPath, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use headframe_ingest::source::Exchange;
use headframe_site::actuate::Clock;
use headframe_site::notice::{Notice, Severity};
use headframe_site::notify::{Attempt, AttemptOutcome, ChannelConfig, Notifier};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::fixture::{PATIENCE, clock, now, serve};

mod email;

/// A token that must never be seen.
const TOKEN: &str = "123456:SECRET-token";

/// Answers of each server that come before it says yes.
type Refusals = BTreeMap<&'static str, Vec<(u16, Value)>>;

/// What came, in order, and how often each was refused.
#[derive(Clone, Default)]
struct World {
    messages: Arc<Mutex<Vec<(String, Value)>>>,
    refusals: Arc<Mutex<Refusals>>,
}

impl World {
    fn came(&self, to: &str) -> Vec<Value> {
        let messages = self.messages.lock().unwrap();
        let found = messages.iter().filter(|(one, _)| one == to);
        found.map(|(_, body)| body.clone()).collect()
    }

    /// The next answers of a server; then it says yes.
    fn refuse(&self, name: &'static str, answers: Vec<(u16, Value)>) {
        self.refusals.lock().unwrap().insert(name, answers);
    }

    fn answer(&self, name: &str, body: Value, yes: (u16, Value)) -> Response {
        let mut refusals = self.refusals.lock().unwrap();
        let next = refusals.get_mut(name).filter(|all| !all.is_empty());
        let (status, answer) = match next {
            Some(all) => all.remove(0),
            None => {
                self.messages.lock().unwrap().push((name.to_owned(), body));
                yes
            }
        };
        (StatusCode::from_u16(status).unwrap(), Json(answer)).into_response()
    }
}

async fn telegram(
    State(world): State<World>,
    UrlPath(bot): UrlPath<String>,
    Json(body): Json<Value>,
) -> Response {
    assert_eq!(bot, format!("bot{TOKEN}"));
    let text = body["text"].as_str().unwrap();
    let plain = text.replace("<b>", "").replace("</b>", "");
    let plain = plain
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&");
    if plain.encode_utf16().count() > 4_096 {
        let error = json!({"ok": false, "error_code": 400, "description": "message is too long"});
        return (StatusCode::BAD_REQUEST, Json(error)).into_response();
    }
    let yes = json!({"ok": true, "result": {"message_id": 42}});
    world.answer("telegram", body, (200, yes))
}

async fn twilio(State(world): State<World>, headers: HeaderMap, form: String) -> Response {
    // AC1:the token
    let login = headers["authorization"].to_str().unwrap();
    assert!(login.starts_with("Basic "), "{login}");
    let pairs = url::form_urlencoded::parse(form.as_bytes());
    let body: BTreeMap<String, String> = pairs.into_owned().collect();
    let yes = json!({"sid": "SM7", "status": "queued"});
    world.answer("twilio", json!(body), (201, yes))
}

async fn webhook(State(world): State<World>, headers: HeaderMap, body: String) -> Response {
    let text = |name: &str| headers[name].to_str().unwrap().to_owned();
    let key = hmac::Key::new(hmac::HMAC_SHA256, TOKEN.as_bytes());
    let signed = format!("{}.{body}", text("x-headframe-timestamp"));
    let signature = text("x-headframe-signature");
    let signature = hex::decode(signature.strip_prefix("sha256=").unwrap()).unwrap();
    hmac::verify(&key, signed.as_bytes(), &signature).unwrap();
    world.answer(
        "webhook",
        serde_json::from_str(&body).unwrap(),
        (200, json!({})),
    )
}

struct Bed {
    world: World,
    notifier: Notifier,
    attempts: mpsc::Receiver<Attempt>,
    _tasks: JoinSet<()>,
    _secret: tempfile::TempDir,
}

/// A file with the token, of mode 0600.
fn secret() -> (tempfile::TempDir, String) {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, TOKEN).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (folder, path)
}

async fn start(clock: Clock, least: &str) -> Bed {
    let world = World::default();
    let routes = Router::new()
        .route("/{bot}/sendMessage", post(telegram))
        .route("/2010-04-01/Accounts/AC1/Messages.json", post(twilio))
        .route("/hook", post(webhook))
        .with_state(world.clone());
    let address = serve(routes).await;
    let (folder, file) = secret();
    let entries = json!([
        {"kind": "telegram", "name": "telegram", "chat_id": "-100", "api_url": address,
            "secret_file": file},
        {"kind": "sms", "name": "sms", "to": ["+15551234567"], "secret_file": file,
            "least": least,
            "twilio": {"account_sid": "AC1", "from": "+15550000000", "api_url": address}},
        {"kind": "webhook", "name": "hook", "url": format!("{address}/hook"),
            "secret_file": file, "least": least}]);
    let entries: Vec<ChannelConfig> = serde_json::from_value(entries).unwrap();
    let (sender, attempts) = mpsc::channel(1_000);
    let mut tasks = JoinSet::new();
    let exchange = Exchange::new().unwrap();
    let pause = Duration::from_millis(20);
    let notifier = Notifier::with_pause(
        &entries, "north", exchange, clock, sender, &mut tasks, pause,
    );
    Bed {
        world,
        notifier: notifier.unwrap(),
        attempts,
        _tasks: tasks,
        _secret: folder,
    }
}

impl Bed {
    async fn attempt(&mut self) -> Attempt {
        let attempt = tokio::time::timeout(PATIENCE, self.attempts.recv()).await;
        let attempt = attempt.unwrap().unwrap();
        let shown = format!("{attempt:?}");
        assert!(!shown.contains("SECRET"), "{shown}");
        attempt
    }

    /// Attempts until so many were delivered.
    async fn delivered(&mut self, count: usize) -> Vec<Attempt> {
        let mut all = Vec::new();
        let is_delivered = |one: &&Attempt| matches!(one.outcome, AttemptOutcome::Delivered(_));
        while all.iter().filter(is_delivered).count() < count {
            all.push(self.attempt().await);
        }
        all
    }
}

fn notice(id: u64, severity: Severity, text: &str) -> Notice {
    Notice {
        id,
        severity,
        topic: "trip/temperature".to_owned(),
        title: "41 °C & rising <fast>".to_owned(),
        text: text.to_owned(),
        at: now(),
    }
}

#[tokio::test]
async fn an_emergency_reaches_every_channel_and_a_warning_those_that_carry_it() {
    let mut bed = start(clock(1.0), "emergency").await;
    bed.notifier
        .notify(notice(1, Severity::Emergency, &"all off. ".repeat(2_000)));
    let attempts = bed.delivered(3).await;
    let names: Vec<&str> = attempts.iter().map(|one| one.channel.as_str()).collect();
    assert_eq!(names.len(), 3, "{attempts:?}");
    let sms = bed.world.came("twilio").remove(0);
    assert_eq!(sms["To"], "+15551234567");
    assert!(sms["Body"].as_str().unwrap().len() < 3 * 153, "{sms}");
    let hook = bed.world.came("webhook").remove(0);
    assert_eq!(
        (&hook["id"], &hook["severity"]),
        (&json!(1), &json!("emergency"))
    );
    let message = bed.world.came("telegram").remove(0);
    assert!(message["text"].as_str().unwrap().contains("&lt;fast&gt;"));

    bed.notifier.notify(notice(2, Severity::Warning, "look"));
    let attempts = bed.delivered(1).await;
    assert_eq!(attempts[0].channel, "telegram");
    assert_eq!(
        attempts[0].outcome,
        AttemptOutcome::Delivered("42".to_owned())
    );
    assert!(
        bed.notifier
            .try_channel("hook", &notice(3, Severity::Info, "test"))
            .await
            .is_ok()
    );
    assert_eq!(bed.world.came("webhook").len(), 2);
}

#[tokio::test]
async fn the_next_channel_takes_over_when_one_fails() {
    let mut bed = start(clock(1.0), "emergency").await;
    let no = json!({"ok": false, "error_code": 403, "description": "bot was kicked"});
    bed.world.refuse("telegram", vec![(403, no)]);
    let no = json!({"code": 20003, "message": "Authenticate", "status": 401});
    bed.world.refuse("twilio", vec![(401, no)]);
    bed.notifier.notify(notice(1, Severity::Warning, "look"));
    let attempts = bed.delivered(1).await;
    let names: Vec<&str> = attempts.iter().map(|one| one.channel.as_str()).collect();
    assert_eq!(names, ["telegram", "sms", "hook"]);
    for failed in &attempts[..2] {
        assert!(
            matches!(
                &failed.outcome,
                AttemptOutcome::Failed {
                    retry_in_ms: None,
                    ..
                }
            ),
            "{failed:?}"
        );
    }
}

#[tokio::test]
async fn a_wait_that_the_server_wants_is_kept_and_errors_that_pass_are_tried_again() {
    let mut bed = start(clock(1.0), "emergency").await;
    let busy = json!({"ok": false, "error_code": 429, "description": "Too Many Requests",
        "parameters": {"retry_after": 1}});
    let down = json!({"ok": false, "error_code": 502, "description": "Bad Gateway"});
    bed.world.refuse("telegram", vec![(429, busy), (502, down)]);
    let before = std::time::Instant::now();
    bed.notifier.notify(notice(1, Severity::Info, "heartbeat"));
    let first = bed.attempt().await;
    let second = bed.attempt().await;
    assert!(
        before.elapsed() >= Duration::from_secs(1),
        "{:?}",
        before.elapsed()
    );
    let retries = [&first, &second].map(|one| match &one.outcome {
        AttemptOutcome::Failed { retry_in_ms, .. } => *retry_in_ms,
        other => panic!("{other:?}"),
    });
    // News are tried twice and no more.
    assert_eq!(retries, [Some(1_000), None]);
    let down = json!({"ok": false, "error_code": 502, "description": "Bad Gateway"});
    bed.world
        .refuse("telegram", vec![(502, down.clone()), (502, down)]);
    bed.notifier.notify(notice(2, Severity::Emergency, "act"));
    bed.delivered(3).await;
    assert_eq!(bed.world.came("telegram").len(), 1);
}

#[tokio::test]
async fn an_emergency_comes_again_until_somebody_acknowledges_it() {
    // Ten minutes pass in three seconds.
    let mut bed = start(clock(200.0), "emergency").await;
    bed.notifier.notify(notice(1, Severity::Emergency, "act"));
    bed.delivered(3).await;
    assert_eq!(bed.notifier.unacknowledged(), [1]);
    bed.delivered(3).await;
    let again = bed.world.came("webhook").pop().unwrap();
    assert!(
        again["title"]
            .as_str()
            .unwrap()
            .contains("not acknowledged"),
        "{again}"
    );
    assert!(bed.notifier.acknowledge(1));
    assert!(bed.notifier.unacknowledged().is_empty());
}

#[tokio::test]
async fn what_a_person_took_notice_of_is_tried_no_more() {
    let mut bed = start(clock(1.0), "emergency").await;
    let down = json!({"ok": false, "error_code": 502, "description": "Bad Gateway"});
    for name in ["telegram", "twilio", "webhook"] {
        bed.world.refuse(name, vec![(502, down.clone()); 100]);
    }
    bed.notifier.notify(notice(1, Severity::Emergency, "act"));
    let mut tries: BTreeMap<String, u32> = BTreeMap::new();
    while tries.len() < 3 {
        *tries.entry(bed.attempt().await.channel).or_default() += 1;
    }
    bed.notifier.settle("trip/temperature", 1);
    // Later notices of it go on; each channel has tried the first at most once more meanwhile.
    bed.notifier
        .notify(notice(2, Severity::Emergency, "act again"));
    let mut later = 0;
    while later < 12 {
        let attempt = bed.attempt().await;
        if attempt.notice == 2 {
            later += 1;
        } else {
            *tries.entry(attempt.channel).or_default() += 1;
        }
    }
    assert!(tries.values().all(|tries| *tries <= 2), "{tries:?}");
}

#[tokio::test]
async fn a_channel_that_hangs_delays_no_other() {
    let mut bed = start(clock(1.0), "info").await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (_folder, file) = secret();
    let entries = json!([
        {"kind": "webhook", "name": "hangs", "url": format!("http://{address}/"),
            "least": "info", "secret_file": file},
        {"kind": "webhook", "name": "refuses", "url": "http://127.0.0.1:9/", "least": "info",
            "secret_file": file}]);
    let entries: Vec<ChannelConfig> = serde_json::from_value(entries).unwrap();
    let (sender, mut attempts) = mpsc::channel(1_000);
    let mut tasks = JoinSet::new();
    let exchange = Exchange::new().unwrap();
    let slow =
        Notifier::start(&entries, "north", exchange, clock(1.0), sender, &mut tasks).unwrap();
    let before = std::time::Instant::now();
    for id in 1..=300 {
        slow.notify(notice(id, Severity::Warning, "x"));
        bed.notifier.notify(notice(id, Severity::Info, "x"));
    }
    assert!(
        before.elapsed() < Duration::from_secs(20),
        "{:?}",
        before.elapsed()
    );
    // What did not fit is a fact too.
    let mut dropped = 0;
    while dropped < 100 {
        let attempt = tokio::time::timeout(PATIENCE, attempts.recv())
            .await
            .unwrap()
            .unwrap();
        dropped += usize::from(attempt.outcome == AttemptOutcome::Dropped);
    }
    bed.delivered(30).await;
}
