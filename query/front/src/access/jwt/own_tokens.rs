//! The tokens that this system signs itself, for who signed in with a wallet or an identity
//! provider: one for programs, and one that is the session of a browser's cookie. Neither works as
//! the other.
//!
//! Nothing is kept of them, so that no number of wallets fills a store. The account store remembers
//! which sessions ended before their time.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, Header, encode};
use serde_json::{Value, json};

use super::key_set::KeySet;
use super::signing_key::{SigningKey, SigningKeyError};
use super::{JwtRefusal, JwtRules, VerifiedJwt, validation};
use crate::access::{Principal, Proof, Role};
use crate::clock::now_us;

/// Who signs.
const ISSUER: &str = "headframe";

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A program sends it as a bearer token.
    Bearer,
    /// A browser sends it as its session.
    Session,
}

impl Purpose {
    /// How long such a token lives, in seconds.
    pub(crate) fn lifetime_s(self) -> u64 {
        match self {
            Purpose::Bearer => 3_600,
            Purpose::Session => 12 * 3_600,
        }
    }

    fn audience(self) -> &'static str {
        match self {
            Purpose::Bearer => "headframe",
            Purpose::Session => "headframe session",
        }
    }

    fn proof(self) -> Proof {
        match self {
            Purpose::Bearer => Proof::Jwt,
            Purpose::Session => Proof::Session,
        }
    }
}

/// Signs tokens, and takes them back.
pub(crate) struct OwnTokens {
    path: PathBuf,
    /// Read at the start, or made at the first sign-in.
    key: Mutex<Option<Arc<OwnKey>>>,
    bearer: JwtRules,
    session: JwtRules,
}

struct OwnKey {
    key: SigningKey,
    /// What tokens call it.
    id: String,
    keys: KeySet,
}

impl OwnKey {
    fn new(key: SigningKey) -> Self {
        let hash = digest::digest(&digest::SHA256, &key.public);
        let id = hex::encode(&hash.as_ref()[..8]);
        let keys = KeySet::of_one(id.clone(), &key.public);
        Self { key, id, keys }
    }
}

impl OwnTokens {
    /// With the key in this file, or with one that is made there when it is needed.
    pub(crate) fn open(path: PathBuf) -> Result<Arc<Self>, SigningKeyError> {
        let key = SigningKey::read(&path)?.map(|key| Arc::new(OwnKey::new(key)));
        let rules = |purpose: Purpose| JwtRules {
            validation: validation(ISSUER, purpose.audience()),
            role_claim: "role".to_owned(),
            address_claim: "address".to_owned(),
            max_lifetime_s: purpose.lifetime_s(),
            prefix: "",
            proof: purpose.proof(),
        };
        Ok(Arc::new(Self {
            path,
            key: Mutex::new(key),
            bearer: rules(Purpose::Bearer),
            session: rules(Purpose::Session),
        }))
    }

    /// A token of somebody with a role, and when it ends in seconds since 1970.
    pub(crate) fn sign(
        &self,
        purpose: Purpose,
        principal: &Principal,
    ) -> Result<(String, u64), SigningKeyError> {
        let key = self.key_or_new()?;
        let now_s = u64::try_from(now_us() / 1_000_000).unwrap_or_default();
        let end_s = now_s + purpose.lifetime_s();
        let header = Header {
            kid: Some(key.id.clone()),
            ..Header::new(Algorithm::EdDSA)
        };
        let role = principal.role.as_ref();
        let claims = json!({
            "iss": ISSUER, "aud": purpose.audience(), "sub": principal.name.as_ref(),
            "iat": now_s, "exp": end_s, "jti": uuid::Uuid::new_v4().simple().to_string(),
            "role": role.map(Role::as_str), "address": role.and_then(Role::address),
        });
        let token = encode(&header, &claims, &key.key.private)
            .map_err(|_| SigningKeyError::Unfit(self.path.clone()))?;
        Ok((token, end_s))
    }

    /// Who this token is about, when it was signed here for this purpose and its time has not come.
    pub(crate) fn verify(&self, purpose: Purpose, token: &str) -> Result<VerifiedJwt, JwtRefusal> {
        let key = self.key().ok_or(JwtRefusal::Signature)?;
        let rules = match purpose {
            Purpose::Bearer => &self.bearer,
            Purpose::Session => &self.session,
        };
        rules.verify(token, &key.keys)
    }

    /// The public key, as programs elsewhere verify with it; none before the first sign-in.
    pub(crate) fn jwks(&self) -> Value {
        let keys = self.key().map(|key| {
            json!({
                "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": key.id,
                "x": URL_SAFE_NO_PAD.encode(key.key.public),
            })
        });
        json!({"keys": keys.into_iter().collect::<Vec<_>>()})
    }

    fn key(&self) -> Option<Arc<OwnKey>> {
        self.lock().clone()
    }

    fn key_or_new(&self) -> Result<Arc<OwnKey>, SigningKeyError> {
        let mut kept = self.lock();
        if let Some(key) = kept.as_ref() {
            return Ok(key.clone());
        }
        let key = Arc::new(OwnKey::new(SigningKey::read_or_make(&self.path)?));
        *kept = Some(key.clone());
        Ok(key)
    }

    /// The key is there or not, never half.
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Arc<OwnKey>>> {
        self.key.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
