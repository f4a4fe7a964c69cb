//! Which share a window ends with: the one that made the block, however often it is sent, or the
//! last one before the block.

use headframe_pipelines::payout::lifecycle::{RowPosition, window_of};
use headframe_pipelines::payout::window_scan::{PATIENCE_US, WindowEnd, WindowScanner};
use headframe_pipelines::payout::{self, ShareSet};
use headframe_schemas::stream::shares::Share;

use super::{Pool, START_US};
use crate::payouts::{hash, share};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_winning_share_that_never_came_is_given_up_after_ten_minutes_and_not_before() {
    let mut pool = Pool::new().await;
    let at = |minutes: i64| START_US + minutes * 60_000_000;
    // The newest before the candidate is no share that the pool's scheme is for.
    let solo = Share {
        solo: Some(true),
        ..share(2, "c", 5, 10, None)
    };
    let pooled = [share(0, "a", 5, 10, None), share(1, "b", 5, 10, None)];
    let first = pooled.into_iter().chain([solo]).collect();
    pool.commit(&[(at(0), first)]).await;
    let of_other = Share {
        pool: "other".to_owned(),
        ..share(2, "c", 5, 10, None)
    };
    pool.commit(&[
        (at(3), vec![share(3, "a", 5, 10, None)]),
        (at(4), vec![of_other]),
    ])
    .await;
    let ask = async |pool: &Pool, name: &str| {
        let snapshot = pool.snapshot().await;
        WindowScanner::default()
            .find_end(&snapshot, &ShareSet::of_pool(name), &hash(1), at(2))
            .await
            .unwrap()
    };
    assert_eq!(ask(&pool, "main").await, WindowEnd::Unknown);
    pool.commit(&[(at(2) + PATIENCE_US, vec![share(4, "a", 5, 10, None)])])
        .await;
    assert_eq!(
        ask(&pool, "main").await,
        WindowEnd::Unknown,
        "ten minutes, not more"
    );
    pool.commit(&[(
        at(2) + PATIENCE_US + 1,
        vec![share(5, "a", 5, 10, Some(&hash(1)))],
    )])
    .await;
    assert_eq!(
        ask(&pool, "main").await,
        WindowEnd::LastBefore(RowPosition { seq: 1, row: 1 }),
        "one that comes too late does not count"
    );
    assert_eq!(ask(&pool, "nobody").await, WindowEnd::NoShares);
    // What was decided stays, whatever comes.
    pool.commit(&[(at(60), vec![share(6, "a", 5, 10, None)])])
        .await;
    assert_eq!(
        ask(&pool, "main").await,
        WindowEnd::LastBefore(RowPosition { seq: 1, row: 1 })
    );
    assert_eq!(
        ask(&pool, "other").await,
        WindowEnd::NoShares,
        "its only share is newer than the candidate"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_share_that_is_sent_again_moves_no_window() {
    let mut pool = Pool::new().await;
    let made = |n, miner| share(n, miner, 5, 10, Some(&hash(1)));
    // Neither a share that does not count nor one of another pool is the one that made the block.
    let stale = Share {
        outcome: "stale".to_owned(),
        ..made(0, "stale")
    };
    let foreign = Share {
        pool: "other".to_owned(),
        ..made(1, "foreign")
    };
    pool.commit(&[(START_US, vec![stale, foreign, share(2, "a", 5, 10, None)])])
        .await;
    pool.commit(&[(START_US, vec![share(3, "b", 5, 10, None), made(4, "c")])])
        .await;
    let first = RowPosition { seq: 2, row: 1 };
    let scanner = WindowScanner::default();
    let look = async |pool: &Pool| {
        let snapshot = pool.snapshot().await;
        assert_eq!(
            scanner
                .find_end(&snapshot, &ShareSet::of_pool("main"), &hash(1), START_US)
                .await
                .unwrap(),
            WindowEnd::WinningShare(first)
        );
        scanner
            .scan(
                &snapshot,
                &ShareSet::of_pool("main"),
                first,
                &payout::pplns::Pplns,
                window_of(1_200),
            )
            .await
            .unwrap()
    };
    let before = look(&pool).await;
    assert_eq!(
        (
            before.window.shares,
            before.window.weights.keys().collect::<Vec<_>>().len()
        ),
        (3, 3)
    );
    pool.commit(&[(
        START_US,
        vec![share(5, "d", 5, 10, None), made(6, "c"), made(7, "e")],
    )])
    .await;
    assert_eq!(look(&pool).await, before, "sent again in one more file");
    pool.tidy().await;
    assert_eq!(look(&pool).await, before, "in the same file");
    pool.commit(&[
        (START_US + PATIENCE_US, vec![made(8, "c")]),
        (START_US + 2 * PATIENCE_US, vec![made(9, "c")]),
    ])
    .await;
    assert_eq!(look(&pool).await, before, "and long after");
}
