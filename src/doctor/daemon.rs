//! The daemons: do they answer, are they synchronised, and do they give this pool something to
//! mine.
//!
//! What there is to mine is asked by the pool's own drivers, so that what is found here is what the
//! pool will find.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use headframe_stratum::StratumConfig;
use headframe_stratum::chain::bitcoin::BitcoinChain;
use headframe_stratum::chain::driver::ChainKind;
use headframe_stratum::chain::monero::MoneroChain;
use headframe_stratum::chain::{Chain, ChainError};
use reqwest::header::{DATE, HeaderMap, LAST_MODIFIED};
use serde_json::{Value, json};

use super::{Check, Finding, Patient};
use crate::doctor::clock::now_s;

pub struct Daemon;

/// What a monerod says of itself.
pub struct Answer {
    /// As `get_info` has it.
    pub nettype: String,
    /// Its clock, seconds since 1970, when its answer carries it.
    pub clock_s: Option<u64>,
    /// Ours at that moment.
    pub asked_s: u64,
    version: String,
}

#[async_trait]
impl Check for Daemon {
    fn name(&self) -> &'static str {
        "daemon"
    }

    async fn look(&self, patient: &Patient) -> Vec<Finding> {
        let Some(pool) = patient.pool() else {
            return Vec::new();
        };
        let timeout = Duration::from_secs(pool.daemon_timeout_s.max(1));
        match pool.chain {
            ChainKind::Opensy => {
                let mut findings = Vec::new();
                for url in pool.daemons_in_order() {
                    let chain = BitcoinChain::new(&url, &pool.wallet, &pool.opensy, timeout)
                        .map(|chain| Arc::new(chain) as Arc<dyn Chain>);
                    findings.push(
                        judge(
                            &url,
                            "a node of OpenSY",
                            "stratum.opensy.rpc_url or rpc_urls, and the password",
                            chain,
                        )
                        .await,
                    );
                }
                findings
            }
            ChainKind::Monero => {
                let mut findings = Vec::new();
                for url in pool.daemons_in_order() {
                    let known = info(&url, timeout)
                        .await
                        .map_or_else(|_| "monerod".to_owned(), |said| said.known());
                    let chain = MoneroChain::new(&url, &pool.wallet, timeout)
                        .map(|chain| Arc::new(chain) as Arc<dyn Chain>);
                    findings.push(
                        judge(&url, &known, "stratum.daemon_url or daemon_urls", chain).await,
                    );
                }
                findings
            }
        }
    }
}

impl Answer {
    fn known(&self) -> String {
        format!("monerod {} on {}", self.version, self.nettype)
    }
}

async fn judge(
    url: &str,
    known: &str,
    key: &str,
    chain: Result<Arc<dyn Chain>, ChainError>,
) -> Finding {
    let chain = match chain {
        Ok(chain) => chain,
        Err(error) => return Finding::fail(error.to_string(), format!("correct {key}")),
    };
    let tip = match chain.tip().await {
        Ok(tip) => tip,
        Err(error) => {
            return Finding::fail(
                error.to_string(),
                format!("start it, see that its RPC listens there, or correct {key}"),
            );
        }
    };
    if let Some(reason) = tip.unready {
        return Finding::fail(
            format!("{url} is {known}, but {reason}"),
            "wait until it is synchronised, or correct what it names",
        );
    }
    match chain.template().await {
        Ok(template) => {
            let (height, difficulty) = (template.height(), template.network_difficulty());
            Finding::ok(format!(
                "{url} is {known}; a block at {height} costs {difficulty} hashes"
            ))
        }
        Err(error) => Finding::fail(
            format!("{url} is {known}, but gives nothing to mine: {error}"),
            "see its log",
        ),
    }
}

/// What each monerod of the pool says of itself; those that do not answer are left out.
pub async fn answers(pool: &StratumConfig) -> Vec<Answer> {
    let mut answers = Vec::new();
    if pool.chain == ChainKind::Monero {
        for url in pool.daemons_in_order() {
            answers.extend(
                info(&url, Duration::from_secs(pool.daemon_timeout_s.max(1)))
                    .await
                    .ok(),
            );
        }
    }
    answers
}

/// Asks a monerod for `get_info`.
async fn info(url: &str, timeout: Duration) -> anyhow::Result<Answer> {
    let url = format!("{}/json_rpc", url.trim_end_matches('/'));
    let client = reqwest::Client::builder().timeout(timeout).build()?;
    let asked = client
        .post(&url)
        .json(&json!({"jsonrpc": "2.0", "id": "0", "method": "get_info"}))
        .send()
        .await;
    let response = asked
        .and_then(reqwest::Response::error_for_status)
        .with_context(|| format!("no answer from {url}"))?;
    let (asked_s, clock_s) = (now_s(), clock(response.headers()));
    let said: Value = response
        .json()
        .await
        .with_context(|| format!("{url} does not speak JSON-RPC"))?;
    let result = &said["result"];
    let nettype = result["nettype"]
        .as_str()
        .with_context(|| format!("{url} is not a daemon of this chain: get_info has no nettype"))?;
    let version = result["version"]
        .as_str()
        .filter(|version| !version.is_empty())
        .unwrap_or("of an unnamed version");
    Ok(Answer {
        nettype: nettype.to_owned(),
        clock_s,
        asked_s,
        version: version.to_owned(),
    })
}

/// The server's clock as its answer carries it. monerod has no `Date`, but stamps every answer as
/// modified just now.
fn clock(headers: &HeaderMap) -> Option<u64> {
    let header = headers.get(DATE).or_else(|| headers.get(LAST_MODIFIED))?;
    http_date(header.to_str().ok()?)
}

/// Seconds since 1970 of `Sun, 06 Nov 1994 08:49:37 GMT`, with the calendar of Howard Hinnant's
/// `days_from_civil`.
fn http_date(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let mut words = text.split_once(", ")?.1.split_whitespace();
    let day: i64 = words.next()?.parse().ok()?;
    let name = words.next()?;
    let month = MONTHS.iter().position(|month| *month == name)? as i64 + 1;
    let year: i64 = words.next()?.parse().ok()?;
    let mut clock = words
        .next()?
        .split(':')
        .map(|part| part.parse::<i64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    let shifted = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (shifted.div_euclid(400), shifted.rem_euclid(400));
    let day_of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    let days = era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100
        + day_of_year
        - 719_468;
    u64::try_from(days * 86_400 + hour * 3_600 + minute * 60 + second).ok()
}

#[cfg(test)]
mod tests {
    use super::http_date;

    #[test]
    fn a_server_s_clock_is_read() {
        assert_eq!(
            http_date("Sun, 06 Nov 1994 08:49:37 GMT"),
            Some(784_111_777)
        );
        assert_eq!(http_date("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(
            http_date("Tue, 29 Feb 2028 23:59:59 GMT"),
            Some(1_835_481_599)
        );
        for wrong in [
            "",
            "now",
            "Sun, 06 Foo 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49 GMT",
        ] {
            assert_eq!(http_date(wrong), None, "{wrong}");
        }
    }
}
