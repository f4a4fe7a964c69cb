//! A miner's threshold: what may reach the wallet, how large, how often and how many at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use headframe_query_front::{PaymentService, PaymentServiceError, QueryConfig, Services};
use headframe_schemas::payment::{PayerStatus, PaymentRules};
use headframe_schemas::stream::instructions::Instruction;
use serde_json::json;
use tokio::sync::Semaphore;

use crate::server::{Answer, config, router, send};

/// A wallet that finds every signature wrong, and waits for `go_on` first.
pub struct Wallet {
    calls: AtomicUsize,
    pub started: Semaphore,
    pub go_on: Semaphore,
}

#[async_trait::async_trait]
impl PaymentService for Wallet {
    fn rules(&self) -> PaymentRules {
        PaymentRules {
            pool: "main".to_owned(),
            least_threshold_atomic: 1,
            most_threshold_atomic: 1_000,
            ..PaymentRules::default()
        }
    }
    fn payer(&self) -> Option<PayerStatus> {
        None
    }
    async fn instruct(&self, _: Instruction) -> Result<(), PaymentServiceError> {
        Ok(())
    }
    fn threshold_text(&self, address: &str, threshold_atomic: u64, time_s: i64) -> String {
        format!("{address} {threshold_atomic} {time_s}")
    }
    async fn verify(&self, _: &str, _: &str, _: &str) -> Result<bool, PaymentServiceError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.started.add_permits(1);
        self.go_on.acquire().await.unwrap().forget();
        Ok(false)
    }
}

pub async fn pool(free: usize, config: QueryConfig) -> (Router, Arc<Wallet>) {
    let wallet = Arc::new(Wallet {
        calls: AtomicUsize::new(0),
        started: Semaphore::new(0),
        go_on: Semaphore::new(free),
    });
    let services = Services {
        payment_service: Some(wallet.clone()),
        moves_money: true,
        ..Services::default()
    };
    (router(config, services).await, wallet)
}

fn public() -> QueryConfig {
    QueryConfig {
        public_pages: true,
        ..config()
    }
}

pub fn well_formed() -> String {
    format!("SigV2{}", "a1".repeat(44))
}

async fn sign(router: &Router, client: &str, miner: &str, signature: &str) -> Answer {
    sign_as(None, router, client, miner, signature).await
}

pub async fn sign_as(
    token: Option<&str>,
    router: &Router,
    client: &str,
    miner: &str,
    signature: &str,
) -> Answer {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let body = json!({"threshold_atomic": 5, "time": now, "signature": signature});
    let mut request = Request::post(format!("/api/v1/miners/{miner}/threshold"));
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let request = request
        .header("host", "pool.example.org")
        .header("x-forwarded-for", client)
        .header("content-type", "application/json")
        .body(Body::from(body.to_string()))
        .unwrap();
    send(router, request).await
}

#[tokio::test]
async fn only_what_looks_like_a_signature_reaches_the_wallet() {
    let (router, wallet) = pool(10, public()).await;
    for bad in ["s", "SigV2abc", &"A".repeat(500)] {
        let answer = sign(&router, "192.0.2.1", "4Ann", bad).await;
        assert_eq!(
            answer.status_and_code(),
            (400, "bad_request".to_owned()),
            "{bad}"
        );
    }
    let large = sign(&router, "192.0.2.1", "4Ann", &"A".repeat(10_000)).await;
    assert_eq!(large.status_and_code(), (413, "body_too_large".to_owned()));
    assert_eq!(wallet.calls.load(Ordering::SeqCst), 0);
    let answer = sign(&router, "192.0.2.1", "4Ann", &well_formed()).await;
    assert_eq!(answer.status_and_code(), (401, "unauthorized".to_owned()));
    assert_eq!(wallet.calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn one_address_asks_seldom_and_for_one_miner_it_is_asked_seldom() {
    let (router, wallet) = pool(1_000, public()).await;
    let limited = (429, "rate_limit".to_owned());
    let mut refused = 0;
    for n in 0..20 {
        let answer = sign(&router, "192.0.2.1", &format!("4m{n}"), &well_formed()).await;
        refused += usize::from(answer.status_and_code() == limited);
    }
    // A machine so slow that a bucket refills meanwhile lets a few more through.
    assert!(
        (1..=10).contains(&refused),
        "{refused} of 20 from one address"
    );
    let before = wallet.calls.load(Ordering::SeqCst);
    let mut refused = 0;
    for n in 0..20 {
        let answer = sign(&router, &format!("198.51.100.{n}"), "4Ann", &well_formed()).await;
        refused += usize::from(answer.status_and_code() == limited);
    }
    assert!((1..=15).contains(&refused), "{refused} of 20 for one miner");
    assert_eq!(wallet.calls.load(Ordering::SeqCst) - before, 20 - refused);
    let other = sign(&router, "203.0.113.9", "4Bob", &well_formed()).await;
    assert_eq!(other.status.as_u16(), 401, "others are not concerned");
}

#[tokio::test]
async fn few_signatures_are_before_the_wallet_at_once() {
    let wide = QueryConfig {
        public_slots: 100,
        ..public()
    };
    let (router, wallet) = pool(0, wide).await;
    let mut waiting = Vec::new();
    for n in 0..4 {
        let router = router.clone();
        waiting.push(tokio::spawn(async move {
            sign(
                &router,
                &format!("192.0.2.{n}"),
                &format!("4m{n}"),
                &well_formed(),
            )
            .await
        }));
        wallet.started.acquire().await.unwrap().forget();
    }
    let fifth = sign(&router, "198.51.100.1", "4Ann", &well_formed()).await;
    assert_eq!(
        fifth.status_and_code(),
        (429, "concurrency_limit".to_owned())
    );
    assert_eq!(wallet.calls.load(Ordering::SeqCst), 4);
    wallet.go_on.add_permits(5);
    for answer in waiting {
        assert_eq!(answer.await.unwrap().status.as_u16(), 401);
    }
    let next = sign(&router, "198.51.100.2", "4Ann", &well_formed()).await;
    assert_eq!(next.status.as_u16(), 401);
}
