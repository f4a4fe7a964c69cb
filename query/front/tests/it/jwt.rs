//! Tokens that an issuer signs: what proves somebody, and everything that does not.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::http::Method;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use headframe_query_front::{AccessConfig, JwtConfig, QueryConfig, Server, Services};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::{KeyPair, PKCS_ED25519, PublicKeyData};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::account_store::{MemoryStore, accounts};
use crate::server::{READER, ask, config, services, token_file};

pub const ISSUER: &str = "https://id.example.org";

/// Somebody who signs tokens, and the file with its keys.
pub struct Issuer {
    key: KeyPair,
    id: String,
    folder: TempDir,
}

impl Issuer {
    pub fn new(id: &str) -> Self {
        let issuer = Self {
            key: KeyPair::generate_for(&PKCS_ED25519).unwrap(),
            id: id.to_owned(),
            folder: tempfile::tempdir().unwrap(),
        };
        issuer.write_jwks(&[&issuer]);
        issuer
    }

    fn jwks_file(&self) -> PathBuf {
        self.folder.path().join("jwks.json")
    }

    fn write_jwks(&self, of: &[&Issuer]) {
        let mut keys: Vec<Value> = of.iter().map(|issuer| issuer.jwk()).collect();
        // What is for another purpose, or of a kind that is not taken, is passed over.
        keys.push(json!({"kty": "RSA", "kid": "rsa", "n": "AQAB", "e": "AQAB", "use": "sig"}));
        keys.push(json!({"kty": "OKP", "crv": "X25519", "kid": "x", "x": "AAAA"}));
        let text = json!({"keys": keys}).to_string();
        std::fs::write(self.jwks_file(), text).unwrap();
    }

    fn jwk(&self) -> Value {
        let x = URL_SAFE_NO_PAD.encode(self.key.der_bytes());
        json!({"kty": "OKP", "crv": "Ed25519", "kid": self.id, "use": "sig", "x": x})
    }

    pub fn config(&self) -> AccessConfig {
        AccessConfig {
            jwt: JwtConfig {
                issuer: Some(ISSUER.to_owned()),
                jwks_file: Some(self.jwks_file()),
                ..JwtConfig::default()
            },
            ..AccessConfig::default()
        }
    }

    pub fn sign(&self, claims: &Value) -> String {
        let header = Header {
            kid: Some(self.id.clone()),
            ..Header::new(Algorithm::EdDSA)
        };
        self.sign_with(&header, claims)
    }

    fn sign_with(&self, header: &Header, claims: &Value) -> String {
        let key = EncodingKey::from_ed_der(self.key.serialized_der());
        encode(header, claims, &key).unwrap()
    }
}

pub fn now_s() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(now.as_secs()).unwrap()
}

/// The claims of a good token, with some of them changed; null takes one away.
pub fn claims(changes: &Value) -> Value {
    let now = now_s();
    let mut claims = json!({
        "iss": ISSUER, "aud": ["other", "headframe"], "sub": "meter-7", "iat": now, "nbf": now,
        "exp": now + 600, "role": "viewer",
    });
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
            value => claims[name] = value.clone(),
        }
    }
    claims
}

struct Bed {
    issuer: Issuer,
    store: Arc<MemoryStore>,
    router: Router,
    _token: tempfile::NamedTempFile,
}

impl Bed {
    /// A server that needs a token to read, and takes those of an issuer.
    async fn start() -> Self {
        let (issuer, token, store) = (Issuer::new("a"), token_file(READER), MemoryStore::new());
        let query = QueryConfig {
            token_file: Some(token.path().to_owned()),
            ..config()
        };
        let services = Services {
            accounts: Some(accounts(&store).await),
            access: issuer.config(),
            ..services()
        };
        let bound = Server::bind(query, services).await.unwrap();
        let router = bound.router();
        tokio::spawn(bound.run(CancellationToken::new()));
        Self {
            issuer,
            store,
            router,
            _token: token,
        }
    }

    async fn get(&self, path: &str, token: &str, from: &str) -> (u16, Value) {
        let bearer = format!("Bearer {token}");
        let headers = [
            ("authorization", bearer.as_str()),
            ("x-forwarded-for", from),
        ];
        let answer = ask(&self.router, &Method::GET, path, &headers).await;
        (
            answer.status.as_u16(),
            serde_json::from_str(&answer.text).unwrap_or_default(),
        )
    }

