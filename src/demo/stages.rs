//! What a demo must show at its end: rows of every stage, counted by SQL over HTTP as anybody
//! would.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;

/// What every stage must have added, and how it is asked for.
const STAGES: [(&str, &str); 9] = [
    ("shares", SHARES),
    (
        "accepted shares",
        "SELECT count(*) AS n FROM shares WHERE outcome = 'accepted'",
    ),
    (
        "blocks accepted by monerod",
        "SELECT count(*) AS n FROM blocks WHERE status = 'accepted'",
    ),
    ("hashrate reports", "SELECT count(*) AS n FROM hashrate"),
    (
        "shares in windows of 10 s",
        "SELECT CAST(coalesce(sum(accepted_shares), 0) AS BIGINT) AS n FROM hashrate_10s",
    ),
    (
        "shares in windows of 1 d",
        "SELECT CAST(coalesce(sum(accepted_shares), 0) AS BIGINT) AS n FROM pool_hashrate_1d",
    ),
    (
        "blocks credited to miners",
        "SELECT count(DISTINCT block_hash) AS n FROM payouts WHERE step = 'credited'",
    ),
    (
        MATURED,
        "SELECT count(DISTINCT block_hash) AS n FROM payouts WHERE step = 'matured'",
    ),
    (
        PAYMENTS,
        "SELECT count(DISTINCT tx_id) AS n FROM payments WHERE step = 'submitted'",
    ),
];

const SHARES: &str = "SELECT count(*) AS n FROM shares";
const MATURED: &str = "blocks matured";
const PAYMENTS: &str = "transactions sent to miners";

/// Blocks that matured so long ago that their miners must have been paid.
const DUE: &str = "SELECT count(DISTINCT block_hash) AS n FROM payouts WHERE step = 'matured' AND ingest_time < now() - INTERVAL '40 seconds'";

/// What miners were sent, coins of 10^12 atomic units rounded down to thousandths, which are told
/// as such.
const SENT: &str = "SELECT CAST(coalesce(sum(sent_atomic), 0) / 1000000000 AS BIGINT) AS n FROM payments WHERE step = 'submitted'";

/// What the tables hold of each stage.
#[derive(PartialEq)]
pub struct Counts(Vec<i64>);

/// How often they are asked for until they stay the same, and the pause between.
const LOOKS: usize = 20;
const PAUSE: Duration = Duration::from_millis(250);

impl Counts {
    /// Asks for all of them.
    pub async fn ask(http: SocketAddr) -> anyhow::Result<Self> {
        let mut counts = Vec::new();
        for (stage, statement) in STAGES {
            counts.push(
                ask(http, statement)
                    .await
                    .with_context(|| format!("counting {stage}"))?
                    .0,
            );
        }
        Ok(Self(counts))
    }

    /// The same when the miner has stopped: its last shares may still be on their way through
    /// verification and pipelines.
    pub async fn settled(http: SocketAddr) -> anyhow::Result<Self> {
        let mut counts = Self::ask(http).await?;
        for _ in 0..LOOKS {
            tokio::time::sleep(PAUSE).await;
            let before = std::mem::replace(&mut counts, Self::ask(http).await?);
            if before == counts {
                break;
            }
        }
        Ok(counts)
    }

    /// Prints what was added since `before`. An error names the stages of which nothing came.
    pub async fn report(&self, before: &Self, http: SocketAddr) -> anyhow::Result<()> {
        let due = ask(http, DUE).await?.0 > 0;
        let mut missing = Vec::new();
        for ((stage, _), (before, after)) in STAGES.iter().zip(before.0.iter().zip(&self.0)) {
            println!("  {stage:<30}{:>12}{after:>12}", after - before);
            // A block can be spent when sixty others are on it, which a short run need not live to
            // see.
            let required = match *stage {
                MATURED => false,
                PAYMENTS => due && *after == 0,
                _ => true,
            };
            if required && after <= before {
                missing.push(*stage);
            }
        }
        if !missing.is_empty() {
            bail!(
                "nothing in this run from: {}; let it run for a minute",
                missing.join(", ")
            );
        }
        Ok(())
    }
}

/// Rows of `shares`, and why they are not all that JetStream has acknowledged, if so.
pub async fn shares(http: SocketAddr) -> anyhow::Result<(i64, Option<String>)> {
    ask(http, SHARES).await
}

/// What miners were sent by the payments in the tables, in thousandths of a coin.
pub async fn sent(http: SocketAddr) -> anyhow::Result<i64> {
    Ok(ask(http, SENT).await?.0)
}

async fn ask(http: SocketAddr, statement: &str) -> anyhow::Result<(i64, Option<String>)> {
    let body = serde_json::json!({"sql": statement, "format": "json"});
    let answer = reqwest::Client::new()
        .post(format!("http://{http}/api/v1/sql"))
        .json(&body)
        .send()
        .await?;
    let answer: Value = answer.error_for_status()?.json().await?;
    let number = answer["rows"][0]["n"]
        .as_i64()
        .with_context(|| format!("no number in {answer}"))?;
    let streams = answer["meta"]["streams"].as_array().into_iter().flatten();
    let why = streams
        .filter_map(|stream| stream["reason"].as_str())
        .next();
    Ok((number, why.map(str::to_owned)))
}
