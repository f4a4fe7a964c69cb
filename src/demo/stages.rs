//! What a demo must show at its end: rows of every stage, counted by SQL over HTTP as anybody
//! would.

use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::Value;

/// What every stage must have added, and the query that counts it.
const STAGES: [(&str, &str); 10] = [
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
        "readings of the mine's power",
        "SELECT count(*) AS n FROM energy",
    ),
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
const MATURED_LONG_AGO: &str = "SELECT count(DISTINCT block_hash) AS n FROM payouts WHERE step = \
                                'matured' AND ingest_time < now() - INTERVAL '40 seconds'";

/// What miners were sent, coins of 10^12 atomic units rounded down to thousandths, which are told
/// as such.
const SENT: &str = "SELECT CAST(coalesce(sum(sent_atomic), 0) / 1000000000 AS BIGINT) AS n FROM \
                    payments WHERE step = 'submitted'";

/// What the tables hold of each stage.
#[derive(PartialEq)]
pub struct Counts(Vec<i64>);

/// How often they are asked for until they stay the same, and the pause between.
const MAX_QUERIES: usize = 20;
const PAUSE: Duration = Duration::from_millis(250);
/// How long a statement is sent again to a server that has too much to do.
const PATIENCE: Duration = Duration::from_secs(120);

impl Counts {
    /// Counts all of them.
    pub async fn query(http: SocketAddr) -> anyhow::Result<Self> {
        let mut counts = Vec::new();
        for (stage, statement) in STAGES {
            let number = number_at_last(http, statement).await;
            counts.push(number.with_context(|| format!("counting {stage}"))?);
        }
        Ok(Self(counts))
    }

    /// The same when the miner has stopped: its last shares may still be on their way through
    /// verification and pipelines.
    pub async fn settled(http: SocketAddr) -> anyhow::Result<Self> {
        let mut counts = Self::query(http).await?;
        for _ in 0..MAX_QUERIES {
            tokio::time::sleep(PAUSE).await;
            let before = std::mem::replace(&mut counts, Self::query(http).await?);
            if before == counts {
                break;
            }
        }
        Ok(counts)
    }

    /// Prints what was added since `before`. An error names the stages of which nothing came.
    pub async fn report(&self, before: &Self, http: SocketAddr) -> anyhow::Result<()> {
        let payment_expected = number_at_last(http, MATURED_LONG_AGO).await? > 0;
        for ((stage, _), (before, after)) in STAGES.iter().zip(before.0.iter().zip(&self.0)) {
            println!("  {stage:<30}{:>12}{after:>12}", after - before);
        }
        match self.missing(before, payment_expected).as_slice() {
            [] => Ok(()),
            missing => bail!(
                "nothing in this run from: {}; let it run for a minute",
                missing.join(", ")
            ),
        }
    }

    /// The stages that should have brought rows since `before` and did not.
    fn missing(&self, before: &Self, payment_expected: bool) -> Vec<&'static str> {
        let stages = STAGES.iter().zip(before.0.iter().zip(&self.0));
        let missing = stages.filter(|((stage, _), (before, after))| {
            // A block can be spent when sixty others are on it, which a short run need not live to
            // see.
            let required = match *stage {
                MATURED => false,
                PAYMENTS => payment_expected && **after == 0,
                _ => true,
            };
            required && after <= before
        });
        missing.map(|((stage, _), _)| *stage).collect()
    }
}

/// Rows of `shares`, and why they are not all that JetStream has acknowledged, if so.
pub async fn shares(http: SocketAddr) -> anyhow::Result<(i64, Option<String>)> {
    query_number(http, SHARES).await
}

/// What miners were sent by the payments in the tables, in thousandths of a coin.
pub async fn sent(http: SocketAddr) -> anyhow::Result<i64> {
    number_at_last(http, SENT).await
}

/// The number that a statement counts. A server that has too much to do refuses it for a while.
async fn number_at_last(http: SocketAddr, statement: &str) -> anyhow::Result<i64> {
    let begun = Instant::now();
    loop {
        match query_number(http, statement).await {
            Ok((number, _)) => return Ok(number),
            Err(error) if begun.elapsed() < PATIENCE && is_busy(&error) => {
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Whether the server may answer the same statement later.
fn is_busy(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<reqwest::Error>();
    let status = error.and_then(reqwest::Error::status);
    status.is_some_and(|status| [429, 503, 504, 507].contains(&status.as_u16()))
}

async fn query_number(http: SocketAddr, statement: &str) -> anyhow::Result<(i64, Option<String>)> {
    let answer = query(http, statement).await?;
    let number = answer["rows"][0]["n"]
        .as_i64()
        .with_context(|| format!("no number in {answer}"))?;
    let streams = answer["meta"]["streams"].as_array().into_iter().flatten();
    let why = streams
        .filter_map(|stream| stream["reason"].as_str())
        .next();
    Ok((number, why.map(str::to_owned)))
}

/// The first row of an answer.
pub async fn query_row(http: SocketAddr, statement: &str) -> anyhow::Result<Value> {
    Ok(query(http, statement).await?["rows"][0].take())
}

async fn query(http: SocketAddr, statement: &str) -> anyhow::Result<Value> {
    let body = serde_json::json!({"sql": statement, "format": "json"});
    // Making a client reads certificates, and this is asked each second.
    static CLIENT: LazyLock<reqwest::Client> = LazyLock::new(reqwest::Client::new);
    let answer = CLIENT
        .post(format!("http://{http}/api/v1/sql"))
        .json(&body)
        .send()
        .await?;
    Ok(answer.error_for_status()?.json().await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_without_new_rows_is_named_unless_it_needs_a_long_run() {
        let before = Counts(vec![5; STAGES.len()]);
        let after = Counts(vec![6; STAGES.len()]);
        assert_eq!(after.missing(&before, true), Vec::<&str>::new());
        assert_eq!(before.missing(&before, true).len(), STAGES.len() - 2);
        let nothing = Counts(vec![0; STAGES.len()]);
        assert!(nothing.missing(&nothing, true).contains(&PAYMENTS));
        assert!(!nothing.missing(&nothing, false).contains(&PAYMENTS));
        assert!(!nothing.missing(&nothing, true).contains(&MATURED));
    }
}