    async fn me(&self, token: &str) -> (u16, Value) {
        self.get("/api/v1/me", token, "192.0.2.1").await
    }
}

#[tokio::test]
async fn a_token_of_the_issuer_proves_a_name_and_a_role() {
    let bed = Bed::start().await;
    let service = bed.issuer.sign(&claims(&json!({})));
    let expected = json!({
        "name": "jwt:meter-7", "role": "viewer", "address": null, "proof": "jwt",
    });
    assert_eq!(bed.me(&service).await, (200, expected));
    let rig = json!({"sub": "rig", "role": "miner", "address": "4Own", "aud": "headframe"});
    let rig = bed.issuer.sign(&claims(&rig));
    let (_, me) = bed.me(&rig).await;
    assert_eq!(
        (&me["role"], &me["address"]),
        (&json!("miner"), &json!("4Own"))
    );
    // An address beside another role counts nothing.
    let viewer = bed.issuer.sign(&claims(&json!({"address": "4Own"})));
    assert_eq!(bed.me(&viewer).await.1["address"], Value::Null);
    for (token, role, bans, refused) in [(&service, "viewer", 403, 403), (&rig, "miner", 403, 403)]
    {
        let (status, _) = bed.get("/api/v1/bans", token, "192.0.2.1").await;
        assert_eq!((status, refused), (bans, 403), "{role}");
    }
    let auditor = bed.issuer.sign(&claims(&json!({"role": "auditor"})));
    assert_eq!(bed.get("/api/v1/bans", &auditor, "192.0.2.1").await.0, 200);
    // A token without a name for its key is tried with each.
    let unnamed = bed
        .issuer
        .sign_with(&Header::new(Algorithm::EdDSA), &claims(&json!({})));
    assert_eq!(bed.me(&unnamed).await.0, 200);
}

/// Claims that are not taken, and what the row says.
fn bad_claims() -> Vec<(Value, &'static str)> {
    let now = now_s();
    vec![
        (
            json!({"exp": now - 100, "iat": now - 200}),
            "it has expired",
        ),
        (json!({"exp": null}), "its claim exp is missing"),
        (json!({"exp": "never"}), "its claim exp is missing"),
        (json!({"nbf": now + 300}), "it is not valid yet"),
        (
            json!({"iat": now + 300, "exp": now + 600}),
            "it is not valid yet",
        ),
        (json!({"iat": null}), "its claim iat is missing"),
        (json!({"exp": now + 7_200}), "it lives longer"),
        (json!({"iat": now - 86_400}), "it lives longer"),
        (json!({"iss": "https://id.example.com"}), "another issuer"),
        (json!({"iss": null}), "its claim iss is missing"),
        (json!({"aud": "other"}), "another audience"),
        (json!({"aud": []}), "another audience"),
        (json!({"aud": null}), "its claim aud is missing"),
        (json!({"sub": null}), "its claim sub is missing"),
        (json!({"sub": ""}), "its claim sub is missing"),
        (json!({"sub": "a\nb"}), "its claim sub is missing"),
        (json!({"sub": "a".repeat(129)}), "its claim sub is missing"),
        (json!({"role": null}), "its claim role is missing"),
        (json!({"role": ["admin"]}), "its claim role is missing"),
        (json!({"role": "root"}), "its role cannot be used"),
        (json!({"role": "miner"}), "its role cannot be used"),
    ]
}

