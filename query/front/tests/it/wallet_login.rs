//! Miners who sign in with their wallet: what a signature gives, and what proves nothing.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use headframe_query_front::{PaymentService, PaymentServiceError, QueryConfig, Services};
use headframe_schemas::payment::{PayerStatus, PaymentRules};
use headframe_schemas::stream::instructions::Instruction;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::account_store::{MemoryStore, accounts};
use crate::server::{Answer, READER, ask, config, router, send, services, token_file};

/// How long another process may take to hear of a change.
const PATIENCE: Duration = Duration::from_secs(120);

/// A wallet whose signature of a text is a hash of the address and the text.
#[derive(Default)]
struct Wallet {
    is_away: AtomicBool,
    checks: AtomicUsize,
}

fn signature(address: &str, text: &str) -> String {
    let said = format!("{address} {text}");
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA384, said.as_bytes());
    let digits: String = hex::encode(hash).replace('0', "z");
    format!("SigV2{}", &digits[..88])
}

#[async_trait::async_trait]
impl PaymentService for Wallet {
    fn rules(&self) -> PaymentRules {
        PaymentRules {
            pool: "main".to_owned(),
            ..PaymentRules::default()
        }
    }
    fn payer(&self) -> Option<PayerStatus> {
        None
    }
    async fn instruct(&self, _: Instruction) -> Result<(), PaymentServiceError> {
        Ok(())
    }
    fn threshold_text(&self, _: &str, _: u64, _: i64) -> String {
        String::new()
    }
    async fn verify(
        &self,
        address: &str,
        text: &str,
        given: &str,
    ) -> Result<bool, PaymentServiceError> {
        self.checks.fetch_add(1, Ordering::SeqCst);
        match self.is_away.load(Ordering::SeqCst) {
            true => Err(PaymentServiceError::Unavailable("away".to_owned())),
            false => Ok(given == signature(address, text)),
        }
    }
}

struct Bed {
    wallet: Arc<Wallet>,
    store: Arc<MemoryStore>,
    router: Router,
    folder: TempDir,
    token: tempfile::NamedTempFile,
}

impl Bed {
    /// A pool whose data nobody reads without a token.
    async fn start() -> Self {
        let mut bed = Self {
            wallet: Arc::default(),
            store: MemoryStore::new(),
            router: Router::new(),
            folder: tempfile::tempdir().unwrap(),
            token: token_file(READER),
        };
        bed.router = bed.another().await;
        bed
    }

    /// Another process with the same store and key, or the same one after a restart.
    async fn another(&self) -> Router {
        let query = QueryConfig {
            token_file: Some(self.token.path().to_owned()),
            ..config()
        };
        let services = Services {
            accounts: Some(accounts(&self.store).await),
            payment_service: Some(self.wallet.clone()),
            token_key_file: Some(self.folder.path().join("keys/access.key")),
            ..services()
        };
        router(query, services).await
    }

    async fn log_out(&self, cookie: &str) -> u16 {
        let request = Request::post("/api/v1/logout")
            .header("host", "pool.example.org")
            .header("cookie", cookie)
            .body(Body::empty());
        send(&self.router, request.unwrap()).await.status.as_u16()
    }

    async fn post(&self, path: &str, body: &Value, from: &str) -> Answer {
        let request = Request::post(path)
            .header("host", "pool.example.org")
            .header("x-forwarded-for", from)
            .header("content-type", "application/json")
            .body(Body::from(body.to_string()));
        send(&self.router, request.unwrap()).await
    }

    async fn challenge(&self, address: &str) -> String {
        let body = json!({"address": address});
        let answer = self
            .post("/api/v1/login/challenge", &body, "192.0.2.1")
            .await;
        assert_eq!(answer.status.as_u16(), 200, "{}", answer.text);
        let answer: Value = serde_json::from_str(&answer.text).unwrap();
        answer["challenge"].as_str().unwrap().to_owned()
    }

    async fn sign_in(&self, address: &str, text: &str, signature: &str, from: &str) -> Answer {
        let body = json!({
            "address": address, "challenge": text, "signature": signature, "token": true,
        });
        self.post("/api/v1/login/wallet", &body, from).await
    }

    async fn get(&self, path: &str, header: (&str, &str)) -> (u16, Value) {
        let headers = [("host", "pool.example.org"), header];
        let answer = ask(&self.router, &Method::GET, path, &headers).await;
        let body = serde_json::from_str(&answer.text).unwrap_or_default();
        (answer.status.as_u16(), body)
    }

    /// `outcome reason` of the last row.
    fn last_row(&self) -> String {
        let row = self.store.rows().pop().unwrap();
        assert_eq!((row.wire.as_str(), row.action.as_str()), ("http", "login"));
        format!("{} {}", row.outcome, row.reason.unwrap_or_default())
    }
}

