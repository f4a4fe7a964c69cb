//! A monerod's own words about itself: its network, its version and its clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use headframe_stratum::StratumConfig;
use headframe_stratum::chain::driver::ChainKind;
use reqwest::header::{DATE, HeaderMap, LAST_MODIFIED};
use serde_json::{Value, json};

/// What a monerod answers to `get_info`.
pub struct MonerodInfo {
    /// As `get_info` has it.
    pub nettype: String,
    /// Its clock, seconds since 1970, when its answer carries it.
    pub clock_s: Option<u64>,
    /// Ours at that moment.
    pub asked_s: u64,
    version: String,
}

impl MonerodInfo {
    /// The program, its version and its network, as findings name it.
    pub fn describe(&self) -> String {
        format!("monerod {} on {}", self.version, self.nettype)
    }
}

/// What each monerod of the pool says of itself; those that do not answer are left out.
pub async fn infos(pool: &StratumConfig) -> Vec<MonerodInfo> {
    let mut infos = Vec::new();
    if pool.chain == ChainKind::Monero {
        for url in pool.daemons_in_order() {
            infos.extend(
                info(&url, Duration::from_secs(pool.daemon_timeout_s.max(1)))
                    .await
                    .ok(),
            );
        }
    }
    infos
}

/// Asks a monerod for `get_info`.
pub async fn info(url: &str, timeout: Duration) -> anyhow::Result<MonerodInfo> {
    let url = format!("{}/json_rpc", url.trim_end_matches('/'));
    let client = reqwest::Client::builder().timeout(timeout).build()?;
    let sent = client
        .post(&url)
        .json(&json!({"jsonrpc": "2.0", "id": "0", "method": "get_info"}))
        .send()
        .await;
    let response = sent
        .and_then(reqwest::Response::error_for_status)
        .with_context(|| format!("no answer from {url}"))?;
    let (asked_s, clock_s) = (now_s(), clock(response.headers()));
    let body: Value = response
        .json()
        .await
        .with_context(|| format!("{url} does not speak JSON-RPC"))?;
    let result = &body["result"];
    let nettype = result["nettype"]
        .as_str()
        .with_context(|| format!("{url} is not a daemon of this chain: get_info has no nettype"))?;
    let version = result["version"]
        .as_str()
        .filter(|version| !version.is_empty())
        .unwrap_or("of an unnamed version");
    Ok(MonerodInfo {
        nettype: nettype.to_owned(),
        clock_s,
        asked_s,
        version: version.to_owned(),
    })
}

/// Our clock, seconds since 1970.
pub fn now_s() -> u64 {
    since_epoch_s(SystemTime::now())
}

fn since_epoch_s(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

/// The server's clock as its answer carries it. monerod sends no `Date`, but stamps every answer as
/// modified just now.
fn clock(headers: &HeaderMap) -> Option<u64> {
    let header = headers.get(DATE).or_else(|| headers.get(LAST_MODIFIED))?;
    let time = httpdate::parse_http_date(header.to_str().ok()?).ok()?;
    Some(since_epoch_s(time))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_clock_of_a_server_is_read_from_its_headers() {
        let answer = |name, value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            clock(&headers)
        };
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        assert_eq!(answer(DATE, date), Some(784_111_777));
        assert_eq!(answer(LAST_MODIFIED, date), Some(784_111_777));
        assert_eq!(answer(DATE, "now"), None);
        assert_eq!(clock(&HeaderMap::new()), None);
    }
}
