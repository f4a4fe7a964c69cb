//! Orders about payments and what is told of them, with a service that writes no table: what it
//! took stays unseen.

use std::io::Write;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use headframe_query_engine::{Engine, Source, SqlReports};
use headframe_query_front::reports::Reports as _;
use headframe_query_front::{PaymentService, PaymentServiceError, QueryConfig, Server, Services};
use headframe_schemas::Stream;
use headframe_schemas::payment::{PayerStatus, PaymentRules, WaitCause, Waiting, WalletBalance};
use headframe_schemas::stream::instructions::{Instruction, Instructions};
use headframe_schemas::stream::payments::Payments;
use headframe_schemas::stream::payouts::Payouts;
use serde_json::{Value, json};

use crate::scripted::{DAY, Scripted, raw_batch, raw_row, split};
use crate::server::{Answer, config, engines, send};

const READER: &str = "a-token-of-20-letters";

#[derive(Default)]
pub struct Notebook(Mutex<Vec<Instruction>>);

#[async_trait::async_trait]
impl PaymentService for Notebook {
    fn rules(&self) -> PaymentRules {
        PaymentRules {
            pool: "main".to_owned(),
            threshold_atomic: 10,
            least_threshold_atomic: 1,
            most_threshold_atomic: 1_000,
            interval_s: 60,
        }
    }
    fn payer(&self) -> Option<PayerStatus> {
        let wallet_balance = WalletBalance {
            owed: 5,
            ..WalletBalance::default()
        };
        Some(PayerStatus {
            waiting: Some(Waiting {
                cause: WaitCause::Other,
                reason: "SECRET".to_owned(),
            }),
            wallet_balance: Some(wallet_balance),
            ..PayerStatus::default()
        })
    }
    async fn instruct(&self, instruction: Instruction) -> Result<(), PaymentServiceError> {
        // Others get on meanwhile, as they do while a message is on its way.
        tokio::task::yield_now().await;
        self.0.lock().unwrap().push(instruction);
        Ok(())
    }
    fn threshold_text(&self, address: &str, threshold_atomic: u64, time_s: i64) -> String {
        format!("{address} {threshold_atomic} {time_s}")
    }
    async fn verify(
        &self,
        _address: &str,
        _text: &str,
        _signature: &str,
    ) -> Result<bool, PaymentServiceError> {
        Ok(true)
    }
}

/// Half of the rows are in the table, half come live.
pub fn source(stream: &'static dyn Stream, rows: Vec<Value>) -> Arc<dyn Source> {
    let last = rows.len() as i64;
    let rows: Vec<Value> = (1..)
        .zip(rows)
        .map(|(seq, own)| raw_row(seq, 0, DAY + seq, own))
        .collect();
    Scripted::new(stream, split(&raw_batch(stream, &rows), last / 2, last))
}

/// The fee has 5, the miner 4Ann 20 and a hold; one payment each is under review, confirmed and
/// taken back.
async fn server(config: QueryConfig) -> (Router, Arc<Notebook>) {
    let said = |kind: &str, account: &str, amount: Option<i64>| {
        let reason = if kind == "hold" { "SECRET" } else { "a gift" };
        json!({"event_time": DAY, "pool": "main", "kind": kind, "account": account,
            "amount_atomic": amount, "reason": reason, "actor": "operator"})
    };
    let step = |payment: &str, step: &str, reason: Option<&str>| {
        json!({"event_time": DAY, "pool": "main", "payment": payment, "step": step,
            "account": "4Ann", "address": "4Ann",
            "amount_atomic": 1, "sent_atomic": 1, "network_fee_atomic": 0, "reason": reason})
    };
    let words = vec![
        said("adjust", "fee", Some(5)),
        said("adjust", "4Ann", Some(20)),
        said("hold", "4Ann", None),
    ];
    let steps = vec![
        step("unclear", "reserved", None),
        step("unclear", "review", Some("SECRET")),
        step("sent", "reserved", None),
        step("sent", "confirmed", None),
        step("back", "reserved", None),
        step("back", "released", Some("SECRET")),
    ];
    let notebook = Arc::new(Notebook::default());
    let sources = vec![
        source(&Payouts, Vec::new()),
        source(&Payments, steps),
        source(&Instructions, words),
    ];
    let services = Services {
        engines: engines(&config, sources),
        payment_service: Some(notebook.clone()),
        ..Services::default()
    };
    (
        Server::bind(config, services).await.unwrap().router(),
        notebook,
    )
}