#[tokio::test]
async fn a_signature_gives_a_session_and_a_token_of_its_address() {
    let bed = Bed::start().await;
    let keys = ("accept", "application/json");
    let (status, empty) = bed.get("/.well-known/jwks.json", keys).await;
    assert_eq!((status, empty), (200, json!({"keys": []})));
    let text = bed.challenge("4Ann").await;
    let answer = bed
        .sign_in("4Ann", &text, &signature("4Ann", &text), "192.0.2.1")
        .await;
    assert_eq!(answer.status.as_u16(), 200, "{}", answer.text);
    assert_eq!(bed.last_row(), "ok ");
    let cookie = answer.headers["set-cookie"].to_str().unwrap().to_owned();
    assert!(
        cookie.starts_with("__Host-headframe_session=eyJ"),
        "{cookie}"
    );
    assert!(
        cookie.contains("; HttpOnly; SameSite=Lax; Secure"),
        "{cookie}"
    );
    let cookie = cookie.split(';').next().unwrap().to_owned();
    let body: Value = serde_json::from_str(&answer.text).unwrap();
    let token = body["token"].as_str().unwrap().to_owned();
    let bearer = format!("Bearer {token}");
    for (header, proof) in [
        (("cookie", cookie.as_str()), "session"),
        (("authorization", &bearer), "jwt"),
    ] {
        let expected = json!({
            "name": "wallet:4Ann", "role": "miner", "address": "4Ann", "proof": proof,
        });
        assert_eq!(bed.get("/api/v1/me", header).await, (200, expected));
        // Its own page is not refused, another's is.
        let own = bed.get("/api/v1/miners/4Ann", header).await.1["error"]["code"].clone();
        assert_ne!(own, json!("forbidden"));
        assert_eq!(bed.get("/api/v1/miners/4Bob", header).await.0, 403);
        assert_eq!(bed.get("/api/v1/bans", header).await.0, 403);
    }
    // Neither works in the place of the other.
    let swapped = format!("__Host-headframe_session={token}");
    assert_eq!(bed.get("/api/v1/me", ("cookie", &swapped)).await.0, 401);
    let swapped = format!("Bearer {}", cookie.split_once('=').unwrap().1);
    assert_eq!(
        bed.get("/api/v1/me", ("authorization", &swapped)).await.0,
        401
    );

    // Anybody verifies the token with the published key.
    let (_, set) = bed.get("/.well-known/jwks.json", keys).await;
    let x = URL_SAFE_NO_PAD
        .decode(set["keys"][0]["x"].as_str().unwrap())
        .unwrap();
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_issuer(&["headframe"]);
    validation.set_audience(&["headframe"]);
    let verified = decode::<Value>(&token, &DecodingKey::from_ed_der(&x), &validation).unwrap();
    assert_eq!(
        verified.header.kid.as_deref(),
        set["keys"][0]["kid"].as_str()
    );
    assert_eq!(verified.claims["exp"], body["expires"]);
    let key = bed.folder.path().join("keys/access.key");
    let mode = std::fs::metadata(&key).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(!bed.store.everything().contains(&token));

    assert_eq!(bed.log_out(&cookie).await, 200);
    assert_eq!(bed.get("/api/v1/me", ("cookie", &cookie)).await.0, 401);
    let row = bed.store.rows().pop().unwrap();
    assert_eq!(
        (row.action.as_str(), row.actor.as_deref()),
        ("logout", Some("wallet:4Ann"))
    );
}

/// A session that this system signed is kept nowhere; its early end is, and as a hash only.
#[tokio::test]
async fn a_session_that_was_ended_stays_ended_after_a_restart() {
    let mut bed = Bed::start().await;
    let mut cookies = Vec::new();
    for _ in 0..2 {
        let text = bed.challenge("4Ann").await;
        let answer = bed
            .sign_in("4Ann", &text, &signature("4Ann", &text), "192.0.2.1")
            .await;
        let cookie = answer.headers["set-cookie"].to_str().unwrap();
        cookies.push(cookie.split(';').next().unwrap().to_owned());
    }
    let running = bed.another().await;
    bed.store.is_away.store(true, Ordering::SeqCst);
    assert_eq!(bed.log_out(&cookies[0]).await, 503, "it could not be kept");
    bed.store.is_away.store(false, Ordering::SeqCst);
    let me = async |bed: &Bed, cookie: &str| bed.get("/api/v1/me", ("cookie", cookie)).await.0;
    assert_eq!(me(&bed, &cookies[0]).await, 200);
    for _ in 0..2 {
        assert_eq!(bed.log_out(&cookies[0]).await, 200);
    }
    let kept = bed.store.everything();
    assert_eq!(kept.matches("ended.").count(), 1, "{kept}");
    assert!(!kept.contains(cookies[0].split_once('=').unwrap().1));
    let rows = bed.store.outcomes();
    assert_eq!(rows.iter().filter(|row| *row == "logout ok").count(), 1);
    for restarted in [false, true] {
        if restarted {
            bed.router = bed.another().await;
        }
        assert_eq!(me(&bed, &cookies[0]).await, 401, "restarted: {restarted}");
        assert_eq!(me(&bed, &cookies[1]).await, 200, "restarted: {restarted}");
    }
    // Another process hears of it.
    bed.router = running;
    let ended = tokio::time::timeout(PATIENCE, async {
        while me(&bed, &cookies[0]).await != 401 {
            tokio::task::yield_now().await;
        }
    });
    ended.await.expect("the other process takes it no more");
}

