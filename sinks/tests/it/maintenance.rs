//! Upkeep changes files and never rows, and two owners never both count.

use headframe_schemas::rollup::energy::EnergyRollup;
use headframe_schemas::rollup::sensors::SensorsRollup;
use headframe_schemas::{Rollup, Table, stream};
use headframe_sinks::maintenance::{Maintenance, MaintenanceConfig};
use headframe_sinks::{SinkError, SnapshotReader, TableWriter};
use tokio_util::sync::CancellationToken;

use crate::fixture::{BINDING, Fixture, decoded, range, rows, table};

/// 2026-01-03, when the rows of the fixture are a day old.
const NOW_MS: i64 = 1_767_398_400_000;
const DAY_MS: i64 = 86_400_000;

fn eager() -> MaintenanceConfig {
    MaintenanceConfig {
        small_files: 4,
        checkpoint_commits: 5,
        ..MaintenanceConfig::default()
    }
}

async fn filled(fixture: &Fixture) -> headframe_sinks::TableWriter {
    let mut writer = fixture.writer().await;
    for seq in 1..=10 {
        writer
            .commit(range(seq, seq), &rows(seq, seq))
            .await
            .unwrap();
    }
    writer
}

#[tokio::test]
async fn small_files_become_one_and_the_writer_goes_on() {
    let fixture = Fixture::new();
    let mut writer = filled(&fixture).await;
    let mut owner = Maintenance::open(&fixture.lake, table(), eager())
        .await
        .unwrap()
        .unwrap();
    let round = owner.round(NOW_MS).await.unwrap();
    assert_eq!((round.rewritten, round.checkpoint), (10, true));
    let reader = SnapshotReader::open(&fixture.lake, table());
    let snapshot = reader.refresh().await.unwrap();
    assert_eq!(
        (snapshot.files.len(), snapshot.rows(), snapshot.offset),
        (1, 10, Some(10))
    );
    writer.commit(range(11, 11), &rows(11, 11)).await.unwrap();
    assert_eq!(fixture.sequences().await, (1..=11).collect::<Vec<_>>());
    assert_eq!(
        fixture.writer().await.offset(),
        Some(11),
        "offset and fence survive the checkpoint"
    );
}

#[tokio::test]
async fn the_older_of_two_owners_changes_nothing() {
    let fixture = Fixture::new();
    let _writer = filled(&fixture).await;
    let mut old = Maintenance::open(&fixture.lake, table(), eager())
        .await
        .unwrap()
        .unwrap();
    let mut new = Maintenance::open(&fixture.lake, table(), eager())
        .await
        .unwrap()
        .unwrap();
    let lost = old.round(NOW_MS).await.unwrap_err();
    assert!(matches!(lost, SinkError::Fenced { .. }), "{lost}");
    assert_eq!(new.round(NOW_MS).await.unwrap().rewritten, 10);
    assert_eq!(fixture.sequences().await, (1..=10).collect::<Vec<_>>());
}

/// A table of which each row counts one.
struct Counted {
    table: Table,
    /// What distinguishes its rows from those of other tables, as JSON.
    own: String,
    /// SQL for how many rows were written.
    count: String,
    /// When rows of 2026-01-02 are old, milliseconds since 1970.
    old_ms: i64,
}

impl Counted {
    /// Rows are old seven days after the day that they were stored in.
    fn raw(name: &str, own: &str) -> Self {
        Self {
            table: Table::raw(stream::find(name).unwrap()),
            own: own.to_owned(),
            count: "SELECT count(*) FROM t".to_owned(),
            old_ms: NOW_MS + 7 * DAY_MS,
        }
    }

