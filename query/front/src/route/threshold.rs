//! `POST /api/v1/miners/{address}/threshold`: a miner sets the balance from which it is paid, with
//! a signature by its address instead of a token.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::Method;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use headframe_schemas::payment::PaymentRules;
use headframe_schemas::stream::instructions::Instruction;
use serde::Deserialize;

use crate::access::Permission;
use crate::answers::described::AnswerType;
use crate::answers::payments::{TextToSign, ThresholdAnswer, ThresholdSet};
use crate::app_state::AppState;
use crate::clock::now_us;
use crate::error::{ErrorCode, QueryError};
use crate::peer::LimitedAddress;
use crate::query_params;
use crate::route::payments::{configured_service, unavailable};
use crate::route::schema::{ADDRESS, Param, RequestBody, Schema};
use crate::route::{Handler, Route};
use crate::signature_checks::is_well_formed;

/// How old a signature may be, in seconds; an older one could be somebody's repetition.
const MAX_SIGNATURE_AGE_S: u64 = 3_600;

/// Bytes of a request, several times what it needs.
const MAX_BODY_BYTES: usize = 4_096;

const HINT: &str =
    "send {threshold_atomic, time, signature}; without a signature the answer is the text to sign";

/// The threshold that a miner wants for its own account.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ThresholdRequest {
    threshold_atomic: u64,
    /// When it was signed, seconds since 1970.
    time: i64,
    signature: Option<String>,
}

pub(crate) static ROUTE: Route = Route {
    method: Method::POST,
    path: "/api/v1/miners/{address}/threshold",
    permission: Permission::MinerPage,
    doc: "A miner's own threshold: `{\"threshold_atomic\", \"time\"}` answers the text to sign, \
          with `\"signature\"` it is set.",
    schema: Schema {
        path: ADDRESS,
        body: RequestBody::Json(&[
            Param::integer(
                "threshold_atomic",
                0,
                i64::MAX,
                "The balance from which the miner is paid; 0 for the pool's own.",
            )
            .required(),
            Param::integer(
                "time",
                0,
                i64::MAX,
                "When it is signed, seconds since 1970.",
            )
            .required(),
            Param::text(
                "signature",
                "The wallet's signature of the text that is answered without.",
            ),
        ]),
        answer: Some(AnswerType::new::<ThresholdAnswer>()),
        ..Schema::JSON
    },
    handler: Handler::Page(|| post(set).layer(DefaultBodyLimit::max(MAX_BODY_BYTES))),
};

async fn set(
    State(app): State<Arc<AppState>>,
    Path(address): Path<String>,
    client: LimitedAddress,
    body: Result<Json<ThresholdRequest>, JsonRejection>,
) -> Result<Response, QueryError> {
    let service = configured_service(&app)?;
    let address = query_params::miner_name(&address)?;
    let Json(request) =
        body.map_err(|error| QueryError::unreadable_body(error.status(), error.body_text(), HINT))?;
    let rules = service.rules();
    check_range(&rules, request.threshold_atomic)?;
    let text = service.threshold_text(address, request.threshold_atomic, request.time);
    let Some(signature) = request.signature else {
        let answer = ThresholdAnswer::Sign(TextToSign { sign: text });
        return Ok(Json(answer).into_response());
    };
    if (now_us() / 1_000_000).abs_diff(request.time) > MAX_SIGNATURE_AGE_S {
        return Err(QueryError::bad_request(
            "the signed time is more than an hour away from now",
            "sign the text anew with the present time",
        ));
    }
    if !is_well_formed(&signature) {
        return Err(QueryError::bad_request(
            "the signature has not the form that a wallet writes",
            "send SigV1… or SigV2… of monero-wallet-cli's sign, or the base64 of signmessage",
        ));
    }
    let _check = app.signature_checks.begin(client, address)?;
    if !service
        .verify(address, &text, &signature)
        .await
        .map_err(unavailable)?
    {
        return Err(QueryError::new(
            ErrorCode::Unauthorized,
            "the signature is not one of this address over this text",
            "sign exactly the text that a request without a signature answers, with the wallet of \
             this address",
        ));
    }
    if app.reports()?.has_proof(&signature).await? {
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
        amount_atomic: Some(request.threshold_atomic.into()),
        actor: "miner".to_owned(),
        proof: Some(signature),
        ..Instruction::default()
    };
    service.instruct(instruction).await.map_err(unavailable)?;
    let answer = ThresholdAnswer::Set(ThresholdSet { done: true });
    Ok(Json(answer).into_response())
}

/// Refuses a threshold that the pool does not offer; 0 stands for the pool's own.
fn check_range(rules: &PaymentRules, threshold_atomic: u64) -> Result<(), QueryError> {
    let threshold = i128::from(threshold_atomic);
    let offered = rules.least_threshold_atomic..=rules.most_threshold_atomic;
    if threshold == 0 || offered.contains(&threshold) {
        return Ok(());
    }
    Err(QueryError::bad_request(
        format!("a threshold of {threshold} atomic units is not possible"),
        format!(
            "it must be from {} to {}, or 0 for the pool's own",
            rules.least_threshold_atomic, rules.most_threshold_atomic
        ),
    ))
}
