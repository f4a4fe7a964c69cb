//! `POST /api/v1/payments/instructions`: what an operator orders about payments: thresholds, holds,
//! adjustments of balances, and decisions about payments under review.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::Method;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use headframe_schemas::stream::instructions::{Instruction, KINDS};
use serde::Deserialize;

use crate::access::Permission;
use crate::answers::described::AnswerType;
use crate::answers::payments::InstructionAnswer;
use crate::app_state::AppState;
use crate::clock::now_us;
use crate::error::QueryError;
use crate::fee_adjustments::PendingAdjustments;
use crate::query_params;
use crate::route::payments::{configured_service, unavailable};
use crate::route::schema::{Param, RequestBody, Schema, ValueType};
use crate::route::{Handler, Route};

/// The largest amount of one instruction, atomic units: more than any coin has, and so little that
/// sums of instructions stay exact.
const MAX_AMOUNT: u128 = 10_u128.pow(30);

const HINT: &str = "docs/payments.md lists the kinds and what each needs";

/// An operator's instruction.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct InstructionRequest {
    kind: String,
    account: Option<String>,
    /// Atomic units, as text, since readers of JSON round large numbers.
    amount_atomic: Option<String>,
    payment: Option<String>,
    verdict: Option<String>,
    tx_id: Option<String>,
    reason: Option<String>,
}

pub(crate) static ROUTE: Route = Route {
    method: Method::POST,
    path: "/api/v1/payments/instructions",
    permission: Permission::Operate,
    doc: "An operator's instruction about payments: `kind` and what it needs.",
    schema: Schema {
        body: RequestBody::Json(&[
            Param::new("kind", ValueType::OneOf(KINDS), "What is ordered.").required(),
            Param::text("account", "The account that it is about."),
            Param::text("amount_atomic", "Atomic units, as text."),
            Param::text("payment", "The payment that it is about."),
            Param::text("verdict", "What was decided about the payment."),
            Param::text("tx_id", "The transaction that was found."),
            Param::text("reason", "Why."),
        ]),
        answer: Some(AnswerType::new::<InstructionAnswer>()),
        ..Schema::JSON
    },
    handler: Handler::Page(|| post(instruct)),
};

async fn instruct(
    State(app): State<Arc<AppState>>,
    body: Result<Json<InstructionRequest>, JsonRejection>,
) -> Result<Response, QueryError> {
    let service = configured_service(&app)?;
    let Json(request) =
        body.map_err(|error| QueryError::unreadable_body(error.status(), error.body_text(), HINT))?;
    let mut instruction = request.into_instruction(service.rules().pool)?;
    // Instructions about the fee go one at a time, from reading the tables to the acknowledged
    // write; all others, a hold above all, wait for nobody.
    let mut pending = match instruction.account.as_deref() {
        Some("fee") => Some(app.fee_adjustments.lock().await),
        _ => None,
    };
    instruction.event_time = pending
        .as_mut()
        .map_or_else(now_us, |pending| pending.next_time(now_us()));
    let note = check_against_tables(&app, pending.as_deref_mut(), &instruction).await?;
    let event_time = instruction.event_time;
    service.instruct(instruction).await.map_err(unavailable)?;
    if let Some(pending) = pending.as_deref_mut() {
        pending.confirm(event_time);
    }
    Ok(Json(InstructionAnswer { done: true, note }).into_response())
}

fn refuse(message: impl Into<String>) -> QueryError {
    QueryError::bad_request(message, HINT)
}

