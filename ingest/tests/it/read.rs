//! Every way a stream can betray its reader ends in a named fault, and every passing trouble in
//! going on.

use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use headframe_ingest::inspect_stream;
use headframe_ingest::lasting_state::PATIENCE;
use headframe_ingest::{
    ExpectedStream, Message, MessageFingerprint, Nats, ReadFault, ReadFrom, Reader, ReaderConfig,
    StreamSettings, provision_stream,
};

use crate::fixture::{Bed, SENSORS, copy_folder, fault_of, line, read_through, signal, stop};
use crate::logs::Logs;

async fn publish(nats: &Nats, from: i64, count: i64) {
    for n in from..from + count {
        nats.js
            .publish("sensors.north", line(n).into())
            .await
            .unwrap()
            .await
            .unwrap();
    }
}

/// A reader that took everything, and what it would store about it.
async fn took(nats: &Nats, through: u64) -> (Reader, ReadFrom) {
    let mut reader = Reader::open(nats.clone(), SENSORS, ReadFrom::default())
        .await
        .unwrap();
    let messages = read_through(&mut reader, through).await.unwrap();
    assert!(
        messages.iter().map(|message| message.seq).eq(1..=through),
        "contiguous from 1"
    );
    let from = resume(&reader, messages.last());
    (reader, from)
}

