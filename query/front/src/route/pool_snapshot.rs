//! What answers in the shapes of other pools are made of: the rows of the pages, with times as
//! numbers and amounts as numbers of atomic units.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::compute::kernels::cast_utils::string_to_timestamp_nanos;
use axum::http::{HeaderMap, Uri, header};
use serde_json::{Value, json};

use crate::access::Principal;
use crate::app_state::AppState;
use crate::chain_monitor::ChainTip;
use crate::encoded_json::EncodedJson;
use crate::error::QueryError;
use crate::pool_block::PoolBlock;
use crate::pool_terms::{ChainTerms, PoolTerms, PortTerms};
use crate::reports::{
    BlocksPage, ChartSpan, HashrateOf, PaymentsPage, PayoutsPage, PoolHistory, Reports, TimeSeries,
};

/// Blocks and payments that are known; older ones are in the tables.
pub(super) const MAX_ROWS: usize = 5_000;
/// Steps in the life of a block that is or was part of the chain.
const TAKEN: &[&str] = &["accepted", "confirmed", "orphaned", "matured"];
/// Steps of a payment that has a transaction.
const SENT: &[&str] = &["submitted", "confirmed"];
/// Others that a Monero transaction hides each coin among.
const RING_MATES: u64 = 15;

/// What a visitor named, made at most every ten seconds.
pub(super) async fn visitor_answer(
    app: &AppState,
    name: String,
    make: impl AsyncFnOnce() -> Result<Value, QueryError>,
) -> Result<EncodedJson, QueryError> {
    let make = async || EncodedJson::new(&make().await?);
    app.visitor_cache.get(name, make).await
}

/// Hashrate of a day of each worker of a miner, made at most every ten seconds.
pub(super) async fn worker_hashrates(
    app: &AppState,
    address: &str,
) -> Result<Arc<Vec<(String, TimeSeries)>>, QueryError> {
    let reports = app.reports()?;
    let make = async || reports.worker_hashrates(address).await.map(Arc::new);
    let cache = &app.worker_hashrate_cache;
    cache.get(address.to_owned(), make).await
}

/// The difficulty that a miner begins with at a port.
pub(super) fn port_difficulty(port: &PortTerms) -> u64 {
    port.fixed_difficulty.unwrap_or(port.start_difficulty)
}

/// What a port is for.
pub(super) fn port_description(port: &PortTerms) -> &'static str {
    match (port.solo, port.nicehash, port.fixed_difficulty) {
        (true, true, _) => "Solo, for rented hashrate",
        (true, ..) => "Solo: a block pays its finder",
        (false, true, _) => "For rented hashrate",
        (false, false, Some(_)) => "Fixed difficulty",
        (false, false, None) => "Difficulty follows the miner",
    }
}

/// What is known of the configured pool now.
pub(super) struct PoolSnapshot {
    pub(super) terms: PoolTerms,
    pub(super) tip: ChainTip,
    /// Seconds of shares that tell the hashrate of now.
    pub(super) window_s: u64,
    /// Its row of `/api/v1/pool`; null before its first share.
    pub(super) pool: Value,
    /// Its row of `/api/v1/pool/effort`; null likewise.
    pub(super) effort: Value,
    pub(super) history: PoolHistory,
    /// The answer of `/api/v1/pool/payments`.
    pub(super) sent: Value,
    /// Newest first.
    pub(super) blocks: Arc<Vec<PoolBlock>>,
}

impl PoolSnapshot {
    /// Everything, with so many payments.
    pub(super) async fn gather(app: &AppState, payments: usize) -> Result<Self, QueryError> {
        let terms = app.pool_terms()?.clone();
        let reports = app.reports()?;
        let pools = app.pools().await?.value()?;
        let window_s = whole(&pools["now_s"]);
        let pool = row_of(pools, &terms.pool);
        let effort = effort(app).await?;
        let page = PayoutsPage {
            limit: payments,
            before: None,
        };
        Ok(Self {
            tip: tip(app, &pool),
            window_s,
            history: reports.pool_history(&terms.pool).await?,
            sent: reports.sent_payments(&terms.pool, &page).await?,
            blocks: blocks(app).await?,
            pool,
            effort,
            terms,
        })
    }

    /// Hashes since the last block.
    pub(super) fn round_work(&self) -> u64 {
        whole(&self.effort["round"]["work_hashes"])
    }
}

/// The chain's newest block as the pool sees it, else as its newest shares tell.
pub(super) fn tip(app: &AppState, pool: &Value) -> ChainTip {
    let seen = app.chain_monitor.as_ref().and_then(|chain| chain.tip());
    seen.unwrap_or_else(|| ChainTip {
        height: whole(&pool["height"]).saturating_sub(1),
        seen_s: seconds(&pool["last_share_at"]),
        difficulty: u128::from(whole(&number(&pool["network_difficulty"]))),
        ..ChainTip::default()
    })
}

