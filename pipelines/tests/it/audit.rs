//! What an audit says of tables that are as they should be, and of tables that somebody or
//! something changed.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use headframe_ingest::{Decoder, DecoderState, Message};
use headframe_pipelines::payout::audit::proof::{self, Neighbour};
use headframe_pipelines::payout::audit::replay::{Comparison, Policy, replay};
use headframe_pipelines::payout::audit::{AuditReport, block as audit};
use headframe_pipelines::payout::{pplns::Pplns, solo::Solo};
use headframe_pipelines::signature::SigningKey;
use headframe_schemas::Table;
use headframe_schemas::stream::blocks::Blocks;
use headframe_schemas::stream::payouts::{Payout, Payouts};
use headframe_schemas::stream::shares::{Share, Shares};
use headframe_schemas::stream::windows::{WindowRow, Windows};
use headframe_sinks::{Lake, SeqRange, SnapshotReader, StreamBinding, TableWriter};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio_util::sync::CancellationToken;

use crate::fixture::Fixture;
use crate::payouts::{Everything, block, hash, share, until_paid};

/// Two blocks of five miners: the first matured, the second orphaned.
async fn paid() -> Fixture {
    let fixture = Fixture::new(&Shares).await;
    let running = Everything::run(&fixture).await;
    for n in 0..60 {
        let found = [(20, 1), (50, 2)]
            .iter()
            .find(|(at, _)| *at == n)
            .map(|(_, found)| hash(*found));
        let row = share(
            n,
            &format!("miner-{}", n % 5),
            90 + n,
            2_000,
            found.as_deref(),
        );
        fixture.publisher.record(&row).await.unwrap();
    }
    let terms = ("pplns", 1_000, 60);
    for (found, status) in [
        (1, "candidate"),
        (1, "accepted"),
        (2, "candidate"),
        (2, "accepted"),
        (1, "matured"),
        (2, "orphaned"),
    ] {
        fixture
            .publisher
            .record(&block(&hash(found), 10, status, terms))
            .await
            .unwrap();
    }
    until_paid(&fixture, 2 + 4 * 6).await;
    running.stop().await;
    fixture
}

fn lake(folder: &Path) -> Lake {
    Lake::open(folder.to_str().unwrap(), &HashMap::new()).unwrap()
}

async fn report(folder: &Path, found: u8) -> AuditReport {
    audit(&lake(folder), &hash(found), None).await.unwrap()
}

