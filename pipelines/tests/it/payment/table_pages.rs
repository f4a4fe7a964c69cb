//! The stored facts page by page, and the ledger that are made of them: whole, in order, once, and
//! never all in memory.
//!
//! `HEADFRAME_PAYOUT_ROWS` sets how many rows the measured table has.

use std::collections::BTreeMap;
use std::path::PathBuf;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type};
use datafusion::prelude::SessionContext;
use headframe_ingest::{Nats, provision_stream};
use headframe_pipelines::payment::lake_journal::LakeJournal;
use headframe_pipelines::payment::table_pages::{PAGE_ROWS, TablePages};
use headframe_pipelines::payment::{Account, Journal, JournalError, Ledger};
use headframe_schemas::stream::payments::{Payment, Payments};
use headframe_schemas::stream::payouts::Payouts;
use headframe_schemas::{Table, codec};
use headframe_sinks::{Lake, SeqRange, StreamBinding, TableWriter};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::fixture::Fixture;

/// One message: its sequence and its rows.
type Message = (i64, Vec<Value>);

/// A table of payouts in a folder.
struct Stored {
    lake: Lake,
    writer: TableWriter,
    folder: PathBuf,
}

impl Stored {
    async fn new(folder: PathBuf) -> Self {
        let lake = Lake::open(folder.to_str().unwrap(), &Default::default()).unwrap();
        let binding = StreamBinding {
            created_ns: 7,
            base: 0,
        };
        let writer = TableWriter::open(
            &lake,
            Table::raw(&Payouts),
            binding,
            CancellationToken::new(),
        )
        .await
        .unwrap();
        Self {
            lake,
            writer,
            folder,
        }
    }

    /// Commits everything after what was committed before, through a sequence.
    async fn commit(&mut self, messages: &[Message], through: i64) {
        let schema = Table::raw(&Payouts).schema();
        let line = |(seq, rows): &Message| -> String {
            let one = |(row, values): (usize, &Value)| {
                let mut line = json!({"seq": seq, "row": row, "pool": "main",
                    "ingest_time": 1_767_312_000_000_000_i64 + seq,
                    "event_time": 1_767_312_000_000_000_i64, "cause_seq": 1, "cause_row": 0,
                    "ingest_date": if seq % 3 == 0 { "2026-01-02" } else { "2026-01-03" }});
                line.as_object_mut()
                    .unwrap()
                    .extend(values.as_object().unwrap().clone());
                format!("{line}\n")
            };
            rows.iter().enumerate().map(one).collect()
        };
        let text: String = messages.iter().map(line).collect();
        let reader = arrow::json::ReaderBuilder::new(schema.clone())
            .with_batch_size(8_192)
            .build(std::io::Cursor::new(text))
            .unwrap();
        let batches: Vec<RecordBatch> = reader
            .map(|batch| codec::conform(&schema, &batch.unwrap()).unwrap())
            .collect();
        let first = self.writer.offset().unwrap_or(0) + 1;
        self.writer
            .commit(
                SeqRange {
                    first,
                    last: through,
                },
                &batches,
            )
            .await
            .unwrap();
    }

    fn pages(&self, most: usize) -> TablePages {
        let session = SessionContext::new();
        self.lake.register(session.runtime_env().as_ref());
        TablePages::open(
            &session,
            &self.lake,
            Table::raw(&Payouts),
            "main",
            "\"row\", block_hash",
            most,
        )
    }

    /// The data files, by name.
    fn files(&self) -> Vec<PathBuf> {
        let days = std::fs::read_dir(self.folder.join("payouts"))
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let inside = days.filter(|path| path.is_dir()).flat_map(|day| {
            std::fs::read_dir(day)
                .unwrap()
                .map(|entry| entry.unwrap().path())
        });
        inside
            .filter(|path| path.extension().is_some_and(|end| end == "parquet"))
            .collect()
    }
}

/// Places of rows, page by page, until there are no more.
async fn read(pages: &mut TablePages) -> Result<Vec<Vec<(i64, i32)>>, JournalError> {
    let snapshot = pages.refresh().await?;
    let mut read = Vec::new();
    while let Some(page) = pages.next(&snapshot).await? {
        read.push(page.iter().flat_map(places).collect());
    }
    Ok(read)
}

fn places(batch: &RecordBatch) -> Vec<(i64, i32)> {
    let (seq, row) = (
        batch.column_by_name("seq").unwrap(),
        batch.column_by_name("row").unwrap(),
    );
    seq.as_primitive::<Int64Type>()
        .values()
        .iter()
        .copied()
        .zip(row.as_primitive::<Int32Type>().values().iter().copied())
        .collect()
}

/// A message of so many rows.
fn message(seq: i64, count: usize) -> Message {
    let row = json!({"block_hash": "b", "step": "credited", "account": "a", "amount_atomic": 1,
        "height": seq});
    (seq, vec![row; count])
}

