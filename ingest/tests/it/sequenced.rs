//! Rows that their sender numbered: offered again, by another process, in another composition, they
//! are the same rows.

use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use futures::FutureExt;
use headframe_ingest::{Decoder, DecoderState, PublishError, Reader, SequencedBatch};

use crate::fixture::{Bed, SENSORS, line, publisher, read_through};

fn numbered(first: i64, rows: usize) -> SequencedBatch {
    let text: String = (first..).take(rows).map(|n| line(n) + "\n").collect();
    SequencedBatch {
        stream: SENSORS,
        key: "site".to_owned(),
        producer: Arc::from("elsewhere.1"),
        first,
        rows,
        text: text.into(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_offered_twice_is_one_row() {
    let bed = Bed::start().await;
    let nats = bed.sensors().await;
    let (before, after) = (publisher(&nats), publisher(&nats));
    let first = before.publish_once(&numbered(1, 3)).await.unwrap();
    assert!(!first.duplicate);
    // The same message by another publisher: JetStream has it.
    let again = after.publish_once(&numbered(1, 3)).await.unwrap();
    assert_eq!((again.duplicate, again.seq), (true, first.seq));
    // The same rows among others: JetStream stores them, the decoder knows them by their numbers.
    let last = after.publish_once(&numbered(2, 4)).await.unwrap();
    assert!(!last.duplicate);
    let mut reader = Reader::open(nats, SENSORS, Default::default())
        .await
        .unwrap();
    let messages = read_through(&mut reader, last.seq).await.unwrap();
    let mut decoder = Decoder::new(SENSORS, 0, DecoderState::default());
    let chunk = decoder.decode(&messages);
    assert_eq!((chunk.duplicates, chunk.rejected), (2, 0));
    assert_eq!(
        chunk.batch["producer_seq"]
            .as_primitive::<Int64Type>()
            .values(),
        &[1, 2, 3, 4, 5]
    );
    assert!(
        chunk.batch["producer"]
            .as_string_view()
            .iter()
            .all(|name| name == Some("elsewhere.1"))
    );
    assert_eq!(decoder.state().seen.intervals(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offer_is_refused_at_once_when_it_cannot_be_made() {
    let mut bed = Bed::start().await;
    let nats = bed.sensors().await;
    let publisher = publisher(&nats);
    let huge = SequencedBatch {
        text: vec![b' '; nats.client.max_payload()].into(),
        ..numbered(1, 1)
    };
    assert!(matches!(
        publisher.publish_once(&huge).await,
        Err(PublishError::TooLarge { .. })
    ));
    bed.down().await;
    let gone = async {
        while nats.is_connected() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(crate::fixture::PATIENCE, gone)
        .await
        .unwrap();
    let refused = publisher
        .publish_once(&numbered(1, 1))
        .now_or_never()
        .expect("it waits for something");
    assert!(matches!(refused, Err(PublishError::Busy { .. })));
}