fn resume(reader: &Reader, last: Option<&Message>) -> ReadFrom {
    ReadFrom {
        next: reader.position(),
        expect: ExpectedStream {
            created_ns: Some(reader.created_ns()),
            last_message: last.map(MessageFingerprint::from_message),
        },
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_resumes_where_it_stopped() {
    let bed = Bed::start().await;
    let nats = bed.sensors().await;
    publish(&nats, 0, 20).await;
    let (_, from) = took(&nats, 20).await;
    publish(&nats, 20, 5).await;
    let mut next = Reader::open(nats.clone(), SENSORS, from).await.unwrap();
    let seqs: Vec<u64> = read_through(&mut next, 25)
        .await
        .unwrap()
        .iter()
        .map(|message| message.seq)
        .collect();
    assert_eq!(seqs, [21, 22, 23, 24, 25]);
    // Dropping the waiting future, again and again, loses nothing.
    publish(&nats, 25, 200).await;
    let mut seen = 25;
    while seen < 225 {
        tokio::select! {
            biased;
            messages = next.next() => for message in messages.unwrap() {
                seen += 1;
                assert_eq!(message.seq, seen);
            },
            () = tokio::task::yield_now() => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_and_time_are_handed_over() {
    let bed = Bed::start().await;
    let nats = bed.sensors().await;
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Msg-Id", "p/7");
    headers.insert("Headframe-Producer", "p");
    headers.insert("Headframe-Seq", "7");
    headers.insert("Content-Type", "application/x-ndjson");
    nats.js
        .publish_with_headers("sensors.north", headers, line(1).into())
        .await
        .unwrap()
        .await
        .unwrap();
    let mut reader = Reader::open(nats.clone(), SENSORS, ReadFrom::default())
        .await
        .unwrap();
    let message = reader.next().await.unwrap().remove(0);
    assert_eq!(message.identity(2), Some(("p", 9)));
    assert_eq!(message.msg_id.as_deref(), Some("p/7"));
    let stored = nats
        .js
        .get_stream("sensors")
        .await
        .unwrap()
        .get_raw_message(1)
        .await
        .unwrap();
    assert_eq!(
        i128::from(message.time_ns),
        stored.time.unix_timestamp_nanos()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recreated_stream_is_named() {
    let bed = Bed::start().await;
    let nats = bed.sensors().await;
    publish(&nats, 0, 10).await;
    let (mut live, from) = took(&nats, 10).await;
    nats.js.delete_stream("sensors").await.unwrap();
    assert!(matches!(
        Reader::open(nats.clone(), SENSORS, from.clone()).await,
        Err(ReadFault::StreamMissing { .. })
    ));
    provision_stream(&nats.js, SENSORS, &StreamSettings::default())
        .await
        .unwrap();
    publish(&nats, 0, 30).await;
    let fault = Reader::open(nats.clone(), SENSORS, from).await.unwrap_err();
    assert!(
        matches!(fault, ReadFault::StreamRecreated { .. }),
        "{fault}"
    );
    let fault = fault_of(&mut live).await;
    assert!(
        matches!(fault, ReadFault::StreamRecreated { .. }),
        "a running reader sees it too: {fault}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn purged_messages_are_a_gap_and_reading_can_go_on_behind_it() {
    let bed = Bed::start().await;
    let nats = bed.sensors().await;
    publish(&nats, 0, 10).await;
    let (_, from) = took(&nats, 10).await;
    publish(&nats, 10, 10).await;
    nats.js
        .get_stream("sensors")
        .await
        .unwrap()
        .purge()
        .sequence(16)
        .await
        .unwrap();
    let fault = Reader::open(nats.clone(), SENSORS, from.clone())
        .await
        .unwrap_err();
    assert_eq!(
        fault,
        ReadFault::Gap {
            stream: "sensors",
            from: 11,
            to: 15
        }
    );
    let mut behind = Reader::open(
        nats.clone(),
        SENSORS,
        ReadFrom {
            next: 16,
            ..from.clone()
        },
    )
    .await
    .unwrap();
    assert_eq!(read_through(&mut behind, 20).await.unwrap().len(), 5);
    // All of it purged: still a gap, although the stream is empty.
    nats.js
        .get_stream("sensors")
        .await
        .unwrap()
        .purge()
        .await
        .unwrap();
    let fault = Reader::open(nats.clone(), SENSORS, from).await.unwrap_err();
    assert_eq!(
        fault,
        ReadFault::Gap {
            stream: "sensors",
            from: 11,
            to: 20
        }
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_were_read_before_they_were_purged_are_no_gap() {
    let bed = Bed::start().await;
    let nats = bed.sensors().await;
    publish(&nats, 0, 10).await;
    let (_, from) = took(&nats, 10).await;
    nats.js
        .get_stream("sensors")
        .await
        .unwrap()
        .purge()
        .await
        .unwrap();
    publish(&nats, 10, 3).await;
    let mut reader = Reader::open(nats.clone(), SENSORS, from).await.unwrap();
    assert_eq!(read_through(&mut reader, 13).await.unwrap().len(), 3);
}

/// Publishes 10, keeps a copy of the store, publishes 10 more that are read, and puts the old store
/// back.
async fn regress(bed: &mut Bed) -> (Nats, Reader, ReadFrom) {
    let nats = bed.sensors().await;
    publish(&nats, 0, 10).await;
    bed.down().await;
    let (store, copy) = (bed.store(), bed.folder.path().join("older"));
    copy_folder(&store, &copy);
    bed.up().await;
    let nats = bed.nats().await;
    publish(&nats, 10, 10).await;
    let (reader, from) = took(&nats, 20).await;
    bed.down().await;
    std::fs::remove_dir_all(&store).unwrap();
    copy_folder(&copy, &store);
    bed.up().await;
    (bed.nats().await, reader, from)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_lost_its_tail_is_named() {
    let mut bed = Bed::start().await;
    let (nats, mut live, from) = regress(&mut bed).await;
    let fault = Reader::open(nats.clone(), SENSORS, from.clone())
        .await
        .unwrap_err();
    assert!(
        matches!(fault, ReadFault::SourceRegressed { seq: 20, .. }),
        "{fault}"
    );
    // The lost sequences are used again, and more than were lost.
    publish(&nats, 100, 15).await;
    assert_eq!(
        inspect_stream(&nats.js, SENSORS)
            .await
            .unwrap()
            .unwrap()
            .last_seq,
        25
    );
    let fault = Reader::open(nats.clone(), SENSORS, from).await.unwrap_err();
    let ReadFault::SourceRegressed {
        seq: 20, reason, ..
    } = &fault
    else {
        panic!("{fault}")
    };
    assert!(
        reason.contains("time") && reason.contains("payload"),
        "{reason}"
    );
    let fault = fault_of(&mut live).await;
    assert!(
        matches!(fault, ReadFault::SourceRegressed { seq: 20, .. }),
        "a running reader sees it too: {fault}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_settings_are_named() {
    let bed = Bed::start().await;
    let nats = bed.sensors().await;
    publish(&nats, 0, 3).await;
    let (_, from) = took(&nats, 3).await;
    let mut config = nats
        .js
        .get_stream("sensors")
        .await
        .unwrap()
        .cached_info()
        .config
        .clone();
    config.allow_rollup = true;
    config.allow_direct = false;
    nats.js.update_stream(config).await.unwrap();
    let fault = Reader::open(nats, SENSORS, from).await.unwrap_err();
    let ReadFault::SettingsChanged { faults, .. } = fault else {
        panic!("{fault}")
    };
    assert_eq!(faults.len(), 2, "{faults:?}");
}

#[tokio::test]
async fn a_deleted_consumer_is_replaced() {
    let bed = Bed::start().await;
    let nats = bed.sensors().await;
    publish(&nats, 0, 3).await;
    let (mut reader, _) = took(&nats, 3).await;
    let ((logs, _guard), began) = (Logs::capture(), Instant::now());
    for round in 0..3_u64 {
        let stream = nats.js.get_stream("sensors").await.unwrap();
        let names: Vec<String> = futures::TryStreamExt::try_collect(stream.consumer_names())
            .await
            .unwrap();
        for name in names {
            stream.delete_consumer(&name).await.unwrap();
        }
        publish(&nats, 3, 1).await;
        assert_eq!(read_through(&mut reader, 4 + round).await.unwrap().len(), 1);
    }
    // A consumer that restarts is no news, unless it takes long.
    let lines = logs.with("consumer");
    assert!(lines.is_empty() || began.elapsed() > PATIENCE, "{lines:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_caller_holds_back_the_server() {
    let bed = Bed::start().await;
    let nats = bed.sensors().await;
    let body: bytes::Bytes = vec![b' '; 1_000].into();
    // A few at a time: the server syncs each, and a client waits for an acknowledgement for five
    // seconds only.
    for _ in 0..40 {
        let acks = futures::future::join_all(
            (0..50).map(|_| nats.js.publish("sensors.north", body.clone())),
        )
        .await;
        for ack in acks {
            ack.unwrap().await.unwrap();
        }
    }
    let config = ReaderConfig {
        pull_messages: 100,
        answer_messages: 10,
        ..ReaderConfig::default()
    };
    let mut reader = Reader::open_with(nats.clone(), SENSORS, ReadFrom::default(), config)
        .await
        .unwrap();
    let first = reader.next().await.unwrap();
    assert!(!first.is_empty() && first.len() <= 10);
    let consumer_position = async || {
        let stream = nats.js.get_stream("sensors").await.unwrap();
        let names: Vec<String> = futures::TryStreamExt::try_collect(stream.consumer_names())
            .await
            .unwrap();
        stream
            .consumer_info(&names[0])
            .await
            .unwrap()
            .delivered
            .stream_sequence
    };
    assert!(
        consumer_position().await <= 200,
        "the server sent at most what was asked for"
    );
    let rest = read_through(&mut reader, 2_000).await.unwrap();
    assert_eq!(first.len() + rest.len(), 2_000);
}

/// The names of the consumers there are.
async fn consumers(nats: &Nats) -> Vec<String> {
    let stream = nats.js.get_stream("sensors").await.unwrap();
    futures::TryStreamExt::try_collect(stream.consumer_names())
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_lives_but_delivers_nothing_is_replaced() {
    let bed = Bed::start().await;
    let nats = bed.sensors().await;
    publish(&nats, 0, 3).await;
    let config = ReaderConfig {
        heartbeat: Duration::from_millis(200),
        progress: Duration::from_millis(600),
        ..ReaderConfig::default()
    };
    let mut reader = Reader::open_with(nats.clone(), SENSORS, ReadFrom::default(), config)
        .await
        .unwrap();
    assert_eq!(read_through(&mut reader, 3).await.unwrap().len(), 3);
    // A paused consumer sends its signs of life and nothing else: exactly what a stuck one looks
    // like.
    let stuck = consumers(&nats).await;
    let tomorrow = std::time::SystemTime::now() + Duration::from_secs(86_400);
    let stream = nats.js.get_stream("sensors").await.unwrap();
    stream
        .pause_consumer(&stuck[0], tomorrow.into())
        .await
        .unwrap();
    publish(&nats, 3, 4).await;
    let messages = read_through(&mut reader, 7).await.unwrap();
    assert_eq!(
        messages
            .iter()
            .map(|message| message.seq)
            .collect::<Vec<_>>(),
        [4, 5, 6, 7]
    );
    assert!(
        consumers(&nats)
            .await
            .iter()
            .any(|name| !stuck.contains(name)),
        "another consumer delivered them"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_falls_silent_is_asked_anew() {
    let bed = Bed::start().await;
    let nats = bed.sensors().await;
    publish(&nats, 0, 3).await;
    let heartbeat = Duration::from_millis(200);
    let config = ReaderConfig {
        heartbeat,
        ..ReaderConfig::default()
    };
    let mut reader = Reader::open_with(nats.clone(), SENSORS, ReadFrom::default(), config)
        .await
        .unwrap();
    assert_eq!(read_through(&mut reader, 3).await.unwrap().len(), 3);
    let before = consumers(&nats).await;
    let pid = bed.server.as_ref().unwrap().pid().unwrap();
    stop(pid).await;
    // Neither a message nor a sign of life for longer than is believed.
    let silence = tokio::time::timeout(heartbeat * 4, reader.next()).await;
    signal(pid, "-CONT");
    assert!(silence.is_err(), "{silence:?}");
    publish(&nats, 3, 2).await;
    let messages = read_through(&mut reader, 5).await.unwrap();
    assert_eq!(
        messages
            .iter()
            .map(|message| message.seq)
            .collect::<Vec<_>>(),
        [4, 5]
    );
    assert!(
        consumers(&nats)
            .await
            .iter()
            .any(|name| !before.contains(name)),
        "a new consumer was made"
    );
}
