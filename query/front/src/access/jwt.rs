//! JSON Web Tokens: what an issuer says about somebody, signed with Ed25519.
//!
//! The algorithm is pinned: what a token says of it decides nothing. A token has an end, which is
//! near, since nobody can revoke it. Strangers are told that a token is not taken and never why;
//! the row of the stream `access` says it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Validation, decode, decode_header};
use serde_json::{Map, Value};

use crate::access::{Principal, Proof, Role, Scope};
use crate::clock::now_us;
use crate::config::JwtConfig;
use key_set::{KeyFiles, KeySet};

mod key_set;
mod own_tokens;
mod signing_key;

pub use key_set::KeySetError;
pub(crate) use own_tokens::{OwnTokens, Purpose};
pub use signing_key::SigningKeyError;

/// How often the files of keys are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The longest token that is looked at.
const MAX_BYTES: usize = 8 * 1024;
/// How far clocks may differ, in seconds.
const LEEWAY_S: u64 = 30;
/// The longest name of a subject.
const MAX_SUBJECT_CHARS: usize = 128;

/// Why a token is not taken. Only rows and logs tell.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JwtRefusal {
    /// It is no token.
    #[error("it is no JWT of at most {MAX_BYTES} bytes")]
    Malformed,
    /// It is signed in another way.
    #[error("it is not signed with EdDSA, or needs what is not known here")]
    Algorithm,
    /// Nobody who is trusted signed it.
    #[error("no key of the issuer has signed it")]
    Signature,
    /// Its time is over.
    #[error("it has expired")]
    Expired,
    /// Its time is to come.
    #[error("it is not valid yet")]
    NotYet,
    /// It is of somebody else.
    #[error("it is of another issuer")]
    Issuer,
    /// It is for somebody else.
    #[error("it is for another audience")]
    Audience,
    /// Something is missing, or of another type.
    #[error("its claim {0} is missing or cannot be read")]
    Claim(String),
    /// It cannot be revoked for too long.
    #[error("it lives longer than access.jwt.max_lifetime_s allows")]
    LongLived,
    /// It gives no role that there is.
    #[error("its role cannot be used: {0}")]
    Role(String),
}

/// Who a token is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VerifiedJwt {
    pub(crate) principal: Principal,
    /// When its time is over, microseconds since 1970.
    pub(crate) ends_us: i64,
    /// What its issuer calls it.
    pub(crate) id: Option<String>,
}

/// Takes the tokens of one issuer.
pub(crate) struct JwtVerifier {
    config: JwtConfig,
    rules: JwtRules,
    served: Mutex<Served>,
}

struct Served {
    keys: Arc<KeySet>,
    /// What was read last, usable or not; `None` when it could not be read.
    seen: Option<KeyFiles>,
    /// What was wrong with it, so that the log has it once.
    fault: Option<KeySetError>,
}

/// What a token has to say.
struct JwtRules {
    validation: Validation,
    role_claim: String,
    address_claim: String,
    max_lifetime_s: u64,
    /// What stands before the subject in the name of a holder. No user and no service token has a
    /// colon in its name.
    prefix: &'static str,
    proof: Proof,
}

/// Whether a text looks like a token, well-formed or not: each begins with the base64 of `{"`.
pub(crate) fn looks_like_jwt(text: &str) -> bool {
    text.starts_with("eyJ")
}

impl JwtVerifier {
    /// By the configuration; `None` where it names no issuer.
    pub(crate) fn load(config: &JwtConfig) -> Result<Option<Arc<Self>>, KeySetError> {
        let Some(issuer) = &config.issuer else {
            return Ok(None);
        };
        let files = KeyFiles::read(config)?;
        let served = Served {
            keys: Arc::new(files.parse(config)?),
            seen: Some(files),
            fault: None,
        };
        let rules = JwtRules {
            validation: validation(issuer, &config.audience),
            role_claim: config.role_claim.clone(),
            address_claim: config.address_claim.clone(),
            max_lifetime_s: config.max_lifetime_s,
            prefix: "jwt:",
            proof: Proof::Jwt,
        };
        Ok(Some(Arc::new(Self {
            config: config.clone(),
            rules,
            served: Mutex::new(served),
        })))
    }

    /// Who this token is about, when the issuer says so.
    pub(crate) fn verify(&self, token: &str) -> Result<VerifiedJwt, JwtRefusal> {
        let keys = self.served().keys.clone();
        self.rules.verify(token, &keys)
    }

    /// Looks at the files of keys again and again, until it is dropped.
    pub(crate) async fn follow(&self) {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        loop {
            looks.tick().await;
            self.reload();
        }
    }

