//! Partial rows of pieces add up to those of the whole, however rows are cut, late, early, out of
//! order or wrong.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::util::pretty::pretty_format_batches;
use datafusion::datasource::MemTable;
use datafusion::prelude::SessionContext;
use headframe_ingest::{Decoder, DecoderState, Message};
use headframe_pipelines::partials;
use headframe_schemas::{Rollup, Table, rollup};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::cases::cases;

/// 2026-03-01 11:00 UTC, and what rows are scattered around it: within windows, across them, a day
/// late, in the year 2038.
const START_US: i64 = 1_772_362_800_000_000;

fn time() -> impl Strategy<Value = i64> {
    prop_oneof![
        6 => (0..90_000_000_i64).prop_map(|us| START_US + us),
        3 => (0..10_800_000_000_i64).prop_map(|us| START_US + us),
        1 => (0..86_400_000_000_i64).prop_map(|us| START_US - us),
        1 => Just(2_147_483_648_000_000),
    ]
}

const OUTCOMES: [&str; 3] = ["accepted", "stale", "invalid"];

/// One row of every stream out of the same dice.
fn row(stream: &str, (time, who, value, kind): (i64, u8, i64, u8)) -> Value {
    match stream {
        "shares" => {
            json!({"event_time": time, "pool": "main", "miner": format!("m{}", who % 2),
                "worker": format!("w{who}"), "outcome": OUTCOMES[kind as usize % 3],
                "difficulty": value, "network_difficulty": 600, "height": 1})
        }
        "energy" => {
            json!({"event_time": time, "site": "north", "meter": format!("meter-{}", who % 2),
                "power_w": value as f64 / 7.0,
                "energy_total_wh": (kind > 0).then_some(value * 9)})
        }
        _ => {
            json!({"event_time": time, "site": "north", "sensor": format!("s{}", who % 2),
                "quantity": "temperature_c", "value": value as f64 / 3.0 - 20.0})
        }
    }
}

/// The rows as the raw table has them, some rejected, a message each.
fn raw(stream: &'static dyn headframe_schemas::Stream, dice: &[(i64, u8, i64, u8)]) -> RecordBatch {
    let message = |(index, dice): (usize, &(i64, u8, i64, u8))| {
        let body = if dice.3 == 9 {
            "not a row".to_owned()
        } else {
            row(stream.name(), *dice).to_string()
        };
        Message {
            seq: index as u64 + 1,
            time_ns: (START_US + index as i64 * 1_000_000) * 1_000,
            payload: body.into(),
            ..Message::default()
        }
    };
    let messages: Vec<Message> = dice.iter().enumerate().map(message).collect();
    Decoder::new(stream, 0, DecoderState::default())
        .decode(&messages)
        .batch
}

async fn partials_of(
    rollup: &dyn Rollup,
    rows: RecordBatch,
    before: RecordBatch,
) -> Vec<RecordBatch> {
    let table = |batch: RecordBatch| {
        Arc::new(MemTable::try_new(batch.schema(), vec![vec![batch]]).unwrap())
    };
    partials::compute(&SessionContext::new(), rollup, table(rows), table(before))
        .await
        .unwrap()
}

/// One line a window and key, whatever partial rows they came from; windows that came to nothing
/// are left out, as the views do.
async fn folded(rollup: &dyn Rollup, parts: Vec<RecordBatch>) -> Vec<String> {
    let session = SessionContext::new();
    let schema = Table::rollup(rollup).schema();
    let mut lines = Vec::new();
    for tier in rollup::TIERS {
        let session = SessionContext::new_with_state(session.state());
        let all = MemTable::try_new(schema.clone(), vec![parts.clone()]).unwrap();
        session.register_table("all_parts", Arc::new(all)).unwrap();
        let parts = session
            .sql(&format!(
                "SELECT * FROM all_parts WHERE tier = '{}'",
                tier.name
            ))
            .await
            .unwrap();
        session
            .register_table("partials", parts.into_view())
            .unwrap();
        let nothing = match rollup.family() {
            "energy" => {
                " WHERE samples > 0 OR repeated_samples > 0 OR energy_uwh <> 0 OR covered_us <> 0"
            }
            _ => "",
        };
        let sql = format!(
            "SELECT '{}' AS tier, * FROM ({}){nothing}",
            tier.name,
            rollup.fold_sql()
        );
        let answer = session.sql(&sql).await.unwrap().collect().await.unwrap();
        let text = pretty_format_batches(&answer).unwrap().to_string();
        // Widths follow the widest value, so blanks are not compared.
        lines.extend(
            text.lines()
                .filter(|line| line.contains(tier.name))
                .map(|line| line.split_whitespace().collect::<String>()),
        );
        session.deregister_table("partials").unwrap();
        session.deregister_table("all_parts").unwrap();
    }
    lines.sort_unstable();
    lines
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(2)))]
    #[test]
    fn pieces_add_up_to_the_whole(
        dice in prop::collection::vec((time(), 0..4_u8, 0..2_000_i64, 0..10_u8), 1..40),
        cuts in prop::collection::vec(0.0..1.0_f64, 0..3),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            for rollup in rollup::ALL {
                let whole = raw(rollup.stream(), &dice);
                let empty = whole.slice(0, 0);
                let expected = partials_of(*rollup, whole.clone(), empty).await;
                let expected = folded(*rollup, expected).await;
                let rows = whole.num_rows();
                let end = |cut: &f64| (cut * rows as f64) as usize;
                let mut ends: Vec<usize> = cuts.iter().map(end).collect();
                ends.push(rows);
                ends.sort_unstable();
                let (mut from, mut parts) = (0, Vec::new());
                for end in ends {
                    let (piece, before) = (whole.slice(from, end - from), whole.slice(0, from));
                    parts.extend(partials_of(*rollup, piece, before).await);
                    from = end;
                }
                assert_eq!(folded(*rollup, parts).await, expected, "{}", rollup.family());
            }
        });
    }
}
