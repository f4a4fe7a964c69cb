//! Payments over HTTP: `GET /api/v1/payments`, `/api/v1/ledger`,
//! `/api/v1/miners/{address}/payments`, and the doors for instructions.
//!
//! The guard lets only operators hand in instructions. A miner's own wish needs no token of theirs
//! but a signature by the address it is about.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json};
use headframe_schemas::stream::instructions::{Instruction, KINDS};
use serde::Deserialize;
use serde_json::json;

use crate::auth::Who;
use crate::desk::{Desk, DeskError};
use crate::error::{Code, QueryError};
use crate::http::orders::Turn;
use crate::http::{App, Asked, Route, asked};

/// How old a signed wish may be, in seconds; an older one could be somebody's repetition.
const FRESH_S: u64 = 3_600;

/// The most that one order may be about, atomic units: more than any coin has, and so little that
/// sums of orders stay exact.
const MOST: u128 = 10_u128.pow(30);

pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route {
            path: "/api/v1/payments",
            methods: get(list),
        },
        Route {
            path: "/api/v1/payments/state",
            methods: get(state),
        },
        Route {
            path: "/api/v1/payments/instructions",
            methods: post(instruct),
        },
        Route {
            path: "/api/v1/ledger",
            methods: get(ledger),
        },
        Route {
            path: "/api/v1/miners/{address}/payments",
            methods: get(miner),
        },
        Route {
            path: "/api/v1/miners/{address}/threshold",
            methods: post(threshold),
        },
    ]
}

