//! What is acknowledged is stored, once, whatever dies meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::AsArray;
use async_nats::jetstream::stream::Config;
use headframe_ingest::inspect_stream;
use headframe_ingest::{
    Decoder, DecoderState, ProvisionError, PublishError, Publisher, PublisherConfig, ReadFrom,
    Reader, StreamSettings, provision_stream,
};
use headframe_schemas::codec;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::fixture::{Bed, SENSORS, line, publisher, read_through, reading, signal, stop};
use crate::logs::Logs;

#[tokio::test(flavor = "multi_thread")]
async fn rows_come_back_as_they_went_in() {
    let bed = Bed::start().await;
    let nats = bed.sensors().await;
    let publisher = publisher(&nats);
    let single = publisher.record(&reading(0)).await.unwrap();
    assert!(!single.duplicate);
    assert_eq!(single.seq, 1);
    let many = (1..100).map(|n| {
        let publisher = publisher.clone();
        async move { publisher.record(&reading(n)).await.unwrap() }
    });
    let receipts = futures::future::join_all(many).await;
    let messages: BTreeSet<u64> = receipts.iter().map(|receipt| receipt.seq).collect();
    assert!(
        messages.len() < 20,
        "concurrent callers share messages, got {}",
        messages.len()
    );
    let lines: Vec<String> = (100..600).map(line).collect();
    let decoded = codec::decode_ndjson(
        SENSORS,
        &lines.iter().map(|line| line.as_bytes()).collect::<Vec<_>>(),
    );
    let last = publisher.batch(SENSORS, decoded.batch).await.unwrap();

    let mut reader = Reader::open(nats, SENSORS, ReadFrom::default())
        .await
        .unwrap();
    let messages = read_through(&mut reader, last.seq).await.unwrap();
    let mut decoder = Decoder::new(SENSORS, 1_000, DecoderState::default());
    let chunk = decoder.decode(&messages);
    assert_eq!(
        (chunk.first, chunk.last, chunk.duplicates, chunk.rejected),
        (1_001, 1_000 + i64::try_from(last.seq).unwrap(), 0, 0)
    );
    let mut sensors: Vec<String> = chunk.batch["sensor"]
        .as_string_view()
        .iter()
        .map(|name| name.unwrap().to_owned())
        .collect();
    sensors.sort();
    let mut expected: Vec<String> = (0..600).map(|n| format!("s{n}")).collect();
    expected.sort();
    assert_eq!(sensors, expected);
    assert!(
        chunk.batch["producer"]
            .as_string_view()
            .iter()
            .all(|name| name == Some(publisher.producer()))
    );
    let numbers: BTreeSet<i64> = chunk.batch["producer_seq"]
        .as_primitive::<arrow::datatypes::Int64Type>()
        .values()
        .iter()
        .copied()
        .collect();
    assert_eq!(numbers, (1..=600).collect(), "every row has its own number");
    let state = DecoderState::from_bytes(&decoder.state().to_bytes()).unwrap();
    assert_eq!(&state, decoder.state());
    assert_eq!((state.seen.producers(), state.seen.intervals()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_the_server_loses_and_doubles_nothing() {
    let bed = Bed::start().await;
    let nats = bed.sensors().await;
    let publisher = publisher(&nats);
    let acked = Arc::new(Mutex::new(BTreeMap::new()));
    let stop = CancellationToken::new();
    let mut tasks = tokio::task::JoinSet::new();
    for worker in 0..16_i64 {
        let (publisher, acked, stop) = (publisher.clone(), acked.clone(), stop.clone());
        tasks.spawn(async move {
            let mut n = worker * 1_000_000;
            while !stop.is_cancelled() {
                let receipt = publisher
                    .record(&reading(n))
                    .await
                    .expect("every publish is confirmed in the end");
                acked.lock().await.insert(n, receipt.seq);
                n += 1;
            }
        });
    }
    // A reader lives through it all, beside one that starts afterwards.
    let mut live = Reader::open(nats.clone(), SENSORS, ReadFrom::default())
        .await
        .unwrap();
    for round in 1..=4_usize {
        let goal = round * 400;
        let reached = async {
            while acked.lock().await.len() < goal {
                tokio::task::yield_now().await
            }
        };
        tokio::time::timeout(crate::fixture::PATIENCE, reached)
            .await
            .expect("publishing goes on");
        bed.kill().await;
    }
    stop.cancel();
    while let Some(result) = tasks.join_next().await {
        result.unwrap();
    }
    let acked = acked.lock().await;
    let last = inspect_stream(&nats.js, SENSORS)
        .await
        .unwrap()
        .unwrap()
        .last_seq;
    let messages = read_through(&mut live, last).await.unwrap();
    let mut later = Reader::open(nats.clone(), SENSORS, ReadFrom::default())
        .await
        .unwrap();
    assert_eq!(messages, read_through(&mut later, last).await.unwrap());
    let chunk = Decoder::new(SENSORS, 0, DecoderState::default()).decode(&messages);
    let mut counts: BTreeMap<i64, u32> = BTreeMap::new();
    for name in chunk.batch["sensor"].as_string_view() {
        *counts
            .entry(name.unwrap()[1..].parse().unwrap())
            .or_default() += 1;
    }
    assert!(counts.values().all(|&count| count == 1), "no row twice");
    let missing: Vec<_> = acked.keys().filter(|n| !counts.contains_key(n)).collect();
    assert!(
        missing.is_empty(),
        "acknowledged rows are missing: {missing:?}"
    );
    assert_eq!(counts.len(), acked.len(), "every caller got its receipt");
    println!(
        "killed 4 times: {} rows in {} messages, {} duplicates dropped",
        acked.len(),
        messages.len(),
        chunk.duplicates
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_delays_and_doubles_nothing() {
    let bed = Bed::start().await;
    let nats = bed.sensors().await;
    let publisher = publisher(&nats);
    publisher.record(&reading(0)).await.unwrap();
    let mut reader = Reader::open(nats.clone(), SENSORS, ReadFrom::default())
        .await
        .unwrap();
    read_through(&mut reader, 1).await.unwrap();
    let pid = bed.server.as_ref().unwrap().pid().unwrap();
    stop(pid).await;
    let mut callers = tokio::task::JoinSet::new();
    for n in 1..=100 {
        let publisher = publisher.clone();
        callers.spawn(async move { publisher.record(&reading(n)).await });
    }
    // Longer than JetStream's acknowledgements are waited for, so that every message is sent more
    // than once.
    let early = tokio::time::timeout(std::time::Duration::from_secs(7), callers.join_next()).await;
    signal(pid, "-CONT");
    assert!(
        early.is_err(),
        "nothing can be acknowledged by a stopped server: {early:?}"
    );
    let mut last = 0;
    while let Some(receipt) = callers.join_next().await {
        last = last.max(receipt.unwrap().unwrap().seq);
    }
    let mut messages = read_through(&mut reader, last).await.unwrap();
    let stored = inspect_stream(&nats.js, SENSORS)
        .await
        .unwrap()
        .unwrap()
        .last_seq;
    messages.extend(read_through(&mut reader, stored).await.unwrap());
    let chunk = Decoder::new(SENSORS, 0, DecoderState::default()).decode(&messages);
    let names: BTreeSet<&str> = chunk.batch["sensor"]
        .as_string_view()
        .iter()
        .map(Option::unwrap)
        .collect();
    assert_eq!((names.len(), chunk.batch.num_rows()), (100, 100));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_goes_away_takes_nothing_with_it() {
    let bed = Bed::start().await;
    let nats = bed.sensors().await;
    let publisher = publisher(&nats);
    for n in 0..50 {
        let record = reading(n);
        let other = reading(1_000 + n);
        // The first caller is dropped after its row was queued.
        tokio::select! {
            biased;
            _ = publisher.record(&record) => {}
            receipt = publisher.record(&other) => { receipt.unwrap(); }
        }
        publisher.record(&reading(2_000 + n)).await.unwrap();
    }
    let last = publisher.record(&reading(9_999)).await.unwrap().seq;
    let mut reader = Reader::open(nats, SENSORS, ReadFrom::default())
        .await
        .unwrap();
    let chunk = Decoder::new(SENSORS, 0, DecoderState::default())
        .decode(&read_through(&mut reader, last).await.unwrap());
    let names: Vec<&str> = chunk.batch["sensor"]
        .as_string_view()
        .iter()
        .map(Option::unwrap)
        .collect();
    for n in 2_000..2_050 {
        assert_eq!(
            names
                .iter()
                .filter(|name| **name == format!("s{n}"))
                .count(),
            1,
            "row {n}"
        );
    }
    assert_eq!(chunk.rejected, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_stream_refuses_and_loses_nothing_unread() {
    let bed = Bed::start().await;
    let nats = bed.nats().await;
    let settings = StreamSettings {
        max_bytes: Some(60_000),
        ..StreamSettings::default()
    };
    provision_stream(&nats.js, SENSORS, &settings)
        .await
        .unwrap();
    let publisher = publisher(&nats);
    let mut stored = 0;
    let error = loop {
        match publisher.record(&reading(stored)).await {
            Ok(_) => stored += 1,
            Err(error) => break error,
        }
        assert!(stored < 10_000, "the limit is never reached");
    };
    assert!(matches!(error, PublishError::Full { .. }), "{error}");
    assert!(error.retryable() && error.retry_after().is_some());
    let identity = inspect_stream(&nats.js, SENSORS).await.unwrap().unwrap();
    assert_eq!(
        (identity.first_seq, identity.last_seq),
        (1, u64::try_from(stored).unwrap()),
        "the oldest row is still there"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn hopeless_publishes_say_why() {
    let bed = Bed::start().await;
    let nats = bed.sensors().await;
    let publisher = publisher(&nats);
    let huge = format!("{{\"sensor\":\"{}\"}}", "x".repeat(9 * 1024 * 1024));
    let error = publisher
        .line(SENSORS, "north", huge.into())
        .await
        .unwrap_err();
    assert!(matches!(error, PublishError::TooLarge { .. }), "{error}");
    assert!(!error.retryable());
    // Others are not harmed.
    publisher.record(&reading(1)).await.unwrap();
}

#[tokio::test]
async fn a_missing_stream_and_a_missing_server_are_told_apart() {
    let mut bed = Bed::start().await;
    let nats = bed.nats().await;
    let lonely = publisher(&nats);
    let (logs, _guard) = Logs::capture();
    let error = lonely.record(&reading(1)).await.unwrap_err();
    assert!(matches!(error, PublishError::NoStream { .. }), "{error}");
    // It tried for ten seconds, and said so once.
    let warnings = logs.with("publish not acknowledged");
    assert!(
        warnings.len() == 1 && warnings[0].starts_with("WARN"),
        "{warnings:?}"
    );
    provision_stream(&nats.js, SENSORS, &StreamSettings::default())
        .await
        .unwrap();
    let hasty = Publisher::new(
        nats.clone(),
        "hasty",
        PublisherConfig {
            deadline_s: 2,
            ..PublisherConfig::default()
        },
    );
    lonely.record(&reading(1)).await.unwrap();
    let ended = logs.with("publishes are acknowledged again");
    assert!(
        ended.len() == 1 && ended[0].contains("lasted_s: "),
        "{ended:?}"
    );
    bed.down().await;
    let error = hasty.record(&reading(2)).await.unwrap_err();
    assert!(
        matches!(
            error,
            PublishError::Busy { .. } | PublishError::Unconfirmed { .. }
        ),
        "{error}"
    );
    bed.up().await;
    lonely.record(&reading(3)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn provisioning_repeats_and_refuses_everything_wrong_at_once() {
    let bed = Bed::start().await;
    let nats = bed.nats().await;
    let settings = StreamSettings::default();
    let (one, two) = tokio::join!(
        provision_stream(&nats.js, SENSORS, &settings),
        provision_stream(&nats.js, SENSORS, &settings)
    );
    assert_eq!(one.unwrap().created_ns, two.unwrap().created_ns);
    let energy = headframe_schemas::stream::find("energy").unwrap();
    let bad = Config {
        name: energy.name().to_owned(),
        subjects: vec!["energy.>".to_owned(), "power.>".to_owned()],
        max_messages: 1_000,
        max_messages_per_subject: 10,
        allow_rollup: true,
        storage: async_nats::jetstream::stream::StorageType::Memory,
        retention: async_nats::jetstream::stream::RetentionPolicy::WorkQueue,
        duplicate_window: std::time::Duration::from_secs(10),
        allow_message_ttl: true,
        ..Config::default()
    };
    nats.js.create_stream(bad).await.unwrap();
    let error = provision_stream(&nats.js, energy, &StreamSettings::default())
        .await
        .unwrap_err();
    let ProvisionError::Unfit { faults, .. } = &error else {
        panic!("{error}")
    };
    let message = error.to_string();
    for part in [
        "subjects",
        "retention",
        "storage",
        "deny_delete",
        "allow_rollup_hdrs",
        "discard",
        "max_msgs_per_subject",
        "allow_msg_ttl",
        "allow_direct",
        "duplicate_window",
    ] {
        assert!(message.contains(part), "{part} is not in: {message}");
    }
    assert_eq!(faults.len(), 10, "{faults:#?}");
    let short = StreamSettings {
        duplicate_window_s: 5,
        ..StreamSettings::default()
    };
    assert!(matches!(
        provision_stream(&nats.js, SENSORS, &short).await,
        Err(ProvisionError::StreamSettings { .. })
    ));
}
