//! What is read about payments: `GET /api/v1/payments`, `/api/v1/payments/state`, `/api/v1/ledger`
//! and `/api/v1/miners/{address}/payments`.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::Method;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Json};
use headframe_schemas::payment::{PayerStatus, WalletBalance};
use serde::Deserialize;

use crate::access::{Permission, Principal};
use crate::answers::described::AnswerType;
use crate::answers::payments::{
    AccountReason, DueAccount, LedgerAnswer, MinerPaymentsAnswer, PayerAnswer, PaymentsAnswer,
    WalletNow,
};
use crate::app_state::AppState;
use crate::error::{ErrorCode, QueryError};
use crate::payment_service::{PaymentService, PaymentServiceError};
use crate::query_params;
use crate::query_params::QueryParams;
use crate::reports::{LedgerPage, LedgerPlace, PaymentsPage};
use crate::route::schema::{ADDRESS, BEFORE, LIMIT, Param, ResponseBody, Schema};
use crate::route::{Handler, Route};

pub(crate) static LIST: Route = Route {
    method: Method::GET,
    path: "/api/v1/payments",
    permission: Permission::Read,
    doc: "Payments newest first; `?step=`, `?limit=` (50, at most 1000) and `?before=` a cursor.",
    schema: Schema {
        query: &[
            LIMIT,
            Param::text("step", "Only payments at this step."),
            BEFORE,
        ],
        response: ResponseBody::Page { cursor: "before" },
        answer: Some(AnswerType::new::<PaymentsAnswer>()),
        streams: Some(&["payments"]),
        ..Schema::JSON
    },
    handler: Handler::Page(|| get(list)),
};

pub(crate) static STATE: Route = Route {
    method: Method::GET,
    path: "/api/v1/payments/state",
    permission: Permission::Read,
    doc: "What the payer does now and who is due, on the process that runs it.",
    schema: Schema {
        answer: Some(AnswerType::new::<PayerAnswer>()),
        ..Schema::JSON
    },
    handler: Handler::MemoryPage(|| get(state)),
};

pub(crate) static LEDGER: Route = Route {
    method: Method::GET,
    path: "/api/v1/ledger",
    permission: Permission::Read,
    doc: "Balances and entries of the ledger, newest first; `?account=`, `?limit=` (100, at most \
          1000) and `?before=` a cursor.",
    schema: Schema {
        query: &[
            LIMIT,
            Param::text("account", "Only entries of this account."),
            Param::text("before", "The cursor that the page before named as `next`."),
        ],
        response: ResponseBody::Page { cursor: "before" },
        answer: Some(AnswerType::new::<LedgerAnswer>()),
        streams: Some(&["payouts", "payments", "instructions"]),
        ..Schema::JSON
    },
    handler: Handler::Page(|| get(ledger)),
};

pub(crate) static OF_MINER: Route = Route {
    method: Method::GET,
    path: "/api/v1/miners/{address}/payments",
    permission: Permission::MinerPage,
    doc: "One miner: balances, payments newest first, and `why` the rest is not paid, with codes \
          that docs/payments.md lists; `?limit=` (50, at most 1000) and `?before=` a cursor.",
    schema: Schema {
        path: ADDRESS,
        query: &[LIMIT, BEFORE],
        response: ResponseBody::Page { cursor: "before" },
        answer: Some(AnswerType::new::<MinerPaymentsAnswer>()),
        ..Schema::JSON
    },
    handler: Handler::Page(|| get(miner)),
};

/// The payment service, or the error of a process that has none.
pub(crate) fn configured_service(app: &AppState) -> Result<&Arc<dyn PaymentService>, QueryError> {
    let hint = "ask a process that runs the role query with a [payments] section";
    app.payment_service.as_ref().ok_or_else(|| {
        QueryError::new(
            ErrorCode::NotFound,
            "this process knows nothing about payments",
            hint,
        )
    })
}

