//! monerod's JSON-RPC over HTTP: one method call, its answer, and the difference between no answer
//! and a refusal.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

use crate::chain::ChainError;

/// Calls under way at once, for each of three kinds: work for the miners, found blocks, and looks
/// at blocks. A pool whose every share is a block must hear of new work nevertheless, since it
/// would go on finding blocks that are orphans. monerod resets every connection beyond 25 from one
/// private address (`rpc-max-connections-per-private-ip`), and wallets and other tools connect from
/// there as well.
const WORK_CALLS: usize = 2;
const SUBMIT_CALLS: usize = 3;
const LOOK_CALLS: usize = 3;

/// A client of one daemon.
#[derive(Debug, Clone)]
pub struct Rpc {
    http: reqwest::Client,
    url: String,
    calls: Arc<CallLimits>,
}

/// How many calls of each kind may still begin.
#[derive(Debug)]
struct CallLimits {
    work: Semaphore,
    submit: Semaphore,
    look: Semaphore,
}

impl CallLimits {
    fn for_method(&self, method: &str) -> &Semaphore {
        match method {
            "get_info" | "get_block_template" => &self.work,
            "submit_block" => &self.submit,
            _ => &self.look,
        }
    }
}

#[derive(Deserialize)]
struct Answer<T> {
    result: Option<T>,
    error: Option<Refusal>,
}

#[derive(Deserialize)]
struct Refusal {
    #[serde(default)]
    code: i64,
    #[serde(default)]
    message: String,
}

impl Rpc {
    /// A client of the daemon at `base`, e.g. `http://127.0.0.1:18081`; each call ends within
    /// `timeout`.
    pub fn new(base: &str, timeout: Duration) -> Result<Self, ChainError> {
        let url = format!("{}/json_rpc", base.trim_end_matches('/'));
        let http = reqwest::Client::builder()
            .timeout(timeout)
            .pool_max_idle_per_host(WORK_CALLS + SUBMIT_CALLS + LOOK_CALLS)
            .build();
        let http = http.map_err(|error| {
            ChainError::unreachable(&url, "setting up the client", error.to_string())
        })?;
        Ok(Self {
            http,
            url,
            calls: Arc::new(CallLimits {
                work: Semaphore::new(WORK_CALLS),
                submit: Semaphore::new(SUBMIT_CALLS),
                look: Semaphore::new(LOOK_CALLS),
            }),
        })
    }

    /// Calls a method and reads its result.
    pub async fn call<T: DeserializeOwned>(
        &self,
        method: &'static str,
        params: Value,
    ) -> Result<T, ChainError> {
        let body = json!({"jsonrpc": "2.0", "id": "0", "method": method, "params": params});
        // The address is in the message already; the error's own copy would repeat it.
        let unreachable = |error: reqwest::Error| {
            ChainError::unreachable(&self.url, method, error.without_url().to_string())
        };
        // The semaphore is never closed, and calls wait in the order they came.
        let _call = self.calls.for_method(method).acquire().await;
        let response = self
            .http
            .post(&self.url)
            .json(&body)
            .send()
            .await
            .map_err(unreachable)?;
        let answer: Answer<T> = response
            .error_for_status()
            .map_err(unreachable)?
            .json()
            .await
            .map_err(unreachable)?;
        match answer {
            Answer {
                error: Some(Refusal { code, message }),
                ..
            } => Err(ChainError::Refused {
                method,
                code,
                message,
            }),
            Answer {
                result: Some(result),
                ..
            } => Ok(result),
            _ => Err(ChainError::Refused {
                method,
                code: 0,
                message: "an answer without a result".to_owned(),
            }),
        }
    }
}
