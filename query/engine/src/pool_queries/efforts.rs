//! Effort: the work that a pool did for each of its blocks, beside what one costs on average.
//!
//! What is mined solo is counted apart: its blocks end no round of the pool's, and its work is in
//! none.
//!
//! Work comes from windows, of ten seconds where a hundred rounds are short and of an hour where
//! they are long; what a window holds is shared between the rounds that it touches by time.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::pool_queries::blocks::taken_sql;
use crate::pool_queries::span::{now_s, rfc3339};
use crate::pool_queries::{number, rows};
use headframe_query_front::QueryError;
use headframe_query_front::QueryService;
use headframe_query_front::answers::described::to_json;
use headframe_query_front::answers::efforts::{
    BlockEffort, EffortsAnswer, PoolEfforts, Round, SoloEfforts,
};
use headframe_query_front::reports::Row;

/// Blocks of each pool that have an effort.
const BLOCKS: usize = 100;
/// Blocks of all pools that are looked at.
const MAX_BLOCKS: usize = 1_000;
/// Windows that are added up at most, of all pools together.
const MAX_WINDOWS: i64 = 9_000;
/// Tiers and their seconds, the finest first.
const TIERS: &[(&str, i64)] = &[("10s", 10), ("1m", 60), ("1h", 3_600), ("1d", 86_400)];

/// A found block.
#[derive(Debug, Clone, PartialEq)]
struct Found {
    hash: String,
    height: i64,
    /// Seconds since 1970.
    at: f64,
    difficulty: f64,
    /// Whether it was mined solo.
    solo: bool,
}

/// The work of a window.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Window {
    /// Seconds since 1970.
    start: f64,
    work: f64,
    /// What of it was mined solo.
    solo_work: f64,
}

impl Window {
    /// The work of those who mine solo, or of all others.
    fn work_of(&self, solo: bool) -> f64 {
        if solo {
            self.solo_work
        } else {
            self.work - self.solo_work
        }
    }
}

