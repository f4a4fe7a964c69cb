//! Users, service tokens and sessions over the router: what proves who somebody is, and what ends
//! that.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request};
use headframe_query_front::Services;
use headframe_query_front::access::accounts::{AccountError, Accounts, Wire};
use serde_json::{Value, json};

use crate::account_store::{MemoryStore, PASSWORD, account, accounts, actor, token};
use crate::server::{Answer, ask, config, router, send, services};

pub const PEER: std::net::IpAddr = std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));

pub struct Bed {
    pub store: Arc<MemoryStore>,
    pub accounts: Accounts,
    pub router: Router,
}

impl Bed {
    async fn new(services: Services) -> Self {
        let store = MemoryStore::new();
        let accounts = accounts(&store).await;
        let services = Services {
            accounts: Some(accounts.clone()),
            ..services
        };
        let router = router(config(), services).await;
        Self {
            store,
            accounts,
            router,
        }
    }

    /// With a user ann, who is an admin.
    pub async fn with_ann() -> Self {
        Self::with_ann_beside(services()).await
    }

    /// With ann and with these other services.
    pub async fn with_ann_beside(services: Services) -> Self {
        let bed = Self::new(services).await;
        bed.add_user("ann", "admin").await;
        bed
    }

    pub async fn add_user(&self, name: &str, role: &str) {
        let added = self
            .accounts
            .add_user(actor(), account(name, role), PASSWORD);
        added.await.unwrap();
    }

    pub async fn me(&self, headers: &[(&str, &str)]) -> (u16, Value) {
        let answer = ask(&self.router, &Method::GET, "/api/v1/me", headers).await;
        let body = serde_json::from_str(&answer.text).unwrap();
        (answer.status.as_u16(), body)
    }

    async fn bearer(&self, token: &str) -> (u16, Value) {
        self.me(&[("authorization", &format!("Bearer {token}"))])
            .await
    }

    pub async fn post(&self, path: &str, body: Value, headers: &[(&str, &str)]) -> Answer {
        let mut request = Request::post(path).header("content-type", "application/json");
        for (name, value) in [("host", "127.0.0.1:8080")].iter().chain(headers) {
            request = request.header(*name, *value);
        }
        send(
            &self.router,
            request.body(Body::from(body.to_string())).unwrap(),
        )
        .await
    }

    pub async fn log_in(&self, name: &str, password: &str) -> Answer {
        let body = json!({"name": name, "password": password});
        self.post("/api/v1/login", body, &[]).await
    }

    /// A cookie of ann's.
    pub async fn cookie(&self) -> String {
        let answer = self.log_in("ann", PASSWORD).await;
        assert_eq!(answer.status.as_u16(), 200, "{}", answer.text);
        let cookie = answer.headers["set-cookie"].to_str().unwrap();
        cookie.split(';').next().unwrap().to_owned()
    }
}

pub fn now_us() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(now.as_micros()).unwrap()
}

/// Waits for a fact that another task brings about.
pub async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(120), async {
        while !holds().await {
            tokio::task::yield_now().await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("{what}"));
}

#[tokio::test]
async fn a_token_proves_its_name_and_role_until_it_is_revoked() {
    let bed = Bed::new(services()).await;
    // A machine of its own, which follows the same store.
    let other = accounts(&bed.store).await;
    let token = token(&bed.accounts, "miner").await;
    assert!(token.starts_with("hf_miner_"), "{token}");
    let (status, me) = bed.bearer(&token).await;
    let expected = json!({"name": "a-miner", "role": "miner", "address": "4Own", "proof": "token"});
    assert_eq!((status, me), (200, expected));
    until("the other process knows it", async || {
        other.bearer(&token).is_ok()
    })
    .await;
    assert_eq!(bed.accounts.revoke(actor(), "a-miner").await, Ok("token"));
    let (status, refused) = bed.bearer(&token).await;
    assert_eq!(
        (status, &refused["error"]["code"]),
        (401, &json!("unauthorized"))
    );
    until("the other process has forgotten it", async || {
        other.bearer(&token).is_err()
    })
    .await;
    // A miner with a wrong token is no program of this machine that may read everything.
    let bearer = format!("Bearer {token}");
    let sql = ask(
        &bed.router,
        &Method::GET,
        "/api/v1/sql",
        &[("authorization", &bearer)],
    )
    .await;
    assert_eq!(sql.status.as_u16(), 401);
    let outcomes = bed.store.outcomes();
    assert_eq!(
        outcomes[..2],
        ["token_add ok", "token_revoke ok"],
        "{outcomes:?}"
    );
    assert!(
        outcomes[2..].iter().all(|row| row == "token_use refused"),
        "{outcomes:?}"
    );
}

