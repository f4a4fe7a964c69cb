//! What an audit says of tables that are as they should be, and of tables that somebody or
//! something changed.

use std::collections::HashMap;
use std::path::Path;

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
use headframe_sinks::{Lake, SeqRange, StreamBinding, TableWriter};
use tokio_util::sync::CancellationToken;

use crate::fixture::Fixture;
use crate::payouts::{Everything, block, hash, share, until_paid};

mod damaged;

/// Those of five miners, two of which made a block.
fn shares() -> Vec<Share> {
    let row = |n| {
        let found = [(20, 1), (50, 2)]
            .iter()
            .find(|(at, _)| *at == n)
            .map(|(_, found)| hash(*found));
        let miner = format!("miner-{}", n % 5);
        share(n, &miner, 90 + n, 2_000, found.as_deref())
    };
    (0..60).map(row).collect()
}

/// Two blocks of five miners: the first matured, the second orphaned.
async fn paid() -> Fixture {
    let fixture = Fixture::new(&Shares).await;
    let running = Everything::run(&fixture).await;
    for row in shares() {
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

/// Somebody marks the share that made a pool's block as mined solo, or takes the mark away: then
/// others are paid than those who mined it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_block_and_its_share_that_disagree_about_solo_mining_are_named() {
    let fixture = paid().await;
    for (solo, named) in [(None, false), (Some(false), false), (Some(true), true)] {
        let folder = copied(&fixture.folder.path().join("tables"));
        std::fs::remove_dir_all(folder.path().join("shares")).unwrap();
        let mut rows = shares();
        rows[20].solo = solo;
        write_shares(folder.path(), 0, &rows).await;
        let found = report(folder.path(), 1).await;
        let is_named = found.differences.iter().any(|line| {
            line.starts_with("blocks: the block is not mined solo by its row, and mined solo by")
        });
        assert_eq!((is_named, found.is_fine()), (named, !named), "{found}");
    }
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
