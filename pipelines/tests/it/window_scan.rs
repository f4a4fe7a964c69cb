//! Windows found in tables of every shape, against a walk over all shares; and what the search says
//! while it cannot know.

use std::collections::HashMap;

use headframe_ingest::{Decoder, DecoderState, Message};
use headframe_pipelines::payout::lifecycle::{RowPosition, window_of};
use headframe_pipelines::payout::window_scan::{WindowEnd, WindowScanner};
use headframe_pipelines::payout::{self, Scheme, ShareSet, ShareWork};
use headframe_schemas::Table;
use headframe_schemas::stream::shares::{Share, Shares};
use headframe_sinks::maintenance::{Maintenance, MaintenanceConfig};
use headframe_sinks::{Lake, SeqRange, Snapshot, SnapshotReader, StreamBinding, TableWriter};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio_util::sync::CancellationToken;

use crate::payouts::{hash, share};

mod cost;
mod winning_share;

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

    /// The accepted shares of a set through a place, newest first.
    fn newest_first(
        &self,
        set: &ShareSet,
        end: RowPosition,
    ) -> impl Iterator<Item = &(RowPosition, Share)> {
        self.rows.iter().rev().filter(move |(place, share)| {
            *place <= end
                && share.outcome == "accepted"
                && share.pool == set.pool
                && (share.solo == Some(true)) == set.solo
        })
    }

    fn walked(
        &self,
        set: &ShareSet,
        end: RowPosition,
        scheme: &dyn Scheme,
        wanted: u128,
    ) -> payout::Window {
        payout::window(
            scheme,
            wanted,
            self.newest_first(set, end).map(|(_, share)| ShareWork {
                miner: &share.miner,
                difficulty: share.difficulty as u64,
                network_difficulty: share.network_difficulty as u128,
                is_block: share.block_hash.is_some(),
            }),
        )
    }
}

/// The newest blocks of a set: where their windows end, and what is in them.
async fn check_windows(
    pool: &Pool,
    scanner: &WindowScanner,
    snapshot: &Snapshot,
    set: &ShareSet,
    random: &mut StdRng,
) {
    let newest = pool.rows.last().unwrap().0;
    let mut winners: HashMap<&str, RowPosition> = HashMap::new();
    // Of several with one hash the earliest stays.
    for (place, share) in pool.newest_first(set, newest) {
        if let Some(hash) = &share.block_hash {
            winners.insert(hash, *place);
        }
    }
    let mut winners: Vec<(RowPosition, &str)> = winners
        .iter()
        .map(|(hash, place)| (*place, *hash))
        .collect();
    winners.sort_unstable();
    let fresh = WindowScanner::default;
    for (place, hash) in winners.into_iter().rev().take(3) {
        for scanner in [scanner, &fresh()] {
            let end = scanner.find_end(snapshot, set, hash, START_US).await;
            assert_eq!(end.unwrap(), WindowEnd::WinningShare(place));
            let other = ShareSet::of_pool("other");
            let elsewhere = scanner.find_end(snapshot, &other, hash, START_US).await;
            assert_eq!(elsewhere.unwrap(), WindowEnd::Unknown);
        }
        for scheme in payout::ALL {
            let wanted = window_of([1, 200, 2_000, 30_000, 900_000][random.random_range(0..5)]);
            let here = scanner.scan(snapshot, set, place, *scheme, wanted).await;
            let here = here.unwrap();
            let again = fresh().scan(snapshot, set, place, *scheme, wanted).await;
            assert_eq!(again.unwrap(), here);
            let there = pool.walked(set, place, *scheme, wanted);
            let which = format!("{} of {wanted} of {set:?} at {place:?}", scheme.name());
            assert_eq!(here.window, there, "{which}");
            assert_eq!(here.newest, Some(place), "{which}");
            // The oldest share that counts is as many shares back as there are in the window.
            let mut older = pool.newest_first(set, place).map(|(at, _)| *at);
            assert_eq!(here.edge, older.nth(there.shares as usize - 1), "{which}");
        }
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
                // Most files have none that was mined solo.
                if version % 3 == 1 {
                    row.solo = [None, Some(false), Some(true)][random.random_range(0..3)];
                }
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
        for set in [ShareSet::of_pool("main"), ShareSet::solo_of("main")] {
            check_windows(&pool, &scanner, &snapshot, &set, &mut random).await;
        }
    }
    assert!(found > 10, "{found}");
}

/// A table that an older version of this program made has no column for blocks, or none for solo
/// mining: its shares are the pool's, as they were.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_without_a_new_column_is_taken_over_and_read_on() {
    for column in ["block_hash", "solo"] {
        a_table_without(column).await;
    }
}

async fn a_table_without(new: &str) {
    let folder = tempfile::tempdir().unwrap();
    let lake = Lake::open(folder.path().to_str().unwrap(), &HashMap::new()).unwrap();
    let mut old = Table::raw(&Shares);
    old.columns.retain(|column| column.name != new);
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
        .filter(|index| first.schema().field(*index).name() != new)
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
    let solo = Share {
        solo: Some(true),
        ..share(2, "c", 10, 10, Some(&hash(2)))
    };
    writer
        .commit(SeqRange { first: 3, last: 3 }, &[message(3, solo)])
        .await
        .unwrap();
    let snapshot = SnapshotReader::open(&lake, Table::raw(&Shares))
        .refresh()
        .await
        .unwrap();
    let RowPosition { seq, row } = RowPosition { seq: 2, row: 0 };
    assert_eq!(
        WindowScanner::default()
            .find_end(&snapshot, &ShareSet::of_pool("main"), &hash(1), START_US)
            .await
            .unwrap(),
        WindowEnd::WinningShare(RowPosition { seq, row })
    );
    for scheme in payout::ALL {
        let found = WindowScanner::default()
            .scan(
                &snapshot,
                &ShareSet::of_pool("main"),
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
        let (set, end) = (ShareSet::solo_of("main"), RowPosition { seq: 3, row: 0 });
        let wanted = window_of(5_000);
        let scanner = WindowScanner::default();
        let solo = scanner.scan(&snapshot, &set, end, *scheme, wanted).await;
        let solo = solo.unwrap().window;
        assert_eq!(solo.weights.keys().collect::<Vec<_>>(), ["c"]);
        assert_eq!(solo.shares, 1, "{}", scheme.name());
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
            &ShareSet::of_pool("main"),
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