#[tokio::test]
async fn a_token_ends_at_its_time_and_a_mistyped_one_is_none() {
    let bed = Bed::new(services()).await;
    let past = bed
        .accounts
        .add_token(actor(), account("a", "viewer"), Some(now_us() - 1));
    assert_eq!(past.await, Err(AccountError::Expiry));
    let soon = now_us() + 200_000;
    let token = bed
        .accounts
        .add_token(actor(), account("a", "viewer"), Some(soon));
    let token = token.await.unwrap();
    until("it has expired", async || {
        let (status, answer) = bed.bearer(&token).await;
        status == 401 && answer["error"]["message"] == json!("the token a has expired")
    })
    .await;
    let mut wrong = token.clone();
    wrong.pop();
    assert_eq!(bed.bearer(&wrong).await.0, 401);
    // Who goes on is not even outcomes why.
    for _ in 0..40 {
        bed.bearer(&wrong).await;
    }
    let (status, answer) = bed.bearer(&wrong).await;
    assert_eq!(
        (status, &answer["error"]["code"]),
        (429, &json!("rate_limit"))
    );
    let rows = bed.store.outcomes();
    let refused = rows.iter().filter(|row| *row == "token_use refused");
    assert!(refused.count() <= 25, "{rows:?}");
}

#[tokio::test]
async fn the_last_use_of_a_token_is_written_once_a_minute() {
    let bed = Bed::new(services()).await;
    let token = token(&bed.accounts, "viewer").await;
    let before = bed.store.writes.load(Ordering::SeqCst);
    for _ in 0..50 {
        assert_eq!(bed.bearer(&token).await.0, 200);
    }
    until("the use is written", async || {
        bed.accounts.list()[0].last_used_us.is_some()
    })
    .await;
    for _ in 0..50 {
        assert_eq!(bed.bearer(&token).await.0, 200);
    }
    assert_eq!(bed.store.writes.load(Ordering::SeqCst), before + 1);
}

#[tokio::test]
async fn while_the_store_is_away_the_copy_is_used_and_nothing_changes() {
    let bed = Bed::with_ann().await;
    let token = token(&bed.accounts, "viewer").await;
    bed.store.is_away.store(true, Ordering::SeqCst);
    let rows = bed.store.rows().len();
    assert_eq!(bed.bearer(&token).await.0, 200);
    let who = bed
        .accounts
        .check_password(Wire::Http, "ann", PASSWORD, PEER)
        .await;
    assert!(who.is_ok());
    let refused = bed.accounts.revoke(actor(), "ann").await;
    assert!(
        matches!(refused, Err(AccountError::Store(_))),
        "{refused:?}"
    );
    assert_eq!(bed.bearer(&token).await.0, 200);
    let answer = bed.log_in("ann", PASSWORD).await;
    assert_eq!(answer.status_and_code(), (503, "storage".to_owned()));
    // Nothing was changed of which there is no row.
    bed.store.is_away.store(false, Ordering::SeqCst);
    assert_eq!(bed.accounts.list().len(), 2);
    let outcomes = bed.store.outcomes()[rows..].to_vec();
    assert!(outcomes.iter().all(|row| row == "login ok"), "{outcomes:?}");
}