async fn post(router: &Router, path: &str, body: Value) -> Answer {
    let request = Request::post(path)
        .header("host", "127.0.0.1")
        .header("content-type", "application/json");
    send(router, request.body(Body::from(body.to_string())).unwrap()).await
}

async fn order(router: &Router, body: Value) -> (u16, String) {
    let answer = post(router, "/api/v1/payments/instructions", body).await;
    (answer.status.as_u16(), answer.text())
}

#[tokio::test]
async fn the_fee_is_taken_once_by_orders_that_come_together() {
    let (router, notebook) = server(config()).await;
    let take = |amount: &str| {
        order(
            &router,
            json!({"kind": "adjust", "account": "fee", "amount_atomic": amount,
                "reason": "withdrawn"}),
        )
    };
    let (one, two, three) = tokio::join!(take("-5"), take("-5"), take("-5"));
    let mut all = [one, two, three];
    all.sort();
    assert_eq!(
        all.each_ref().map(|(status, _)| *status),
        [200, 400, 400],
        "{all:?}"
    );
    assert!(
        all[1]
            .1
            .contains("holds 5 atomic units, of which 5 were taken a moment ago"),
        "{all:?}"
    );
    assert_eq!(take("-1").await.0, 400, "the tables still show 5");
    assert_eq!(notebook.0.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn orders_in_the_tables_are_known_by_time_and_amount() {
    let adjust = |time: i64, account: &str, amount: &str| {
        json!({"event_time": time, "pool": "main",
        "kind": "adjust", "account": account, "amount_atomic": amount, "reason": "r",
        "actor": "operator"})
    };
    let most = 10_i128.pow(30);
    let rows = vec![
        adjust(DAY, "fee", "-1"),
        adjust(DAY + 1, "fee", &format!("-{most}")),
        adjust(DAY + 1, "4Ann", "-3"),
        adjust(DAY + 2, "fee", "-5"),
    ];
    let sources = vec![source(&Instructions, rows)];
    let engine = Engine::new(config(), sources, Vec::new()).unwrap();
    let reports = SqlReports::new(&config(), Arc::new(engine));
    let mut seen = reports.adjustments("main", "fee", DAY + 1).await.unwrap();
    seen.sort_unstable();
    assert_eq!(seen, [(DAY + 1, -most), (DAY + 2, -5)]);
}

#[tokio::test]
async fn orders_beyond_all_money_and_times_beyond_all_clocks_are_refused() {
    let (router, notebook) = server(config()).await;
    let most = 10_i128.pow(30);
    for amount in [
        most + 1,
        -most - 1,
        10_i128.pow(38) - 1,
        i128::MAX,
        i128::MIN,
    ] {
        for kind in ["adjust", "threshold"] {
            let body = json!({"kind": kind, "account": "4Ann", "amount_atomic": amount.to_string(),
                "reason": "r"});
            let (status, refusal) = order(&router, body).await;
            assert!(
                status == 400 && refusal.contains("10^30"),
                "{kind} {amount}: {refusal}"
            );
        }
    }
    for time in [i64::MIN, i64::MIN + 1, -1, i64::MAX] {
        let wish = json!({"threshold_atomic": 5, "time": time, "signature": "s"});
        let answer = post(&router, "/api/v1/miners/4Ann/threshold", wish).await;
        assert!(
            answer.status == 400 && answer.text().contains("more than an hour"),
            "{time}: {}",
            answer.text()
        );
    }
    assert!(notebook.0.lock().unwrap().is_empty());
    let body = json!({"kind": "adjust", "account": "4Ann", "amount_atomic": most.to_string(),
        "reason": "r"});
    assert_eq!(order(&router, body).await.0, 200);
}

#[tokio::test]
async fn sent_payments_are_told_without_whom_they_paid() {
    let (router, _) = server(config()).await;
    let request = Request::get("/api/v1/pool/payments").header("host", "127.0.0.1");
    let answer = send(&router, request.body(Body::empty()).unwrap()).await;
    let found = answer.json();
    assert_eq!(
        (&found["paid_atomic"], &found["payees"]),
        (&json!("1"), &json!(1))
    );
    let payments = found["payments"].as_array().unwrap();
    assert_eq!(
        payments.len(),
        1,
        "one is under review and one was taken back"
    );
    assert_eq!(
        (&payments[0]["step"], &payments[0]["payees"]),
        (&json!("confirmed"), &json!(1))
    );
    for secret in ["4Ann", "SECRET"] {
        assert!(!answer.text().contains(secret), "{}", answer.text());
    }
}

#[tokio::test]
async fn only_a_payment_under_review_is_resolved() {
    let (router, notebook) = server(config()).await;
    let resolve = |payment: &str| {
        order(
            &router,
            json!({"kind": "resolve", "payment": payment, "verdict": "unpaid", "reason": "r"}),
        )
    };
    for (payment, why) in [
        ("sent", "is not under review, it is confirmed"),
        ("back", "it is released"),
        ("nosuch", "no payment"),
    ] {
        let (status, refusal) = resolve(payment).await;
        assert!(
            status == 400 && refusal.contains(why),
            "{payment}: {refusal}"
        );
    }
    assert!(notebook.0.lock().unwrap().is_empty());
    assert_eq!(resolve("unclear").await.0, 200);
}

#[tokio::test]
async fn strangers_get_no_words_of_the_operators_or_the_wallets() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(READER.as_bytes()).unwrap();
    let page = async |router: &Router, token: Option<&str>| {
        let request = Request::get("/api/v1/miners/4Ann/payments").header("host", "127.0.0.1");
        let request = token.iter().fold(request, |request, token| {
            request.header("authorization", format!("Bearer {token}"))
        });
        let answer = send(router, request.body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        (
            answer.json()["why"]
                .as_array()
                .unwrap()
                .iter()
                .map(|why| why["code"].clone())
                .collect::<Vec<_>>(),
            answer.text(),
        )
    };
    let guarded = QueryConfig {
        token_file: Some(file.path().to_owned()),
        public_pages: true,
        ..config()
    };
    let (router, _) = server(guarded).await;
    let (codes, text) = page(&router, Some(READER)).await;
    assert!(
        codes.contains(&json!("held")) && codes.contains(&json!("wallet_short")),
        "{codes:?}"
    );
    assert!(text.matches("SECRET").count() >= 4, "{text}");
    for token in [None, Some("a-token-of-20-letterz")] {
        let (same, plain) = page(&router, token).await;
        assert_eq!(same, codes);
        assert!(!plain.contains("SECRET"), "{plain}");
    }
    // Where the pages are open and nobody has a token, whoever asks may be anybody; where they are
    // closed, it is this machine.
    let (router, _) = server(QueryConfig {
        public_pages: true,
        ..config()
    })
    .await;
    assert!(!page(&router, None).await.1.contains("SECRET"));
    let (router, _) = server(config()).await;
    assert!(page(&router, None).await.1.contains("SECRET"));
}

#[tokio::test]
async fn payments_and_the_ledger_are_walked_a_page_at_a_time() {
    let (router, _) = server(config()).await;
    let get = async |path: &str| {
        let request = Request::get(path).header("host", "127.0.0.1");
        send(&router, request.body(Body::empty()).unwrap()).await
    };
    for (path, list) in [
        ("/api/v1/payments?", "payments"),
        ("/api/v1/ledger?", "entries"),
        ("/api/v1/ledger?account=miner:4Ann&", "entries"),
        ("/api/v1/miners/4Ann/payments?", "payments"),
    ] {
        let all = get(&format!("{path}limit=1000")).await.json();
        assert_eq!(all["next"], Value::Null, "{path}");
        let all = all[list].as_array().unwrap().clone();
        assert!(!all.is_empty(), "{path}");
        for limit in 1..=all.len() {
            let (mut walked, mut page) = (Vec::new(), format!("{path}limit={limit}"));
            loop {
                let answer = get(&page).await;
                let rows = answer.json()[list].as_array().unwrap().clone();
                assert!(rows.len() <= limit, "{page}");
                walked.extend(rows);
                let link = answer.header("link");
                let Some((address, _)) = link.split_once('>') else {
                    assert_eq!(answer.json()["next"], Value::Null, "{page}");
                    break;
                };
                page = address.trim_start_matches('<').to_owned();
            }
            assert_eq!(walked, all, "{path} by {limit}");
        }
    }
    let state = get("/api/v1/payments/state").await;
    assert_eq!(state.json()["wallet"]["owed_atomic"], "5");
    let ledger = get("/api/v1/ledger?limit=1000").await.json();
    assert!(ledger["entries"].as_array().unwrap().len() >= 3, "{ledger}");
    for wrong in [
        "/api/v1/ledger?before=7",
        "/api/v1/ledger?before=x.1",
        "/api/v1/payments?before=7.1",
    ] {
        assert_eq!(get(wrong).await.code(), "bad_request", "{wrong}");
    }
}