/// The efforts of each pool, or of this one.
pub async fn answer(service: &QueryService, pool: Option<&str>) -> Result<Value, QueryError> {
    let now = now_s();
    let blocks = blocks(service, pool).await?;
    // Without a block the round began with the first share, which a year of days shows well enough.
    let first = blocks.values().flatten().map(|block| block.at);
    let first = first.fold(f64::INFINITY, f64::min);
    let from = first.max(now - 400.0 * 86_400.0).min(now);
    let from = if blocks.is_empty() {
        now - 365.0 * 86_400.0
    } else {
        from
    };
    let pools = blocks.len().max(1) as i64;
    let fits =
        |(_, seconds): &&(&str, i64)| ((now - from) as i64 / seconds + 2) * pools <= MAX_WINDOWS;
    let (tier, seconds) = TIERS.iter().find(fits).copied().unwrap_or(("1d", 86_400));
    let windows = windows(service, pool, tier, from - seconds as f64).await?;
    let difficulty = difficulties(service).await?;
    let mut names: Vec<&String> = blocks.keys().chain(windows.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let of_pool = |name: &&String| {
        let found = blocks.get(*name).map_or(&[][..], Vec::as_slice);
        let work = windows.get(*name).map_or(&[][..], Vec::as_slice);
        let difficulty = difficulty.get(*name).copied();
        let of = |solo| efforts(found, work, solo, (seconds as f64, now), difficulty);
        let has_solo = found.iter().any(|block| block.solo)
            || work.iter().any(|window| window.solo_work > 0.0);
        let all_else = of(false);
        PoolEfforts {
            pool: (*name).clone(),
            round: all_else.round,
            mean_10: all_else.mean_10,
            mean_100: all_else.mean_100,
            blocks: all_else.blocks,
            solo: has_solo.then(|| of(true)),
        }
    };
    to_json(&EffortsAnswer {
        pools: names.iter().map(of_pool).collect(),
    })
}

/// One pool's answer, of what was mined solo or of all else. `blocks` are newest first, `windows`
/// in any order.
fn efforts(
    blocks: &[Found],
    windows: &[Window],
    solo: bool,
    (window_s, now): (f64, f64),
    difficulty: Option<f64>,
) -> SoloEfforts {
    let blocks: Vec<&Found> = blocks.iter().filter(|block| block.solo == solo).collect();
    let between = |from: f64, to: f64| -> f64 {
        let part = |window: &Window| {
            let from = from.max(window.start);
            let to = to.min((window.start + window_s).min(now));
            let length = (now - window.start).clamp(1.0, window_s);
            window.work_of(solo) * ((to - from) / length).clamp(0.0, 1.0)
        };
        windows.iter().map(part).sum()
    };
    // The round of the oldest one began before anything that was looked at.
    let rounds: Vec<(&Found, f64)> = blocks
        .iter()
        .zip(blocks.iter().skip(1))
        .map(|(block, before)| (*block, between(before.at, block.at)))
        .take(BLOCKS)
        .collect();
    let mean = |most: usize| {
        let last = rounds.iter().take(most);
        let (work, cost) = last.fold((0.0, 0.0), |(work, cost), (block, done)| {
            (work + done, cost + block.difficulty)
        });
        (cost > 0.0).then(|| work / cost)
    };
    let since = blocks.first().map(|block| block.at);
    let work = between(since.unwrap_or(0.0), now);
    let difficulty = difficulty.filter(|difficulty| *difficulty > 0.0);
    let block_effort = |(block, work): &(&Found, f64)| BlockEffort {
        hash: block.hash.clone(),
        height: block.height,
        effort: (block.difficulty > 0.0).then(|| work / block.difficulty),
    };
    SoloEfforts {
        round: Round {
            since: since.map(|at| rfc3339(at as i64)),
            work_hashes: work,
            effort: difficulty.map(|cost| work / cost),
        },
        mean_10: mean(10),
        mean_100: mean(100),
        blocks: rounds.iter().map(block_effort).collect(),
    }
}

/// The found blocks by pool, newest first.
async fn blocks(
    service: &QueryService,
    pool: Option<&str>,
) -> Result<BTreeMap<String, Vec<Found>>, QueryError> {
    let sql = format!(
        "SELECT pool, hash, height, CAST(found_at AS BIGINT) AS found_us, \
         CAST(network_difficulty AS DOUBLE) AS difficulty, solo FROM ({}) WHERE taken = 1 ORDER BY \
         cursor DESC LIMIT {MAX_BLOCKS}",
        taken_sql()
    );
    let mut pools: BTreeMap<String, Vec<Found>> = BTreeMap::new();
    for row in rows(service, sql, json!([pool, Value::Null])).await? {
        let text = |name: &str| row.get(name).and_then(Value::as_str).unwrap_or_default();
        let found = Found {
            hash: text("hash").to_owned(),
            height: row.get("height").and_then(Value::as_i64).unwrap_or(0),
            at: number(Some(&row), "found_us") / 1e6,
            difficulty: number(Some(&row), "difficulty"),
            solo: row.get("solo") == Some(&Value::Bool(true)),
        };
        let blocks = pools.entry(text("pool").to_owned()).or_default();
        let alike = blocks
            .iter()
            .filter(|block: &&Found| block.solo == found.solo);
        if alike.count() <= BLOCKS {
            blocks.push(found);
        }
    }
    Ok(pools)
}

async fn windows(
    service: &QueryService,
    pool: Option<&str>,
    tier: &str,
    from: f64,
) -> Result<BTreeMap<String, Vec<Window>>, QueryError> {
    let sql = format!(
        "SELECT pool, CAST(window_start AS BIGINT) AS start_us, CAST(accepted_difficulty AS \
         DOUBLE) AS work, CAST(solo_difficulty AS DOUBLE) AS solo_work FROM \
         pool_hashrate_{tier} WHERE window_start >= $1 AND ($2 IS NULL OR \
         pool = $2)"
    );
    let mut pools: BTreeMap<String, Vec<Window>> = BTreeMap::new();
    for row in rows(service, sql, json!([rfc3339(from as i64), pool])).await? {
        let name = row.get("pool").and_then(Value::as_str).unwrap_or_default();
        pools.entry(name.to_owned()).or_default().push(Window {
            start: number(Some(&row), "start_us") / 1e6,
            work: number(Some(&row), "work"),
            solo_work: number(Some(&row), "solo_work"),
        });
    }
    Ok(pools)
}

/// The network's difficulty as the newest shares of each pool have it.
async fn difficulties(service: &QueryService) -> Result<BTreeMap<String, f64>, QueryError> {
    let sql = format!(
        "SELECT pool, CAST(last_value(network_difficulty ORDER BY seq) AS DOUBLE) AS difficulty \
         FROM {} GROUP BY pool",
        crate::pool_queries::recent()
    );
    let found = rows(service, sql, Value::Null).await?;
    let pair = |row: &Row| {
        let name = row.get("pool")?.as_str()?.to_owned();
        Some((name, row.get("difficulty")?.as_f64()?))
    };
    Ok(found.iter().filter_map(pair).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(height: i64, at: f64) -> Found {
        Found {
            hash: height.to_string(),
            height,
            at,
            difficulty: 100.0,
            solo: false,
        }
    }

    fn window(start: f64) -> Window {
        Window {
            start,
            work: 50.0,
            solo_work: 0.0,
        }
    }

    #[test]
    fn work_goes_to_the_round_that_it_was_done_in_by_time() {
        let windows = [0.0, 10.0, 20.0, 30.0].map(window);
        // Newest first; the oldest one's round began before what is known.
        let blocks = [found(3, 25.0), found(2, 20.0), found(1, 5.0)];
        let answer = json!(efforts(&blocks, &windows, false, (10.0, 40.0), Some(150.0)));
        assert_eq!(answer["blocks"][0]["effort"], json!(0.25));
        assert_eq!(answer["blocks"][1]["effort"], json!(0.75));
        assert_eq!(answer["blocks"].as_array().map(Vec::len), Some(2));
        assert_eq!(answer["mean_10"], json!(0.5));
        assert_eq!(answer["round"]["effort"], json!(0.5));
        assert_eq!(answer["round"]["since"], json!("1970-01-01T00:00:25Z"));
    }

    #[test]
    fn what_is_mined_solo_is_in_no_round_of_the_pools_and_has_its_own() {
        let mut windows = [0.0, 10.0, 20.0, 30.0].map(window);
        windows[1].solo_work = 40.0;
        let mut blocks = [
            found(4, 25.0),
            found(3, 20.0),
            found(2, 10.0),
            found(1, 0.0),
        ];
        blocks[1].solo = true;
        blocks[3].solo = true;
        let of = |solo| json!(efforts(&blocks, &windows, solo, (10.0, 40.0), Some(100.0)));
        let (pool, solo) = (of(false), of(true));
        // From 10 to 25 s: ten of the window with solo work, half of the next.
        assert_eq!(
            pool["blocks"],
            json!([{"hash": "4", "height": 4, "effort": 0.35}])
        );
        assert_eq!(pool["round"]["work_hashes"], json!(75.0));
        assert_eq!(
            solo["blocks"],
            json!([{"hash": "3", "height": 3, "effort": 0.4}])
        );
        assert_eq!(solo["round"]["work_hashes"], json!(0.0));
    }

    #[test]
    fn a_window_that_is_not_over_holds_work_of_the_time_that_has_passed() {
        let windows = [window(30.0)];
        let times = (10.0, 35.0);
        let answer = json!(efforts(
            &[found(1, 32.5)],
            &windows,
            false,
            times,
            Some(50.0)
        ));
        assert_eq!(answer["round"]["effort"], json!(0.5));
    }

    #[test]
    fn a_pool_without_blocks_has_a_round_and_no_mean() {
        let windows = [window(0.0)];
        let answer = json!(efforts(&[], &windows, false, (10.0, 40.0), Some(100.0)));
        assert_eq!(answer["round"]["effort"], json!(0.5));
        assert_eq!(answer["round"]["since"], Value::Null);
        assert_eq!(
            (&answer["mean_10"], &answer["blocks"]),
            (&Value::Null, &json!([]))
        );
        let unknown = json!(efforts(&[], &windows, false, (10.0, 40.0), None));
        assert_eq!(unknown["round"]["effort"], Value::Null);
    }
}
