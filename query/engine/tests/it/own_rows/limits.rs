//! Limits that a miner's statement meets are about its own rows: neither its error nor what it is
//! answered tells that there are others.

use std::sync::Arc;

use headframe_query_engine::Source;
use headframe_query_front::access::Principal;
use headframe_query_front::{ErrorCode, QueryConfig};
use headframe_schemas::stream::shares::Shares;

use super::statements::Dice;
use super::world::OWN;
use super::{ask, miner};
use crate::scripted::{DAY, Scripted, raw_batch, raw_row, share, split};
use crate::server::{config, service};

/// What a statement may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// More rows are an error.
    pub rows: Option<usize>,
    /// Whether its time is over before it begins.
    pub is_late: bool,
}

impl Limits {
    /// Most statements have none.
    pub fn any(dice: &mut Dice) -> Self {
        let rows = dice.roll(12);
        Self {
            rows: (dice.roll(5) == 0).then_some(rows),
            is_late: dice.roll(25) == 0,
        }
    }
}

/// Shares with workers' names of so many bytes: some of the miner that asks, and 400 of another one
/// between them.
fn shares(own_bytes: usize, other_bytes: usize) -> Arc<dyn Source> {
    let rows: Vec<_> = (1..=400)
        .flat_map(|seq| {
            let row = |number: i64, miner: &str, bytes: usize| {
                let name = format!("{seq}-{}", "x".repeat(bytes));
                let mut share = share(DAY + seq * 1_000_000, &name, "accepted", seq);
                share["miner"] = miner.into();
                raw_row(seq, number, DAY, share)
            };
            let own = (seq % 20 == 0).then(|| row(1, OWN, own_bytes));
            [Some(row(0, "4Bob", other_bytes)), own]
        })
        .flatten()
        .collect();
    Scripted::new(&Shares, split(&raw_batch(&Shares, &rows), 200, 400))
}

const STATEMENTS: &[&str] = &[
    "SELECT * FROM shares ORDER BY worker DESC",
    "SELECT worker, count(*) AS n FROM shares GROUP BY worker",
    "SELECT count(*) AS n FROM shares a JOIN shares b ON a.worker = b.worker",
    "SELECT worker, row_number() OVER (ORDER BY worker) AS n FROM shares",
    "SELECT array_agg(worker) AS workers FROM shares",
    "SELECT count(DISTINCT worker) AS n FROM shares",
];

#[tokio::test]
async fn the_memory_of_a_statement_is_that_of_the_miners_own_rows() {
    let small = QueryConfig {
        query_memory_mib: 14,
        ..config()
    };
    let others_are_large = service(&small, vec![shares(10, 60_000)]);
    let own_are_large = service(&small, vec![shares(1_000_000, 10)]);
    let mut refused = 0;
    for sql in STATEMENTS {
        for by_postgres in [false, true] {
            let found = ask(&others_are_large, &miner(), sql, by_postgres).await;
            assert!(found.is_ok(), "{sql}: {found:?}");
            // The same rows are too much for whoever reads all of them.
            let all = ask(&others_are_large, &Principal::operator(), sql, by_postgres).await;
            let codes = all.err().map(|error| error.code);
            refused += usize::from(codes == Some(ErrorCode::MemoryLimit));
            let own = ask(&own_are_large, &miner(), sql, by_postgres).await;
            let Err(error) = own else { continue };
            assert_eq!(error.code, ErrorCode::MemoryLimit, "{sql}");
            assert!(!error.message.contains("Bob"), "{error:?}");
        }
    }
    assert!(refused >= STATEMENTS.len(), "{refused}");
}
