//! XMRig 6.26 as a reader of our lines: it keeps what that program keeps, and fails where that
//! program would disconnect, crash or silently wait.
//!
//! The rules are those of its `Client.cpp`, `Job.cpp` and `LineReader.cpp`, as the reference
//! describes them.

use headframe_stratum::work::difficulty::target_from_hex;
use serde_json::{Value, json};

use crate::scripted::{Client, submit_line};
use crate::server::CAPTURED;

/// Beginnings of messages on which it reconnects.
const CRITICAL: [&str; 4] = [
    "unauthenticated",
    "your ip is banned",
    "ip address currently banned",
    "invalid job id",
];

pub struct Xmrig {
    pub client: Client,
    pub extensions: Vec<String>,
    pub job: Value,
    pub jobs_seen: usize,
    /// Where the pool sent it.
    pub sent_to: Option<(String, String)>,
    next_id: u64,
}

impl Xmrig {
    /// Logs in with the captured line, changed as the test wants, after `last` was the job of its
    /// previous connection.
    pub async fn login(client: Client, last: Value, change: impl FnOnce(&mut Value)) -> Self {
        let mut line: Value = serde_json::from_str(CAPTURED.lines().next().unwrap()).unwrap();
        change(&mut line["params"]);
        let mut miner = Self {
            client,
            extensions: Vec::new(),
            job: last,
            jobs_seen: 0,
            sent_to: None,
            next_id: 2,
        };
        miner.client.send(&line.to_string()).await;
        let answer = miner.client.hear().await;
        assert_eq!(
            (&answer["id"], &answer["error"]),
            (&json!(1), &Value::Null),
            "{answer}"
        );
        let result = &answer["result"];
        assert!(result["id"].is_string(), "login error code 1: {answer}");
        let extensions = result["extensions"].as_array().expect("extensions");
        miner.extensions = extensions
            .iter()
            .map(|name| name.as_str().unwrap().to_owned())
            .collect();
        miner.take_job(&result["job"]);
        miner
    }

    /// Submits for the job at hand.
    pub async fn submit(&mut self, nonce: &str, result: &str) -> Result<(), String> {
        let job = self.job["job_id"].as_str().unwrap().to_owned();
        self.submit_for(&job, nonce, result).await
    }

    /// Submits and reads until the answer, taking jobs on the way.
    pub async fn submit_for(&mut self, job: &str, nonce: &str, result: &str) -> Result<(), String> {
        self.next_id += 1;
        let id = self.next_id;
        self.client.send(&submit_line(id, job, nonce, result)).await;
        loop {
            if let Some((answered, verdict)) = self.read().await {
                assert_eq!(answered, json!(id));
                return verdict;
            }
        }
    }

    pub async fn keepalive(&mut self) {
        self.next_id += 1;
        let id = self.next_id;
        self.client
            .send(
                &json!({"id": id, "jsonrpc": "2.0", "method": "keepalived", "params": {"id": "x"}})
                    .to_string(),
            )
            .await;
        while self
            .read()
            .await
            .is_none_or(|(answered, _)| answered != json!(id))
        {}
    }

    /// Reads until a job came that is not the present one.
    pub async fn next_job(&mut self) {
        let seen = self.jobs_seen;
        while self.jobs_seen == seen {
            self.read().await;
        }
    }

    /// One line: an answer with its id, or something pushed.
    pub async fn read(&mut self) -> Option<(Value, Result<(), String>)> {
        let line = self.client.hear().await;
        assert!(!line.is_null(), "the pool closed the connection");
        assert!(
            (22..60_000).contains(&line.to_string().len()),
            "it drops such lines: {line}"
        );
        let id = &line["id"];
        if id.is_i64() || id.is_u64() {
            return Some((id.clone(), verdict(&line)));
        }
        match line["method"].as_str() {
            Some("job") => self.take_job(&line["params"]),
            Some("client.reconnect") => {
                let [Value::String(host), Value::String(port)] =
                    &line["params"].as_array().unwrap()[..]
                else {
                    panic!("it obeys two strings only: {line}");
                };
                self.sent_to = Some((host.clone(), port.clone()));
            }
            _ => panic!("unsupported method: {line}"),
        }
        None
    }

    fn take_job(&mut self, job: &Value) {
        let text = |key: &str| {
            job[key]
                .as_str()
                .unwrap_or_else(|| panic!("no {key} in {job}"))
        };
        assert!(!text("job_id").is_empty(), "login error code 3: {job}");
        let blob = hex::decode(text("blob")).expect("login error code 4");
        assert!(
            (43..=407).contains(&blob.len()),
            "login error code 4: {job}"
        );
        assert!(
            target_from_hex(text("target")).is_some(),
            "login error code 5, or the end by SIGFPE: {job}"
        );
        assert_eq!(text("algo"), "rx/0", "login error code 6");
        assert!(
            hex::decode(text("seed_hash")).is_ok_and(|seed| seed.len() == 32),
            "login error code 7: {job}"
        );
        assert!(job["height"].is_u64(), "{job}");
        let fixed = blob[39..43] != [0; 4];
        assert_eq!(
            fixed,
            self.extensions.iter().any(|name| name == "nicehash"),
            "nonce bytes and extension must agree: {job}"
        );
        let same = ["job_id", "blob", "target"]
            .iter()
            .all(|key| job[key] == self.job[key]);
        assert!(!same, "duplicate job received, reconnect: {job}");
        self.job = job.clone();
        self.jobs_seen += 1;
    }
}

fn verdict(line: &Value) -> Result<(), String> {
    if line["error"].is_null() {
        assert!(
            line["result"].is_object(),
            "a result that is no object stays pending for ever: {line}"
        );
        return Ok(());
    }
    let message = line["error"]["message"]
        .as_str()
        .unwrap_or_else(|| panic!("the end by GetString() of what is none: {line}"));
    let lower = message.to_lowercase();
    assert!(
        !CRITICAL.iter().any(|critical| lower.starts_with(critical)),
        "it would reconnect on {message}"
    );
    Err(message.to_owned())
}
