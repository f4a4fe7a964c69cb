//! `GET /api/v1/pool/miners`: the miners with the most work of a day, by shortened addresses.

use std::sync::Arc;

use axum::extract::State;
use axum::http::Method;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;
use serde_json::Value;

use crate::access::Permission;
use crate::answers::described::{self, AnswerType};
use crate::answers::pool::{TopMiner, TopMinersAnswer};
use crate::app_state::AppState;
use crate::error::QueryError;
use crate::query_params::QueryParams;
use crate::reports::Row;
use crate::route::schema::{Param, Schema};
use crate::route::{Handler, Route};

/// Miners of an answer: the most, and unless asked otherwise.
const MOST: usize = 100;
const DEFAULT: usize = 10;
/// Characters of an address that are shown at each end.
const SHOWN: usize = 6;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    limit: Option<usize>,
}

pub(crate) static ROUTE: Route = Route {
    method: Method::GET,
    path: "/api/v1/pool/miners",
    permission: Permission::PublicPage,
    doc: "The miners with the most work of a day, each with its hashrate of ten minutes and a \
          shortened address, for whoever knows the whole one finds himself; `?limit=` (10, at most \
          100). Made at most every ten seconds.",
    schema: Schema {
        query: &[Param::integer("limit", 1, 100, "Miners of the answer.")],
        answer: Some(AnswerType::new::<TopMinersAnswer>()),
        ..Schema::JSON
    },
    handler: Handler::Page(|| get(list)),
};

async fn list(
    State(app): State<Arc<AppState>>,
    QueryParams(request): QueryParams<Request>,
) -> Result<Response, QueryError> {
    let limit = request.limit.unwrap_or(DEFAULT);
    if !(1..=MOST).contains(&limit) {
        let message = format!("limit is {limit}");
        let hint = format!("a page has from 1 to {MOST} miners");
        return Err(QueryError::bad_request(message, hint));
    }
    let reports = app.reports()?;
    let make = async || {
        let rows = reports.top_miners(limit).await?;
        described::to_json(&TopMinersAnswer {
            miners: rows.iter().map(top_miner).collect(),
        })
    };
    let answer = app.page_answer(format!("miners {limit}"), make).await?;
    Ok(answer.into_response())
}

fn top_miner(row: &Row) -> TopMiner {
    let text = |column: &str| row.get(column).and_then(Value::as_str).unwrap_or_default();
    let count = |column: &str| row.get(column).and_then(Value::as_i64);
    TopMiner {
        pool: text("pool").to_owned(),
        miner: shortened(text("miner")),
        accepted: count("accepted"),
        refused: count("refused"),
        hashrate_hs: row.get("hashrate_hs").and_then(Value::as_f64),
    }
}

/// Both ends of an address; a short name as it is, at most half of it.
fn shortened(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    let shown = SHOWN.min(letters.len() / 4);
    let (head, tail) = (&letters[..shown], &letters[letters.len() - shown..]);
    format!("{}…{}", String::from_iter(head), String::from_iter(tail))
}

#[cfg(test)]
mod tests {
    use super::shortened;

    #[test]
    fn no_more_than_half_of_a_name_is_shown() {
        let address = "47JR7SpirwzQcgRwHU9BFrX8FbgFg7Pxe3fjZfhNDkfWESjh";
        for (name, shown) in [
            (address, "47JR7S…fWESjh"),
            ("4Ann", "4…n"),
            ("ab", "…"),
            ("", "…"),
        ] {
            assert_eq!(shortened(name), shown);
        }
    }
}