    /// Rows are old seven days after their week, which ends with 2026-01-07.
    fn rollup(rollup: &dyn Rollup, own: &str) -> Self {
        let counted = rollup.measures()[0].column.name;
        Self {
            table: Table::rollup(rollup),
            own: format!(r#"{own},"{counted}":1"#),
            count: format!("SELECT sum({counted}) FROM t"),
            old_ms: NOW_MS + 12 * DAY_MS,
        }
    }

    fn all() -> [Self; 4] {
        let sensor = r#""site":"a","sensor":"s","quantity":"temperature_c""#;
        let meter = r#""site":"a","meter":"m""#;
        [
            Self::raw("sensors", &format!(r#"{sensor},"value":1.5"#)),
            Self::raw("energy", &format!(r#"{meter},"power_w":1.5"#)),
            Self::rollup(&SensorsRollup, sensor),
            Self::rollup(&EnergyRollup, meter),
        ]
    }

    /// Writes one row of this time.
    async fn write(&self, writer: &mut TableWriter, seq: i64, time_ms: i64) {
        let time = chrono::DateTime::from_timestamp_millis(time_ms).unwrap();
        let (time_us, date) = (time_ms * 1_000, time.format("%Y-%m-%d"));
        let json = match self.table.partitions {
            1 => format!(
                r#"{{"seq":{seq},"row":0,"ingest_time":{time_us},"event_time":{time_us},{},
                "ingest_date":"{date}"}}"#,
                self.own
            ),
            _ => format!(
                r#"{{"bin":{time_us},{},"tier":"1h","month":"{}"}}"#,
                self.own,
                time.format("%Y-%m")
            ),
        };
        let rows = decoded(&self.table, &json);
        writer.commit(range(seq, seq), &rows).await.unwrap();
    }

    /// How many rows were written into files that are compressed harder, and into others.
    async fn files(&self, fixture: &Fixture) -> (usize, usize) {
        let reader = SnapshotReader::open(&fixture.lake, self.table.clone());
        let snapshot = reader.refresh().await.unwrap();
        let paths = snapshot.files.iter().map(|file| &file.add.path);
        let cold = paths.filter(|path| path.contains("/cold-")).count();
        (cold, snapshot.files.len() - cold)
    }

    async fn written(&self, fixture: &Fixture) -> i64 {
        fixture.numbers(self.table.clone(), &self.count).await[0]
    }

    async fn open(&self, fixture: &Fixture, small_files: usize) -> (TableWriter, Maintenance) {
        let stop = CancellationToken::new();
        let writer = TableWriter::open(&fixture.lake, self.table.clone(), BINDING, stop);
        let writer = writer.await.unwrap();
        let config = MaintenanceConfig {
            small_files,
            ..MaintenanceConfig::default()
        };
        let owner = Maintenance::open(&fixture.lake, self.table.clone(), config).await;
        (writer, owner.unwrap().unwrap())
    }
}

/// The clock is the test's: rows are compressed once, a week after their day or week, and dropped
/// two years after their time.
#[tokio::test]
async fn old_rows_are_compressed_once_and_dropped_in_time() {
    for of in Counted::all() {
        let (fixture, name) = (Fixture::new(), of.table.name.as_str());
        let (mut writer, mut owner) = of.open(&fixture, 32).await;
        let first_ms = NOW_MS - DAY_MS;
        for seq in 1..=10 {
            of.write(&mut writer, seq, first_ms + seq * 3_600_000).await;
        }
        for (now, rewritten) in [(of.old_ms, 0), (of.old_ms + 1, 10), (of.old_ms + 1, 0)] {
            let round = owner.round(now).await.unwrap();
            assert_eq!(round.rewritten, rewritten, "{name} at {now}");
        }
        assert_eq!(of.files(&fixture).await, (1, 0), "{name}");
        assert_eq!(of.written(&fixture).await, 10, "{name}");
        // A new one stays as it is, beside what is old.
        of.write(&mut writer, 11, of.old_ms).await;
        assert_eq!(owner.round(of.old_ms + 1).await.unwrap().rewritten, 0);
        assert_eq!(of.files(&fixture).await, (1, 1), "{name}");
        // Time has come no further than the newest row.
        for (seq, days, expired) in [(12, 730, 0), (13, 731, 1)] {
            let now = first_ms + days * DAY_MS;
            of.write(&mut writer, seq, now).await;
            let round = owner.round(now).await.unwrap();
            assert_eq!(round.expired, expired, "{name} after {days} days");
        }
        assert_eq!(of.written(&fixture).await, 3, "{name}");
    }
}

#[tokio::test]
async fn late_windows_of_old_weeks_are_compressed_and_stay_few_files() {
    let of = &Counted::all()[3];
    let fixture = Fixture::new();
    let (mut writer, mut owner) = of.open(&fixture, 4).await;
    let mut most = 0;
    for seq in 1..=10 {
        of.write(&mut writer, seq, NOW_MS - DAY_MS).await;
        owner.round(of.old_ms + 1).await.unwrap();
        let (cold, fresh) = of.files(&fixture).await;
        assert_eq!(fresh, 0, "after {seq}");
        most = most.max(cold);
    }
    assert!(most <= 4, "{most} files");
    assert_eq!(of.written(&fixture).await, 10);
}

#[tokio::test]
async fn a_clock_that_jumps_drops_nothing() {
    let fixture = Fixture::new();
    let mut writer = filled(&fixture).await;
    let mut owner = Maintenance::open(&fixture.lake, table(), eager())
        .await
        .unwrap()
        .unwrap();
    // 2038, then back to before the rows were stored.
    for now in [2_147_483_648_000, NOW_MS - 400 * 86_400_000, NOW_MS] {
        assert_eq!(owner.round(now).await.unwrap().expired, 0, "at {now}");
        assert_eq!(
            fixture.sequences().await,
            (1..=10).collect::<Vec<_>>(),
            "at {now}"
        );
    }
    writer.commit(range(11, 11), &rows(11, 11)).await.unwrap();
    assert_eq!(fixture.sequences().await, (1..=11).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_rewrite_whose_rows_do_not_add_up_is_not_committed() {
    let fixture = Fixture::new();
    let _writer = filled(&fixture).await;
    let entry = std::fs::read_to_string(
        fixture
            .folder
            .path()
            .join("sensors/_delta_log/00000000000000000002.json"),
    )
    .unwrap();
    let add = entry.lines().find(|line| line.contains("\"add\"")).unwrap();
    let wrong = add.replace("\\\"numRecords\\\":1", "\\\"numRecords\\\":2");
    assert_ne!(wrong, add, "{add}");
    fixture.append(12, &wrong);
    let mut owner = Maintenance::open(&fixture.lake, table(), eager())
        .await
        .unwrap()
        .unwrap();
    let refused = owner.round(NOW_MS).await.unwrap_err();
    assert!(matches!(refused, SinkError::RowsDiffer { .. }), "{refused}");
    assert_eq!(fixture.sequences().await, (1..=10).collect::<Vec<_>>());
}

#[tokio::test]
async fn orphans_are_removed_when_no_batch_can_still_name_them() {
    let fixture = Fixture::new();
    let mut writer = filled(&fixture).await;
    let day = fixture.folder.path().join("sensors/ingest_date=2026-01-02");
    let age = |path: &std::path::Path, hours: u64| {
        let then = std::time::SystemTime::now() - std::time::Duration::from_secs(hours * 3_600);
        std::fs::File::options()
            .write(true)
            .open(path)
            .unwrap()
            .set_modified(then)
            .unwrap();
    };
    // A writer crashed after it had put its files, yesterday; another is about to commit.
    let (crashed, in_flight) = (day.join("crashed.parquet"), day.join("in-flight.parquet"));
    for (path, hours) in [(&crashed, 25), (&in_flight, 23)] {
        std::fs::write(path, b"no version names this").unwrap();
        age(path, hours);
    }
    let state = fixture
        .folder
        .path()
        .join("sensors/_state/decoder-1/00000000000000000010");
    std::fs::create_dir_all(state.parent().unwrap()).unwrap();
    std::fs::write(&state, b"what the decoder knew").unwrap();
    age(&state, 1_000);
    let mut owner = Maintenance::open(&fixture.lake, table(), eager())
        .await
        .unwrap()
        .unwrap();
    assert!(
        owner.round(NOW_MS).await.unwrap().checkpoint,
        "a vacuum comes with the checkpoint"
    );
    assert!(!crashed.exists() && in_flight.exists() && state.exists());
    writer.commit(range(11, 11), &rows(11, 11)).await.unwrap();
    assert_eq!(fixture.sequences().await, (1..=11).collect::<Vec<_>>());
}

/// The only thread for blocking work is taken, and a rewrite waits for it: what it decodes and
/// encodes never holds a thread of the runtime, on which everything else in the process runs.
#[test]
fn a_rewrite_decodes_and_encodes_on_no_thread_of_the_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(1)
        .build()
        .unwrap();
    runtime.block_on(async {
        let fixture = Fixture::in_memory();
        let _writer = filled(&fixture).await;
        let config = MaintenanceConfig {
            small_files: 4,
            checkpoint_commits: 1_000,
            ..MaintenanceConfig::default()
        };
        let mut owner = Maintenance::open(&fixture.lake, table(), config)
            .await
            .unwrap()
            .unwrap();
        let (release, released) = std::sync::mpsc::sync_channel(1);
        let taken = tokio::task::spawn_blocking(move || released.recv().unwrap());
        let round = tokio::spawn(async move { owner.round(NOW_MS).await });
        // More turns than all of it has awaits.
        for _ in 0..10_000 {
            tokio::task::yield_now().await;
        }
        assert!(
            !round.is_finished(),
            "the files were rewritten on the runtime's own thread"
        );
        release.send(()).unwrap();
        assert_eq!(round.await.unwrap().unwrap().rewritten, 10);
        taken.await.unwrap();
        assert_eq!(fixture.sequences().await, (1..=10).collect::<Vec<_>>());
    });
}
