//! What `headframe top` knows: the newest answers of the server's routes, and how old they are.

use std::time::{Duration, Instant};

use serde_json::Value;
#[cfg(test)]
use serde_json::json;
use tokio::time::timeout;

use crate::command::api_client::ApiClient;

/// How long all answers of a look may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The newest answers; null where there was none.
#[derive(Default)]
pub struct Snapshot {
    pub url: String,
    /// The terms of the configured pool.
    pub terms: Value,
    /// Its row of `/api/v1/pool`, or the first one's.
    pub pool: Value,
    /// Its row of `/api/v1/pool/effort`.
    pub effort: Value,
    /// Points of an hour.
    pub chart: Vec<u64>,
    /// The newest blocks.
    pub blocks: Vec<Value>,
    /// How far each stream is.
    pub streams: Vec<Value>,
    /// What `/ready` says.
    pub ready: Value,
    /// Why the last look failed, and for how many seconds looks have.
    pub failure: Option<(String, u64)>,
    seen: Option<Instant>,
}

impl Snapshot {
    /// Of a server that was not polled yet.
    pub fn new(url: String) -> Self {
        Self {
            url,
            ..Self::default()
        }
    }

    /// Asks for everything. What the server does not have stays empty; one that does not answer is
    /// an error.
    pub async fn poll(&mut self, client: &ApiClient) -> anyhow::Result<()> {
        let polled = timeout(PATIENCE, self.ask(client)).await;
        polled.unwrap_or_else(|_| Err(anyhow::anyhow!("nothing came within 10 s")))?;
        self.seen = Some(Instant::now());
        self.failure = None;
        Ok(())
    }

    /// The same, with an error as a part of what is shown.
    pub async fn poll_again(&mut self, client: &ApiClient) {
        if let Err(error) = self.poll(client).await {
            let age = self.seen.map_or(0, |seen| seen.elapsed().as_secs());
            self.fail(&error.to_string(), age);
        }
    }

    /// Remembers why there is no answer, and for how long.
    pub fn fail(&mut self, why: &str, seconds: u64) {
        let line = why.lines().next().unwrap_or_default();
        self.failure = Some((line.to_owned(), seconds));
    }

    async fn ask(&mut self, client: &ApiClient) -> anyhow::Result<()> {
        // `/ready` answers 503 with the same body, and everybody may ask for it.
        let ready = client.get("/ready")?.send().await;
        self.ready = match ready {
            Ok(answer) => answer.json().await.unwrap_or_default(),
            Err(_) => client.send_json(client.get("/ready")?).await?,
        };
        let pools = client.send_json(client.get("/api/v1/pool")?).await?;
        self.terms = optional(client, "/api/v1/pool/terms").await?;
        let name = self.terms["pool"].as_str().map(str::to_owned);
        self.pool = row_of(&pools, name.as_deref());
        let name = self.pool["pool"].as_str().unwrap_or_default().to_owned();
        let efforts = optional(client, "/api/v1/pool/effort").await?;
        self.effort = row_of(&efforts, Some(&name));
        let chart = optional(client, "/api/v1/pool/hashrate?span=1h").await?;
        let points = chart["points"].as_array().into_iter().flatten();
        let rate = |point: &Value| point["hashrate_hs"].as_f64().unwrap_or(0.0).round() as u64;
        self.chart = points.map(rate).collect();
        let blocks = optional(client, "/api/v1/blocks?limit=20").await?;
        self.blocks = blocks["blocks"].as_array().cloned().unwrap_or_default();
        let streams = optional(client, "/api/v1/streams").await?;
        self.streams = streams["streams"].as_array().cloned().unwrap_or_default();
        Ok(())
    }
}

/// An answer of a route that may not be there, or not for everybody.
async fn optional(client: &ApiClient, path: &str) -> anyhow::Result<Value> {
    let answer = client.get(path)?.send().await?;
    match answer.status().is_success() {
        true => Ok(answer.json().await?),
        false => Ok(Value::Null),
    }
}

/// The row of a pool, or of the first one.
fn row_of(answer: &Value, name: Option<&str>) -> Value {
    let rows = answer["pools"].as_array().map_or(&[][..], Vec::as_slice);
    let named = rows.iter().find(|row| row["pool"].as_str() == name);
    named.or(rows.first()).cloned().unwrap_or_default()
}

/// A server as the tests draw it.
#[cfg(test)]
pub fn sample() -> Snapshot {
    Snapshot {
        url: "http://127.0.0.1:8080".to_owned(),
        terms: json!({"pool": "main", "chain": {"symbol": "XMR", "decimals": 12}}),
        pool: json!({"pool": "main", "hashrate_hs": 1_500_000.0, "hashrate_1h_hs": 1_400_000.0,
            "hashrate_24h_hs": 900.0, "miners": 12, "workers": 40, "shares_per_s": 2.5,
            "height": 108, "network_difficulty": "300000", "blocks": {"found": 3, "orphaned": 1}}),
        effort: json!({"round": {"effort": 0.63}, "mean_10": 0.8}),
        chart: vec![1, 2, 3, 2, 5],
        blocks: vec![json!({"height": 107, "status": "matured", "effort": null,
            "found_at": "2026-01-05T00:00:00Z", "reward_atomic": "600000000000",
            "hash": "ab".repeat(32)})],
        streams: vec![
            json!({"stream": "shares", "acknowledged": 10, "complete_through": 10,
                "complete": true, "version": 4, "rows_a_minute": 6}),
            json!({"stream": "blocks", "acknowledged": 10, "complete_through": 7,
                "complete": false, "version": 2, "rows_a_minute": 0}),
        ],
        ready: json!({"ready": true, "missing": [], "notes": []}),
        ..Snapshot::default()
    }
}