/// The error of a stream or a wallet that does not answer now.
pub(crate) fn unavailable(error: PaymentServiceError) -> QueryError {
    QueryError::new(
        ErrorCode::Storage,
        error.to_string(),
        "it may be tried again",
    )
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListRequest {
    limit: Option<usize>,
    step: Option<String>,
    before: Option<i64>,
}

async fn list(
    State(app): State<Arc<AppState>>,
    QueryParams(request): QueryParams<ListRequest>,
) -> Result<Response, QueryError> {
    let rules = configured_service(&app)?.rules();
    let page = PaymentsPage {
        limit: query_params::page_limit(request.limit, 50)?,
        step: request.step,
        before: request.before,
    };
    Ok(Json(app.reports()?.payments(&rules.pool, &page).await?).into_response())
}

async fn state(State(app): State<Arc<AppState>>) -> Result<Response, QueryError> {
    let service = configured_service(&app)?;
    let Some(status) = service.payer() else {
        return Err(QueryError::new(
            ErrorCode::NotFound,
            "the payer runs in another process, or nowhere",
            "ask the process with the role payments",
        ));
    };
    Ok(Json(payer(service.rules().pool, status)).into_response())
}

fn payer(pool: String, status: PayerStatus) -> PayerAnswer {
    let due = |(account, amount): (String, i128)| DueAccount {
        account,
        amount_atomic: amount.to_string(),
    };
    let with_reasons = |accounts: Vec<(String, String)>| -> Vec<AccountReason> {
        let accounts = accounts.into_iter();
        accounts
            .map(|(account, reason)| AccountReason { account, reason })
            .collect()
    };
    PayerAnswer {
        pool,
        stopped: status.stopped.as_ref().map(ToString::to_string),
        waiting: status.waiting.map(|waiting| waiting.reason),
        dry_run: status.dry_run,
        due: status.due.into_iter().map(due).collect(),
        refused: with_reasons(status.refused),
        held: with_reasons(status.held),
        wallet: status.wallet_balance.as_ref().map(wallet),
        at: status.at,
    }
}

fn wallet(wallet: &WalletBalance) -> WalletNow {
    WalletNow {
        unlocked_atomic: wallet.unlocked.to_string(),
        total_atomic: wallet.total.to_string(),
        owed_atomic: wallet.owed.to_string(),
        shortage: wallet.shortage(),
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LedgerRequest {
    limit: Option<usize>,
    account: Option<String>,
    before: Option<String>,
}

async fn ledger(
    State(app): State<Arc<AppState>>,
    QueryParams(request): QueryParams<LedgerRequest>,
) -> Result<Response, QueryError> {
    let rules = configured_service(&app)?.rules();
    let before = request.before.map(|text| {
        LedgerPlace::parse(&text).ok_or_else(|| {
            QueryError::bad_request(
                format!("before={text:?} is no cursor of the ledger"),
                "send what the page before named as next",
            )
        })
    });
    let page = LedgerPage {
        limit: query_params::page_limit(request.limit, 100)?,
        account: request.account,
        before: before.transpose()?,
    };
    Ok(Json(app.reports()?.ledger(&rules.pool, &page).await?).into_response())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MinerRequest {
    limit: Option<usize>,
    before: Option<i64>,
}

async fn miner(
    State(app): State<Arc<AppState>>,
    Extension(principal): Extension<Principal>,
    Path(address): Path<String>,
    QueryParams(request): QueryParams<MinerRequest>,
) -> Result<Response, QueryError> {
    let service = configured_service(&app)?;
    let address = query_params::miner_name(&address)?;
    let page = PaymentsPage {
        limit: query_params::page_limit(request.limit, 50)?,
        step: None,
        before: request.before,
    };
    Ok(Json(
        app.reports()?
            .payments_of_miner(
                &service.rules(),
                service.payer().as_ref(),
                address,
                &page,
                &principal,
            )
            .await?,
    )
    .into_response())
}
