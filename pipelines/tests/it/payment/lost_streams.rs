//! Streams that are lost: another one in their place, an older one put back, steps that only the
//! lost one had.
//!
//! None of it may make the payer pay a second time.

use std::path::Path;

use headframe_ingest::{
    ManagedServer, Nats, ServerConfig, StreamIdentity, find_nats_server, provision_stream,
};
use headframe_pipelines::payment::lake_journal::LakeJournal;
use headframe_pipelines::payment::payer::PauseReason;
use headframe_pipelines::payment::signed_tx::{self, SignedTx};
use headframe_pipelines::payment::{Journal, JournalError, Ledger, PayerStateHandle};
use headframe_schemas::Table;
use headframe_schemas::payment::Stopped;
use headframe_schemas::stream::payments::{Payment, Payments};
use headframe_sinks::wallet::signed_tx_store::{SignedTxFolder, SignedTxStore};
use headframe_sinks::{Lake, SeqRange, StreamBinding, TableWriter};
use tokio_util::sync::CancellationToken;

use super::crashes::{payer_telling, poll};
use super::simulation::{Kind, World};
use super::stops::{reserved, round, steps};

/// A server in a folder, and a table of payments beside it.
struct Place {
    folder: tempfile::TempDir,
    server: Option<ManagedServer>,
    port: u16,
    lake: Lake,
}

impl Place {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let lake = Lake::open(
            folder.path().join("tables").to_str().unwrap(),
            &Default::default(),
        )
        .unwrap();
        let mut place = Self {
            folder,
            server: None,
            port: 0,
            lake,
        };
        place.up().await;
        place
    }

    async fn up(&mut self) {
        let mut config =
            ServerConfig::new(find_nats_server().unwrap(), self.folder.path().join("nats"));
        config.port = self.port;
        let server = ManagedServer::start(config).await.unwrap();
        self.port = server.url().rsplit(':').next().unwrap().parse().unwrap();
        self.server = Some(server);
    }

    async fn down(&mut self) {
        self.server.take().unwrap().shutdown().await;
    }

    async fn nats(&self) -> Nats {
        Nats::connect(&self.server.as_ref().unwrap().client_config())
            .await
            .unwrap()
    }

    async fn stream(&self) -> StreamIdentity {
        provision_stream(&self.nats().await.js, &Payments, &Default::default())
            .await
            .unwrap()
    }

    /// The table is complete through a sequence, as far as its log says.
    async fn committed(&self, stream: &StreamIdentity, last: i64) {
        let binding = StreamBinding {
            created_ns: stream.created_ns,
            base: 0,
        };
        let mut writer = TableWriter::open(
            &self.lake,
            Table::raw(&Payments),
            binding,
            CancellationToken::new(),
        )
        .await
        .unwrap();
        if last > 0 {
            writer
                .commit(
                    SeqRange {
                        first: writer.offset().unwrap_or(0) + 1,
                        last,
                    },
                    &[],
                )
                .await
                .unwrap();
        }
    }

    async fn journal(&self) -> Result<LakeJournal, JournalError> {
        LakeJournal::open(&self.lake, self.nats().await, &Default::default(), "main").await
    }
}

fn step(number: i64) -> [Payment; 1] {
    let name = "miner".to_owned();
    [Payment {
        event_time: 1_790_000_000_000_000,
        pool: "main".to_owned(),
        payment: format!("main-{number}-1"),
        step: "reserved".to_owned(),
        account: name.clone(),
        address: name,
        amount_atomic: 5,
        sent_atomic: 5,
        network_fee_atomic: 0,
        tx_id: None,
        reason: None,
        release_cause: None,
    }]
}

fn assert_inconsistent<T>(answer: Result<T, JournalError>, word: &str) {
    match answer {
        Err(JournalError::Inconsistent(why)) => assert!(
            why.contains(word) && why.contains("headframe adopt payments"),
            "{why}"
        ),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("the journal goes on"),
    }
}