#[tokio::test]
async fn what_the_issuer_does_not_say_for_here_and_now_is_refused_alike() {
    let bed = Bed::start().await;
    let other = Issuer::new("a");
    let good = claims(&json!({}));
    let good_token = bed.issuer.sign(&good);
    let mut bad: Vec<(String, &str)> = bad_claims()
        .into_iter()
        .map(|(changes, why)| (bed.issuer.sign(&claims(&changes)), why))
        .collect();
    let public = bed.issuer.key.der_bytes();
    let by_secret =
        |header: &Header| encode(header, &good, &EncodingKey::from_secret(public)).unwrap();
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let (head, rest) = good_token.split_once('.').unwrap();
    let (payload, signature) = rest.split_once('.').unwrap();
    let admin = part(&claims(&json!({"role": "admin"})));
    let critical = Header {
        crit: Some(vec!["b64".to_owned()]),
        ..Header::new(Algorithm::EdDSA)
    };
    let unknown_key = Header {
        kid: Some("b".to_owned()),
        ..Header::new(Algorithm::EdDSA)
    };
    bad.extend([
        (other.sign(&good), "no key of the issuer"),
        (
            bed.issuer.sign_with(&unknown_key, &good),
            "no key of the issuer",
        ),
        (
            format!("{head}.{admin}.{signature}"),
            "no key of the issuer",
        ),
        (format!("{head}.{payload}."), "no key of the issuer"),
        (
            by_secret(&Header::new(Algorithm::HS256)),
            "not signed with EdDSA",
        ),
        (
            bed.issuer.sign_with(&critical, &good),
            "not signed with EdDSA",
        ),
        (
            format!("{}.{payload}.", part(&json!({"alg": "none"}))),
            "it is no JWT",
        ),
        (format!("{head}.{payload}"), "it is no JWT"),
        (
            format!("{head}.{payload}.{}", "A".repeat(9_000)),
            "it is no JWT",
        ),
        ("eyJ".to_owned(), "it is no JWT"),
    ]);
    let mut answers = Vec::new();
    for (number, (token, why)) in bad.iter().enumerate() {
        // Each from an address of its own, so that no limit hides a reason.
        let from = format!("198.51.100.{number}");
        let (status, answer) = bed.get("/api/v1/me", token, &from).await;
        assert_eq!(status, 401, "{why}: {token}");
        answers.push(answer["error"]["message"].as_str().unwrap().to_owned());
        let row = bed.store.rows().pop().unwrap();
        assert_eq!(
            (row.action.as_str(), row.outcome.as_str()),
            ("token_use", "refused")
        );
        let reason = row.reason.unwrap();
        assert!(
            reason.starts_with("a JWT: ") && reason.contains(why),
            "{why}: {reason}"
        );
    }
    answers.dedup();
    assert_eq!(answers, ["the token is not valid here"]);
    assert!(!bed.store.everything().contains(&bad[0].0));
    // Who sends many is not even told that.
    let mut last = 0;
    for _ in 0..40 {
        last = bed.me(&bad[0].0).await.0;
    }
    assert_eq!(last, 429);
}

#[tokio::test]
async fn an_issuer_changes_its_keys_while_the_server_runs() {
    let bed = Bed::start().await;
    let next = Issuer::new("b");
    let (old, new) = (
        bed.issuer.sign(&claims(&json!({}))),
        next.sign(&claims(&json!({}))),
    );
    assert_eq!(bed.me(&old).await.0, 200);
    assert_eq!(bed.get("/api/v1/me", &new, "203.0.113.1").await.0, 401);
    // Half a file changes nothing.
    std::fs::write(bed.issuer.jwks_file(), "{\"keys\": [").unwrap();
    bed.issuer.write_jwks(&[&next]);
    let mut pace = tokio::time::interval(Duration::from_millis(100));
    let mut from = 0_u32;
    let taken = async {
        loop {
            from += 1;
            let peer = std::net::Ipv4Addr::from_bits(0x0a00_0000 + from).to_string();
            if bed.get("/api/v1/me", &new, &peer).await.0 == 200 {
                break;
            }
            pace.tick().await;
        }
    };
    let taken = tokio::time::timeout(Duration::from_secs(240), taken).await;
    taken.expect("the new key is taken");
    assert_eq!(bed.get("/api/v1/me", &old, "203.0.113.2").await.0, 401);
}

#[tokio::test]
async fn keys_that_cannot_be_used_end_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("issuer.pem");
    let start = async |text: &str| {
        std::fs::write(&file, text).unwrap();
        let services = Services {
            access: AccessConfig {
                jwt: JwtConfig {
                    issuer: Some(ISSUER.to_owned()),
                    key_files: vec![file.clone()],
                    ..JwtConfig::default()
                },
                ..AccessConfig::default()
            },
            ..services()
        };
        let bound = Server::bind(config(), services).await;
        bound
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default()
    };
    let ed25519 = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let elliptic = KeyPair::generate().unwrap();
    assert_eq!(start(&ed25519.public_key_pem()).await, "");
    for unfit in [
        String::new(),
        "nothing".to_owned(),
        elliptic.public_key_pem(),
        ed25519.serialize_pem(),
    ] {
        let error = start(&unfit).await;
        assert!(error.contains("access.jwt.key_files"), "{error}");
        assert!(error.contains("no public key of Ed25519"), "{error}");
    }
}