/// The row of a pool in an answer with `pools`.
pub(super) fn row_of(mut answer: Value, pool: &str) -> Value {
    let Some(rows) = answer["pools"].as_array_mut() else {
        return Value::Null;
    };
    let found = rows.iter().position(|row| row["pool"] == pool);
    found.map_or(Value::Null, |index| rows.swap_remove(index))
}

/// The configured pool's row of `/api/v1/pool/effort`, with the same name in the cache.
pub(super) async fn effort(app: &AppState) -> Result<Value, QueryError> {
    let (reports, pool) = (app.reports()?, &app.pool_terms()?.pool);
    let make = async || reports.efforts(Some(pool)).await;
    let key = format!("effort {:?}", Some(pool));
    Ok(row_of(app.page_answer(key, make).await?.value()?, pool))
}

/// The blocks of the configured pool that the daemon took, newest first.
pub(super) async fn blocks(app: &AppState) -> Result<Arc<Vec<PoolBlock>>, QueryError> {
    let (reports, pool) = (app.reports()?, &app.pool_terms()?.pool);
    let effort = effort(app).await?;
    let make = async || taken_blocks(reports, pool, &effort).await.map(Arc::new);
    app.block_cache.get(pool.clone(), make).await
}

async fn taken_blocks(
    reports: &dyn Reports,
    pool: &str,
    effort: &Value,
) -> Result<Vec<PoolBlock>, QueryError> {
    let efforts = [&effort["blocks"], &effort["solo"]["blocks"]];
    let efforts = efforts.into_iter().filter_map(Value::as_array).flatten();
    let efforts: HashMap<&str, f64> = efforts
        .filter_map(|row| Some((row["hash"].as_str()?, row["effort"].as_f64()?)))
        .collect();
    let page = BlocksPage {
        pool: Some(pool.to_owned()),
        limit: MAX_ROWS,
        before: None,
    };
    let answer = reports.blocks(&page).await?;
    let rows = answer["blocks"].as_array().into_iter().flatten();
    let is_taken = |row: &&Value| {
        let status = row["status"].as_str().unwrap_or_default();
        TAKEN.contains(&status)
    };
    let taken = rows.filter(is_taken);
    Ok(taken.map(|row| block(row, &efforts)).collect())
}

/// The payments of the configured pool, newest first.
pub(super) async fn sent_payments(app: &AppState) -> Result<Vec<Value>, QueryError> {
    let (reports, pool) = (app.reports()?, &app.pool_terms()?.pool);
    let page = PayoutsPage {
        limit: MAX_ROWS,
        before: None,
    };
    let make = async || reports.sent_payments(pool, &page).await;
    let answer = app.page_answer("sent payments".to_owned(), make).await?;
    let mut answer = answer.value()?;
    let rows = answer["payments"].as_array_mut().map(std::mem::take);
    Ok(rows.unwrap_or_default())
}

fn block(row: &Value, efforts: &HashMap<&str, f64>) -> PoolBlock {
    let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
    let difficulty = number(&row["network_difficulty"]).as_f64().unwrap_or(0.0);
    let effort = efforts.get(text("hash").as_str()).copied();
    PoolBlock {
        work: (effort.unwrap_or(0.0) * difficulty).round() as u64,
        hash: text("hash"),
        height: row["height"].as_i64().unwrap_or(0),
        found_us: micros(&row["found_at"]),
        difficulty: row["network_difficulty"].clone(),
        status: text("status"),
        reward: row["reward_atomic"].clone(),
        miner: text("miner"),
        solo: row["solo"] == true,
    }
}

/// What a miner has, and a page of its payments that have a transaction; nothing where this
/// process knows nothing about payments.
pub(super) async fn payments_of(
    app: &AppState,
    address: &str,
    limit: usize,
    before: Option<i64>,
) -> Result<Value, QueryError> {
    let Some(service) = &app.payment_service else {
        return Ok(json!({"payments": []}));
    };
    let page = PaymentsPage {
        limit,
        before,
        ..PaymentsPage::default()
    };
    let (rules, payer) = (service.rules(), service.payer());
    let stranger = Principal::anonymous();
    let reports = app.reports()?;
    let mut answer = reports
        .payments_of_miner(&rules, payer.as_ref(), address, &page, &stranger)
        .await?;
    if let Some(rows) = answer["payments"].as_array_mut() {
        rows.retain(|row| SENT.contains(&row["step"].as_str().unwrap_or_default()));
    }
    Ok(answer)
}

/// Hashrate of a day.
pub(super) async fn day(app: &AppState, of: HashrateOf) -> Result<TimeSeries, QueryError> {
    let span = ChartSpan::find("24h").ok_or_else(|| QueryError::internal("no span of a day"))?;
    app.reports()?.hashrate(&of, span).await
}

