//! A running server as commands ask it: where it is, with which token, and what its refusals mean.

use std::fmt;
use std::path::PathBuf;
use std::sync::OnceLock;

use anyhow::{Context, anyhow};
use reqwest::{Certificate, Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::Value;

/// Where the server is and who asks.
#[derive(Debug, Clone, clap::Args)]
pub struct ApiClient {
    /// The server.
    #[arg(long, env = "HEADFRAME_URL", default_value = "http://127.0.0.1:8080")]
    pub url: String,
    /// A file with the bearer token.
    #[arg(long, env = "HEADFRAME_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
    /// A PEM file with the authority of the server's certificate, or with the certificate itself;
    /// no other is trusted then.
    #[arg(long, env = "HEADFRAME_CA_FILE")]
    pub ca_file: Option<PathBuf>,
    /// Made by the first request: it reads certificates, and keeps connections.
    #[arg(skip)]
    client: OnceLock<Client>,
}

impl ApiClient {
    /// A request to read.
    pub fn get(&self, path: &str) -> anyhow::Result<RequestBuilder> {
        self.request(Method::GET, path)
    }

    /// A request to do something.
    pub fn post(&self, path: &str) -> anyhow::Result<RequestBuilder> {
        self.request(Method::POST, path)
    }

    /// A request to take something away.
    pub fn delete(&self, path: &str) -> anyhow::Result<RequestBuilder> {
        self.request(Method::DELETE, path)
    }

    /// A request of any method.
    pub fn request(&self, method: Method, path: &str) -> anyhow::Result<RequestBuilder> {
        let url = format!("{}{path}", self.url.trim_end_matches('/'));
        let mut request = self.client()?.request(method, url);
        if let Some(file) = &self.token_file {
            let token = std::fs::read_to_string(file)
                .with_context(|| format!("cannot read the token file {}", file.display()))?;
            request = request.bearer_auth(token.lines().next().unwrap_or_default());
        }
        Ok(request)
    }

    fn client(&self) -> anyhow::Result<Client> {
        if let Some(client) = self.client.get() {
            return Ok(client.clone());
        }
        let mut builder = Client::builder();
        if let Some(file) = &self.ca_file {
            let pem = std::fs::read(file)
                .with_context(|| format!("cannot read the certificate {}", file.display()))?;
            let authorities = Certificate::from_pem_bundle(&pem)
                .with_context(|| format!("{} holds no certificate", file.display()))?;
            builder = builder.tls_certs_only(authorities);
        }
        let client = builder.build()?;
        Ok(self.client.get_or_init(|| client).clone())
    }

    /// Sends; a refusal of the server is an error with its words.
    pub async fn send(&self, request: RequestBuilder) -> anyhow::Result<Response> {
        let answer = self.answer(request).await?;
        if !answer.status().is_success() {
            return Err(ServerError::read(&answer.text().await?).into());
        }
        Ok(answer)
    }

    /// The same, where this status is an answer: there is none.
    pub async fn send_unless(
        &self,
        request: RequestBuilder,
        none: StatusCode,
    ) -> anyhow::Result<Option<Response>> {
        let answer = self.answer(request).await?;
        match answer.status() {
            status if status.is_success() => Ok(Some(answer)),
            status if status == none => Ok(None),
            _ => Err(ServerError::read(&answer.text().await?).into()),
        }
    }

    /// Sends what the server may find wrong: its words are an answer, and only who may not ask, or
    /// a server that fails, is an error.
    pub async fn accepted(&self, request: RequestBuilder) -> anyhow::Result<Result<(), String>> {
        let answer = self.answer(request).await?;
        let status = answer.status();
        if status.is_success() {
            return Ok(Ok(()));
        }
        let refusal = ServerError::read(&answer.text().await?);
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(refusal.into()),
            status if status.is_client_error() => Ok(Err(refusal.message)),
            _ => Err(refusal.into()),
        }
    }

    async fn answer(&self, request: RequestBuilder) -> anyhow::Result<Response> {
        let answer = request.send().await;
        answer.map_err(|error| self.unreachable(&error))
    }

    /// [`ApiClient::send`], read as JSON.
    pub async fn send_json(&self, request: RequestBuilder) -> anyhow::Result<Value> {
        self.send(request)
            .await?
            .json()
            .await
            .with_context(|| format!("what answers at {} does not speak JSON", self.url))
    }

    /// What to do when there is no answer at all.
    fn unreachable(&self, error: &reqwest::Error) -> anyhow::Error {
        let url = &self.url;
        let mut cause: &dyn std::error::Error = error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        if error.is_builder() {
            return anyhow!("cannot ask {url:?}: {cause}; write the address as http://host:port");
        }
        if error.is_connect() && url.starts_with("https:") {
            return anyhow!(
                "no connection to {url}: {cause}; a certificate of an authority of your own is \
                 named with --ca-file or HEADFRAME_CA_FILE"
            );
        }
        if error.is_connect() {
            return anyhow!(
                "no server answers at {url}: {cause}; start one with `headframe demo` or \
                 `headframe up --config FILE`, \
                 or name another with --url or HEADFRAME_URL"
            );
        }
        anyhow!("asking {url} failed: {cause}")
    }
}

/// A server's refusal in its own words; whatever else answers there is shown as it is.
#[derive(Debug)]
pub struct ServerError {
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl ServerError {
    fn read(body: &str) -> Self {
        let parsed: Value = serde_json::from_str(body).unwrap_or_default();
        let error = &parsed["error"];
        match error["message"].as_str() {
            Some(message) => Self {
                message: message.to_owned(),
                hint: error["hint"].as_str().map(str::to_owned),
            },
            None => Self {
                message: body.trim_end().to_owned(),
                hint: None,
            },
        }
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.hint {
            Some(hint) => write!(out, "{}\nhint: {hint}", self.message),
            None => write!(out, "{}", self.message),
        }
    }
}

impl std::error::Error for ServerError {}
