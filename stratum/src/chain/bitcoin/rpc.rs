//! The node's JSON-RPC over HTTP: one method call, its answer, and the difference between no answer
//! and a refusal.
//!
//! The credentials are read when they are first needed and again when the node no longer takes
//! them: a node that was started anew has written another cookie.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::settings::{OpensySettings, PASSWORD_VARIABLE};
use crate::chain::ChainError;

/// A template of a full block in hex is below 9 MB; nothing that a node says is longer than this.
const MAX_ANSWER: usize = 32 << 20;
const UNAUTHORIZED: u16 = 401;

/// A client of one node; copies share the credentials.
#[derive(Clone)]
pub struct Rpc {
    http: reqwest::Client,
    url: String,
    timeout: Duration,
    source: Arc<Source>,
    known: Arc<Mutex<Option<Credentials>>>,
}

/// Where the credentials are.
enum Source {
    None,
    Cookie(PathBuf),
    User {
        name: String,
        password_file: Option<PathBuf>,
    },
}

#[derive(Clone)]
struct Credentials {
    user: String,
    password: String,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    result: Value,
    #[serde(default)]
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
    /// A client of the node at `url`, e.g. `http://127.0.0.1:9632`; each call ends within
    /// `timeout`.
    pub fn new(
        url: &str,
        settings: &OpensySettings,
        timeout: Duration,
    ) -> Result<Self, ChainError> {
        let http = reqwest::Client::builder()
            .build()
            .map_err(|error| ChainError::Unreachable {
                url: url.to_owned(),
                method: "setting up the client",
                reason: error.to_string(),
            })?;
        let source = match (&settings.rpc_cookie_file, settings.rpc_user.as_str()) {
            (Some(cookie), _) => Source::Cookie(cookie.clone()),
            (None, "") => Source::None,
            (None, name) => Source::User {
                name: name.to_owned(),
                password_file: settings.rpc_password_file.clone(),
            },
        };
        Ok(Self {
            http,
            url: url.to_owned(),
            timeout,
            source: Arc::new(source),
            known: Arc::default(),
        })
    }

    /// Calls a method and reads its result; JSON's null is a result like any other.
    pub async fn call<T: DeserializeOwned>(
        &self,
        method: &'static str,
        params: Value,
    ) -> Result<T, ChainError> {
        self.call_within(self.timeout, method, params).await
    }

    /// [`Rpc::call`] for an answer that may take another time.
    pub async fn call_within<T: DeserializeOwned>(
        &self,
        limit: Duration,
        method: &'static str,
        params: Value,
    ) -> Result<T, ChainError> {
        let body = json!({"jsonrpc": "1.0", "id": "headframe", "method": method, "params": params});
        let mut response = self
            .send(limit, method, &body, self.credentials(false)?)
            .await?;
        if response.status().as_u16() == UNAUTHORIZED {
            response = self
                .send(limit, method, &body, self.credentials(true)?)
                .await?;
        }
        let status = response.status().as_u16();
        if status == UNAUTHORIZED {
            let message = "it does not take the user and password; check stratum.opensy.rpc_user \
                           and its password, or rpc_cookie_file";
            return Err(ChainError::Refused {
                method,
                code: i64::from(status),
                message: message.to_owned(),
            });
        }
        let text = self.read(method, response).await?;
        // A refusal comes as JSON under an HTTP error status; a busy or strange server says
        // something else.
        let Ok(answer) = serde_json::from_slice::<Answer>(&text) else {
            return Err(self.unreachable(
                method,
                format!("HTTP status {status} with an answer that is not JSON-RPC"),
            ));
        };
        match answer.error {
            Some(Refusal { code, message }) => Err(ChainError::Refused {
                method,
                code,
                message,
            }),
            None => serde_json::from_value(answer.result).map_err(|error| ChainError::Refused {
                method,
                code: 0,
                message: format!("an answer of another shape than expected: {error}"),
            }),
        }
    }

    async fn send(
        &self,
        limit: Duration,
        method: &'static str,
        body: &Value,
        auth: Option<Credentials>,
    ) -> Result<reqwest::Response, ChainError> {
        let mut request = self.http.post(&self.url).timeout(limit).json(body);
        if let Some(Credentials { user, password }) = auth {
            request = request.basic_auth(user, Some(password));
        }
        // The address is in the message already; the error's own copy would repeat it.
        request
            .send()
            .await
            .map_err(|error| self.unreachable(method, error.without_url().to_string()))
    }

    async fn read(
        &self,
        method: &'static str,
        mut response: reqwest::Response,
    ) -> Result<Vec<u8>, ChainError> {
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

    /// The credentials; `again` reads them anew.
    fn credentials(&self, again: bool) -> Result<Option<Credentials>, ChainError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.is_none() || again {
            *known = self
                .source
                .read()
                .map_err(|reason| self.unreachable("reading the RPC credentials", reason))?;
        }
        Ok(known.clone())
    }

    fn unreachable(&self, method: &'static str, reason: String) -> ChainError {
        ChainError::unreachable(&self.url, method, reason)
    }
}

impl Source {
    fn read(&self) -> Result<Option<Credentials>, String> {
        let read = |path: &Path| {
            std::fs::read_to_string(path)
                .map_err(|error| format!("cannot read {}: {error}", path.display()))
        };
        match self {
            Source::None => Ok(None),
            Source::Cookie(path) => {
                let text = read(path)?;
                let (user, password) = text
                    .trim_end()
                    .split_once(':')
                    .ok_or_else(|| format!("{} is no cookie file", path.display()))?;
                Ok(Some(Credentials {
                    user: user.to_owned(),
                    password: password.to_owned(),
                }))
            }
            Source::User {
                name,
                password_file,
            } => {
                let password = match (std::env::var(PASSWORD_VARIABLE), password_file) {
                    (Ok(password), _) => password,
                    (Err(_), Some(path)) => read(path)?.trim_end_matches(['\r', '\n']).to_owned(),
                    (Err(_), None) => {
                        return Err(format!(
                            "rpc_user is set; put its password in rpc_password_file or \
                             {PASSWORD_VARIABLE}"
                        ));
                    }
                };
                Ok(Some(Credentials {
                    user: name.clone(),
                    password,
                }))
            }
        }
    }
}
