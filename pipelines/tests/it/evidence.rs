//! The chain over facts: it goes on over kills, and shows whatever is changed in the tables.

use bytes::Bytes;
use headframe_pipelines::evidence::audit::{EvidenceReport, TrustAnchors, audit};
use headframe_pipelines::evidence::note;
use headframe_pipelines::pipeline::evidence::Chain;
use headframe_schemas::stream::commands::Commands;
use headframe_schemas::stream::evidence::{CHAINED, EvidenceRows};
use headframe_schemas::stream::registry::{RegistryChange, RegistryChanges};
use headframe_schemas::stream::site_commands::{SiteCommandRow, SiteCommands};
use headframe_schemas::{Table, codec, stream};
use headframe_sinks::{Lake, PhotoStore, SeqRange, StreamBinding, TableWriter};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use crate::fixture::{Fixture, Running};

const HOUR: i64 = 3_600_000_000;
/// 2026-03-01T11:00:00Z, microseconds since 1970: a whole hour.
const START: i64 = 1_772_362_800_000_000;

async fn change(fixture: &Fixture, number: i64) -> u64 {
    let change = RegistryChange {
        event_time: START + number,
        resource: format!("sites.s{number}"),
        kind: "sites".to_owned(),
        id: format!("s{number}"),
        version: 1,
        change: "created".to_owned(),
        actor: "test".to_owned(),
        after: Some(format!(r#"{{"name":"Site {number}"}}"#)),
        ..RegistryChange::default()
    };
    fixture.publisher.record(&change).await.unwrap().seq
}

/// An inspection that names a photo, whose digest is answered. The bytes are stored first.
async fn inspection(fixture: &Fixture, number: i64) -> (u64, String) {
    let photo = Bytes::from_static(b"RIFF\x24\0\0\0WEBP and so on");
    let digest = hex::encode(Sha256::digest(&photo));
    let photos = PhotoStore::new(&fixture.context().lake);
    photos.put(&digest, photo).await.unwrap();
    let change = RegistryChange {
        event_time: START + number,
        resource: "inspections.first".to_owned(),
        kind: "inspections".to_owned(),
        id: "first".to_owned(),
        version: 1,
        change: "created".to_owned(),
        actor: "test".to_owned(),
        after: Some(format!(r#"{{"site":"s1","photos":"{digest}"}}"#)),
        ..RegistryChange::default()
    };
    (fixture.publisher.record(&change).await.unwrap().seq, digest)
}

async fn command(fixture: &Fixture, number: i64) -> u64 {
    let line = format!(
        r#"{{"event_time":1772362800000000,"cluster":"c","command":{number},"worker":"w",
            "kind":"pause","state":"sent","hashrate_hs":0.5}}"#
    )
    .replace('\n', "");
    let batch = codec::decode_ndjson(&Commands, &[line.as_bytes()]).batch;
    fixture.publisher.batch(&Commands, batch).await.unwrap().seq
}

async fn site_command(fixture: &Fixture, number: i64) -> u64 {
    let row = SiteCommandRow {
        event_time: START + number,
        site: "north".to_owned(),
        journal: "1a".to_owned(),
        command: number,
        decision: 7,
        target_kind: "machine".to_owned(),
        target: format!("m-{number}"),
        action: "off".to_owned(),
        value: None,
        path: "device".to_owned(),
        state: "verified".to_owned(),
        successor: None,
        reason: None,
    };
    fixture.publisher.record(&row).await.unwrap().seq
}

/// The raw tables of everything that is chained, and of the chain.
async fn run_all(fixture: &Fixture) -> Vec<Running> {
    let mut running = Vec::new();
    for name in CHAINED.iter().chain(["evidence"].iter()) {
        running.push(fixture.run_raw(stream::find(name).unwrap()).await);
    }
    running
}

async fn checked(fixture: &Fixture) -> EvidenceReport {
    audit(&fixture.context().lake, &TrustAnchors::default())
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_chain_goes_on_over_kills_and_holds() {
    let fixture = Fixture::new(&RegistryChanges).await;
    let running = run_all(&fixture).await;
    let mut expected = 0;
    for round in 0..4 {
        for number in 0..3 {
            let seq = change(&fixture, round * 3 + number).await;
            fixture.until_complete(&RegistryChanges, seq).await;
            expected += 1;
        }
        let seq = command(&fixture, round).await;
        fixture.until_complete(&Commands, seq).await;
        let seq = site_command(&fixture, round).await;
        fixture.until_complete(&SiteCommands, seq).await;
        expected += 2;
        // Each round another start; the one before ended without a word.
        let mut chain = Chain::open(&fixture.context()).await.unwrap();
        chain.step(START + round * HOUR).await.unwrap();
        // Nothing new, and the same hour.
        chain.step(START + round * HOUR + 1).await.unwrap();
    }
    let last = fixture.last_seq(&EvidenceRows).await;
    fixture.until_complete(&EvidenceRows, last).await;
    let report = checked(&fixture).await;
    assert_eq!(report.difference, None);
    assert_eq!(
        (report.facts, report.checkpoints, report.not_chained_yet),
        (expected, 4, 0)
    );
    assert_eq!(report.verifiers.len(), 1);
    agrees_with_python(&fixture).await;
    known_from_elsewhere(&fixture, &report.verifiers[0]).await;
    for running in running {
        running.stop().await;
    }
    fixture.end().await;
}

/// A checkpoint that was kept is found again, and one of another log is not.
async fn known_from_elsewhere(fixture: &Fixture, verifier: &str) {
    let sql = "SELECT note FROM t WHERE kind = 'checkpoint' AND position = 10";
    let found = fixture.strings(Table::raw(&EvidenceRows), sql).await;
    let kept = note::parse(note::opened(&found[0], verifier).unwrap()).unwrap();
    assert_eq!(kept.size, 10);
    let lake = &fixture.context().lake;
    let check = async |verifier: Option<&str>, change: &dyn Fn(&mut note::Checkpoint)| {
        let mut checkpoint = kept.clone();
        change(&mut checkpoint);
        let trusted = TrustAnchors {
            verifier: verifier.map(str::to_owned),
            checkpoint: Some(checkpoint),
        };
        audit(lake, &trusted)
            .await
            .unwrap()
            .difference
            .unwrap_or_default()
    };
    assert_eq!(check(Some(verifier), &|_| ()).await, "");
    assert!(
        check(None, &|kept| kept.root[0] ^= 1)
            .await
            .contains("the first 10 facts")
    );
    assert!(
        check(None, &|kept| kept.size = 99)
            .await
            .contains("is over 99")
    );
    let other = "headframe/evidence/x+00000000+AQ==";
    assert!(
        check(Some(other), &|_| ())
            .await
            .contains("another key than the trusted one")
    );
}

/// Another program, in another language, computes the chain and its newest root.
async fn agrees_with_python(fixture: &Fixture) {
    let facts = "SELECT seq, row, CAST(event_time AS BIGINT) AS event_time, resource, kind, id, \
        version, change, actor, after FROM t ORDER BY seq";
    let mut lines = vec![fixture.json(Table::raw(&RegistryChanges), facts).await];
    let commands = "SELECT seq, row, CAST(event_time AS BIGINT) AS event_time, \"cluster\", \
        command, worker, kind, state, CAST(hashrate_hs AS VARCHAR) AS hashrate_hs FROM t ORDER BY \
        seq";
    lines.push(fixture.json(Table::raw(&Commands), commands).await);
    let site_commands = "SELECT seq, row, CAST(event_time AS BIGINT) AS event_time, site, journal, \
        command, decision, target_kind, target, action, path, state FROM t ORDER BY seq";
    lines.push(fixture.json(Table::raw(&SiteCommands), site_commands).await);
    let chain = "SELECT kind, position, fact_stream, fact_seq, hash, note FROM t ORDER BY seq, row";
    lines.push(fixture.json(Table::raw(&EvidenceRows), chain).await);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/evidence.py");
    let mut python = std::process::Command::new("python3")
        .arg(script)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = python.stdin.take().unwrap();
    std::io::Write::write_all(&mut input, format!("[{}]", lines.join(",")).as_bytes()).unwrap();
    drop(input);
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(
        String::from_utf8_lossy(&output.stdout).trim(),
        "20 facts, 4 checkpoints"
    );
}

/// Writes a table anew with its rows changed by a statement, as who can write files could.
async fn rewritten(lake: &Lake, folder: &std::path::Path, table: Table, sql: &str) -> Lake {
    let copy = folder.join("copy");
    let _ = std::fs::remove_dir_all(&copy);
    let source = folder.join("tables");
    assert!(
        std::process::Command::new("cp")
            .arg("-r")
            .arg(&source)
            .arg(&copy)
            .status()
            .unwrap()
            .success()
    );
    let rows = crate::fixture::rows(lake, table.clone(), sql).await;
    std::fs::remove_dir_all(copy.join(&table.name)).unwrap();
    let changed = Lake::open(copy.to_str().unwrap(), &Default::default()).unwrap();
    let binding = StreamBinding {
        created_ns: 1,
        base: 0,
    };
    let stop = CancellationToken::new();
    let mut writer = TableWriter::open(&changed, table.clone(), binding, stop)
        .await
        .unwrap();
    let last = 1_000;
    let rows: Vec<_> = rows
        .iter()
        .map(|batch| codec::conform(&table.schema(), batch).unwrap())
        .collect();
    writer
        .commit(SeqRange { first: 1, last }, &rows)
        .await
        .unwrap();
    changed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_changed_in_the_tables_is_named() {
    let fixture = Fixture::new(&RegistryChanges).await;
    let running = run_all(&fixture).await;
    for number in 0..5 {
        let seq = change(&fixture, number).await;
        fixture.until_complete(&RegistryChanges, seq).await;
    }
    let (seq, photo) = inspection(&fixture, 5).await;
    fixture.until_complete(&RegistryChanges, seq).await;
    let mut chain = Chain::open(&fixture.context()).await.unwrap();
    chain.step(START).await.unwrap();
    let last = fixture.last_seq(&EvidenceRows).await;
    fixture.until_complete(&EvidenceRows, last).await;
    for running in running {
        running.stop().await;
    }
    let (registry, evidence) = (Table::raw(&RegistryChanges), Table::raw(&EvidenceRows));
    let replace = "SELECT * REPLACE";
    let cases = [
        (&registry, "SELECT * FROM t".to_owned(), ""),
        (&evidence, "SELECT * FROM t".to_owned(), ""),
        (
            &registry,
            format!(
                "{replace} (CASE WHEN seq = 3 THEN 'other' ELSE actor END AS actor) \
            FROM t"
            ),
            "position 2: registry, seq 3, row 0: the fact is not the one",
        ),
        (
            &registry,
            format!(
                "{replace} (CASE WHEN seq = 6 THEN CAST(NULL AS VARCHAR) ELSE after \
            END AS after) FROM t"
            ),
            "position 5: registry, seq 6, row 0: the fact is not the one",
        ),
        (
            &registry,
            "SELECT * FROM t WHERE seq <> 4".to_owned(),
            "position 3: registry, seq 4, row 0: the table does not have this fact",
        ),
        (
            &registry,
            "SELECT * FROM t WHERE seq <> 1".to_owned(),
            "the table keeps all rows",
        ),
        (
            &registry,
            format!(
                "SELECT * FROM t UNION ALL ({replace} (1 AS row) FROM t WHERE seq = \
            2)"
            ),
            "before it the table has seq 2, row 1, which is not chained",
        ),
        (
            &evidence,
            "SELECT * FROM t WHERE position <> 2".to_owned(),
            "position 2: the chain goes on with position 3",
        ),
        (
            &evidence,
            format!(
                "{replace} (CASE WHEN position = 1 THEN concat('0', substr(hash, 2)) \
            ELSE hash END AS hash) FROM t"
            ),
            "position 1: registry",
        ),
        (
            &evidence,
            format!(
                "{replace} (CASE WHEN kind = 'checkpoint' THEN replace(note, '\n6\n', \
            '\n5\n') END AS note) FROM t"
            ),
            "is not of this text",
        ),
        (
            &evidence,
            format!(
                "{replace} (CASE WHEN kind = 'checkpoint' THEN 5 ELSE position END AS \
            position) FROM t"
            ),
            "it is not over the facts that stand before it",
        ),
    ];
    let lake = &fixture.context().lake;
    for (table, sql, expected) in cases {
        let changed = rewritten(lake, fixture.folder.path(), table.clone(), &sql).await;
        let found = audit(&changed, &TrustAnchors::default()).await.unwrap();
        let found = found.difference.unwrap_or_default();
        match expected {
            "" => assert_eq!(found, "", "{sql}"),
            _ => assert!(found.contains(expected), "{sql}: {found:?}"),
        }
    }
    photo_is_read(&fixture, &photo).await;
    fixture.end().await;
}

/// A flipped bit of a photo is found, as is a photo that is gone.
async fn photo_is_read(fixture: &Fixture, digest: &str) {
    let report = checked(fixture).await;
    assert_eq!((report.photos, report.difference), (1, None));
    let file = fixture.folder.path().join("tables/_photos").join(digest);
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[20] ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    let of_photo = format!("photo {digest} of inspection first: ");
    let found = async || checked(fixture).await.difference.unwrap_or_default();
    let changed = format!("{of_photo}its bytes are not those that it names");
    assert_eq!(found().await, changed);
    std::fs::remove_file(&file).unwrap();
    let gone = format!("{of_photo}it is not stored any more");
    assert_eq!(found().await, gone);
}
