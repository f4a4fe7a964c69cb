//! JSON-RPC over HTTP with a login: one call, its answer, and the difference between a refusal and
//! no answer.

use std::time::Duration;

use reqwest::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use reqwest::{Response, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::wallet::credentials::{self, Credentials};
use crate::wallet::digest::Challenge;
use crate::wallet::{WalletConfig, WalletError};

/// Histories are read in pages; nothing that a wallet says is longer than this.
const MAX_ANSWER: usize = 64 << 20;

/// How often a login is tried: a connection that the wallet closed meanwhile needs the second, a
/// wrong password ends it.
const LOGINS: usize = 3;

/// A client of one wallet. Its calls take turns on one connection, for monero-wallet-rpc asks for
/// the login on each new one.
pub struct Rpc {
    http: reqwest::Client,
    url: String,
    path: String,
    login: Option<Credentials>,
    known: Mutex<Option<(Challenge, u32)>>,
}

/// What a wallet answered instead of a result.
#[derive(Debug, Deserialize)]
pub struct Refusal {
    #[serde(default)]
    pub code: i64,
    #[serde(default)]
    pub message: String,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    result: Value,
    #[serde(default)]
    error: Option<Refusal>,
}

impl Rpc {
    /// A client of `config.url` with `path` behind it.
    pub fn new(config: &WalletConfig, path: &str) -> Result<Self, WalletError> {
        let login = credentials::read(config.login_file.as_deref()).map_err(WalletError::File)?;
        let url = format!("{}{path}", config.url.trim_end_matches('/'));
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(config.timeout_s))
            .pool_max_idle_per_host(1)
            .pool_idle_timeout(Duration::from_secs(10))
            .build()
            .map_err(|error| {
                WalletError::File(format!("cannot set up the client of the wallet: {error}"))
            })?;
        let path = url::Url::parse(&url)
            .map(|url| url.path().to_owned())
            .unwrap_or_else(|_| path.to_owned());
        Ok(Self {
            http,
            url,
            path,
            login,
            known: Mutex::new(None),
        })
    }

    /// Calls a method. The outer error is no answer, the inner one a refusal.
    pub async fn call(
        &self,
        method: &'static str,
        params: Value,
    ) -> Result<Result<Value, Refusal>, WalletError> {
        let body = json!({"jsonrpc": "2.0", "id": "headframe", "method": method, "params": params});
        let mut known = self.known.lock().await;
        let mut response = self.send(method, &body, &mut known).await?;
        for _ in 1..LOGINS {
            // The login is refused before anything is done, so that another attempt repeats
            // nothing.
            if response.status() != StatusCode::UNAUTHORIZED || self.login.is_none() {
                break;
            }
            let headers = response.headers().get_all(WWW_AUTHENTICATE);
            *known = headers
                .iter()
                .filter_map(|value| value.to_str().ok())
                .find_map(Challenge::parse)
                .map(|challenge| (challenge, 0));
            // Read to its end, the connection can be used again, and only there the challenge
            // holds.
            self.read(method, response).await?;
            response = self.send(method, &body, &mut known).await?;
        }
        if matches!(
            response.status(),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN
        ) {
            return Err(WalletError::Login {
                url: self.url.clone(),
            });
        }
        let status = response.status();
        let text = self.read(method, response).await?;
        let Ok(answer) = serde_json::from_slice::<Answer>(&text) else {
            return Err(self.unreachable(
                method,
                format!("HTTP status {status} with an answer that is not JSON-RPC"),
            ));
        };
        match answer.error {
            Some(refusal) => Ok(Err(refusal)),
            None if status.is_success() => Ok(Ok(answer.result)),
            None => Err(self.unreachable(method, format!("HTTP status {status}"))),
        }
    }

    async fn send(
        &self,
        method: &'static str,
        body: &Value,
        known: &mut Option<(Challenge, u32)>,
    ) -> Result<Response, WalletError> {
        let mut request = self.http.post(&self.url).json(body);
        if let Some(login) = &self.login {
            request = match known {
                Some((challenge, count)) => {
                    *count += 1;
                    let cnonce = uuid::Uuid::new_v4().simple().to_string();
                    request.header(
                        AUTHORIZATION,
                        challenge.answer(login, "POST", &self.path, *count, &cnonce),
                    )
                }
                // A server that wants a digest is asked without a login first and never sees the
                // password.
                None if self.path == "/json_rpc" => request,
                None => request.basic_auth(&login.user, Some(&login.password)),
            };
        }
        request
            .send()
            .await
            .map_err(|error| self.unreachable(method, error.without_url().to_string()))
    }

    async fn read(
        &self,
        method: &'static str,
        mut response: Response,
    ) -> Result<Vec<u8>, WalletError> {
        let mut text = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if text.len() + chunk.len() <= MAX_ANSWER => {
                    text.extend_from_slice(&chunk)
                }
                Ok(Some(_)) => {
                    return Err(self.unreachable(
                        method,
                        format!("its answer is longer than {MAX_ANSWER} bytes"),
                    ));
                }
                Ok(None) => return Ok(text),
                Err(error) => return Err(self.unreachable(method, error.without_url().to_string())),
            }
        }
    }

    pub fn unreachable(&self, method: &'static str, reason: String) -> WalletError {
        WalletError::Unreachable {
            url: self.url.clone(),
            method,
            reason,
        }
    }
}