fn copied(from: &Path) -> tempfile::TempDir {
    fn copy(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
            let target = to.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                copy(&entry.path(), &target)
            } else {
                assert!(std::fs::copy(entry.path(), target).unwrap() < 1 << 30)
            }
        }
    }
    let folder = tempfile::tempdir().unwrap();
    copy(from, folder.path());
    folder
}

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
async fn intact_tables_pass_and_an_untrusted_key_is_a_difference() {
    let fixture = paid().await;
    let tables = fixture.folder.path().join("tables");
    for found in [1, 2] {
        let report = report(&tables, found).await;
        assert!(report.is_fine(), "{report}");
        assert!(
            report
                .notes
                .iter()
                .any(|note| note.contains("shares of 5 miners weighed again")),
            "{report}"
        );
    }
    let known = SigningKey::open(&fixture.folder.path().join("keys/payouts.key"))
        .unwrap()
        .public_hex();
    assert!(
        audit(&lake(&tables), &hash(1), Some(&known))
            .await
            .unwrap()
            .is_fine()
    );
    let foreign = audit(
        &lake(&tables),
        &hash(1),
        Some(&SigningKey::ephemeral().unwrap().public_hex()),
    )
    .await
    .unwrap();
    assert!(
        foreign.differences.len() == 1 && foreign.differences[0].contains("not by the trusted key"),
        "{foreign}"
    );
    let nothing = report(&tables, 7).await;
    assert!(
        nothing.differences[0].contains("there is no block"),
        "{nothing}"
    );
    fixture.end().await;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_audit_without_the_windows_shares_says_that_it_is_incomplete() {
    let fixture = paid().await;
    let folder = copied(&fixture.folder.path().join("tables"));
    // As after retention: the oldest share is newer than the window.
    std::fs::remove_dir_all(folder.path().join("shares")).unwrap();
    write_shares(folder.path(), 1_000, &[share(0, "a", 10, 10, None)]).await;
    let found = report(folder.path(), 1).await;
    assert!(found.differences.is_empty() && !found.is_fine(), "{found}");
    assert!(
        found.unchecked.len() == 1 && found.unchecked[0].contains("nothing before 1001 is kept"),
        "{found}"
    );
    assert!(
        found
            .to_string()
            .ends_with("incomplete: what was checked shows no difference"),
        "{found}"
    );
    let policy = Policy {
        scheme: &Pplns,
        window_milli: 1_000,
        fee_bp: 60,
    };
    let history = replay(&lake(folder.path()), policy, 0, i64::MAX)
        .await
        .unwrap();
    let skipped: Vec<_> = history.skipped.into_iter().collect();
    assert_eq!(
        (history.blocks, skipped),
        (
            0,
            vec![("shares of their windows are no longer kept", vec![hash(1)])]
        )
    );
    fixture.end().await;
}

/// A new table of shares, one a message, behind this sequence.
async fn write_shares(folder: &Path, base: i64, rows: &[Share]) {
    let binding = StreamBinding {
        created_ns: 1,
        base,
    };
    let mut writer = TableWriter::open(
        &lake(folder),
        Table::raw(&Shares),
        binding,
        CancellationToken::new(),
    )
    .await
    .unwrap();
    let message = |(row, seq): (&Share, u64)| {
        let payload = serde_json::to_string(row).unwrap().into();
        Message {
            seq,
            time_ns: 1_772_362_800_000_000_000,
            payload,
            ..Message::default()
        }
    };
    let messages: Vec<Message> = rows.iter().zip(1..).map(message).collect();
    let chunk = Decoder::new(&Shares, base, DecoderState::default()).decode(&messages);
    writer
        .commit(
            SeqRange {
                first: base + 1,
                last: chunk.last,
            },
            &[chunk.batch],
        )
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forged_rows_are_named_and_the_pipeline_stops_at_them() {
    let fixture = paid().await;
    let tables = fixture.folder.path().join("tables");
    let stolen = Payout {
        event_time: 1_772_362_800_000_000,
        pool: "main".to_owned(),
        block_hash: hash(1),
        height: 10,
        step: "matured".to_owned(),
        account: Some("thief".to_owned()),
        amount_atomic: Some(5),
        was_mature: None,
        cause_seq: 5,
        cause_row: 0,
        reason: None,
        frozen: None,
    };
    let raw = fixture.run(&Payouts).await;
    let seq = fixture.publisher.record(&stolen).await.unwrap().seq;
    let seq = seq.max(
        fixture
            .publisher
            .record(&Payout {
                cause_seq: 99,
                ..stolen.clone()
            })
            .await
            .unwrap()
            .seq,
    );
    fixture.until_through(Table::raw(&Payouts), seq).await;
    raw.stop().await;
    let found = report(&tables, 1).await;
    assert!(
        found
            .differences
            .iter()
            .any(|line| line.contains("thief gets 5 atomic units and is not in the window")),
        "{found}"
    );
    assert!(
        found
            .differences
            .iter()
            .any(|line| line.contains("to thief follows from no row of blocks")),
        "{found}"
    );
    assert!(
        report(&tables, 2).await.is_fine(),
        "the other block is as it was"
    );

    let raw = fixture.run(&Windows).await;
    let row = WindowRow {
        event_time: 1_772_362_800_000_000,
        pool: "main".to_owned(),
        block_hash: hash(2),
        height: 10,
        position: 5,
        miner: "thief".to_owned(),
        weight: 1,
        shares: 1,
        amount_atomic: 1,
    };
    let seq = fixture.publisher.record(&row).await.unwrap().seq;
    fixture.until_through(Table::raw(&Windows), seq).await;
    raw.stop().await;
    let found = report(&tables, 2).await;
    assert!(
        found
            .differences
            .iter()
            .any(|line| line.contains("the root over its 6 rows")),
        "{found}"
    );
    assert!(
        found
            .differences
            .iter()
            .any(|line| line.contains("miner thief has 1 atomic units and no share")),
        "{found}"
    );

    // The pipeline finds rows it never stated, and says so instead of going on.
    let mut blocks = fixture.run(&Blocks).await;
    let (windows, payouts) = (fixture.run(&Windows).await, fixture.run(&Payouts).await);
    let fault = blocks.fault().await.to_string();
    assert!(
        fault.contains("payouts") && fault.contains("headframe audit"),
        "{fault}"
    );
    for running in [blocks, windows, payouts] {
        running.kill().await;
    }
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proof_holds_by_itself_and_no_changed_one_does() {
    let fixture = paid().await;
    let lake = lake(&fixture.folder.path().join("tables"));
    let known = SigningKey::open(&fixture.folder.path().join("keys/payouts.key"))
        .unwrap()
        .public_hex();
    for number in 0..5 {
        let miner = format!("miner-{number}");
        let proof = proof::make(&lake, &hash(1), &miner).await.unwrap().unwrap();
        let text = serde_json::to_string(&proof).unwrap();
        assert_eq!(serde_json::from_str::<proof::Proof>(&text).unwrap(), proof);
        assert_eq!(proof::check(&proof, &miner, Some(&known)), Ok(()));
        assert!(
            proof::check(&proof, "miner-9", None)
                .unwrap_err()
                .contains("is of miner")
        );
        let mut changed = vec![proof.clone(); 7];
        changed[0].amount_atomic = (proof.amount_atomic.parse::<i128>().unwrap() + 1).to_string();
        changed[1].weight.push('0');
        changed[2].reward_atomic.push('0');
        changed[3].block_hash = hash(2);
        changed[4].fee_bp = 0;
        changed[5].public_key = SigningKey::ephemeral().unwrap().public_hex();
        changed[6].steps = proof
            .steps
            .iter()
            .map(|step| match step {
                Neighbour::Left(hash) | Neighbour::Right(hash) => Neighbour::Right(hash.clone()),
            })
            .chain([Neighbour::Left(hash(0))])
            .collect();
        for (place, changed) in changed.iter().enumerate() {
            assert!(
                proof::check(changed, &miner, None).is_err(),
                "change {place} of {miner}"
            );
        }
    }
    assert!(
        proof::make(&lake, &hash(1), "miner-9")
            .await
            .unwrap()
            .unwrap_err()
            .contains("is not in a frozen window")
    );
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_on_other_terms_moves_money_and_makes_none() {
    let fixture = paid().await;
    let lake = lake(&fixture.folder.path().join("tables"));
    let policy = Policy {
        scheme: &Pplns,
        window_milli: 1_000,
        fee_bp: 60,
    };
    let same = replay(&lake, policy, 0, i64::MAX).await.unwrap();
    assert_eq!(
        (same.blocks, same.skipped.len()),
        (1, 0),
        "the orphaned block counts for nobody"
    );
    assert!(
        same.fee.0 == same.fee.1 && same.miners.values().all(|(was, would)| was == would),
        "{same:?}"
    );
    let other = replay(
        &lake,
        Policy {
            scheme: &Solo,
            fee_bp: 0,
            ..policy
        },
        0,
        i64::MAX,
    )
    .await
    .unwrap();
    let total = |pick: fn(&(u128, u128)) -> u128| other.miners.values().map(pick).sum::<u128>();
    assert_eq!(
        (
            total(|both| both.0) + other.fee.0,
            total(|both| both.1) + other.fee.1
        ),
        (600_000_000_007, 600_000_000_007)
    );
    assert_eq!(
        (other.miners["miner-0"].1, other.fee.1),
        (600_000_000_007, 0),
        "the twentieth share made it"
    );
    let none = replay(&lake, policy, 0, 1).await.unwrap();
    assert_eq!(none.blocks, 0);
    // As it was is what was paid, whatever shares say now.
    let folder = copied(&fixture.folder.path().join("tables"));
    std::fs::remove_dir_all(folder.path().join("shares")).unwrap();
    let others: Vec<Share> = (0..60)
        .map(|n| {
            share(
                n,
                "other",
                100,
                2_000,
                [(20, hash(1)), (50, hash(2))]
                    .iter()
                    .find(|at| at.0 == n)
                    .map(|at| at.1.as_str()),
            )
        })
        .collect();
    write_shares(folder.path(), 0, &others).await;
    let paid = replay(&self::lake(folder.path()), policy, 0, i64::MAX)
        .await
        .unwrap();
    let was = |comparison: &Comparison| {
        comparison
            .miners
            .iter()
            .map(|(miner, both)| (miner.clone(), both.0))
            .collect::<Vec<_>>()
    };
    let before: Vec<_> = was(&same)
        .into_iter()
        .chain([("other".to_owned(), 0)])
        .collect();
    assert_eq!(
        (paid.blocks, was(&paid), paid.fee.0),
        (1, before, same.fee.0)
    );
    // In a folder without the tables nothing was found out.
    for name in ["blocks", "shares", "windows", "payouts"] {
        let folder = copied(&fixture.folder.path().join("tables"));
        std::fs::remove_dir_all(folder.path().join(name)).unwrap();
        let fault = replay(&self::lake(folder.path()), policy, 0, i64::MAX)
            .await
            .unwrap_err()
            .to_string();
        assert!(
            fault.contains(name) && fault.contains("missing or empty"),
            "{fault}"
        );
    }
    fixture.end().await;
}