fn desk(app: &App) -> Result<&Arc<dyn Desk>, QueryError> {
    let hint = "ask a process that runs the role query with a [payments] section";
    app.desk.as_ref().ok_or_else(|| {
        QueryError::new(
            Code::NotFound,
            "this process knows nothing about payments",
            hint,
        )
    })
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListRequest {
    limit: Option<usize>,
    step: Option<String>,
}

async fn list(
    State(app): State<Arc<App>>,
    Asked(request): Asked<ListRequest>,
) -> Result<Response, QueryError> {
    let rules = desk(&app)?.rules();
    let limit = asked::limit(request.limit, 50)?;
    Ok(Json(
        app.reports()?
            .payments(&rules.pool, request.step.as_deref(), limit)
            .await?,
    )
    .into_response())
}

async fn state(State(app): State<Arc<App>>) -> Result<Response, QueryError> {
    let desk = desk(&app)?;
    let Some(now) = desk.payer() else {
        return Err(QueryError::new(
            Code::NotFound,
            "the payer runs in another process, or nowhere",
            "ask the process with the role payments",
        ));
    };
    let due: Vec<_> = now
        .due
        .iter()
        .map(|(account, amount)| json!({"account": account, "amount_atomic": amount.to_string()}))
        .collect();
    let named = |list: &[(String, String)]| -> Vec<_> {
        list.iter()
            .map(|(account, why)| json!({"account": account, "reason": why}))
            .collect()
    };
    let purse = now.purse.map(|purse| {
        let [unlocked, total, owed] = [purse.unlocked, purse.total, purse.owed].map(|amount| amount.to_string());
        json!({"unlocked_atomic": unlocked, "total_atomic": total, "owed_atomic": owed, "shortage": purse.shortage})
    });
    let answer = json!({
        "pool": desk.rules().pool, "stopped": now.stopped, "waiting": now.waiting, "dry_run": now.dry_run, "due": due,
        "refused": named(&now.refused), "held": named(&now.held), "wallet": purse, "at": now.at,
    });
    Ok(Json(answer).into_response())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LedgerRequest {
    limit: Option<usize>,
    account: Option<String>,
}

async fn ledger(
    State(app): State<Arc<App>>,
    Asked(request): Asked<LedgerRequest>,
) -> Result<Response, QueryError> {
    let rules = desk(&app)?.rules();
    let limit = asked::limit(request.limit, 100)?;
    Ok(Json(
        app.reports()?
            .ledger(&rules.pool, request.account.as_deref(), limit)
            .await?,
    )
    .into_response())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MinerRequest {
    limit: Option<usize>,
}

async fn miner(
    State(app): State<Arc<App>>,
    Extension(who): Extension<Who>,
    Path(address): Path<String>,
    Asked(request): Asked<MinerRequest>,
) -> Result<Response, QueryError> {
    let desk = desk(&app)?;
    let (address, limit) = (asked::miner(&address)?, asked::limit(request.limit, 50)?);
    Ok(Json(
        app.reports()?
            .payments_of_miner(&desk.rules(), desk.payer().as_ref(), address, limit, who)
            .await?,
    )
    .into_response())
}

/// An operator's instruction.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    kind: String,
    account: Option<String>,
    /// Atomic units, as text, since readers of JSON round large numbers.
    amount_atomic: Option<String>,
    payment: Option<String>,
    verdict: Option<String>,
    tx_id: Option<String>,
    reason: Option<String>,
}

async fn instruct(
    State(app): State<Arc<App>>,
    body: Result<Json<Order>, JsonRejection>,
) -> Result<Response, QueryError> {
    let desk = desk(&app)?;
    let order = body
        .map_err(|error| {
            QueryError::bad_request(
                error.body_text(),
                "docs/payments.md lists the kinds and what each needs",
            )
        })?
        .0;
    let refuse = |why: &str| {
        Err(QueryError::bad_request(
            why,
            "docs/payments.md lists the kinds and what each needs",
        ))
    };
    let amount = match order.amount_atomic.as_deref().map(str::parse::<i128>) {
        Some(Err(_)) => {
            return refuse("amount_atomic must be a whole number of atomic units, as text");
        }
        Some(Ok(amount)) if amount.unsigned_abs() > MOST => {
            return refuse("amount_atomic is beyond 10^30 atomic units, more than any coin has");
        }
        amount => amount.and_then(Result::ok),
    };
    let reason = order.reason.filter(|reason| !reason.trim().is_empty());
    if order
        .account
        .as_deref()
        .is_some_and(|account| asked::miner(account).is_err())
    {
        return refuse("account is not the name of a miner");
    }
    match (
        order.kind.as_str(),
        order.account.is_some(),
        amount,
        reason.is_some(),
    ) {
        ("threshold", true, Some(0..), _) | ("hold", _, None, true) | ("resume", _, None, _) => {}
        ("adjust", true, Some(amount), true) if amount != 0 => {}
        ("resolve", false, None, true)
            if order.payment.is_some()
                && matches!(order.verdict.as_deref(), Some("paid" | "unpaid")) => {}
        (kind, ..) if !KINDS.contains(&kind) => {
            return refuse("kind must be threshold, hold, resume, adjust or resolve");
        }
        _ => {
            return refuse(
                "something that this kind needs is missing, or something it does not take is there",
            );
        }
    }
    let pool = desk.rules().pool;
    // Those about the fee go one at a time, from the look at the tables to the acknowledged word; a
    // hold waits for nobody.
    let mut turn = match order.account.as_deref() {
        Some("fee") => Some(app.orders.turn().await),
        _ => None,
    };
    let event_time = turn
        .as_mut()
        .map_or_else(now_us, |turn| turn.time(now_us()));
    let note = match (
        order.kind.as_str(),
        turn.as_deref_mut(),
        order.account.as_deref(),
        order.payment.as_deref(),
    ) {
        ("adjust", Some(turn), ..) => {
            covered(&app, turn, &pool, event_time, amount.unwrap_or_default()).await?
        }
        ("resolve", _, _, Some(payment)) => under_review(&app, &pool, payment).await?,
        (_, _, Some(account), _) => stranger(&app, &pool, account).await,
        _ => None,
    };
    let instruction = Instruction {
        event_time,
        pool,
        kind: order.kind,
        account: order.account,
        amount_atomic: amount,
        payment: order.payment,
        verdict: order.verdict,
        tx_id: order.tx_id,
        reason,
        actor: "operator".to_owned(),
        proof: None,
    };
    desk.instruct(instruction).await.map_err(away)?;
    if let Some(turn) = turn.as_deref_mut() {
        turn.done(event_time);
    }
    Ok(Json(json!({"done": true, "note": note})).into_response())
}

/// The fee cannot be booked out before it is there, nor twice.
async fn covered(
    app: &App,
    turn: &mut Turn,
    pool: &str,
    event_time: i64,
    amount: i128,
) -> Result<Option<String>, QueryError> {
    if amount >= 0 {
        return Ok(None);
    }
    let taken = match turn.since() {
        Some(since) => turn.taken(
            &app.reports()?.adjustments(pool, "fee", since).await?,
            event_time,
        ),
        None => 0,
    };
    let held = app
        .reports()?
        .balance(pool, "fee")
        .await?
        .unwrap_or_default();
    if held - taken + amount >= 0 {
        turn.begin(event_time, amount);
        return Ok(None);
    }
    let just = if taken > 0 {
        format!(", of which {taken} were taken a moment ago")
    } else {
        String::new()
    };
    let message = format!(
        "the account fee of pool {pool} holds {held} atomic units{just}, so that {} cannot be taken from it",
        -amount
    );
    Err(QueryError::bad_request(
        message,
        "the part of blocks that cannot be spent yet is in immature:fee; /api/v1/ledger shows both",
    ))
}

/// A word about a payment that never was is a slip of the pen, and the payer passes over one about
/// a payment that is not under review.
async fn under_review(app: &App, pool: &str, payment: &str) -> Result<Option<String>, QueryError> {
    let steps = app.reports()?.payment_steps(pool, payment).await?;
    if steps.iter().any(|step| step == "review") {
        return Ok(None);
    }
    let message = match steps.is_empty() {
        true => format!("pool {pool} has no payment {payment:?}"),
        false => format!(
            "payment {payment:?} of pool {pool} is not under review, it is {}",
            steps.join(" and ")
        ),
    };
    Err(QueryError::bad_request(
        message,
        "`headframe payments list --step review` names those that wait for a word",
    ))
}

/// What is said of an account that has never had anything: it may be a new miner's, or mistyped.
async fn stranger(app: &App, pool: &str, account: &str) -> Option<String> {
    // An order is taken even when the tables cannot be read.
    let known = app
        .reports()
        .ok()?
        .has_account(pool, account)
        .await
        .unwrap_or(true);
    (!known).then(|| format!("the ledger of pool {pool} has never heard of {account}; the order holds all the same, should it come"))
}

/// A miner's wish for its own account.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    threshold_atomic: u64,
    /// When it was signed, seconds since 1970.
    time: i64,
    signature: Option<String>,
}

async fn threshold(
    State(app): State<Arc<App>>,
    Path(address): Path<String>,
    body: Result<Json<Wish>, JsonRejection>,
) -> Result<Response, QueryError> {
    let desk = desk(&app)?;
    let address = asked::miner(&address)?;
    let hint = "send {threshold_atomic, time, signature}; without a signature the answer is the text to sign";
    let wish = body
        .map_err(|error| QueryError::bad_request(error.body_text(), hint))?
        .0;
    let rules = desk.rules();
    let wanted = i128::from(wish.threshold_atomic);
    if wanted != 0
        && !(rules.least_threshold_atomic..=rules.most_threshold_atomic).contains(&wanted)
    {
        let range = format!(
            "it must be from {} to {}, or 0 for the pool's own",
            rules.least_threshold_atomic, rules.most_threshold_atomic
        );
        return Err(QueryError::bad_request(
            format!("a threshold of {wanted} atomic units is not possible"),
            range,
        ));
    }
    let text = desk.threshold_text(address, wish.threshold_atomic, wish.time);
    let Some(signature) = wish.signature else {
        return Ok(Json(json!({"sign": text})).into_response());
    };
    if (now_us() / 1_000_000).abs_diff(wish.time) > FRESH_S {
        return Err(QueryError::bad_request(
            "the signed time is more than an hour away from now",
            "sign the text anew with the present time",
        ));
    }
    if !desk
        .verify(address, &text, &signature)
        .await
        .map_err(away)?
    {
        let hint = "sign exactly the text that a request without a signature answers, with the wallet of this address";
        return Err(QueryError::new(
            Code::Unauthorized,
            "the signature is not one of this address over this text",
            hint,
        ));
    }
    let proof: String = signature.chars().take(250).collect();
    if app.reports()?.has_proof(&proof).await? {
        return Err(QueryError::bad_request(
            "this signature was taken before",
            "sign the text anew with the present time",
        ));
    }
    let instruction = Instruction {
        event_time: now_us(),
        pool: rules.pool,
        kind: "threshold".to_owned(),
        account: Some(address.to_owned()),
        amount_atomic: Some(wanted),
        actor: "miner".to_owned(),
        proof: Some(proof),
        ..Instruction::default()
    };
    desk.instruct(instruction).await.map_err(away)?;
    Ok(Json(json!({"done": true})).into_response())
}

fn away(error: DeskError) -> QueryError {
    QueryError::new(Code::Storage, error.to_string(), "it may be tried again")
}

fn now_us() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