#[tokio::test]
async fn what_proves_nothing_is_refused_logged_and_throttled() {
    let bed = Bed::start().await;
    let text = bed.challenge("4Ann").await;
    let good = signature("4Ann", &text);
    let made_up = format!(
        "Sign in to the pool main as 4Ann before 9999999999 with {}",
        "ab".repeat(48)
    );
    let foreign = "the challenge was not given out here for this address";
    let forged = "the signature is not one of this address over the challenge";
    for (address, text, signature, why) in [
        ("4Ann", text.as_str(), signature("4Bob", &text), forged),
        ("4Ann", &text, signature("4Ann", "another text"), forged),
        ("4Bob", &text, signature("4Bob", &text), foreign),
        ("4Ann", &made_up, signature("4Ann", &made_up), foreign),
    ] {
        let answer = bed.sign_in(address, text, &signature, "192.0.2.1").await;
        assert_eq!(answer.status_and_code(), (401, "unauthorized".to_owned()));
        assert!(!answer.headers.contains_key("set-cookie"));
        assert_eq!(bed.last_row(), format!("refused {why}"));
    }
    assert_eq!(
        bed.wallet.checks.load(Ordering::SeqCst),
        2,
        "what is foreign costs no check"
    );
    let malformed = bed.sign_in("4Ann", &text, "SigV2", "192.0.2.1").await;
    assert_eq!(malformed.status.as_u16(), 400);
    let answer = bed.sign_in("4Ann", &text, &good, "192.0.2.1").await;
    assert_eq!(answer.status.as_u16(), 200, "{}", answer.text);
    let replayed = bed.sign_in("4Ann", &text, &good, "192.0.2.1").await;
    assert_eq!(replayed.status.as_u16(), 401);
    assert_eq!(bed.last_row(), "refused the challenge was used before");
    let throttled = bed.sign_in("4Ann", &text, &good, "192.0.2.1").await;
    assert_eq!(throttled.status_and_code(), (429, "rate_limit".to_owned()));
    assert!(throttled.headers.contains_key("retry-after"));
    assert_eq!(bed.last_row(), "throttled ");
    // From elsewhere the owner signs in.
    let text = bed.challenge("4Ann").await;
    let good = signature("4Ann", &text);
    let answer = bed.sign_in("4Ann", &text, &good, "192.0.2.9").await;
    assert_eq!(answer.status.as_u16(), 200, "{}", answer.text);
}

#[tokio::test]
async fn a_wallet_that_is_away_is_nobodys_failure() {
    let bed = Bed::start().await;
    let text = bed.challenge("4Ann").await;
    let good = signature("4Ann", &text);
    bed.wallet.is_away.store(true, Ordering::SeqCst);
    for _ in 0..4 {
        let answer = bed.sign_in("4Ann", &text, &good, "192.0.2.1").await;
        assert_eq!(answer.status_and_code(), (503, "storage".to_owned()));
    }
    bed.wallet.is_away.store(false, Ordering::SeqCst);
    let answer = bed.sign_in("4Ann", &text, &good, "192.0.2.1").await;
    assert_eq!(answer.status.as_u16(), 200, "{}", answer.text);
}

#[tokio::test]
async fn a_key_that_others_may_read_ends_the_start_and_a_restart_keeps_it() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("access.key");
    let start = async || {
        let services = Services {
            token_key_file: Some(key.clone()),
            ..services()
        };
        headframe_query_front::Server::bind(config(), services).await
    };
    assert!(start().await.is_ok());
    assert!(!key.exists(), "it is made when it is needed");
    std::fs::write(&key, "00").unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let error = start().await.err().unwrap().to_string();
    assert!(error.contains("has mode 644"), "{error}");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    let error = start().await.err().unwrap().to_string();
    assert!(error.contains("holds no key"), "{error}");
}