/// Messages of one row and of many, a gap, and commits that hold nothing.
async fn uneven(stored: &mut Stored) -> Vec<(i64, i32)> {
    let first: Vec<Message> = (1..=12)
        .map(|seq| message(seq, if seq % 6 == 0 { 90 } else { seq as usize % 4 }))
        .collect();
    let second: Vec<Message> = (5_000..5_009).map(|seq| message(seq, 1)).collect();
    stored.commit(&first, 12).await;
    stored.commit(&[], 4_999).await;
    stored.commit(&second, 5_200).await;
    // Rows of another pool and rows that were refused are nobody's.
    let others = vec![
        (
            5_201,
            vec![json!({"pool": "other", "block_hash": "b", "step": "credited", "height": 1})],
        ),
        (5_202, vec![json!({"reject_reason": "step is missing"})]),
    ];
    stored.commit(&others, 5_202).await;
    let all = first.iter().chain(&second);
    all.flat_map(|(seq, rows)| (0..rows.len()).map(|row| (*seq, row as i32)))
        .collect()
}

#[tokio::test]
async fn pages_hold_every_row_once_in_order_and_no_more_than_they_may() {
    let folder = tempfile::tempdir().unwrap();
    let mut stored = Stored::new(folder.path().to_owned()).await;
    let wanted = uneven(&mut stored).await;
    for most in [1, 7, 89, 90, 91, 100_000] {
        let mut pages = stored.pages(most);
        let read = read(&mut pages).await.unwrap();
        assert_eq!(read.concat(), wanted, "pages of {most}");
        for page in &read {
            let one_message = page.first().map(|place| place.0) == page.last().map(|place| place.0);
            assert!(
                page.len() <= most || one_message,
                "a page of {} rows",
                page.len()
            );
        }
        for next in read.windows(2) {
            assert_ne!(
                next[0].last().unwrap().0,
                next[1][0].0,
                "a message was torn apart"
            );
        }
        assert_eq!(pages.through(), Some(5_202));
    }
}

#[tokio::test]
async fn what_was_read_is_never_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut stored = Stored::new(folder.path().to_owned()).await;
    uneven(&mut stored).await;
    let mut pages = stored.pages(64);
    read(&mut pages).await.unwrap();
    // Whoever opened one of them now would fail.
    stored
        .files()
        .iter()
        .for_each(|file| std::fs::remove_file(file).unwrap());
    assert_eq!(read(&mut pages).await.unwrap(), Vec::<Vec<_>>::new());
    stored
        .commit(&[message(5_203, 2), message(5_205, 1)], 5_205)
        .await;
    assert_eq!(
        read(&mut pages).await.unwrap().concat(),
        [(5_203, 0), (5_203, 1), (5_205, 0)]
    );
    assert!(
        read(&mut stored.pages(64)).await.is_err(),
        "without them the whole cannot be read"
    );
}

#[tokio::test]
async fn after_an_error_the_rest_follows_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut stored = Stored::new(folder.path().to_owned()).await;
    let wanted = uneven(&mut stored).await;
    let mut pages = stored.pages(30);
    let snapshot = pages.refresh().await.unwrap();
    let mut got: Vec<(i64, i32)> = pages
        .next(&snapshot)
        .await
        .unwrap()
        .unwrap()
        .iter()
        .flat_map(places)
        .collect();
    let away = |file: &PathBuf| file.with_extension("away");
    let files = stored.files();
    files
        .iter()
        .for_each(|file| std::fs::rename(file, away(file)).unwrap());
    assert!(pages.next(&snapshot).await.is_err());
    files
        .iter()
        .for_each(|file| std::fs::rename(away(file), file).unwrap());
    got.extend(read(&mut pages).await.unwrap().concat());
    assert_eq!(got, wanted);
}

/// A block that was found by ten miners and matured, in two messages.
fn block(number: i64) -> [Message; 2] {
    let hash = format!("{number:064x}");
    let row = |step: &str, account: &str, amount: i64| {
        json!({"block_hash": hash, "step": step, "account": account, "amount_atomic": amount,
            "height": number})
    };
    let rows = |step: &str| -> Vec<Value> {
        let miners = (0..10).map(|miner| row(step, &format!("miner-{miner}"), number + miner));
        miners.chain([row(step, "fee", 5)]).collect()
    };
    let reward = 10 * number + 45 + 5;
    let mut credited = vec![
        json!({"block_hash": hash, "step": "frozen", "reward_atomic": reward, "height": number}),
    ];
    credited.extend(rows("credited"));
    [(2 * number - 1, credited), (2 * number, rows("matured"))]
}

