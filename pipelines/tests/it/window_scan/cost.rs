//! What a scan reads, and what it does not read a second time.

use headframe_pipelines::payout::lifecycle::{RowPosition, window_of};
use headframe_pipelines::payout::window_scan::{WindowEnd, WindowScanner};
use headframe_pipelines::payout::{self, Scheme, ShareSet};
use headframe_schemas::stream::shares::Share;
use headframe_sinks::BATCH_ROWS;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{Pool, START_US};
use crate::payouts::{hash, share};

/// Row groups of many batches: where a window begins within one, and what is not read a second
/// time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_row_group_is_cut_where_the_window_begins_and_then_remembered() {
    let mut random = StdRng::seed_from_u64(34);
    let mut pool = Pool::new().await;
    for (part, count) in [(0, 4), (1, 14)] {
        let messages: Vec<_> = (0..count)
            .map(|_| {
                let row = |n| {
                    let outcome = if random.random_range(0..9) == 0 {
                        "stale"
                    } else {
                        "accepted"
                    }
                    .to_owned();
                    let miner = format!("m{}", random.random_range(0..500));
                    Share {
                        outcome,
                        ..share(
                            n,
                            &miner,
                            random.random_range(1..5_000),
                            90_000 + i128::from(part),
                            None,
                        )
                    }
                };
                (START_US, (0..5_000).map(row).collect())
            })
            .collect();
        pool.commit(&messages).await;
    }
    pool.commit(&[(START_US, vec![share(0, "winner", 5, 10, Some(&hash(1)))])])
        .await;
    let (place, _) = pool.rows.last().cloned().unwrap();
    let snapshot = pool.snapshot().await;
    let scanner = WindowScanner::default();
    for blocks in [1, 130, 1_500, 1_770, 9_999] {
        let wanted = window_of(blocks * 1_000);
        let found = scanner
            .scan(
                &snapshot,
                &ShareSet::of_pool("main"),
                place,
                &payout::pplns::Pplns,
                wanted,
            )
            .await
            .unwrap();
        let walked = pool.walked(
            &ShareSet::of_pool("main"),
            place,
            &payout::pplns::Pplns,
            wanted,
        );
        assert_eq!(found.window, walked, "{blocks} blocks");
        let older = pool
            .rows
            .iter()
            .rev()
            .filter(|(_, share)| share.outcome == "accepted");
        assert_eq!(
            found.edge,
            older.map(|(at, _)| *at).nth(walked.shares as usize - 1),
            "{blocks} blocks"
        );
        assert_eq!(
            WindowScanner::default()
                .scan(
                    &snapshot,
                    &ShareSet::of_pool("main"),
                    place,
                    &payout::pplns::Pplns,
                    wanted
                )
                .await
                .unwrap(),
            found
        );
    }
    // The long file may be gone: what was added up in whole is known, as long as the last search
    // wanted it.
    let all = scanner
        .scan(
            &snapshot,
            &ShareSet::of_pool("main"),
            place,
            &payout::prop::Prop,
            1,
        )
        .await
        .unwrap();
    for file in &snapshot.files[..] {
        if file.rows > 10 && file.seq_range().is_some_and(|range| range.1 > 4) {
            std::fs::remove_file(pool.folder.path().join("shares").join(&file.add.path)).unwrap();
        }
    }
    assert_eq!(
        scanner
            .scan(
                &snapshot,
                &ShareSet::of_pool("main"),
                place,
                &payout::prop::Prop,
                1
            )
            .await
            .unwrap(),
        all
    );
    assert!(
        WindowScanner::default()
            .scan(
                &snapshot,
                &ShareSet::of_pool("main"),
                place,
                &payout::prop::Prop,
                1
            )
            .await
            .is_err()
    );
}