#[tokio::test]
async fn of_two_changes_at_once_one_wins() {
    let bed = Bed::new(services()).await;
    let (other, _) = Accounts::open(bed.store.clone()).await.unwrap();
    bed.add_user("ann", "viewer").await;
    let second = other
        .add_user(actor(), account("ann", "admin"), PASSWORD)
        .await;
    assert!(matches!(second, Err(AccountError::Store(_))), "{second:?}");
    assert_eq!(bed.accounts.list()[0].grant.role, "viewer");
    let outcomes = bed.store.outcomes();
    assert_eq!(outcomes, ["user_add ok", "user_add ok", "user_add failed"]);
}

#[tokio::test]
async fn the_first_admin_is_made_once() {
    let bed = Bed::new(services()).await;
    let past = bed
        .accounts
        .offer_setup(actor(), now_us() - 1)
        .await
        .unwrap()
        .unwrap();
    let setup = async |token: &str, name: &str| {
        let body = json!({"token": token, "name": name, "password": PASSWORD});
        bed.post("/api/v1/setup", body, &[]).await.status.as_u16()
    };
    assert_eq!(setup(&past, "ann").await, 401, "its time is over");
    let hour = now_us() + 3_600_000_000;
    let offer = async || bed.accounts.offer_setup(actor(), hour).await.unwrap();
    let (first, token) = (offer().await.unwrap(), offer().await.unwrap());
    assert_eq!(setup(&first, "ann").await, 401, "there is a newer one");
    assert_eq!(
        setup(&token, "Ann!").await,
        400,
        "no name, and the offer stays open"
    );
    assert_eq!(setup(&token, "ann").await, 200);
    assert_eq!(setup(&token, "bob").await, 401, "it was used");
    assert_eq!(offer().await, None, "there is a user");
    let list = bed.accounts.list();
    assert_eq!((list.len(), list[0].grant.role.as_str()), (1, "admin"));
    assert_eq!(bed.log_in("ann", PASSWORD).await.status.as_u16(), 200);
}

#[tokio::test]
async fn no_secret_is_kept_or_told() {
    let bed = Bed::with_ann().await;
    let token = token(&bed.accounts, "admin").await;
    let cookie = bed.cookie().await;
    bed.log_in("ann", "a wrong sentence").await;
    bed.bearer(&token).await;
    let setup = bed
        .accounts
        .accept_setup(Wire::Http, &token, "bob", PASSWORD)
        .await;
    assert_eq!(setup, Err(AccountError::Setup));
    let everything = bed.store.everything();
    let id = cookie.split_once('=').unwrap().1;
    for secret in [PASSWORD, token.as_str(), id, "a wrong sentence"] {
        assert!(!everything.contains(secret), "{secret}: {everything}");
    }
    let list = serde_json::to_string(&bed.accounts.list()).unwrap();
    for word in ["hash", "salt", "password"] {
        assert!(!list.contains(word), "{list}");
    }
}

#[tokio::test]
async fn accounts_are_given_only_what_can_be_given() {
    let bed = Bed::with_ann().await;
    let try_account = async |name: &str, streams: &[&str]| {
        let mut account = account(name, "viewer");
        account.streams = streams.iter().map(|name| (*name).to_owned()).collect();
        bed.accounts.add_token(actor(), account, None).await.err()
    };
    let stream = |name: &str| Some(AccountError::Stream(name.to_owned()));
    for name in ["shares", "payments", "access", "nothing"] {
        assert_eq!(try_account("a", &["energy", name]).await, stream(name));
    }
    let taken = Some(AccountError::NameInUse("ann".to_owned()));
    assert_eq!(try_account("ann", &[]).await, taken);
    assert_eq!(try_account("a", &["energy"]).await, None);
    let weak = bed
        .accounts
        .add_user(actor(), account("b", "viewer"), "short")
        .await;
    assert!(matches!(weak, Err(AccountError::Password(_))), "{weak:?}");
    let missing = bed.accounts.revoke(actor(), "nobody").await;
    assert_eq!(missing, Err(AccountError::Missing("nobody".to_owned())));
}
