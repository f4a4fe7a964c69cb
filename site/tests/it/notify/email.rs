//! E-mail to a real SMTP server of another make, and to some that misbehave.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use headframe_ingest::source::Exchange;
use headframe_site::notice::{Notice, Severity};
use headframe_site::notify::{ChannelConfig, Notifier};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::fixture::{clock, now};

/// aiosmtpd in a process of its own, which ends with this.
struct Sink {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
    port: u16,
    folder: tempfile::TempDir,
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Sink {
    fn start(mode: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let names = vec!["localhost".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("cert.pem"), made.cert.pem()).unwrap();
        std::fs::write(path("key.pem"), made.signing_key.serialize_pem()).unwrap();
        let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let mut child = Command::new(here.join("../.parts/venv/bin/python"))
            .arg(here.join("tests/it/smtp_sink.py"))
            .arg(mode)
            .args([path("cert.pem"), path("key.pem")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("deploy/setup.sh test installs the Python packages of the tests");
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut port = String::new();
        lines.read_line(&mut port).unwrap();
        Self {
            child,
            lines,
            port: port.trim().parse().unwrap(),
            folder,
        }
    }

    fn entry(&self, password: &str) -> Value {
        let secret = self.folder.path().join("password");
        std::fs::write(&secret, password).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&secret, mode).unwrap();
        json!({"kind": "email", "name": "email", "server": "localhost", "port": self.port,
            "from": "site@example.org", "to": ["ann@example.org", "bob@example.org"],
            "ca_file": self.folder.path().join("cert.pem"), "user": "site",
            "secret_file": secret})
    }
}

fn notice(text: &str) -> Notice {
    Notice {
        id: 9,
        severity: Severity::Emergency,
        topic: "trip/temperature".to_owned(),
        title: "41 °C: all machines off".to_owned(),
        text: text.to_owned(),
        at: now(),
    }
}

/// Sends one by this entry with these keys changed.
async fn send(mut entry: Value, changes: Value) -> Result<String, String> {
    for (key, value) in changes.as_object().unwrap() {
        entry[key] = value.clone();
    }
    if entry["user"].is_null() {
        let keys = entry.as_object_mut().unwrap();
        keys.retain(|key, _| key != "user" && key != "secret_file");
    }
    let entry: ChannelConfig = serde_json::from_value(entry).unwrap();
    let (attempts, _receiver) = mpsc::channel(10);
    let mut tasks = JoinSet::new();
    let exchange = Exchange::new().unwrap();
    let notifier = Notifier::start(
        &[entry],
        "north",
        exchange,
        clock(1.0),
        attempts,
        &mut tasks,
    )
    .unwrap();
    notifier
        .try_channel("email", &notice("Act <now> & look.\n.\nEnd"))
        .await
}

#[tokio::test]
async fn a_message_goes_over_starttls_with_a_login() {
    let mut sink = Sink::start("starttls");
    let receipt = send(sink.entry("open sesame"), json!({})).await.unwrap();
    assert!(receipt.contains("queued"), "{receipt}");
    let mut line = String::new();
    sink.lines.read_line(&mut line).unwrap();
    let message: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        (&message["tls"], &message["login"]),
        (&json!(true), &json!(true))
    );
    assert_eq!(message["to"], json!(["ann@example.org", "bob@example.org"]));
    let content = message["content"].as_str().unwrap();
    for part in [
        "Auto-Submitted: auto-generated",
        "References: <",
        "text/html",
        "&lt;now&gt;",
    ] {
        assert!(content.contains(part), "{part}: {content}");
    }
}

#[tokio::test]
async fn what_a_server_refuses_is_a_failure_with_a_reason() {
    let sink = Sink::start("starttls");
    for (password, changes, part) in [
        ("wrong", json!({}), "535"),
        ("open sesame", json!({"to": ["nobody@example.org"]}), "550"),
        ("open sesame", json!({"to": ["later@example.org"]}), "451"),
        ("open sesame", json!({"ca_file": null}), "certificate"),
        ("open sesame", json!({"port": 9}), "onnect"),
    ] {
        let reason = send(sink.entry(password), changes.clone())
            .await
            .unwrap_err();
        let found = reason.to_lowercase().contains(&part.to_lowercase());
        assert!(found, "{changes}: {reason}");
        assert!(!reason.contains("sesame"), "{reason}");
    }
}

#[tokio::test]
async fn a_server_without_starttls_gets_neither_password_nor_message() {
    let mut sink = Sink::start("plain");
    let refused = send(sink.entry("open sesame"), json!({}))
        .await
        .unwrap_err();
    assert!(refused.to_lowercase().contains("tls"), "{refused}");
    let plain = json!({"tls": "none", "user": null});
    send(sink.entry(""), plain).await.unwrap();
    let mut line = String::new();
    sink.lines.read_line(&mut line).unwrap();
    let message: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        (&message["tls"], &message["login"]),
        (&json!(false), &json!(false))
    );
}

#[tokio::test]
async fn a_server_that_talks_nonsense_or_not_at_all_is_a_failure_in_time() {
    let greetings = [
        &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
        b"220 hi\r\n",
        b"",
        b"421 no\r\n",
    ];
    let tries = greetings.map(|greeting| async move {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(greeting).await.unwrap();
            // Reads and says nothing more.
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).await.ok();
        });
        let entry = json!({"kind": "email", "name": "email", "server": "localhost", "port": port,
            "tls": "none", "from": "site@example.org", "to": ["ann@example.org"]});
        let before = std::time::Instant::now();
        assert!(send(entry, json!({})).await.is_err());
        // An attempt ends after twenty seconds, whatever the server does.
        assert!(before.elapsed().as_secs() < 60, "{:?}", before.elapsed());
        server.abort();
    });
    futures::future::join_all(tries).await;
}