    /// Takes the keys that the files hold now, if those are others and can be used.
    fn reload(&self) {
        let read = KeyFiles::read(&self.config);
        let mut served = self.served();
        let (seen, parsed) = match read {
            Ok(files) if served.seen.as_ref() == Some(&files) => return,
            Ok(files) => {
                let parsed = files.parse(&self.config);
                (Some(files), parsed)
            }
            Err(error) => (None, Err(error)),
        };
        served.seen = seen;
        match parsed {
            Ok(keys) => {
                served.keys = Arc::new(keys);
                served.fault = None;
                tracing::info!(issuer = self.config.issuer, "its new keys are taken");
            }
            Err(error) => {
                if served.fault.as_ref() != Some(&error) {
                    tracing::warn!(%error, "the keys before go on being taken");
                }
                served.fault = Some(error);
            }
        }
    }

    /// Each field is replaced as a whole, so that a panic elsewhere leaves nothing half done.
    fn served(&self) -> MutexGuard<'_, Served> {
        self.served.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn validation(issuer: &str, audience: &str) -> Validation {
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.leeway = LEEWAY_S;
    validation.validate_nbf = true;
    validation.set_issuer(&[issuer]);
    validation.set_audience(&[audience]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    validation
}

impl JwtRules {
    fn verify(&self, token: &str, keys: &KeySet) -> Result<VerifiedJwt, JwtRefusal> {
        if token.len() > MAX_BYTES {
            return Err(JwtRefusal::Malformed);
        }
        let header = decode_header(token).map_err(|error| refusal_of(error.kind()))?;
        if header.alg != Algorithm::EdDSA || header.crit.is_some() {
            return Err(JwtRefusal::Algorithm);
        }
        let mut refusal = JwtRefusal::Signature;
        for key in keys.candidates(header.kid.as_deref()) {
            match decode::<Map<String, Value>>(token, key, &self.validation) {
                Ok(token) => return self.check_claims(&token.claims),
                Err(error) => refusal = refusal_of(error.kind()),
            }
            if refusal != JwtRefusal::Signature {
                break;
            }
        }
        Err(refusal)
    }

    /// What the signature holds for: the library has checked `exp`, `nbf`, `iss` and `aud`.
    fn check_claims(&self, claims: &Map<String, Value>) -> Result<VerifiedJwt, JwtRefusal> {
        let missing = |name: &str| JwtRefusal::Claim(name.to_owned());
        let number = |name: &str| {
            let value = claims.get(name).and_then(Value::as_f64);
            let whole = value.filter(|value| (0.0..1e12).contains(value));
            whole.map(|value| value as u64).ok_or_else(|| missing(name))
        };
        let (begin_s, end_s) = (number("iat")?, number("exp")?);
        let now_s = u64::try_from(now_us() / 1_000_000).unwrap_or_default();
        if begin_s > now_s + LEEWAY_S {
            return Err(JwtRefusal::NotYet);
        }
        if end_s.saturating_sub(begin_s) > self.max_lifetime_s {
            return Err(JwtRefusal::LongLived);
        }
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        let subject = text("sub").filter(|subject| is_name(subject));
        let subject = subject.ok_or_else(|| missing("sub"))?;
        let role = text(&self.role_claim).ok_or_else(|| missing(&self.role_claim))?;
        // An issuer may tell the address of whoever has one; it counts for miners.
        let address = text(&self.address_claim).filter(|_| role == "miner");
        let role =
            Role::parse(role, address).map_err(|error| JwtRefusal::Role(error.to_string()))?;
        Ok(VerifiedJwt {
            principal: Principal {
                name: format!("{}{subject}", self.prefix).into(),
                role: Some(role),
                scope: Scope::RoleOnly,
                proof: self.proof,
            },
            ends_us: i64::try_from(end_s)
                .unwrap_or(i64::MAX)
                .saturating_mul(1_000_000),
            id: text("jti").map(str::to_owned),
        })
    }
}

/// Whether rows and logs can have this name.
fn is_name(text: &str) -> bool {
    (1..=MAX_SUBJECT_CHARS).contains(&text.chars().count()) && !text.contains(char::is_control)
}

fn refusal_of(error: &ErrorKind) -> JwtRefusal {
    match error {
        ErrorKind::InvalidSignature => JwtRefusal::Signature,
        ErrorKind::ExpiredSignature => JwtRefusal::Expired,
        ErrorKind::ImmatureSignature => JwtRefusal::NotYet,
        ErrorKind::InvalidIssuer => JwtRefusal::Issuer,
        ErrorKind::InvalidAudience => JwtRefusal::Audience,
        ErrorKind::InvalidAlgorithm | ErrorKind::InvalidAlgorithmName => JwtRefusal::Algorithm,
        ErrorKind::MissingRequiredClaim(name) | ErrorKind::InvalidClaimFormat(name) => {
            JwtRefusal::Claim(name.clone())
        }
        _ => JwtRefusal::Malformed,
    }
}
