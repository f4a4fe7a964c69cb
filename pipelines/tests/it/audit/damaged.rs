//! What an audit says of tables in which a bit, a file or a whole table is not what it was.

use std::path::{Path, PathBuf};

use headframe_pipelines::payout::audit::block as audit;
use headframe_schemas::Table;
use headframe_schemas::stream::blocks::Blocks;
use headframe_schemas::stream::payouts::Payouts;
use headframe_schemas::stream::shares::Shares;
use headframe_schemas::stream::windows::Windows;
use headframe_sinks::SnapshotReader;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{copied, lake, paid, report};
use crate::payouts::hash;

/// The Parquet files that the log of a table names.
async fn files(folder: &Path, table: Table) -> Vec<PathBuf> {
    let name = table.name.clone();
    let snapshot = SnapshotReader::open(&lake(folder), table)
        .refresh()
        .await
        .unwrap();
    snapshot
        .files
        .iter()
        .map(|file| folder.join(&name).join(&file.add.path))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_bit_is_named_with_its_file() {
    let fixture = paid().await;
    let tables = fixture.folder.path().join("tables");
    let mut random = StdRng::seed_from_u64(9);
    for round in 0..16 {
        let folder = copied(&tables);
        let (table, name) = [
            (Table::raw(&Windows), "windows"),
            (Table::raw(&Payouts), "payouts"),
            (Table::raw(&Blocks), "blocks"),
            (Table::raw(&Shares), "shares"),
        ][round % 4]
            .clone();
        let all = files(folder.path(), table).await;
        let mut reports = Vec::new();
        // A file of shares may lie outside of both windows, where it is nobody's business.
        for file in &all[..if name == "shares" { all.len() } else { 1 }] {
            let mut bytes = std::fs::read(file).unwrap();
            let at = random.random_range(0..bytes.len());
            bytes[at] ^= 1 << random.random_range(0..8);
            std::fs::write(file, bytes).unwrap();
        }
        reports.push(report(folder.path(), 1).await);
        reports.push(report(folder.path(), 2).await);
        let differences: Vec<&String> = reports
            .iter()
            .flat_map(|report| &report.differences)
            .collect();
        let file = all[0].file_name().unwrap().to_str().unwrap();
        let named =
            |difference: &&&String| difference.starts_with(name) && difference.contains(file);
        assert!(
            differences.iter().any(|difference| named(&difference)),
            "{name}: {differences:?}"
        );
    }
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_of_a_log_that_cannot_be_read_is_named() {
    let fixture = paid().await;
    for table in ["blocks", "shares", "windows", "payouts"] {
        let folder = copied(&fixture.folder.path().join("tables"));
        let entries = std::fs::read_dir(folder.path().join(table).join("_delta_log"))
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let newest = entries
            .filter(|path| {
                path.extension()
                    .is_some_and(|extension| extension == "json")
            })
            .max()
            .unwrap();
        let mut bytes = std::fs::read(&newest).unwrap();
        // The brace that opens the entry.
        bytes[0] ^= 1;
        std::fs::write(&newest, bytes).unwrap();
        let fault = audit(&lake(folder.path()), &hash(1), None)
            .await
            .unwrap_err()
            .to_string();
        let name = newest.file_name().unwrap().to_str().unwrap();
        assert!(fault.contains(table) && fault.contains(name), "{fault}");
    }
    fixture.end().await;
}

/// Files of an older version have no checksum in their names: then the figures themselves tell.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_figure_is_named_without_a_checksum() {
    let fixture = paid().await;
    let tables = fixture.folder.path().join("tables");
    let mut random = StdRng::seed_from_u64(10);
    let mut named = 0;
    for _ in 0..16 {
        let folder = copied(&tables);
        nameless(&folder.path().join("windows"));
        let table = Table::raw(&Windows);
        let file = files(folder.path(), table.clone()).await.remove(0);
        let mut bytes = std::fs::read(&file).unwrap();
        let at = random.random_range(0..bytes.len());
        bytes[at] ^= 1 << random.random_range(0..8);
        std::fs::write(file, bytes).unwrap();
        let reports = [
            report(folder.path(), 1).await,
            report(folder.path(), 2).await,
        ];
        if reports.iter().any(|report| {
            report
                .differences
                .iter()
                .any(|difference| difference.contains("windows"))
        }) {
            named += 1;
            continue;
        }
        // Nothing was found: then every row still says what it said.
        let said = format!("SELECT {} FROM t ORDER BY seq, \"row\"", columns(&table));
        assert_eq!(
            ask(folder.path(), table.clone(), &said).await,
            fixture.ask(table, &said).await,
            "byte {at}"
        );
    }
    assert!(named > 0);
    fixture.end().await;
}

/// The columns of a table that money depends on.
fn columns(table: &Table) -> String {
    let not_money = ["ingest_time", "producer", "producer_seq", "payload"];
    let own = table
        .file_columns()
        .iter()
        .map(|column| column.name)
        .filter(|name| !not_money.contains(name));
    own.map(|name| format!("\"{name}\""))
        .collect::<Vec<_>>()
        .join(", ")
}

async fn ask(folder: &Path, table: Table, sql: &str) -> String {
    let session = datafusion::prelude::SessionContext::new();
    let lake = lake(folder);
    lake.register(session.runtime_env().as_ref());
    let snapshot = SnapshotReader::open(&lake, table).refresh().await.unwrap();
    session
        .register_table(
            "t",
            std::sync::Arc::new(headframe_sinks::SnapshotTable::new(snapshot)),
        )
        .unwrap();
    let rows = session.sql(sql).await.unwrap().collect().await.unwrap();
    arrow::util::pretty::pretty_format_batches(&rows)
        .unwrap()
        .to_string()
}

/// Takes the checksums out of a table's file names, in the folder and in the log.
fn nameless(table: &Path) {
    let cut = |text: &str| -> String {
        let parts: Vec<&str> = text.split("-b3").collect();
        let is_checksum =
            |part: &str| part.bytes().take(32).filter(u8::is_ascii_hexdigit).count() == 32;
        // A part of a UUID may begin with the same letters.
        parts[1..]
            .iter()
            .fold(parts[0].to_owned(), |all, part| match is_checksum(part) {
                true => all + &part[32..],
                false => all + "-b3" + part,
            })
    };
    for entry in std::fs::read_dir(table.join("_delta_log"))
        .unwrap()
        .map(Result::unwrap)
    {
        if entry
            .path()
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            let text = std::fs::read_to_string(entry.path()).unwrap();
            std::fs::write(entry.path(), cut(&text)).unwrap();
        }
    }
    for day in std::fs::read_dir(table)
        .unwrap()
        .map(Result::unwrap)
        .filter(|entry| entry.file_name() != "_delta_log")
    {
        for entry in std::fs::read_dir(day.path())
            .into_iter()
            .flatten()
            .map(Result::unwrap)
        {
            let name = entry.file_name().into_string().unwrap();
            std::fs::rename(entry.path(), day.path().join(cut(&name))).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_file_is_named() {
    let fixture = paid().await;
    let tables = fixture.folder.path().join("tables");
    let mut named = 0;
    for table in ["windows", "payouts", "blocks", "shares"] {
        let of = Table::raw(headframe_schemas::stream::find(table).unwrap());
        for file in files(&tables, of).await {
            let folder = copied(&tables);
            let path = file.strip_prefix(&tables).unwrap();
            std::fs::remove_file(folder.path().join(path)).unwrap();
            let reports = [
                report(folder.path(), 1).await,
                report(folder.path(), 2).await,
            ];
            let name = path.file_name().unwrap().to_str().unwrap();
            let said = reports
                .iter()
                .flat_map(|report| &report.differences)
                .any(|difference| difference.contains(name));
            // Shares behind the last window, or before the first one, are nobody's business.
            assert!(
                said || table == "shares",
                "{table}: {name} is not named: {} {}",
                reports[0],
                reports[1]
            );
            named += usize::from(said && table == "shares");
        }
    }
    assert!(named > 0, "no file of shares was missed");
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_tables_are_a_difference() {
    let fixture = paid().await;
    let tables = fixture.folder.path().join("tables");
    let without = async |names: &[&str], found: u8| {
        let folder = copied(&tables);
        names
            .iter()
            .for_each(|name| std::fs::remove_dir_all(folder.path().join(name)).unwrap());
        report(folder.path(), found).await
    };
    for (names, wanted) in [
        (&["shares"][..], "there is no share at all"),
        (&["windows", "payouts"], "was never frozen, or is gone"),
        (
            &["shares", "windows", "payouts"],
            "there is no share at all",
        ),
        (&["windows"], "the root over its 0 rows"),
        (&["payouts"], "the row of the frozen window is missing"),
        (&["blocks"], "there is no block"),
    ] {
        let found = without(names, 1).await;
        assert!(
            found.differences.iter().any(|line| line.contains(wanted)),
            "{names:?}: {found}"
        );
        assert!(
            !found.is_fine() && !found.to_string().contains("everything agrees"),
            "{names:?}: {found}"
        );
    }
    // The other block is minutes old and never matured: what is not said of it may still come.
    let young = without(&["windows", "payouts"], 2).await;
    assert!(
        young.differences.is_empty()
            && !young.is_fine()
            && young.to_string().ends_with("shows no difference"),
        "{young}"
    );
    fixture.end().await;
}
