//! What an identity provider publishes and answers: its discovery document, its keys, and the token
//! for a code. Everything that comes has a size and a time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::jwk::JwkSet;
use reqwest::{Client, RequestBuilder, header};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;

use crate::config::{OidcConfig, is_safe_address};

/// How long one answer of the provider may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The largest answer that is read.
const MAX_BYTES: usize = 256 * 1024;
/// How long what the provider publishes is used.
const FRESH_FOR: Duration = Duration::from_secs(3_600);
/// How often it is looked up at most: after a failure, and for a key that is not known.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(30);

/// Why the provider was not heard.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the identity provider {address}: {reason}")]
pub(super) struct ProviderError {
    address: String,
    reason: String,
    /// Whether it was heard, and refused what was asked.
    pub(super) is_refusal: bool,
}

/// What a provider publishes about itself.
#[derive(Debug, Deserialize)]
pub(super) struct Discovery {
    issuer: String,
    pub(super) authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Vec<String>,
}

/// The same, and its keys.
pub(super) struct Published {
    pub(super) discovery: Discovery,
    pub(super) keys: JwkSet,
}

#[derive(Deserialize)]
struct TokenAnswer {
    id_token: String,
}

/// One provider.
pub(super) struct Provider {
    client: Client,
    issuer: String,
    looked_up: Mutex<Option<LookedUp>>,
}

/// What the last look-up gave.
struct LookedUp {
    at: Instant,
    result: Result<Arc<Published>, ProviderError>,
}

/// A code that is to be given for a token.
pub(super) struct CodeGrant<'a> {
    pub(super) code: &'a str,
    pub(super) verifier: &'a str,
    pub(super) config: &'a OidcConfig,
    pub(super) secret: Option<&'a str>,
}

impl Provider {
    /// Asked by this client.
    pub(super) fn new(client: Client, issuer: &str) -> Self {
        Self {
            client,
            issuer: issuer.to_owned(),
            looked_up: Mutex::new(None),
        }
    }

    /// What it publishes. With the name of a key that has to be there it is looked up again when
    /// the key is not.
    pub(super) async fn published(
        &self,
        key: Option<&str>,
    ) -> Result<Arc<Published>, ProviderError> {
        let mut looked_up = self.looked_up.lock().await;
        if let Some(LookedUp { at, result }) = looked_up.as_ref() {
            let age = at.elapsed();
            let is_enough = match result {
                Ok(published) => {
                    let has_key = key.is_none_or(|key| published.keys.find(key).is_some());
                    has_key && age < FRESH_FOR
                }
                Err(_) => false,
            };
            if is_enough || age < LOOK_AGAIN_AFTER {
                return result.clone();
            }
        }
        let result = self.look_up().await.map(Arc::new);
        *looked_up = Some(LookedUp {
            at: Instant::now(),
            result: result.clone(),
        });
        result
    }

    async fn look_up(&self) -> Result<Published, ProviderError> {
        let address = format!(
            "{}/.well-known/openid-configuration",
            self.issuer.trim_end_matches('/')
        );
        let discovery: Discovery = read(&address, self.client.get(&address)).await?;
        let fault = |reason: &str| ProviderError {
            address: address.clone(),
            reason: reason.to_owned(),
            is_refusal: false,
        };
        if discovery.issuer != self.issuer {
            return Err(fault("its document names another issuer"));
        }
        let addresses = [
            &discovery.authorization_endpoint,
            &discovery.token_endpoint,
            &discovery.jwks_uri,
        ];
        if addresses.iter().any(|address| !is_safe_address(address)) {
            return Err(fault("its document names an address that is not https"));
        }
        let keys = read(&discovery.jwks_uri, self.client.get(&discovery.jwks_uri)).await?;
        Ok(Published { discovery, keys })
    }

    /// The token for a code.
    pub(super) async fn id_token(
        &self,
        discovery: &Discovery,
        grant: CodeGrant<'_>,
    ) -> Result<String, ProviderError> {
        let request = self.token_request(discovery, grant);
        let answer: TokenAnswer = read(&discovery.token_endpoint, request).await?;
        Ok(answer.id_token)
    }

    fn token_request(&self, discovery: &Discovery, grant: CodeGrant<'_>) -> RequestBuilder {
        let CodeGrant {
            code,
            verifier,
            config,
            secret,
        } = grant;
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "authorization_code")
            .append_pair("code", code)
            .append_pair("redirect_uri", &config.redirect_url)
            .append_pair("code_verifier", verifier);
        let mut request = self.client.post(&discovery.token_endpoint);
        match secret {
            Some(secret) if discovery.takes_basic() => {
                let pair = format!("{}:{}", encoded(&config.client_id), encoded(secret));
                let basic = format!("Basic {}", STANDARD.encode(pair));
                request = request.header(header::AUTHORIZATION, basic);
            }
            Some(secret) => {
                form.append_pair("client_id", &config.client_id)
                    .append_pair("client_secret", secret);
            }
            None => {
                form.append_pair("client_id", &config.client_id);
            }
        }
        request
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form.finish())
    }
}

impl Discovery {
    /// Whether the secret is sent in a header, as it is where the document does not say.
    fn takes_basic(&self) -> bool {
        let methods = &self.token_endpoint_auth_methods_supported;
        methods.is_empty() || methods.iter().any(|method| method == "client_secret_basic")
    }
}

/// As a form writes it, which RFC 6749 asks of both halves of the header.
fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// An answer in JSON, within its size and time. What it holds is told to nobody.
async fn read<T: DeserializeOwned>(
    address: &str,
    request: RequestBuilder,
) -> Result<T, ProviderError> {
    let failed = |reason: String| ProviderError {
        address: address.to_owned(),
        reason,
        is_refusal: false,
    };
    let request = request.header(header::ACCEPT, "application/json");
    let answer = request.timeout(TIMEOUT).send().await;
    let mut answer = answer.map_err(|error| failed(error.without_url().to_string()))?;
    if !answer.status().is_success() {
        return Err(ProviderError {
            is_refusal: answer.status().is_client_error(),
            ..failed(format!("it answers {}", answer.status()))
        });
    }
    let mut body = Vec::new();
    loop {
        let chunk = answer.chunk().await;
        match chunk.map_err(|error| failed(error.without_url().to_string()))? {
            Some(chunk) if body.len() + chunk.len() <= MAX_BYTES => body.extend_from_slice(&chunk),
            Some(_) => return Err(failed(format!("it answers more than {MAX_BYTES} bytes"))),
            None => break,
        }
    }
    serde_json::from_slice(&body)
        .map_err(|error| failed(format!("its answer cannot be read: {:?}", error.classify())))
}
