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

/// How often a call is sent at most while the wallet says that its nonce is another connection's:
/// each connection has one of its own, and a busy machine may open another before the last one is
/// known to be free again.
const LOGINS: usize = 20;

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
            if response.status() != StatusCode::UNAUTHORIZED || self.login.is_none() {
                break;
            }
            let headers = response.headers().get_all(WWW_AUTHENTICATE);
            let challenge = headers
                .iter()
                .filter_map(|value| value.to_str().ok())
                .find_map(Challenge::parse);
            // A wrong password is asked for once more as well, but not as stale (RFC 7616, 3.3).
            let was_answered = known.take().is_some();
            let Some(challenge) = challenge.filter(|one| !was_answered || one.is_stale) else {
                break;
            };
            *known = Some((challenge, 0));
            // Read to its end, the connection can be used again, and only there the challenge
            // holds. The login is refused before anything is done: this repeats nothing.
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
    use tokio::net::TcpListener;

    use super::*;

    /// A wallet that ends every connection after one answer and gives the next one another nonce.
    /// It takes an answer after so many that it calls stale, or none; says how many calls came.
    async fn wallet(stale: usize, is_right: bool) -> (String, tokio::task::JoinHandle<usize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let task = tokio::spawn(async move {
            let mut answered = 0;
            for call in 1.. {
                let (stream, _) = listener.accept().await.unwrap();
                let (mut stream, mut length, mut has_login) = (BufReader::new(stream), 0, false);
                loop {
                    let mut line = String::new();
                    stream.read_line(&mut line).await.unwrap();
                    let line = line.trim().to_ascii_lowercase();
                    if let Some(value) = line.strip_prefix("content-length: ") {
                        length = value.parse().unwrap();
                    }
                    has_login |= line.starts_with("authorization: ");
                    if line.is_empty() {
                        break;
                    }
                }
                stream.read_exact(&mut vec![0; length]).await.unwrap();
                let is_stale = has_login && is_right && answered < stale;
                let is_taken = has_login && is_right && !is_stale;
                answered += usize::from(has_login);
                let (status, body) = match is_taken {
                    true => ("200 OK".to_owned(), r#"{"result": 7}"#),
                    false => (
                        format!(
                            "401 Unauthorized\r\nWWW-Authenticate: Digest qop=\"auth\",\
                             algorithm=MD5,realm=\"x\",nonce=\"{call}\",stale={is_stale}"
                        ),
                        "",
                    ),
                };
                let head = format!(
                    "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                );
                stream.get_mut().write_all(head.as_bytes()).await.unwrap();
                if is_taken || (has_login && !is_right) {
                    return call;
                }
            }
            0
        });
        (url, task)
    }

    async fn call(stale: usize, is_right: bool) -> (Result<Value, WalletError>, usize) {
        use std::os::unix::fs::PermissionsExt as _;
        let (url, wallet) = wallet(stale, is_right).await;
        let login = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(login.path(), "user:password").unwrap();
        std::fs::set_permissions(login.path(), std::fs::Permissions::from_mode(0o600)).unwrap();
        let config = WalletConfig {
            url,
            login_file: Some(login.path().to_owned()),
            ..WalletConfig::default()
        };
        let rpc = Rpc::new(&config, "/json_rpc").unwrap();
        let answer = rpc.call("get_version", json!({})).await;
        let answer = answer.map(|answer| answer.map_err(|refusal| refusal.message).unwrap());
        (answer, wallet.await.unwrap())
    }

    #[tokio::test]
    async fn a_nonce_of_another_connection_is_replaced_and_a_wrong_password_ends_the_call() {
        let (answer, calls) = call(5, true).await;
        assert_eq!((answer.unwrap(), calls), (json!(7), 7));
        let (answer, calls) = call(0, false).await;
        assert!(
            matches!(answer, Err(WalletError::Login { .. })),
            "{answer:?}"
        );
        assert_eq!(calls, 2);
    }
}
