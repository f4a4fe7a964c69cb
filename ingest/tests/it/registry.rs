//! The registry over a real server: values by key, revisions, watches over restarts; and closed to
//! the subscriber.

use std::pin::pin;
use std::time::Instant;

use futures::{Stream, StreamExt};
use headframe_ingest::Nats;
use headframe_ingest::registry::{Bucket, BucketSettings, Entry, RegistryError, WatchEvent};

use crate::fixture::{Bed, PATIENCE};

async fn bucket(nats: &Nats) -> Bucket {
    let settings = BucketSettings {
        name: "test_accounts",
        description: "of a test",
        max_age: None,
        max_value_bytes: 1_024,
        max_bytes: 1024 * 1024,
        replicas: 1,
    };
    Bucket::open(nats.clone(), &settings).await.unwrap()
}

async fn next(
    events: &mut (impl Stream<Item = Result<WatchEvent, RegistryError>> + Unpin),
) -> WatchEvent {
    let event = tokio::time::timeout(PATIENCE, events.next()).await;
    event.expect("something happens").unwrap().unwrap()
}

fn entry(key: &str, revision: u64, value: Option<&'static str>) -> WatchEvent {
    WatchEvent::Entry(Entry {
        key: key.to_owned(),
        revision,
        value: value.map(Into::into),
    })
}

/// Writes a new key as soon as the connection is back; the revision is the fourth.
async fn until_put(bucket: &Bucket, key: &str) -> u64 {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match bucket.put(key, b"3".to_vec(), 0).await {
            Ok(revision) => return revision,
            // An attempt whose answer was lost was stored.
            Err(RegistryError::Changed { .. }) => return 4,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_names_the_revision_that_it_replaces() {
    let bed = Bed::start().await;
    let nats = bed.nats().await;
    let bucket = bucket(&nats).await;
    let first = bucket.put("user.ann", b"1".to_vec(), 0).await.unwrap();
    let changed = |result| matches!(result, Err(RegistryError::Changed { .. }));
    assert!(changed(bucket.put("user.ann", b"2".to_vec(), 0).await));
    let second = bucket.put("user.ann", b"2".to_vec(), first).await.unwrap();
    assert!(changed(bucket.delete("user.ann", first).await));
    let third = bucket.delete("user.ann", second).await.unwrap();
    assert!(changed(bucket.put("user.ann", b"3".to_vec(), 0).await));
    bucket.put("user.ann", b"3".to_vec(), third).await.unwrap();
    let large = bucket.put("user.bob", vec![0; 4_096], 0).await;
    assert!(
        matches!(large, Err(RegistryError::Nats { .. })),
        "{large:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_tells_what_there_is_and_then_each_change_over_restarts_of_the_server() {
    let mut bed = Bed::start().await;
    let nats = bed.nats().await;
    let bucket = bucket(&nats).await;
    let mut empty = pin!(bucket.watch().await.unwrap());
    assert_eq!(next(&mut empty).await, WatchEvent::Current);
    bucket.put("a", b"1".to_vec(), 0).await.unwrap();
    assert_eq!(next(&mut empty).await, entry("a", 1, Some("1")));
    bucket.put("b", b"2".to_vec(), 0).await.unwrap();
    // The store keeps the last value of a key only: the next one may come before this is told.
    assert_eq!(next(&mut empty).await, entry("b", 2, Some("2")));
    bucket.delete("b", 2).await.unwrap();
    assert_eq!(next(&mut empty).await, entry("b", 3, None));
    let mut watch = pin!(bucket.watch().await.unwrap());
    assert_eq!(next(&mut watch).await, entry("a", 1, Some("1")));
    assert_eq!(next(&mut watch).await, entry("b", 3, None));
    assert_eq!(next(&mut watch).await, WatchEvent::Current);
    bed.down().await;
    bed.up().await;
    let revision = until_put(&bucket, "c").await;
    let change = entry("c", revision, Some("3"));
    // It goes on after the restart, or ends with an error and is made anew.
    let event = tokio::time::timeout(PATIENCE, watch.next()).await.unwrap();
    match event.unwrap() {
        Ok(event) => assert_eq!(event, change),
        Err(RegistryError::Nats { .. }) => {}
        Err(error) => panic!("{error}"),
    }
    let mut anew = pin!(bucket.watch().await.unwrap());
    assert_eq!(next(&mut anew).await, entry("a", 1, Some("1")));
    assert_eq!(next(&mut anew).await, entry("b", 3, None));
    assert_eq!(next(&mut anew).await, change);
    assert_eq!(next(&mut anew).await, WatchEvent::Current);
}