impl InstructionRequest {
    /// The instruction without its time, when every field that its kind needs is there and no
    /// other one is.
    fn into_instruction(self, pool: String) -> Result<Instruction, QueryError> {
        let amount = self.amount()?;
        let reason = self.reason.filter(|reason| !reason.trim().is_empty());
        if self
            .account
            .as_deref()
            .is_some_and(|account| query_params::miner_name(account).is_err())
        {
            return Err(refuse("account is not the name of a miner"));
        }
        let has_verdict =
            self.payment.is_some() && matches!(self.verdict.as_deref(), Some("paid" | "unpaid"));
        match (
            self.kind.as_str(),
            self.account.is_some(),
            amount,
            reason.is_some(),
        ) {
            ("threshold", true, Some(0..), _)
            | ("hold", _, None, true)
            | ("resume", _, None, _) => {}
            ("adjust", true, Some(amount), true) if amount != 0 => {}
            ("resolve", false, None, true) if has_verdict => {}
            (kind, ..) if !KINDS.contains(&kind) => {
                return Err(refuse(
                    "kind must be threshold, hold, resume, adjust or resolve",
                ));
            }
            _ => {
                return Err(refuse(
                    "something that this kind needs is missing, or something it does not take is \
                     there",
                ));
            }
        }
        Ok(Instruction {
            event_time: 0,
            pool,
            kind: self.kind,
            account: self.account,
            amount_atomic: amount,
            payment: self.payment,
            verdict: self.verdict,
            tx_id: self.tx_id,
            reason,
            actor: "operator".to_owned(),
            proof: None,
        })
    }

    fn amount(&self) -> Result<Option<i128>, QueryError> {
        let Some(text) = self.amount_atomic.as_deref() else {
            return Ok(None);
        };
        let amount: i128 = text
            .parse()
            .map_err(|_| refuse("amount_atomic must be a whole number of atomic units, as text"))?;
        if amount.unsigned_abs() > MAX_AMOUNT {
            return Err(refuse(
                "amount_atomic is beyond 10^30 atomic units, more than any coin has",
            ));
        }
        Ok(Some(amount))
    }
}

/// Refuses an instruction that the tables contradict. The answer is a note for the operator.
async fn check_against_tables(
    app: &AppState,
    pending: Option<&mut PendingAdjustments>,
    instruction: &Instruction,
) -> Result<Option<String>, QueryError> {
    let pool = &instruction.pool;
    match (
        instruction.kind.as_str(),
        pending,
        instruction.account.as_deref(),
        instruction.payment.as_deref(),
    ) {
        ("adjust", Some(pending), ..) => {
            let amount = instruction.amount_atomic.unwrap_or_default();
            check_fee_covers(app, pending, pool, instruction.event_time, amount).await?;
            Ok(None)
        }
        ("resolve", _, _, Some(payment)) => {
            check_under_review(app, pool, payment).await?;
            Ok(None)
        }
        (_, _, Some(account), _) => Ok(note_on_unknown_account(app, pool, account).await),
        _ => Ok(None),
    }
}

/// Refuses to take more from the fee account than it holds, counting adjustments that the tables do
/// not show yet.
async fn check_fee_covers(
    app: &AppState,
    pending: &mut PendingAdjustments,
    pool: &str,
    event_time: i64,
    amount: i128,
) -> Result<(), QueryError> {
    if amount >= 0 {
        return Ok(());
    }
    let taken = match pending.oldest_time() {
        Some(since) => pending.pending_amount(
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
        pending.begin(event_time, amount);
        return Ok(());
    }
    let recent = if taken > 0 {
        format!(", of which {taken} were taken a moment ago")
    } else {
        String::new()
    };
    let message = format!(
        "the account fee of pool {pool} holds {held} atomic units{recent}, so that {} cannot be \
         taken from it",
        -amount
    );
    Err(QueryError::bad_request(
        message,
        "the part of blocks that cannot be spent yet is in immature:fee; /api/v1/ledger shows both",
    ))
}

/// Refuses a verdict about a payment that is not under review: the payer would ignore it, and a
/// payment that does not exist is a typing error.
async fn check_under_review(app: &AppState, pool: &str, payment: &str) -> Result<(), QueryError> {
    let steps = app.reports()?.payment_steps(pool, payment).await?;
    if steps.iter().any(|step| step == "review") {
        return Ok(());
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
        "`headframe payments list --step review` names those that wait for a decision",
    ))
}

/// A note about an account that the ledger does not have: it may be a new miner's, or mistyped. The
/// instruction is taken even when the tables cannot be read.
async fn note_on_unknown_account(app: &AppState, pool: &str, account: &str) -> Option<String> {
    let reports = app.reports().ok()?;
    let known = reports.has_account(pool, account).await.unwrap_or(true);
    (!known).then(|| {
        format!(
            "the ledger of pool {pool} has no account {account} yet; the instruction holds all the \
             same, should it come"
        )
    })
}
