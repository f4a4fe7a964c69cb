//! A new version of the program adds up windows in another way: its rollup is filled from the raw
//! table, the old one stays as it was.

use headframe_schemas::column::Column;
use headframe_schemas::rollup::{Measure, Rollup, View, hashrate::HashrateRollup};
use headframe_schemas::stream::shares::Shares;
use headframe_schemas::{Stream, Table};

use crate::faulty_store::publish;
use crate::fixture::Fixture;

/// The rollup of hashrates in its next version, in which an accepted share counts a hundredfold.
struct Next;

impl Rollup for Next {
    fn family(&self) -> &'static str {
        HashrateRollup.family()
    }
    fn doc(&self) -> &'static str {
        HashrateRollup.doc()
    }
    fn stream(&self) -> &'static dyn Stream {
        HashrateRollup.stream()
    }
    fn keys(&self) -> &'static [Column] {
        HashrateRollup.keys()
    }
    fn measures(&self) -> &'static [Measure] {
        HashrateRollup.measures()
    }
    fn finest_sql(&self) -> String {
        let sql = HashrateRollup.finest_sql();
        let next = sql.replace(
            "THEN 1 ELSE 0 END) AS accepted_shares",
            "THEN 100 ELSE 0 END) AS accepted_shares",
        );
        assert_ne!(sql, next);
        next
    }
    fn views(&self) -> Vec<View> {
        HashrateRollup.views()
    }
    fn version(&self) -> u32 {
        2
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_version_of_a_rollup_is_filled_from_the_raw_table() {
    const SHARES: &str = "SELECT sum(accepted_shares) AS n FROM t WHERE tier = '1d'";
    let fixture = Fixture::new(&Shares).await;
    let running = fixture.run(&Shares).await;
    let seq = publish(&fixture, 0..20).await;
    fixture.until_complete(&Shares, seq).await;
    running.stop().await;
    let upgraded = fixture.run_rollup(&Next).await;
    fixture.until_through(Table::rollup(&Next), seq).await;
    upgraded.stop().await;
    let (old, new) = (Table::rollup(&HashrateRollup), Table::rollup(&Next));
    assert_eq!(
        (old.name.as_str(), new.name.as_str()),
        ("hashrate_rollups", "hashrate_rollups_v2")
    );
    assert!(
        fixture.ask(old, SHARES).await.contains("| 16 "),
        "partial rows of two meanings are never added up"
    );
    assert!(
        fixture.ask(new, SHARES).await.contains("| 1600 "),
        "from the first row on"
    );
    fixture.end().await;
}
