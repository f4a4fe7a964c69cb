//! `/api/v1/unproven-blocks`: blocks that carry the pool's public tag and no proof, and the
//! operator's word about each. It answers where the pool runs.

use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::Method;
use axum::{Json, routing};
pub use headframe_query_front::route::unproven_blocks::PATH;
use headframe_query_front::{ErrorCode, QueryError, RouteHandler};
use headframe_schemas::stream::blocks::Block;
use headframe_stratum::BlocksHandle;
use headframe_stratum::blocks::operator::{DecisionError, Verdict, block_hash};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The operator's word about one block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// The block's hash, 64 hex digits.
    pub hash: String,
    /// What it is.
    pub verdict: Word,
}

/// The verdict as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Word {
    /// The pool's own: miners are paid for it.
    Confirm,
    /// Somebody else's: nobody ever is.
    Reject,
}

/// What answers the routes of a running pool.
pub fn handlers(blocks: BlocksHandle) -> Vec<RouteHandler> {
    [
        (Method::GET, routing::get(list)),
        (Method::POST, routing::post(decide)),
    ]
    .map(|(method, answers)| RouteHandler {
        method,
        path: PATH,
        answers: answers.with_state(blocks.clone()),
    })
    .into()
}

async fn list(State(blocks): State<BlocksHandle>) -> Json<Value> {
    let unproven: Vec<Value> = blocks.unproven().iter().map(shown).collect();
    Json(json!({"blocks": unproven}))
}

async fn decide(
    State(blocks): State<BlocksHandle>,
    order: Result<Json<Order>, JsonRejection>,
) -> Result<Json<Value>, QueryError> {
    let hint = r#"send {"hash": "64 hex digits", "verdict": "confirm"} or "reject""#;
    let bad = |message: String| QueryError::new(ErrorCode::BadRequest, message, hint);
    let Json(order) = order.map_err(|error| bad(error.body_text()))?;
    let hash =
        block_hash(&order.hash).ok_or_else(|| bad("hash is not 64 hex digits".to_owned()))?;
    let verdict = match order.verdict {
        Word::Confirm => Verdict::Confirm,
        Word::Reject => Verdict::Reject,
    };
    match blocks.decide(hash, verdict).await {
        Ok(()) => Ok(Json(json!({"hash": order.hash, "verdict": order.verdict}))),
        Err(error @ DecisionError::NoSuchBlock) => Err(QueryError::new(
            ErrorCode::NotFound,
            error.to_string(),
            "name a block as `headframe blocks list` shows it",
        )),
        Err(error @ (DecisionError::NotDurable | DecisionError::Stopped)) => Err(QueryError::new(
            ErrorCode::Storage,
            error.to_string(),
            "`headframe blocks list` says what still waits",
        )),
    }
}

fn shown(block: &Block) -> Value {
    json!({
        "hash": block.hash, "height": block.height,
        "reward_atomic": block.reward_atomic.map(|reward| reward.to_string()),
    })
}