/// Hashes a second over the last seconds of a series.
pub(super) fn mean(series: &TimeSeries, seconds: i64) -> f64 {
    let from = series.to_s - seconds;
    let work = series.points.iter().map(|(at, rate)| {
        let end = (at + series.step_s).min(series.to_s);
        rate * (end - at.max(&from)).max(0) as f64
    });
    work.sum::<f64>() / seconds as f64
}

/// A number, of a text as exact amounts are sent; 0 where there is none.
pub(super) fn number(value: &Value) -> Value {
    match value {
        Value::Number(_) => value.clone(),
        Value::String(text) => match text.parse::<i64>() {
            Ok(whole) => json!(whole),
            Err(_) => json!(text.parse::<f64>().unwrap_or(0.0)),
        },
        _ => json!(0),
    }
}

/// The same as a text.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => "0".to_owned(),
    }
}

/// The same without a fraction.
pub(super) fn whole(value: &Value) -> u64 {
    let number = number(value);
    let rounded = || number.as_f64().map(|value| value.round() as u64);
    number.as_u64().or_else(rounded).unwrap_or(0)
}

/// Coins of an amount of atomic units.
pub(super) fn coins(value: &Value, chain: &ChainTerms) -> f64 {
    number(value).as_f64().unwrap_or(0.0) / units(chain)
}

/// Atomic units of a coin.
pub(super) fn units(chain: &ChainTerms) -> f64 {
    10_f64.powi(i32::try_from(chain.decimals).unwrap_or(0))
}

/// Others that a transaction hides each coin among.
pub(super) fn ring_mates(chain: &ChainTerms) -> u64 {
    match chain.name.as_str() {
        "monero" => RING_MATES,
        _ => 0,
    }
}

/// Microseconds since 1970; 0 where there is no time.
pub(super) fn micros(value: &Value) -> i64 {
    let text = value.as_str().unwrap_or_default();
    string_to_timestamp_nanos(text).map_or(0, |nanos| nanos.div_euclid(1_000))
}

/// Seconds since 1970; 0 where there is no time.
pub(super) fn seconds(value: &Value) -> i64 {
    micros(value).div_euclid(1_000_000)
}

/// The last time of a worker's row, seconds since 1970: of its last share, else of the hour of it.
pub(super) fn last_share_s(row: &Value) -> i64 {
    seconds(&row["last_share_at"]).max(seconds(&row["last_hour"]))
}

/// Both ends of an address with three dots between; at most half of a short name.
pub(super) fn shortened(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    let shown = 7.min(letters.len() / 4);
    let (head, tail) = (&letters[..shown], &letters[letters.len() - shown..]);
    format!("{}...{}", String::from_iter(head), String::from_iter(tail))
}

/// Part of the reward that the pool keeps, percent.
pub(super) fn fee_percent(terms: &PoolTerms) -> f64 {
    terms.fee_bp.unwrap_or(0) as f64 / 100.0
}

/// The same of a block that was mined solo.
pub(super) fn solo_fee_percent(terms: &PoolTerms) -> f64 {
    terms.solo_fee_bp.unwrap_or(0) as f64 / 100.0
}

/// The host that the visitor asked, without its port.
pub(super) fn host(headers: &HeaderMap, uri: &Uri) -> String {
    let named = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let authority = named.or_else(|| uri.authority().map(|authority| authority.as_str()));
    let authority = authority.unwrap_or_default();
    let name = match authority.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => authority,
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_counts_each_step_as_long_as_it_lasted() {
        let series = TimeSeries {
            from_s: 0,
            to_s: 1_500,
            step_s: 600,
            points: vec![(0, 10.0), (600, 20.0), (1_200, 40.0)],
        };
        // 300 s of 40, 600 s of 20 and 300 s of 10.
        assert_eq!(mean(&series, 1_200), 22.5);
        assert_eq!(mean(&series, 300), 40.0);
        assert_eq!(mean(&series, 15_000), 2.0);
    }

    #[test]
    fn amounts_and_times_are_numbers() {
        assert_eq!(number(&json!("600000000000")), json!(600_000_000_000_i64));
        assert_eq!(number(&json!("99999999999999999999")), json!(1e20));
        assert_eq!(number(&Value::Null), json!(0));
        assert_eq!(whole(&json!(2.5)), 3);
        assert_eq!(seconds(&json!("2026-01-05T00:00:00.9Z")), 1_767_571_200);
        assert_eq!(seconds(&Value::Null), 0);
        assert_eq!(
            shortened("47JR7SpirwzQcgRwHU9BFrX8FbgFg7Px"),
            "47JR7Sp...bgFg7Px"
        );
        assert_eq!(shortened("4Ann"), "4...n");
    }

    #[test]
    fn the_host_is_the_one_that_was_asked() {
        let uri = Uri::from_static("/");
        for (sent, name) in [
            ("pool.example:8080", "pool.example"),
            ("pool.example", "pool.example"),
            ("[::1]:8080", "[::1]"),
            ("[::1]", "[::1]"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, header::HeaderValue::from_static(sent));
            assert_eq!(host(&headers, &uri), name);
        }
    }
}
