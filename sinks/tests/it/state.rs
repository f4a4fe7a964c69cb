//! State files: the newest intact one that is not ahead of the offset.

use headframe_sinks::StateStore;

use crate::fixture::Fixture;

#[tokio::test]
async fn a_corrupt_state_file_is_passed_over() {
    let fixture = Fixture::new();
    let store = StateStore::new(fixture.lake.table("sensors"), "decoder");
    assert!(store.load(100).await.unwrap().is_none());
    for seq in [10, 20, 30, 40] {
        store
            .save(seq, format!("state {seq}").as_bytes())
            .await
            .unwrap();
    }
    assert_eq!(
        store.load(35).await.unwrap().unwrap().0,
        30,
        "a state ahead of the offset is not for us"
    );
    let path = fixture
        .folder
        .path()
        .join("sensors/_state/decoder")
        .join(format!("{:020}", 40));
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let (seq, state) = store.load(50).await.unwrap().unwrap();
    assert_eq!((seq, state.as_ref()), (30, "state 30".as_bytes()));
    assert!(
        store.load(10).await.unwrap().is_none(),
        "only the newest few are kept"
    );
}
