//! What a commit asks of the store, beside what the Delta library's own commit asks.

use deltalake_core::kernel::Transaction;
use deltalake_core::kernel::transaction::{CommitBuilder, CommitProperties};
use deltalake_core::protocol::{DeltaOperation, OutputMode};
use headframe_sinks::delta::log::delta_table;

use crate::failing_store::Requests;
use crate::fixture::{Fixture, range};

#[tokio::test]
async fn a_commit_asks_the_store_twice_however_long_the_log_is() {
    let fixture = Fixture::in_memory();
    let mut writer = fixture.writer().await;
    for seq in 1..=60 {
        writer.commit(range(seq, seq), &[]).await.unwrap();
    }
    let before = fixture.store.requests();
    writer.commit(range(61, 61), &[]).await.unwrap();
    let ours = fixture.store.requests().since(before);
    let expected = Requests {
        gets: 1,
        puts: 1,
        lists: 0,
    };
    assert_eq!(ours, expected);

    // The same offset by the library, at its cheapest: no checkpoint, no expired entries.
    let mut table = delta_table(writer.location()).unwrap();
    table.load().await.unwrap();
    let before = fixture.store.requests();
    table.update_state().await.unwrap();
    let properties = CommitProperties::default()
        .with_application_transactions(vec![Transaction::new("somebody", 1)])
        .with_create_checkpoint(false)
        .with_cleanup_expired_logs(Some(false));
    let operation = DeltaOperation::StreamingUpdate {
        output_mode: OutputMode::Append,
        query_id: "somebody".to_owned(),
        epoch_id: 1,
    };
    CommitBuilder::from(properties)
        .build(
            Some(table.snapshot().unwrap()),
            table.log_store(),
            operation,
        )
        .await
        .unwrap();
    let library = fixture.store.requests().since(before);
    println!("ours {ours:?}, the library's {library:?}");
    assert!(library.lists > 0 && library.gets > ours.gets, "{library:?}");
}
