//! Windows found in tables of every shape, against a walk over all shares; and what the search says
//! while it cannot know.

use std::collections::HashMap;

use headframe_ingest::{Decoder, DecoderState, Message};
use headframe_pipelines::payout::lifecycle::{RowPosition, window_of};
use headframe_pipelines::payout::window_scan::{PATIENCE_US, WindowEnd, WindowScanner};
use headframe_pipelines::payout::{self, Scheme, ShareWork};
use headframe_schemas::Table;
use headframe_schemas::stream::shares::{Share, Shares};
use headframe_sinks::maintenance::{Maintenance, MaintenanceConfig};
use headframe_sinks::{BATCH_ROWS, Lake, SeqRange, SnapshotReader, StreamBinding, TableWriter};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio_util::sync::CancellationToken;

use crate::payouts::{hash, share};

/// 2026-03-01 11:00 UTC, microseconds.
const START_US: i64 = 1_772_362_800_000_000;

struct Pool {
    folder: tempfile::TempDir,
    writer: TableWriter,
    decoder: Decoder,
    next: i64,
    /// Every row with its place.
    rows: Vec<(RowPosition, Share)>,
}

impl Pool {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let lake = Lake::open(folder.path().to_str().unwrap(), &HashMap::new()).unwrap();
        let binding = StreamBinding {
            created_ns: 1,
            base: 0,
        };
        let writer = TableWriter::open(
            &lake,
            Table::raw(&Shares),
            binding,
            CancellationToken::new(),
        )
        .await
        .unwrap();
        Self {
            folder,
            writer,
            decoder: Decoder::new(&Shares, 0, DecoderState::default()),
            next: 1,
            rows: Vec::new(),
        }
    }

    fn lake(&self) -> Lake {
        Lake::open(self.folder.path().to_str().unwrap(), &HashMap::new()).unwrap()
    }

    /// Commits messages, each with its time and rows, as one version of the table.
    async fn commit(&mut self, messages: &[(i64, Vec<Share>)]) {
        let mut sent = Vec::new();
        for (seq, (time_us, rows)) in (self.next..).zip(messages) {
            let lines: Vec<String> = rows
                .iter()
                .map(|row| serde_json::to_string(row).unwrap())
                .collect();
            // A line that nobody can read stands in between, as in real life.
            let payload = format!("{}\nno json", lines.join("\n"));
            sent.push(Message {
                seq: seq as u64,
                time_ns: time_us * 1_000,
                payload: payload.into(),
                ..Message::default()
            });
            self.rows
                .extend(rows.iter().enumerate().map(|(row, share)| {
                    (
                        RowPosition {
                            seq,
                            row: row as i64,
                        },
                        share.clone(),
                    )
                }));
        }
        let chunk = self.decoder.decode(&sent);
        self.writer
            .commit(
                SeqRange {
                    first: self.next,
                    last: chunk.last,
                },
                &[chunk.batch],
            )
            .await
            .unwrap();
        self.next = chunk.last + 1;
    }

    async fn snapshot(&self) -> std::sync::Arc<headframe_sinks::Snapshot> {
        SnapshotReader::open(&self.lake(), Table::raw(&Shares))
            .refresh()
            .await
            .unwrap()
    }

    /// Rewrites small files, so that some of them enclose larger ones.
    async fn tidy(&self) {
        let config = MaintenanceConfig {
            small_files: 2,
            target_bytes: 16_000,
            ..MaintenanceConfig::default()
        };
        let owner = Maintenance::open(&self.lake(), Table::raw(&Shares), config)
            .await
            .unwrap();
        owner.unwrap().round(START_US / 1_000).await.unwrap();
    }

    fn walked(&self, end: RowPosition, scheme: &dyn Scheme, wanted: u128) -> payout::Window {
        let older = self.rows.iter().rev().filter(|(place, share)| {
            *place <= end && share.outcome == "accepted" && share.pool == "main"
        });
        payout::window(
            scheme,
            wanted,
            older.map(|(_, share)| ShareWork {
                miner: &share.miner,
                difficulty: share.difficulty as u64,
                network_difficulty: share.network_difficulty as u128,
                is_block: share.block_hash.is_some(),
            }),
        )
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_window_is_that_of_a_walk_over_all_shares() {
    let mut random = StdRng::seed_from_u64(21);
    let mut pool = Pool::new().await;
    // One that remembers the whole time, and one that has seen nothing.
    let scanner = WindowScanner::default();
    let mut found = 0;
    for version in 0..24 {
        let mut messages = Vec::new();
        for _ in 0..random.random_range(1..8) {
            let rows = (0..random.random_range(1..60)).map(|_| {
                let n = random.random_range(0..1_000_000);
                let mut row = share(
                    n,
                    &format!("m{}", random.random_range(0..40)),
                    random.random_range(0..5_000),
                    random.random_range(1_000..90_000),
                    None,
                );
                row.pool = if random.random_range(0..5) == 0 {
                    "other"
                } else {
                    "main"
                }
                .to_owned();
                row.outcome = if random.random_range(0..6) == 0 {
                    "stale"
                } else {
                    "accepted"
                }
                .to_owned();
                if row.outcome == "accepted"
                    && row.pool == "main"
                    && random.random_range(0..60) == 0
                {
                    // One in four is an earlier one sent again.
                    let again = found > 0 && random.random_range(0..4) == 0;
                    found += u8::from(!again);
                    row.block_hash = Some(hash(if again {
                        random.random_range(1..=found)
                    } else {
                        found
                    }));
                }
                row
            });
            messages.push((START_US + i64::from(version) * 1_000_000, rows.collect()));
        }
        pool.commit(&messages).await;
        if version % 5 == 4 {
            pool.tidy().await;
        }
        let snapshot = pool.snapshot().await;
        let winners: Vec<(RowPosition, String)> = pool
            .rows
            .iter()
            .filter_map(|(place, share)| Some((*place, share.block_hash.clone()?)))
            .collect();
        let mut seen = std::collections::HashSet::new();
        let winners: Vec<_> = winners
            .into_iter()
            .filter(|(_, hash)| seen.insert(hash.clone()))
            .collect();
        for (place, hash) in winners.iter().rev().take(3) {
            assert_eq!(
                scanner
                    .find_end(&snapshot, "main", hash, START_US)
                    .await
                    .unwrap(),
                WindowEnd::WinningShare(*place)
            );
            assert_eq!(
                WindowScanner::default()
                    .find_end(&snapshot, "main", hash, START_US)
                    .await
                    .unwrap(),
                WindowEnd::WinningShare(*place)
            );
            assert_eq!(
                scanner
                    .find_end(&snapshot, "other", hash, START_US)
                    .await
                    .unwrap(),
                WindowEnd::Unknown
            );
            for scheme in payout::ALL {
                let wanted = window_of([1, 200, 2_000, 30_000, 900_000][random.random_range(0..5)]);
                let here = scanner
                    .scan(&snapshot, "main", *place, *scheme, wanted)
                    .await
                    .unwrap();
                assert_eq!(
                    WindowScanner::default()
                        .scan(&snapshot, "main", *place, *scheme, wanted)
                        .await
                        .unwrap(),
                    here
                );
                let there = pool.walked(*place, *scheme, wanted);
                assert_eq!(
                    here.window,
                    there,
                    "{} of {wanted} that ends at {place:?}",
                    scheme.name()
                );
                assert_eq!(here.newest, Some(*place));
                // The oldest share that counts is as many shares back as there are in the window.
                let older = pool.rows.iter().rev().filter(|(at, share)| {
                    at <= place && share.outcome == "accepted" && share.pool == "main"
                });
                assert_eq!(
                    here.edge,
                    older.map(|(at, _)| *at).nth(there.shares as usize - 1),
                    "{}",
                    scheme.name()
                );
            }
        }
    }
    assert!(found > 10, "{found}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_winning_share_that_never_came_is_given_up_after_ten_minutes_and_not_before() {
    let mut pool = Pool::new().await;
    let at = |minutes: i64| START_US + minutes * 60_000_000;
    pool.commit(&[(
        at(0),
        vec![share(0, "a", 5, 10, None), share(1, "b", 5, 10, None)],
    )])
    .await;
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
            .find_end(&snapshot, name, &hash(1), at(2))
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

/// A table that an older version of this program made has no column for blocks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_without_the_new_column_is_taken_over_and_read_on() {
    let folder = tempfile::tempdir().unwrap();
    let lake = Lake::open(folder.path().to_str().unwrap(), &HashMap::new()).unwrap();
    let mut old = Table::raw(&Shares);
    old.columns.retain(|column| column.name != "block_hash");
    let binding = StreamBinding {
        created_ns: 1,
        base: 0,
    };
    let mut writer = TableWriter::open(&lake, old, binding, CancellationToken::new())
        .await
        .unwrap();
    let mut decoder = Decoder::new(&Shares, 0, DecoderState::default());
    let mut message = |seq: u64, row: Share| {
        let payload = serde_json::to_string(&row).unwrap().into();
        decoder
            .decode(&[Message {
                seq,
                time_ns: START_US * 1_000,
                payload,
                ..Message::default()
            }])
            .batch
    };
    let first = message(1, share(0, "a", 10, 10, None));
    let kept: Vec<usize> = (0..first.num_columns())
        .filter(|index| first.schema().field(*index).name() != "block_hash")
        .collect();
    writer
        .commit(
            SeqRange { first: 1, last: 1 },
            &[first.project(&kept).unwrap()],
        )
        .await
        .unwrap();
    drop(writer);
    let mut writer = TableWriter::open(
        &lake,
        Table::raw(&Shares),
        binding,
        CancellationToken::new(),
    )
    .await
    .unwrap();
    writer
        .commit(
            SeqRange { first: 2, last: 2 },
            &[message(2, share(1, "b", 10, 10, Some(&hash(1))))],
        )
        .await
        .unwrap();
    let snapshot = SnapshotReader::open(&lake, Table::raw(&Shares))
        .refresh()
        .await
        .unwrap();
    let RowPosition { seq, row } = RowPosition { seq: 2, row: 0 };
    assert_eq!(
        WindowScanner::default()
            .find_end(&snapshot, "main", &hash(1), START_US)
            .await
            .unwrap(),
        WindowEnd::WinningShare(RowPosition { seq, row })
    );
    for scheme in payout::ALL {
        let found = WindowScanner::default()
            .scan(
                &snapshot,
                "main",
                RowPosition { seq, row },
                *scheme,
                window_of(5_000),
            )
            .await
            .unwrap();
        assert_eq!(
            found.window.shares,
            if scheme.name() == "solo" { 1 } else { 2 },
            "{}",
            scheme.name()
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_round_that_ends_where_a_file_does_begins_with_that_files_first_share() {
    let mut pool = Pool::new().await;
    pool.commit(&[(START_US, vec![share(0, "a", 5, 10, Some(&hash(1)))])])
        .await;
    pool.commit(&[(
        START_US,
        vec![share(1, "b", 5, 10, None), share(2, "c", 5, 10, None)],
    )])
    .await;
    pool.commit(&[(START_US, vec![share(3, "d", 5, 10, Some(&hash(2)))])])
        .await;
    let snapshot = pool.snapshot().await;
    let found = WindowScanner::default()
        .scan(
            &snapshot,
            "main",
            RowPosition { seq: 3, row: 0 },
            &payout::prop::Prop,
            1,
        )
        .await
        .unwrap();
    assert_eq!(
        (found.window.shares, found.newest, found.edge),
        (
            3,
            Some(RowPosition { seq: 3, row: 0 }),
            Some(RowPosition { seq: 2, row: 0 })
        )
    );
    assert_eq!(
        found.window.weights.keys().collect::<Vec<_>>(),
        ["b", "c", "d"]
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
                .find_end(&snapshot, "main", &hash(1), START_US)
                .await
                .unwrap(),
            WindowEnd::WinningShare(first)
        );
        scanner
            .scan(
                &snapshot,
                "main",
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
            .scan(&snapshot, "main", place, &payout::pplns::Pplns, wanted)
            .await
            .unwrap();
        let walked = pool.walked(place, &payout::pplns::Pplns, wanted);
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
                .scan(&snapshot, "main", place, &payout::pplns::Pplns, wanted)
                .await
                .unwrap(),
            found
        );
    }
    // The long file may be gone: what was added up in whole is known, as long as the last search
    // wanted it.
    let all = scanner
        .scan(&snapshot, "main", place, &payout::prop::Prop, 1)
        .await
        .unwrap();
    for file in &snapshot.files[..] {
        if file.rows > 10 && file.seq_range().is_some_and(|range| range.1 > 4) {
            std::fs::remove_file(pool.folder.path().join("shares").join(&file.add.path)).unwrap();
        }
    }
    assert_eq!(
        scanner
            .scan(&snapshot, "main", place, &payout::prop::Prop, 1)
            .await
            .unwrap(),
        all
    );
    assert!(
        WindowScanner::default()
            .scan(&snapshot, "main", place, &payout::prop::Prop, 1)
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
            .find_end(&snapshot, "main", &hash(1), START_US)
            .await;
        assert_eq!(end.unwrap(), WindowEnd::WinningShare(place));
        let found = scanner.scan(&snapshot, "main", place, scheme, wanted).await;
        let (found, name, work) = (found.unwrap(), scheme.name(), scanner.work());
        assert_eq!(
            found.window,
            pool.walked(place, scheme, wanted),
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
            .read_ahead(&before, "main", *scheme, whole)
            .await
            .unwrap();
    }
    scanner
        .read_ahead(&before, "main", pplns, whole)
        .await
        .unwrap();
    let read = scanner.work();
    assert_eq!((read.walked, read.searched), (0, 0), "it only adds up");
    scanner
        .read_ahead(&before, "main", pplns, whole)
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
        .find_end(&snapshot, "main", &hash(1), START_US)
        .await;
    assert_eq!(end.unwrap(), WindowEnd::WinningShare(place));
    let found = scanner.scan(&snapshot, "main", place, pplns, whole).await;
    assert_eq!(found.unwrap().window, pool.walked(place, pplns, whole));
    let cold = WindowScanner::default();
    assert!(
        cold.scan(&snapshot, "main", place, pplns, whole)
            .await
            .is_err(),
        "who read nothing ahead needs the files"
    );
}
