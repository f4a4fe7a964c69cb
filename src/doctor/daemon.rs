//! The daemons: do they answer, are they synchronised, and do they give this pool something to
//! mine.
//!
//! What there is to mine is asked by the pool's own drivers, so that what is found here is what the
//! pool will find.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use headframe_stratum::chain::bitcoin::BitcoinChain;
use headframe_stratum::chain::driver::ChainKind;
use headframe_stratum::chain::monero::MoneroChain;
use headframe_stratum::chain::{Chain, ChainError};

use super::{Check, CheckContext, Finding, monerod};

pub struct Daemon;

#[async_trait]
impl Check for Daemon {
    fn name(&self) -> &'static str {
        "daemon"
    }

    async fn run(&self, context: &CheckContext) -> Vec<Finding> {
        let Some(pool) = context.pool() else {
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
                    let known = monerod::info(&url, timeout)
                        .await
                        .map_or_else(|_| "monerod".to_owned(), |info| info.describe());
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