async fn copied(from: &Path, to: &Path) {
    let copied = tokio::process::Command::new("cp")
        .arg("-a")
        .arg(from)
        .arg(to)
        .status()
        .await
        .unwrap();
    assert!(copied.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recreated_stream_is_neither_read_nor_written_until_it_is_adopted() {
    let place = Place::new().await;
    assert!(
        matches!(place.journal().await, Err(JournalError::Unavailable(_))),
        "without a table nobody knows which stream it is"
    );
    let old = place.stream().await;
    place.committed(&old, 0).await;
    let mut running = place.journal().await.unwrap();
    running.catch_up(&mut Ledger::default()).await.unwrap();
    for number in 1..=4 {
        running.append(&step(number)).await.unwrap();
    }
    place.committed(&old, 4).await;
    // The store is wiped, and the stream made anew by whoever comes first.
    let js = place.nats().await.js;
    js.delete_stream("payments").await.unwrap();
    assert_inconsistent(
        running.catch_up(&mut Ledger::default()).await,
        "created anew",
    );
    let new = place.stream().await;
    assert_ne!(old.created_ns, new.created_ns);
    assert_inconsistent(running.append(&step(5)).await, "created anew");
    assert_inconsistent(
        running.catch_up(&mut Ledger::default()).await,
        "created anew",
    );
    assert_inconsistent(place.journal().await, "this one was created at");
    assert_eq!(
        place.stream().await.last_seq,
        0,
        "nothing was written to it"
    );

    // An operator decides.
    let mut writer =
        TableWriter::open_to_rebind(&place.lake, Table::raw(&Payments), CancellationToken::new())
            .await
            .unwrap();
    assert_eq!(
        writer
            .rebind(new.created_ns, new.first_seq)
            .await
            .unwrap()
            .base,
        4
    );
    assert_inconsistent(
        running.catch_up(&mut Ledger::default()).await,
        "created anew",
    );
    let mut after = place.journal().await.unwrap();
    after.catch_up(&mut Ledger::default()).await.unwrap();
    assert_eq!(
        after.position(),
        4,
        "the next payment has a number of its own"
    );
    after.append(&step(5)).await.unwrap();
    assert_eq!((after.position(), place.stream().await.last_seq), (5, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_lost_its_newest_messages_is_not_written() {
    let mut place = Place::new().await;
    let stream = place.stream().await;
    place.committed(&stream, 0).await;
    let mut running = place.journal().await.unwrap();
    for number in 1..=2 {
        running.append(&step(number)).await.unwrap();
    }
    let (store, copy) = (
        place.folder.path().join("nats/jetstream"),
        place.folder.path().join("copy"),
    );
    place.down().await;
    copied(&store, &copy).await;
    place.up().await;
    let mut running = place.journal().await.unwrap();
    for number in 3..=4 {
        running.append(&step(number)).await.unwrap();
    }
    place.committed(&stream, 4).await;
    place.down().await;
    std::fs::remove_dir_all(&store).unwrap();
    std::fs::rename(&copy, &store).unwrap();
    place.up().await;
    let now = place.stream().await;
    assert_eq!(
        (now.created_ns, now.last_seq),
        (stream.created_ns, 2),
        "the very same stream, as it was"
    );
    assert_inconsistent(place.journal().await, "it has lost messages");
    // The one that runs meets it again when its connection is back.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(240);
    let met = loop {
        match running.append(&step(5)).await {
            Err(JournalError::Inconsistent(why)) => break why,
            other => assert!(
                other.is_err() && std::time::Instant::now() < deadline,
                "{other:?}"
            ),
        }
    };
    assert!(met.contains("has lost messages"), "{met}");
    assert_inconsistent(
        running.catch_up(&mut Ledger::default()).await,
        "has lost messages",
    );
    assert_eq!(
        place.stream().await.last_seq,
        2,
        "no sequence is given out twice"
    );
}

/// A payment that was sent, and of which the ledger has only the reservation: the rest was in a
/// stream that is gone.
fn only_reserved(kind: Kind) -> World {
    let world = reserved(kind);
    assert_eq!(round(&world), Ok(true));
    let mut inside = world.inside();
    assert_eq!(inside.sent.len(), 1);
    inside.payments.truncate(1);
    (inside.former, inside.lost) = (1, true);
    drop(inside);
    world
}

#[test]
fn a_payment_whose_later_steps_were_lost_is_found_in_the_history() {
    for kind in [Kind::Relay, Kind::SendMany] {
        let world = only_reserved(kind);
        world.inside().now += 600_000_000;
        for _ in 0..3 {
            assert_eq!(round(&world), Ok(true));
        }
        assert_eq!(
            steps(&world),
            ["reserved", "submitting", "submitted", "confirmed"]
        );
        assert_eq!(
            (round(&world), world.inside().sent.len()),
            (Ok(false), 1),
            "nobody is paid twice"
        );
    }
}

#[test]
fn a_payment_whose_later_steps_may_be_lost_is_not_made_anew() {
    for kind in [Kind::Relay, Kind::SendMany] {
        let world = only_reserved(kind);
        // A wallet that was killed has forgotten it, or does not list it yet.
        world.inside().sent[0].forgotten = true;
        world.inside().sent[0].visible += 30_000_000;
        assert_eq!(round(&world), Ok(true));
        assert_eq!(steps(&world), ["reserved", "review"]);
        assert!(
            matches!(round(&world), Err(PauseReason::Waiting(why)) if why.contains("an operator \
                must say"))
        );
        assert_eq!(world.inside().sent.len(), 1);
        // With the next block it is there.
        world.inside().now += 600_000_000;
        assert_eq!((round(&world), round(&world)), (Ok(true), Ok(true)));
        assert_eq!(steps(&world)[2..], ["submitted", "confirmed"]);
    }
}

#[test]
fn a_stream_that_lost_its_end_without_a_trace_is_still_contradicted_by_the_history() {
    // The same stream, so that nothing says that steps are missing; but the wallet has the
    // transaction.
    for kind in [Kind::Relay, Kind::SendMany] {
        let world = only_reserved(kind);
        world.inside().former = 0;
        world.inside().now += 60_000_000;
        assert_eq!(round(&world), Ok(true));
        assert_eq!(steps(&world), ["reserved", "submitting"]);
        assert_eq!(round(&world), Ok(true));
        assert_eq!(
            (
                steps(&world).last().unwrap().as_str(),
                world.inside().sent.len()
            ),
            ("submitted", 1)
        );
    }
}

#[test]
fn a_transaction_that_was_signed_before_is_sent_again_and_never_another_one() {
    // The same stream without its end, and a wallet that has forgotten what it sent: only the file
    // is left to tell.
    let world = only_reserved(Kind::Relay);
    let first = {
        let mut inside = world.inside();
        inside.former = 0;
        inside.sent[0].forgotten = true;
        inside.sent[0].tx_id.clone()
    };
    for _ in 0..2 {
        assert_eq!(round(&world), Ok(true));
    }
    assert_eq!(steps(&world), ["reserved", "submitting", "submitted"]);
    let inside = world.inside();
    assert_eq!(
        inside.payments[1][0].tx_id.as_ref(),
        Some(&first),
        "it goes on with the one that is kept"
    );
    assert_eq!(inside.sent.len(), 1, "nobody is paid twice");
}

#[test]
fn a_signed_transaction_that_the_ledger_does_not_know_stops_the_payer() {
    let world = only_reserved(Kind::Relay);
    let name = world.inside().payments[0][0].payment.clone();
    world.inside().payments.clear();
    world.inside().former = 0;
    let state = PayerStateHandle::default();
    let mut payer = payer_telling(&world, state.clone());
    for _ in 0..3 {
        let now = world.inside().now;
        let ended = poll(payer.tick(now), u32::MAX).unwrap();
        assert!(
            matches!(&ended, Err(PauseReason::SignedWithoutPayment(payment)) if *payment == name),
            "{ended:?}"
        );
    }
    let Stopped { rule, reason: why } = state.get().stopped.unwrap();
    assert!(rule == "kept" && why.contains(&name), "{rule}: {why}");
    assert_eq!((steps(&world).len(), world.inside().sent.len()), (0, 1));
    // A finished payment may have left its file behind: between its last step and the removal a
    // process may die.
    let world = reserved(Kind::Relay);
    assert_eq!(round(&world), Ok(true));
    let left = world.inside().vault.clone();
    world.inside().now += 600_000_000;
    assert_eq!(round(&world), Ok(true));
    world.inside().vault.extend(left);
    assert_eq!(round(&world), Ok(false));
}

#[tokio::test]
async fn what_a_vault_keeps_is_listed_by_pool() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("payments");
    assert_eq!(signed_tx::list(&place, "main").unwrap(), []);
    let vault = SignedTxFolder::open(&place).unwrap();
    for payment in ["main-7-1790", "main-2-8-1790", "mai.n-3-1790", "other"] {
        vault.put(payment, "ab12", b"signed").await.unwrap();
    }
    let one = |payment: &str| SignedTx {
        payment: payment.to_owned(),
        tx_id: "ab12".to_owned(),
    };
    assert_eq!(
        signed_tx::list(&place, "main").unwrap(),
        [one("main-7-1790")]
    );
    assert_eq!(
        signed_tx::list(&place, "main-2").unwrap(),
        [one("main-2-8-1790")]
    );
    assert_eq!(
        signed_tx::list(&place, "mai.n").unwrap(),
        [one(&signed_tx::file_name("mai.n-3-1790"))]
    );
    vault.remove("main-7-1790").await.unwrap();
    assert_eq!(signed_tx::list(&place, "main").unwrap(), []);
}
