//! What the pipelines do when the store has no space, takes its time, or lies about what it did.

use headframe_schemas::Table;
use headframe_schemas::stream::shares::{Share, Shares};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::failing_store::Fault;
use crate::fixture::{Fixture, until};

const EACH_ONCE: &str = "SELECT count(*) AS n, count(DISTINCT height) AS d, max(height) + 1 AS m \
    FROM t WHERE reject_reason IS NULL";

fn share(height: i64) -> Share {
    Share {
        event_time: 1_772_362_800_000_000 + height * 1_000_000,
        pool: "main".to_owned(),
        miner: "miner".to_owned(),
        worker: format!("worker-{}", height % 3),
        outcome: if height % 5 == 0 { "stale" } else { "accepted" }.to_owned(),
        difficulty: 1 + height % 7,
        network_difficulty: 600,
        height,
        block_hash: None,
        solo: None,
    }
}

/// Publishes shares one by one, a message each; the last sequence.
pub async fn publish(fixture: &Fixture, heights: std::ops::Range<i64>) -> u64 {
    let mut seq = 0;
    for height in heights {
        seq = fixture.publisher.record(&share(height)).await.unwrap().seq;
    }
    seq
}

async fn assert_each_once(fixture: &Fixture, rows: i64) {
    let found = fixture.ask(Table::raw(&Shares), EACH_ONCE).await;
    assert!(
        found.contains(&format!("| {rows} | {rows} | {rows} |")),
        "{rows} rows, each once, but\n{found}"
    );
}

/// Every tier of the rollup says what the raw rows say.
async fn assert_rollups_equal(fixture: &Fixture) {
    let raw = "SELECT count(*) FILTER (WHERE outcome = 'accepted') AS shares, \
               CAST(sum(difficulty) FILTER (WHERE outcome = 'accepted') AS BIGINT) AS work FROM t";
    let raw = fixture.ask(Table::raw(&Shares), raw).await;
    let rollup = headframe_schemas::rollup::for_stream("shares")
        .next()
        .unwrap();
    for tier in ["10s", "1m", "1h", "1d"] {
        let sums = format!(
            "SELECT sum(accepted_shares) AS shares, CAST(sum(accepted_difficulty) AS BIGINT) AS \
            work FROM t WHERE tier = '{tier}'"
        );
        assert_eq!(
            fixture.ask(Table::rollup(rollup), &sums).await,
            raw,
            "{tier}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_holds_the_batch_and_loses_nothing() {
    let fixture = Fixture::new(&Shares).await;
    let running = fixture.run(&Shares).await;
    let seq = publish(&fixture, 0..20).await;
    fixture.until_complete(&Shares, seq).await;
    fixture.store.always("", Fault::Full);
    let last = publish(&fixture, 20..60).await;
    until("the store was asked again and again", async || {
        fixture.store.failed() >= 3
    })
    .await;
    until("every row is visible to live queries", async || {
        running.handle.tail.view().through == last as i64
    })
    .await;
    assert_eq!(
        fixture.offsets(&Shares).await[0],
        Some(seq as i64),
        "nothing was committed"
    );
    assert_each_once(&fixture, 20).await;
    fixture.store.heal();
    fixture.until_complete(&Shares, last).await;
    running.stop().await;
    assert_each_once(&fixture, 60).await;
    assert_rollups_equal(&fixture).await;
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_put_that_lands_after_a_takeover_counts_for_nothing() {
    let fixture = Fixture::new(&Shares).await;
    let mut slow = fixture.run(&Shares).await;
    let seq = publish(&fixture, 0..10).await;
    fixture.until_complete(&Shares, seq).await;
    fixture.store.always("", Fault::Wait);
    let before = fixture.store.failed();
    let last = publish(&fixture, 10..30).await;
    until("a put hangs", async || fixture.store.failed() > before).await;
    until("rows are visible meanwhile", async || {
        slow.handle.tail.view().through == last as i64
    })
    .await;
    // The next process begins while the first one's put hangs; then all puts go on at once.
    let next = fixture.run(&Shares).await;
    fixture.store.heal();
    let more = publish(&fixture, 30..40).await;
    fixture.until_complete(&Shares, more).await;
    let fault = slow.fault().await.to_string();
    assert!(
        fault.contains("fence"),
        "the first process must stop: {fault}"
    );
    next.stop().await;
    assert_each_once(&fixture, 40).await;
    assert_rollups_equal(&fixture).await;
    slow.kill().await;
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failed_puts_and_killed_processes_change_nothing() {
    let fixture = Fixture::new(&Shares).await;
    let mut random = StdRng::seed_from_u64(5);
    let mut rows = 0;
    for round in 0..6 {
        if round % 2 == 0 {
            fixture.store.always("", Fault::Sometimes);
        } else {
            fixture.store.heal();
        }
        let running = fixture.run(&Shares).await;
        let count = random.random_range(1..40);
        let last = publish(&fixture, rows..rows + count).await;
        rows += count;
        if random.random_range(0..2) == 0 {
            fixture.until_complete(&Shares, last).await;
        } else {
            let handle = running.handle.clone();
            until("rows are read", async || {
                handle.tail.view().through == last as i64
            })
            .await;
        }
        running.kill().await;
    }
    fixture.store.heal();
    assert!(fixture.store.failed() > 0, "the store was never unreliable");
    let running = fixture.run(&Shares).await;
    let last = publish(&fixture, rows..rows + 1).await;
    fixture.until_complete(&Shares, last).await;
    running.stop().await;
    assert_each_once(&fixture, rows + 1).await;
    assert_rollups_equal(&fixture).await;
    fixture.end().await;
}
