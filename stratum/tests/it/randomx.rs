//! RandomX: real vectors through the verifier, from several threads and under two seeds at once.

use headframe_stratum::randomx::{Mode, Seeds, Verifier};
use serde::Deserialize;
use std::sync::Arc;

const CAPTURED: &str = include_str!("../data/randomx-xmrig-vectors.json");

#[derive(Deserialize)]
struct File {
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    seed_hash: String,
    blob: String,
    hash: String,
}

fn bytes32(text: &str) -> [u8; 32] {
    hex::decode(text).unwrap().try_into().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_verifier_finds_the_hashes_xmrig_found() {
    let file: File = serde_json::from_str(CAPTURED).unwrap();
    assert_eq!(file.vectors.len(), 12);
    let verifier = Arc::new(Verifier::start(Arc::new(Seeds::new(Mode::Light)), 2, 3).unwrap());
    // More callers than places in the queue: the rest must wait their turn, not fail.
    let other_seed = [7; 32];
    let blob = hex::decode(&file.vectors[0].blob).unwrap();
    let other = verifier.verify(other_seed, blob.clone()).await.unwrap();
    let hashes = file.vectors.iter().flat_map(|vector| {
        let blob = hex::decode(&vector.blob).unwrap();
        [
            verifier.verify(bytes32(&vector.seed_hash), blob),
            verifier.verify(other_seed, hex::decode(&file.vectors[0].blob).unwrap()),
        ]
    });
    let hashes = futures::future::join_all(hashes).await;
    for (vector, pair) in file.vectors.iter().zip(hashes.chunks(2)) {
        assert_eq!(hex::encode(pair[0].as_ref().unwrap()), vector.hash);
        assert_eq!(pair[1].as_ref().unwrap(), &other);
    }
    assert_ne!(hex::encode(other), file.vectors[0].hash);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_seed_is_prepared_once_and_two_stay() {
    let seeds = Arc::new(Seeds::new(Mode::Light));
    let (first, again) = tokio::join!(seeds.memory([1; 32]), seeds.memory([1; 32]));
    let (first, again) = (first.unwrap(), again.unwrap());
    assert!(Arc::ptr_eq(&first, &again));
    let second = seeds.memory([2; 32]).await.unwrap();
    assert!(Arc::ptr_eq(&first, &seeds.memory([1; 32]).await.unwrap()));
    assert!(Arc::ptr_eq(&second, &seeds.memory([2; 32]).await.unwrap()));
}

#[test]
fn the_published_hashes_are_found() {
    assert!(
        headframe_stratum::randomx::vectors::check()
            .unwrap()
            .as_nanos()
            > 0
    );
    assert_eq!(headframe_stratum::randomx::vectors::COUNT, 5);
}
