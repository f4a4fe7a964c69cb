//! People who sign in with an identity provider (OpenID Connect): the authorization code flow, with
//! PKCE, state and nonce, by the provider's discovery document.
//!
//! By `jsonwebtoken` and `reqwest`, which this system has anyway, and not by `openidconnect`: that
//! crate brings a second set of cryptography beside aws-lc (rsa with RUSTSEC-2023-0071, p256, p384,
//! ed25519-dalek), and of the protocol we need three requests.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use reqwest::Client;
use serde_json::{Map, Value};
use tokio::sync::Semaphore;
use url::Url;

use crate::access::{Principal, Proof, Role, Scope};
use crate::clock::now_us;
use crate::config::OidcConfig;
use crate::tls::read_bounded;
use attempt::{Attempt, Attempts};
use provider::{CodeGrant, Provider, ProviderError};

mod attempt;
mod provider;

pub(crate) use attempt::LIFETIME_S;

/// The environment variable with the secret that we share with the provider.
pub const SECRET_VARIABLE: &str = "HEADFRAME_OIDC_CLIENT_SECRET";
/// Sign-ins that ask the provider at once.
const MAX_ASKING: usize = 8;
/// How far clocks may differ, in seconds.
const LEEWAY_S: u64 = 60;
/// The longest name.
const MAX_NAME_CHARS: usize = 128;
/// The roles that a provider gives, the strongest first.
const ROLES: [&str; 4] = ["admin", "operator", "auditor", "viewer"];

/// Why nobody can sign in so.
#[derive(Debug, thiserror::Error)]
pub enum OidcSetupError {
    /// A file cannot be read.
    #[error("access.oidc.{key}: cannot read {path}: {reason}")]
    File {
        /// The configuration's key.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Whoever reads it is us to the provider.
    #[error("access.oidc.client_secret_file: {path} has mode {mode:03o}; `chmod 600` it")]
    Open {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// Nothing can be asked.
    #[error("access.oidc: {0}")]
    Client(String),
}

/// Why somebody is not signed in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OidcRefusal {
    /// It is another browser's answer, an old one, or made up.
    #[error("the answer belongs to no sign-in that this browser began")]
    State,
    /// Somebody repeats an answer.
    #[error("the answer was used before")]
    Used,
    /// The provider did not sign him in.
    #[error("the identity provider refused: {0}")]
    Denied(String),
    /// The provider was not heard; he may be who he says.
    #[error("{0}")]
    Provider(String),
    /// Too many ask.
    #[error("too many sign-ins are being checked")]
    Busy,
    /// The token proves nothing.
    #[error("the provider's token is not taken: {0}")]
    Token(String),
    /// He is nobody here.
    #[error("the provider says who he is, and nothing that access.oidc.roles gives a role for")]
    NoRole,
}

impl From<ProviderError> for OidcRefusal {
    fn from(error: ProviderError) -> Self {
        Self::Provider(error.to_string())
    }
}

/// What a provider sends a browser back with.
#[derive(Debug, Default)]
pub(crate) struct ProviderAnswer {
    pub(crate) state: Option<String>,
    pub(crate) code: Option<String>,
    pub(crate) error: Option<String>,
    /// Who answers, where the provider says so (RFC 9207).
    pub(crate) issuer: Option<String>,
}

/// Signs people in with one provider.
pub(crate) struct OidcLogin {
    config: OidcConfig,
    secret: Option<String>,
    issuer: String,
    attempts: Attempts,
    provider: Provider,
    asking: Semaphore,
}

impl OidcLogin {
    /// By the configuration and a secret of the environment; `None` where no provider is named.
    pub(crate) fn open(
        config: &OidcConfig,
        secret: Option<String>,
    ) -> Result<Option<Arc<Self>>, OidcSetupError> {
        let Some(issuer) = config.issuer.clone() else {
            return Ok(None);
        };
        let secret = match (secret, &config.client_secret_file) {
            (Some(secret), _) => Some(secret),
            (None, Some(path)) => Some(read_secret(path)?),
            (None, None) => None,
        };
        let attempts =
            Attempts::new().map_err(|error| OidcSetupError::Client(error.to_string()))?;
        Ok(Some(Arc::new(Self {
            provider: Provider::new(client(config)?, &issuer),
            config: config.clone(),
            secret,
            issuer,
            attempts,
            asking: Semaphore::new(MAX_ASKING),
        })))
    }

