//! Indicative figures, printed with `--nocapture`; the floors are far below what any machine does and catch only collapse.

use std::time::Instant;

use headframe_ingest::{Decoder, ReadFrom, Reader, State};
use headframe_schemas::codec;

use crate::fixture::{Bed, SENSORS, line, publisher, read_through, reading};

#[tokio::test(flavor = "multi_thread")]
async fn rates() {
    let bed = Bed::start().await;
    let nats = bed.sensors().await;
    let body: bytes::Bytes = line(1).into();

    let begun = Instant::now();
    for _ in 0..200 {
        nats.js.publish("sensors.a", body.clone()).await.unwrap().await.unwrap();
    }
    println!("one at a time, a message a row, each awaited: {:.0} rows/s", 200.0 / begun.elapsed().as_secs_f64());

    let begun = Instant::now();
    let acks = futures::future::join_all((0..4_000).map(|_| nats.js.publish("sensors.a", body.clone()))).await;
    for ack in acks {
        ack.unwrap().await.unwrap();
    }
    let single = 4_000.0 / begun.elapsed().as_secs_f64();
    println!("a message a row, 4000 in flight: {single:.0} rows/s");

    let publisher = publisher(&nats);
    let begun = Instant::now();
    let callers = (0..256_i64).map(|caller| {
        let publisher = publisher.clone();
        tokio::spawn(async move {
            for n in 0..100 {
                publisher.record(&reading(caller * 1_000 + n)).await.unwrap();
            }
        })
    });
    futures::future::join_all(callers).await;
    println!("publisher, 256 callers awaiting each row: {:.0} rows/s", 25_600.0 / begun.elapsed().as_secs_f64());

    let begun = Instant::now();
    futures::future::join_all((0..50_000).map(|n| {
        let publisher = &publisher;
        async move { publisher.record(&reading(n)).await.unwrap() }
    }))
    .await;
    println!("publisher, 50000 rows at once: {:.0} rows/s", 50_000.0 / begun.elapsed().as_secs_f64());

    let rows: Vec<String> = (0..20_000).map(line).collect();
    let batch = codec::decode_ndjson(SENSORS, &rows.iter().map(|row| row.as_bytes()).collect::<Vec<_>>()).batch;
    let begun = Instant::now();
    let receipts = futures::future::join_all((0..20).map(|_| publisher.batch(SENSORS, batch.clone()))).await;
    let arrow = 400_000.0 / begun.elapsed().as_secs_f64();
    println!("arrow batches of 20000: {arrow:.0} rows/s");
    let last = receipts.into_iter().map(|receipt| receipt.unwrap().seq).max().unwrap();

    let begun = Instant::now();
    let mut reader = Reader::open(nats, SENSORS, ReadFrom::default()).await.unwrap();
    let messages = read_through(&mut reader, last).await.unwrap();
    println!("read {} messages: {:.0} messages/s", messages.len(), messages.len() as f64 / begun.elapsed().as_secs_f64());
    let begun = Instant::now();
    let chunk = Decoder::new(SENSORS, 0, State::default()).decode(&messages);
    println!("decoded {} rows: {:.0} rows/s", chunk.batch.num_rows(), chunk.batch.num_rows() as f64 / begun.elapsed().as_secs_f64());
    assert_eq!(chunk.batch.num_rows(), 200 + 4_000 + 25_600 + 50_000 + 400_000);
    assert!(single > 10.0 && arrow > 1_000.0);
}
