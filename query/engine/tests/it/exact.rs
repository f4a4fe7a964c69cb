//! Each row is in the answer exactly once, wherever the border between storage and memory lies.

use std::sync::Arc;

use headframe_query_engine::rows_in_memory::RowsInMemory;
use headframe_query_engine::union::newer_than;
use headframe_query_engine::{Source, Tail};
use headframe_query_front::At;
use headframe_schemas::stream::shares::Shares;
use proptest::prelude::*;
use serde_json::json;

use crate::cases::cases;
use crate::scripted::{
    DAY, Script, Scripted, Version, bad_row, older_than, raw_batch, raw_row, share, split,
    ten_shares, whole,
};
use crate::server::{batches, config, router, rows, service, small};

#[tokio::test]
async fn filters_and_projections_see_both_sides() {
    let router = small().await;
    let found = rows(
        &router,
        "SELECT seq, worker FROM shares WHERE difficulty BETWEEN 5000 AND 8000 ORDER BY seq",
    )
    .await;
    assert_eq!(
        found,
        vec![
            json!({"seq": 5, "worker": "b"}),
            json!({"seq": 6, "worker": "a"}),
            json!({"seq": 7, "worker": "b"}),
            json!({"seq": 8, "worker": "a"}),
        ]
    );
    let found = rows(&router, "SELECT count(*) AS n FROM shares").await;
    assert_eq!(found, vec![json!({"n": 10})]);
    let found = rows(
        &router,
        "SELECT worker, sum(difficulty) AS d FROM headframe.public.shares GROUP BY 1 ORDER BY 1",
    )
    .await;
    assert_eq!(
        found,
        vec![
            json!({"worker": "a", "d": 30_000}),
            json!({"worker": "b", "d": 25_000})
        ]
    );
    let found = rows(
        &router,
        "SELECT x.seq FROM shares x JOIN shares y ON x.seq = y.seq + 9",
    )
    .await;
    assert_eq!(found, vec![json!({"seq": 10})]);
}

#[tokio::test]
async fn refused_rows_are_dead_letters_and_nowhere_else() {
    let rows_ = [
        raw_row(1, 0, DAY, share(DAY, "a", "accepted", 5)),
        bad_row(1, 1, DAY, "column pool is missing"),
        bad_row(2, 0, DAY + 1, "not a JSON object"),
        raw_row(3, 0, DAY + 2, share(DAY, "a", "accepted", 5)),
    ];
    let batch = raw_batch(&Shares, &rows_);
    for stored in 0..=3 {
        let router = router(
            config(),
            vec![Scripted::new(&Shares, split(&batch, stored, 3))],
        )
        .await;
        assert_eq!(
            rows(&router, "SELECT seq FROM shares ORDER BY seq").await,
            vec![json!({"seq": 1}), json!({"seq": 3})]
        );
        let letters = rows(
            &router,
            "SELECT stream, seq, row, reason, payload FROM dead_letters ORDER BY seq, row",
        )
        .await;
        let letter = |seq: i64, row: i64, reason: &str| {
            let payload = format!("{reason}\u{fffd}");
            json!({"stream": "shares", "seq": seq, "row": row, "reason": reason,
                "payload": payload})
        };
        assert_eq!(
            letters,
            vec![
                letter(1, 1, "column pool is missing"),
                letter(2, 0, "not a JSON object")
            ],
            "stored {stored}"
        );
    }
}

#[tokio::test]
async fn only_tables_that_are_named_are_opened() {
    let energy = Scripted::new(
        &headframe_schemas::stream::energy::Energies,
        Script {
            last_seq: Ok(0),
            ..split(&ten_shares(), 0, 0)
        },
    );
    let shares = Scripted::new(&Shares, split(&ten_shares(), 6, 10));
    let sources: Vec<std::sync::Arc<dyn Source>> = vec![energy.clone(), shares.clone()];
    let router = router(config(), sources).await;
    rows(&router, "SELECT * FROM shares").await;
    rows(&router, "WITH energy AS (SELECT 1) SELECT * FROM energy").await;
    assert_eq!(shares.opened.load(std::sync::atomic::Ordering::Relaxed), 1);
    assert_eq!(energy.opened.load(std::sync::atomic::Ordering::Relaxed), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(8)))]
    /// Rows of one message share a sequence; the tail may begin before the border, as it does while
    /// a commit is being noticed.
    #[test]
    fn any_split_gives_the_same_answer(
        sizes in prop::collection::vec(1usize..4, 1..30),
        border in 0usize..31,
        overlap in 0i64..10,
        cut in 0usize..31,
    ) {
        let mut all = Vec::new();
        for (message, size) in sizes.iter().enumerate() {
            for row in 0..*size {
                let seq = message as i64 + 1;
                let time = DAY + seq;
                let share = share(time, "w", "accepted", seq * 10 + row as i64);
                all.push(raw_row(seq, row as i64, time, share));
            }
        }
        let last = sizes.len() as i64;
        let stored = (border as i64).min(last);
        let batch = raw_batch(&Shares, &all);
        let after = (stored - overlap).max(0);
        // The tail comes in two batches, cut anywhere.
        let cut = cut.min(batch.num_rows());
        let pieces = [batch.slice(0, cut), batch.slice(cut, batch.num_rows() - cut)];
        let script = Script {
            raw: vec![Version {
                offset: (stored > 0).then_some(stored),
                committed_us: DAY,
                newest_us: Some(DAY),
                batches: older_than(std::slice::from_ref(&batch), stored),
            }],
            rollup: vec![],
            tails: vec![Tail {
                rows: Arc::new(RowsInMemory::new(newer_than(&pieces, after).unwrap())),
                after,
                through: last,
                truncated: false,
                generation: 1,
            }],
            last_seq: Ok(last),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let seen = runtime.block_on(async {
            let engine = service(&config(), vec![Scripted::new(&Shares, script)]);
            let sql = "SELECT seq, row, difficulty FROM shares ORDER BY seq, row";
            let got = batches(&engine, sql, At::Latest).await;
            arrow::util::pretty::pretty_format_batches(&[whole(&got)]).unwrap().to_string()
        });
        let columns = ["seq", "row", "difficulty"];
        let columns = columns.map(|name| batch.schema().index_of(name).unwrap());
        let expected = batch.project(&columns).unwrap();
        let expected = arrow::util::pretty::pretty_format_batches(&[expected]).unwrap();
        prop_assert_eq!(seen, expected.to_string());
    }
}