fn step(payment: &str, step: &str, miners: std::ops::Range<i64>, amount: i128) -> Vec<Payment> {
    let row = |miner| Payment {
        event_time: 1_790_000_000_000_000,
        pool: "main".to_owned(),
        payment: payment.to_owned(),
        step: step.to_owned(),
        account: format!("miner-{miner}"),
        address: format!("miner-{miner}"),
        amount_atomic: amount,
        sent_atomic: amount,
        network_fee_atomic: 0,
        tx_id: None,
        reason: None,
        release_cause: None,
    };
    miners.map(row).collect()
}

/// The table of payments as the pipelines make it at their start.
async fn table_of_payments(lake: &Lake, nats: &Nats) {
    let stream = provision_stream(&nats.js, &Payments, &Default::default())
        .await
        .unwrap();
    let binding = StreamBinding {
        created_ns: stream.created_ns,
        base: 0,
    };
    TableWriter::open(
        lake,
        Table::raw(&Payments),
        binding,
        CancellationToken::new(),
    )
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_read_in_pages_gives_the_same_ledger_as_its_writer() {
    let fixture = Fixture::new(&Payments).await;
    let mut stored = Stored::new(fixture.folder.path().join("tables")).await;
    stored
        .commit(&(1..=15).flat_map(block).collect::<Vec<_>>(), 30)
        .await;
    table_of_payments(&stored.lake, &fixture.nats()).await;
    let settings = Default::default();
    let journal = async |page| {
        LakeJournal::open_with(&stored.lake, fixture.nats(), &settings, "main", page)
            .await
            .unwrap()
    };
    let (mut writer, mut ledger) = (journal(3).await, Ledger::default());
    writer.catch_up(&mut ledger).await.unwrap();
    for rows in [
        step("p", "reserved", 0..4, 100),
        step("p", "submitting", 0..4, 100),
        step("p", "submitted", 0..4, 100),
        step("q", "reserved", 4..7, 50),
        step("q", "released", 4..5, 50),
        step("p", "confirmed", 0..4, 100),
    ] {
        writer.append(&rows).await.unwrap();
        ledger.apply_payment(&rows);
    }
    // What the stream holds and the table does not yet is not left out.
    let early = journal(PAGE_ROWS)
        .await
        .catch_up(&mut Ledger::default())
        .await;
    assert!(
        matches!(early, Err(JournalError::Unavailable(_))),
        "{early:?}"
    );
    let running = fixture.run(&Payments).await;
    fixture.until_through(Table::raw(&Payments), 6).await;
    ledger.check().unwrap();
    assert_eq!(
        (
            ledger.balance(&Account::Paid),
            ledger.balance(&Account::InTransit)
        ),
        (400, 100)
    );
    for page in [3, 12, PAGE_ROWS] {
        let (mut reader, mut found) = (journal(page).await, Ledger::default());
        reader.catch_up(&mut found).await.unwrap();
        assert_eq!(found, ledger, "in pages of {page}");
        reader.catch_up(&mut found).await.unwrap();
        assert_eq!(found, ledger, "nothing is read twice");
    }
    running.stop().await;
    fixture.end().await;
}

/// The highest that this process' memory was since the last call, kilobytes.
fn peak_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let field = |name: &str| {
        status
            .lines()
            .find(|line| line.starts_with(name))
            .and_then(|line| line.split_whitespace().nth(1))
    };
    let peak = field("VmHWM:").unwrap().parse().unwrap();
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    peak
}

#[tokio::test]
async fn a_start_after_years_keeps_accounts_and_not_rows() {
    let rows: i64 = std::env::var("HEADFRAME_PAYOUT_ROWS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(5_000);
    let blocks = (rows / 23).max(1);
    let folder = tempfile::tempdir().unwrap();
    let mut stored = Stored::new(folder.path().to_owned()).await;
    for first in (1..=blocks).step_by(1_000) {
        let last = (first + 999).min(blocks);
        stored
            .commit(
                &(first..=last).flat_map(block).collect::<Vec<_>>(),
                2 * last,
            )
            .await;
    }
    let server = Fixture::new(&Payments).await;
    table_of_payments(&stored.lake, &server.nats()).await;
    let mut journal = LakeJournal::open(&stored.lake, server.nats(), &Default::default(), "main")
        .await
        .unwrap();
    let mut ledger = Ledger::default();
    peak_kb();
    let before = peak_kb();
    let begun = std::time::Instant::now();
    journal.catch_up(&mut ledger).await.unwrap();
    println!(
        "{} rows: {} KB before, {} KB at most, {:?}",
        blocks * 23,
        before,
        peak_kb(),
        begun.elapsed()
    );
    ledger.check().unwrap();
    let owed: BTreeMap<String, i128> = ledger
        .accounts()
        .map(|(account, balance)| (account.to_string(), balance))
        .collect();
    assert_eq!(
        owed["miner:miner-3"],
        i128::from(blocks * (blocks + 1) / 2 + 3 * blocks)
    );
    assert_eq!(owed.len(), 2 * 11 + 1, "accounts, and nothing for each row");
    server.end().await;
}
