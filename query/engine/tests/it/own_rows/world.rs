//! Tables of three miners, of which one is asked about. Whatever is another's bears a mark.

use std::sync::Arc;

use headframe_query_engine::Source;
use headframe_schemas::rollup::hashrate::HashrateRollup;
use headframe_schemas::{Stream, stream};
use serde_json::{Value, json};

use crate::rollups;
use crate::scripted::{DAY, Scripted, bad_row, raw_batch, raw_row, split};

/// The miner that asks.
pub const OWN: &str = "4Ann";
/// What stands in rows of others and of nobody, and must never be seen.
pub const FOREIGN: &[&str] = &["Bob", "Zoe", "77177", "203.0.113", "SECRET", "site-x"];

const MINERS: [&str; 3] = [OWN, "4Bob", "4Zoe"];
const ROUNDS: i64 = 12;

/// The tables with the rows of these miners, and of nobody where all are wanted.
pub async fn sources(wanted: impl Fn(&str) -> bool) -> Vec<Arc<dyn Source>> {
    sources_with_leak(wanted, None).await
}

/// The same, where every row of one stream passes for the asking miner's, as it would if the filter
/// on that stream were gone.
pub async fn sources_with_leak(
    wanted: impl Fn(&str) -> bool,
    leak: Option<&str>,
) -> Vec<Arc<dyn Source>> {
    let mut sources: Vec<Arc<dyn Source>> = Vec::new();
    let is_whole = MINERS.iter().all(|miner| wanted(miner));
    for stream in stream::ALL {
        let mut rows = Vec::new();
        let mut seq = 0;
        for round in 0..ROUNDS {
            for miner in MINERS {
                seq += 1;
                let mut own = row(*stream, miner, round).filter(|_| wanted(miner));
                if let (Some(own), Some(rows)) = (&mut own, stream.miner_rows())
                    && leak == Some(stream.name())
                {
                    own[rows.column] = json!(OWN);
                }
                let time = DAY + seq * 1_000_000;
                rows.extend(own.map(|own| raw_row(seq, round, time, own)));
            }
            if is_whole {
                seq += 1;
                rows.extend(row_of_nobody(*stream, round).map(|own| raw_row(seq, 0, DAY, own)));
                rows.push(bad_row(seq, 1, DAY, "SECRET"));
            }
        }
        let last = ROUNDS * 4;
        let batch = raw_batch(*stream, &rows);
        let source: Arc<dyn Source> = match stream.name() {
            "shares" => rollups::source(&HashrateRollup, &batch, &[10, 21], 30, last).await,
            _ => Scripted::new(*stream, split(&batch, last / 2, last)),
        };
        sources.push(source);
    }
    sources
}

/// A number of a miner: small for the one that asks, marked for others.
fn number(miner: &str, round: i64) -> i64 {
    match miner == OWN {
        true => 10 + round % 5,
        false => 7_717_700 + round,
    }
}

/// A text of a miner. Those of the one that asks are numbers, so that they can be cast.
fn text(miner: &str, round: i64) -> String {
    match miner == OWN {
        true => (round % 3 + 1).to_string(),
        false => format!("{}-{}", &miner[1..], round % 3),
    }
}

fn row(stream: &dyn Stream, miner: &str, round: i64) -> Option<Value> {
    let (number, text) = (number(miner, round), text(miner, round));
    let time = DAY + round * 20_000_000;
    let mut row = match stream.name() {
        "shares" => json!({"miner": miner, "worker": text, "difficulty": number, "height": number,
            "outcome": if round % 4 == 0 { "stale" } else { "accepted" },
            "network_difficulty": number}),
        "blocks" => json!({"hash": text, "height": number, "miner": miner, "worker": text,
            "status": "found", "reward_atomic": number, "network_difficulty": number}),
        "windows" => json!({"block_hash": text, "height": number, "position": round,
            "miner": miner, "weight": number, "shares": number, "amount_atomic": number}),
        "payouts" => json!({"block_hash": text, "height": number, "account": miner,
            "step": if round % 2 == 0 { "credited" } else { "matured" },
            "amount_atomic": number, "cause_seq": 77_177, "cause_row": round}),
        "payments" => json!({"payment": text, "account": miner, "address": miner,
            "step": if round % 2 == 0 { "reserved" } else { "confirmed" },
            "amount_atomic": number, "sent_atomic": number - 1, "network_fee_atomic": 1}),
        "instructions" => json!({"kind": "adjust", "account": miner, "amount_atomic": number,
            "reason": text, "actor": "operator"}),
        "hashrate" => json!({"miner": miner, "worker": text, "hashrate_hs": number,
            "source": "miner"}),
        "sessions" => json!({"event": "login", "session": text, "miner": miner, "worker": text,
            "ip": "203.0.113.9", "difficulty": number, "refusals_left_out": 77_177}),
        "bans" => json!({"action": "ban", "kind": "session", "ip": "203.0.113.9", "miner": miner,
            "worker": text, "reason": text, "score": number, "source": "manual", "times": 1}),
        _ => return None,
    };
    let fields = row.as_object_mut()?;
    fields.insert("event_time".to_owned(), json!(time));
    fields.insert("pool".to_owned(), json!("p1"));
    Some(row)
}

/// Rows that are no miner's.
fn row_of_nobody(stream: &dyn Stream, round: i64) -> Option<Value> {
    let time = DAY + round * 20_000_000;
    Some(match stream.name() {
        "payouts" => json!({"event_time": time, "pool": "p1", "block_hash": "SECRET",
            "height": 77_177, "step": "frozen", "cause_seq": 77_177, "cause_row": 0,
            "total_weight": 77_177, "shares": 77_177, "miners": 77_177}),
        "instructions" => json!({"event_time": time, "pool": "p1", "kind": "hold",
            "reason": "SECRET", "actor": "operator"}),
        "bans" => json!({"event_time": time, "pool": "p1", "action": "ban", "kind": "address",
            "ip": "203.0.113.9", "reason": "SECRET", "score": 0, "source": "manual", "times": 1}),
        "sessions" => json!({"event_time": time, "pool": "p1", "event": "refused",
            "session": "SECRET", "miner": "", "worker": "SECRET", "ip": "203.0.113.9",
            "difficulty": 0}),
        "access" => json!({"event_time": time, "wire": "http", "action": "login",
            "outcome": "ok", "actor": "SECRET", "peer": "203.0.113.9"}),
        "energy" | "sensors" => json!({"event_time": time, "site": "site-x"}),
        _ => return None,
    })
}