/// Compaction may put the share that made a block into a row group of a million rows. Then a few of
/// them are read one by one, and the others are added up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_winning_share_inside_a_long_row_group_costs_few_rows() {
    const FEW: u64 = 4_096;
    let mut pool = Pool::new().await;
    let mut messages: Vec<(i64, Vec<Share>)> = (0..28)
        .map(|message| {
            let row = |n: i64| share(n, &format!("m{}", n % 300), 5 + n % 100, 90_000, None);
            (
                START_US,
                (0..5_000).map(|n| row(message * 5_000 + n)).collect(),
            )
        })
        .collect();
    for (message, block) in [(4, 2), (18, 1)] {
        let won = &mut messages[message].1[2_500];
        won.block_hash = Some(hash(block));
    }
    pool.commit(&messages).await;
    let snapshot = pool.snapshot().await;
    assert_eq!(snapshot.files.len(), 1, "one file, and one row group in it");
    let winner = |(_, share): &&(RowPosition, Share)| share.block_hash == Some(hash(1));
    let place = pool.rows.iter().find(winner).unwrap().0;
    let chunk = BATCH_ROWS as u64;
    let pplns: &dyn Scheme = &payout::pplns::Pplns;
    for (scheme, wanted, one_by_one) in [
        (pplns, window_of(300), 0),
        (pplns, window_of(20_000), chunk),
        (pplns, window_of(999_000), 0),
        (&payout::prop::Prop, 1, chunk),
        (&payout::solo::Solo, 1, 0),
    ] {
        let scanner = WindowScanner::default();
        let end = scanner
            .find_end(&snapshot, &ShareSet::of_pool("main"), &hash(1), START_US)
            .await;
        assert_eq!(end.unwrap(), WindowEnd::WinningShare(place));
        let found = scanner
            .scan(&snapshot, &ShareSet::of_pool("main"), place, scheme, wanted)
            .await;
        let (found, name, work) = (found.unwrap(), scheme.name(), scanner.work());
        assert_eq!(
            found.window,
            pool.walked(&ShareSet::of_pool("main"), place, scheme, wanted),
            "{name} {wanted}"
        );
        let most = one_by_one + FEW;
        assert!(
            work.walked <= most,
            "{name} {wanted}: {work:?}, at most {most} one by one"
        );
    }
}

/// What a block wants is read before it is found: after that the long files may be gone, and only
/// the window's ends are read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_window_that_was_read_ahead_is_not_read_again() {
    let mut pool = Pool::new().await;
    for (file, block) in [(0, None), (1, Some(hash(9))), (2, None)] {
        let row = |n: i64| share(n, &format!("m{}", n % 300), 5 + n % 100, 90_000, None);
        let mut messages: Vec<(i64, Vec<Share>)> = (0..3)
            .map(|message| {
                let first = (file * 3 + message) * 5_000;
                (START_US, (first..first + 5_000).map(row).collect())
            })
            .collect();
        messages[0].1[7].block_hash = block;
        pool.commit(&messages).await;
    }
    let pplns: &dyn Scheme = &payout::pplns::Pplns;
    let whole = window_of(999_000);
    let scanner = WindowScanner::default();
    let before = pool.snapshot().await;
    for scheme in payout::ALL {
        scanner
            .read_ahead(&before, &ShareSet::of_pool("main"), *scheme, whole)
            .await
            .unwrap();
    }
    scanner
        .read_ahead(&before, &ShareSet::of_pool("main"), pplns, whole)
        .await
        .unwrap();
    let read = scanner.work();
    assert_eq!((read.walked, read.searched), (0, 0), "it only adds up");
    scanner
        .read_ahead(&before, &ShareSet::of_pool("main"), pplns, whole)
        .await
        .unwrap();
    assert_eq!(scanner.work(), read, "nothing new came");

    pool.commit(&[(START_US, vec![share(0, "winner", 5, 10, Some(&hash(1)))])])
        .await;
    let (place, _) = pool.rows.last().cloned().unwrap();
    let snapshot = pool.snapshot().await;
    // Where the window begins is read of the oldest file, for every block anew.
    let newer = |file: &&std::sync::Arc<headframe_sinks::DataFile>| {
        file.seq_range().is_some_and(|range| range.0 > 1)
    };
    for file in before.files.iter().filter(newer) {
        std::fs::remove_file(pool.folder.path().join("shares").join(&file.add.path)).unwrap();
    }
    let end = scanner
        .find_end(&snapshot, &ShareSet::of_pool("main"), &hash(1), START_US)
        .await;
    assert_eq!(end.unwrap(), WindowEnd::WinningShare(place));
    let found = scanner
        .scan(&snapshot, &ShareSet::of_pool("main"), place, pplns, whole)
        .await;
    assert_eq!(
        found.unwrap().window,
        pool.walked(&ShareSet::of_pool("main"), place, pplns, whole)
    );
    let cold = WindowScanner::default();
    assert!(
        cold.scan(&snapshot, &ShareSet::of_pool("main"), place, pplns, whole)
            .await
            .is_err(),
        "who read nothing ahead needs the files"
    );
}