    /// Begins an attempt: where its browser goes, and what it keeps.
    pub(crate) async fn begin(&self) -> Result<(String, String), OidcRefusal> {
        let _asking = self.asking.try_acquire().map_err(|_| OidcRefusal::Busy)?;
        let published = self.provider.published(None).await?;
        let begun = self.attempts.begin();
        let (attempt, kept) = begun.map_err(|error| OidcRefusal::Provider(error.to_string()))?;
        let endpoint = &published.discovery.authorization_endpoint;
        let mut address =
            Url::parse(endpoint).map_err(|error| OidcRefusal::Provider(error.to_string()))?;
        let mut scopes = vec!["openid"];
        scopes.extend(self.config.scopes.iter().map(String::as_str));
        address
            .query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.config.client_id)
            .append_pair("redirect_uri", &self.config.redirect_url)
            .append_pair("scope", &scopes.join(" "))
            .append_pair("state", &attempt.state)
            .append_pair("nonce", &attempt.nonce)
            .append_pair("code_challenge", &attempt.code_challenge())
            .append_pair("code_challenge_method", "S256");
        Ok((address.into(), kept))
    }

    /// Who somebody is whom the provider sent back, to the browser that keeps this.
    pub(crate) async fn finish(
        &self,
        kept: &str,
        answer: ProviderAnswer,
    ) -> Result<Principal, OidcRefusal> {
        let now_s = now_us() / 1_000_000;
        let attempt = self
            .attempts
            .resume(kept, now_s)
            .ok_or(OidcRefusal::State)?;
        let is_state = answer.state.as_deref() == Some(attempt.state.as_str());
        let is_issuer = answer.issuer.is_none_or(|issuer| issuer == self.issuer);
        if !is_state || !is_issuer {
            return Err(OidcRefusal::State);
        }
        if self.attempts.is_spent(&attempt) {
            return Err(OidcRefusal::Used);
        }
        if let Some(error) = answer.error {
            return Err(OidcRefusal::Denied(plain(&error)));
        }
        let code = answer.code.ok_or(OidcRefusal::State)?;
        let _asking = self.asking.try_acquire().map_err(|_| OidcRefusal::Busy)?;
        let published = self.provider.published(None).await?;
        let grant = CodeGrant {
            code: &code,
            verifier: &attempt.verifier,
            config: &self.config,
            secret: self.secret.as_deref(),
        };
        // Used up before the code is sent, so that nobody has us ask again and again.
        if !self.attempts.spend(&attempt) {
            return Err(OidcRefusal::Used);
        }
        let token = self.provider.id_token(&published.discovery, grant).await;
        let token = token.map_err(|error| match error.is_refusal {
            true => OidcRefusal::Denied(error.to_string()),
            false => error.into(),
        })?;
        let claims = self.verify(&token, &attempt).await?;
        self.principal(&claims)
    }

    /// The claims of the provider's token about this attempt.
    async fn verify(
        &self,
        token: &str,
        attempt: &Attempt,
    ) -> Result<Map<String, Value>, OidcRefusal> {
        let refused = |reason: &str| OidcRefusal::Token(reason.to_owned());
        let header = decode_header(token).map_err(|error| refused(&error.to_string()))?;
        let published = self.provider.published(header.kid.as_deref()).await?;
        let key = key_of(&published.keys, header.kid.as_deref(), header.alg)
            .ok_or_else(|| refused("no key of the provider is of its name and algorithm"))?;
        let mut validation = Validation::new(header.alg);
        validation.leeway = LEEWAY_S;
        validation.validate_nbf = true;
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(&[&self.config.client_id]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        let claims = decode::<Map<String, Value>>(token, &key, &validation);
        let claims = claims.map_err(|error| refused(&error.to_string()))?.claims;
        if claims.get("nonce").and_then(Value::as_str) != Some(attempt.nonce.as_str()) {
            return Err(refused("it has another nonce"));
        }
        let party = claims.get("azp");
        let audiences = claims
            .get("aud")
            .and_then(Value::as_array)
            .map_or(1, Vec::len);
        let is_ours = party.is_some_and(|party| *party == self.config.client_id);
        if !is_ours && (party.is_some() || audiences > 1) {
            return Err(refused("it was given to another party"));
        }
        Ok(claims)
    }

    /// Who these claims are about.
    fn principal(&self, claims: &Map<String, Value>) -> Result<Principal, OidcRefusal> {
        let name = claims.get(&self.config.name_claim).and_then(Value::as_str);
        let is_name = |name: &&str| {
            (1..=MAX_NAME_CHARS).contains(&name.chars().count()) && !name.contains(char::is_control)
        };
        let name = name.filter(is_name).ok_or_else(|| {
            OidcRefusal::Token(format!("its claim {} is no name", self.config.name_claim))
        })?;
        let held: Vec<&str> = match claims.get(&self.config.role_claim) {
            Some(Value::String(text)) => vec![text],
            Some(Value::Array(texts)) => texts.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        let given: Vec<&str> = held
            .iter()
            .filter_map(|text| self.config.roles.get(*text).map(String::as_str))
            .collect();
        let role = ROLES.into_iter().find(|role| given.contains(role));
        let role = role.and_then(|role| Role::parse(role, None).ok());
        Ok(Principal {
            // No user and no service token has a colon in its name.
            name: format!("oidc:{name}").into(),
            role: Some(role.ok_or(OidcRefusal::NoRole)?),
            scope: Scope::RoleOnly,
            proof: Proof::Session,
        })
    }
}

/// The key of this name, for an algorithm whose signatures nobody makes with a public key.
fn key_of(keys: &JwkSet, name: Option<&str>, algorithm: Algorithm) -> Option<DecodingKey> {
    let fits = |key: &&Jwk| match (&key.algorithm, algorithm) {
        (AlgorithmParameters::RSA(_), Algorithm::RS256) => true,
        (AlgorithmParameters::OctetKeyPair(of), Algorithm::EdDSA) => {
            of.curve == EllipticCurve::Ed25519
        }
        (AlgorithmParameters::EllipticCurve(of), Algorithm::ES256) => {
            of.curve == EllipticCurve::P256
        }
        _ => false,
    };
    let is_named = |key: &&Jwk| name.is_none() || key.common.key_id.as_deref() == name;
    let mut found = keys.keys.iter().filter(is_named).filter(fits);
    DecodingKey::from_jwk(found.next()?).ok()
}

/// What a stranger may have written into a row.
fn plain(text: &str) -> String {
    let plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ' ');
    text.chars().filter(plain).take(64).collect()
}

fn read_secret(path: &Path) -> Result<String, OidcSetupError> {
    let failed = |reason: String| OidcSetupError::File {
        key: "client_secret_file",
        path: path.to_owned(),
        reason,
    };
    let data = std::fs::metadata(path).map_err(|error| failed(error.to_string()))?;
    let mode = data.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        let path = path.to_owned();
        return Err(OidcSetupError::Open { path, mode });
    }
    let bytes = read_bounded(path).map_err(|error| failed(error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|error| failed(error.to_string()))?;
    match text.lines().next().unwrap_or_default().trim() {
        "" => Err(failed("its first line is empty".to_owned())),
        secret => Ok(secret.to_owned()),
    }
}

/// Goes where it is sent and nowhere else.
fn client(config: &OidcConfig) -> Result<Client, OidcSetupError> {
    let mut builder = Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy();
    if let Some(path) = &config.ca_file {
        let failed = |reason: String| OidcSetupError::File {
            key: "ca_file",
            path: path.clone(),
            reason,
        };
        let pem = read_bounded(path).map_err(|error| failed(error.to_string()))?;
        let authorities = reqwest::Certificate::from_pem_bundle(&pem)
            .map_err(|error| failed(error.to_string()))?;
        builder = builder.tls_certs_only(authorities);
    }
    let built = builder.build();
    built.map_err(|error| OidcSetupError::Client(error.to_string()))
}
