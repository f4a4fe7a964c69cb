//! Decoding is a pure function: poison is rows, duplicates vanish, and how messages are cut into
//! calls does not matter.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{Date32Type, Int32Type, Int64Type, TimestampMicrosecondType};
use bytes::Bytes;
use headframe_ingest::{Decoder, DecoderState, Message};
use headframe_schemas::{Table, codec, message};
use proptest::prelude::*;

use crate::fixture::{SENSORS, line};

fn ndjson(seq: u64, body: &str) -> Message {
    Message {
        seq,
        time_ns: 1_700_000_000_123_456_789 + i64::try_from(seq).unwrap(),
        payload: body.to_owned().into(),
        ..Message::default()
    }
}

fn numbered(seq: u64, producer: &str, first: i64, body: &str) -> Message {
    Message {
        producer: Some(producer.to_owned()),
        producer_seq: Some(first),
        ..ndjson(seq, body)
    }
}

fn arrow(seq: u64, lines: &[String]) -> Message {
    let batch = codec::decode_ndjson(
        SENSORS,
        &lines.iter().map(|line| line.as_bytes()).collect::<Vec<_>>(),
    )
    .batch;
    Message {
        content_type: Some(message::ARROW.to_owned()),
        payload: codec::encode_arrow(&batch).unwrap(),
        ..ndjson(seq, "")
    }
}

fn reasons(batch: &RecordBatch) -> Vec<Option<String>> {
    batch["reject_reason"]
        .as_string_view()
        .iter()
        .map(|reason| reason.map(str::to_owned))
        .collect()
}

#[test]
fn poison_becomes_rows_with_their_bytes() {
    let messages = [
        ndjson(1, &format!("{}\n\nnot json\n{}", line(1), line(2))),
        ndjson(2, ""),
        ndjson(3, "{\"sensor\":\"half"),
        Message {
            content_type: Some("image/png".to_owned()),
            ..ndjson(4, "PNG")
        },
        Message {
            content_type: Some(message::ARROW.to_owned()),
            ..ndjson(5, "not arrow")
        },
        Message {
            content_type: Some(message::REFUSED.to_owned()),
            reason: Some("too hot".to_owned()),
            ..ndjson(6, "{\"a\":1}")
        },
        Message {
            payload: Bytes::from_static(b"\xff\xfe{}"),
            ..ndjson(7, "")
        },
        arrow(8, &[line(3)]),
    ];
    let mut decoder = Decoder::new(SENSORS, 0, DecoderState::default());
    let chunk = decoder.decode(&messages);
    assert_eq!(chunk.batch.schema(), Table::raw(SENSORS).schema());
    assert_eq!(
        (
            chunk.first,
            chunk.last,
            chunk.rejected,
            chunk.batch.num_rows()
        ),
        (1, 8, 7, 10)
    );
    assert_eq!(
        chunk.batch["seq"]
            .as_primitive::<Int64Type>()
            .values()
            .to_vec(),
        [1, 1, 1, 2, 3, 4, 5, 6, 7, 8]
    );
    assert_eq!(
        chunk.batch["row"]
            .as_primitive::<Int32Type>()
            .values()
            .to_vec(),
        [0, 1, 2, 0, 0, 0, 0, 0, 0, 0]
    );
    let reasons = reasons(&chunk.batch);
    assert!(
        reasons
            .iter()
            .enumerate()
            .all(|(at, reason)| reason.is_none() == [0, 2, 9].contains(&at)),
        "{reasons:?}"
    );
    assert_eq!(reasons[7].as_deref(), Some("too hot"));
    assert!(reasons[5].as_ref().unwrap().contains("image/png"));
    let payload = chunk.batch["payload"].as_binary_view();
    assert_eq!(
        (payload.value(1), payload.value(4), payload.value(8)),
        (
            &b"not json"[..],
            &b"{\"sensor\":\"half"[..],
            &b"\xff\xfe{}"[..]
        )
    );
    assert!(payload.is_null(0) && payload.value(3).is_empty());
    assert_eq!(
        chunk.batch["ingest_time"]
            .as_primitive::<TimestampMicrosecondType>()
            .value(0),
        1_700_000_000_123_456
    );
    assert_eq!(
        chunk.batch["ingest_date"]
            .as_primitive::<Date32Type>()
            .value(0),
        19_675
    );
    let empty = decoder.decode(&[]);
    assert_eq!((empty.first, empty.last, empty.batch.num_rows()), (9, 8, 0));
}

#[test]
fn a_bad_row_of_an_arrow_message_spoils_only_itself() {
    let good = arrow(1, &[line(1), line(2), line(3)]);
    let decoded = codec::decode_arrow(SENSORS, &good.payload).unwrap().batch;
    let mut columns = decoded.columns().to_vec();
    let values = decoded.schema().index_of("value").unwrap();
    columns[values] = std::sync::Arc::new(arrow::array::Float64Array::from(vec![
        1.0,
        f64::INFINITY,
        3.0,
    ]));
    let payload =
        codec::encode_arrow(&RecordBatch::try_new(decoded.schema(), columns).unwrap()).unwrap();
    let chunk =
        Decoder::new(SENSORS, 0, DecoderState::default()).decode(&[Message { payload, ..good }]);
    assert_eq!((chunk.batch.num_rows(), chunk.rejected), (3, 1));
    assert!(reasons(&chunk.batch)[1].as_ref().unwrap().contains("value"));
    assert!(
        String::from_utf8_lossy(chunk.batch["payload"].as_binary_view().value(1))
            .contains("\"sensor\":\"s2\"")
    );
}

#[test]
fn a_damaged_arrow_message_is_a_rejected_row() {
    let good = arrow(1, &[line(1), line(2), line(3)]);
    for place in 0..good.payload.len() {
        let mut bytes = good.payload.to_vec();
        bytes[place] ^= 0x41;
        bytes[(place * 7) % good.payload.len()] = 0xff;
        let damaged = Message {
            payload: bytes.into(),
            ..good.clone()
        };
        let chunk = Decoder::new(SENSORS, 0, DecoderState::default())
            .decode(&[damaged, ndjson(2, &line(4))]);
        assert_eq!(chunk.last, 2, "byte {place}");
        let reasons = reasons(&chunk.batch);
        assert!(
            reasons.len() >= 2 && reasons[reasons.len() - 1].is_none(),
            "the message behind it is read, byte {place}: {reasons:?}"
        );
    }
}

#[test]
fn duplicates_are_dropped_however_late_and_late_rows_are_kept() {
    let body = |from: i64, count: i64| {
        (from..from + count)
            .map(line)
            .collect::<Vec<_>>()
            .join("\n")
    };
    let mut decoder = Decoder::new(SENSORS, 0, DecoderState::default());
    let first = decoder.decode(&[
        numbered(1, "p", 1, &body(1, 3)),
        numbered(2, "p", 7, &body(7, 3)),
    ]);
    assert_eq!((first.batch.num_rows(), first.duplicates), (6, 0));
    // The state travels through bytes, as over a restart.
    let state = DecoderState::from_bytes(&decoder.state().to_bytes()).unwrap();
    let mut decoder = Decoder::new(SENSORS, 0, state);
    let again = decoder.decode(&[
        numbered(3, "p", 4, &body(4, 3)),
        numbered(4, "p", 1, &body(1, 3)),
        numbered(5, "p", 9, &body(9, 2)),
        numbered(6, "q", 1, &body(1, 3)),
        ndjson(7, &body(1, 3)),
        ndjson(8, &body(1, 3)),
    ]);
    assert_eq!(again.duplicates, 4);
    let seqs = again.batch["seq"]
        .as_primitive::<Int64Type>()
        .values()
        .to_vec();
    assert_eq!(
        seqs,
        [3, 3, 3, 5, 6, 6, 6, 7, 7, 7, 8, 8, 8],
        "a late row is new, rows without identity are never duplicates"
    );
    assert_eq!(
        again.batch["row"].as_primitive::<Int32Type>().value(3),
        1,
        "a row keeps its index beside a dropped one"
    );
}

#[test]
fn rows_may_carry_their_own_identity() {
    let own = |n: i64| {
        line(n).replacen(
            '{',
            &format!("{{\"producer\":\"meter\",\"producer_seq\":{n},"),
            1,
        )
    };
    let mut decoder = Decoder::new(SENSORS, 0, DecoderState::default());
    let chunk = decoder.decode(&[
        numbered(1, "gateway", 1, &[own(5), line(6)].join("\n")),
        numbered(2, "gateway", 3, &[own(5), own(6)].join("\n")),
    ]);
    assert_eq!(chunk.duplicates, 1);
    let producers: Vec<_> = chunk.batch["producer"]
        .as_string_view()
        .iter()
        .map(Option::unwrap)
        .collect();
    assert_eq!(producers, ["meter", "gateway", "meter"]);
    assert_eq!(
        chunk.batch["producer_seq"]
            .as_primitive::<Int64Type>()
            .values()
            .to_vec(),
        [5, 2, 6]
    );
}

fn any_message() -> impl Strategy<Value = Message> {
    let row = prop_oneof![
        4 => (0..50_i64).prop_map(line),
        1 => (0..50_i64).prop_map(|n| line(n).replacen('{',
            &format!("{{\"producer\":\"m\",\"producer_seq\":{n},"), 1)),
        1 => Just("{\"site\":\"x\"}".to_owned()),
        1 => Just("{} {}".to_owned()),
        1 => Just("]".to_owned()),
        1 => Just(String::new()),
        1 => "\\PC{0,12}",
    ];
    let identity = prop::option::of(("[ab]", 0..40_i64));
    (prop::collection::vec(row, 0..5), identity, 0..8_u8).prop_map(|(rows, identity, kind)| {
        let (producer, producer_seq) = identity.unzip();
        let base = match kind {
            0 => arrow(1, &rows),
            1 => Message {
                content_type: Some(message::REFUSED.to_owned()),
                ..ndjson(1, &rows.join("\n"))
            },
            2 => Message {
                content_type: Some("text/html".to_owned()),
                ..ndjson(1, &rows.join("\n"))
            },
            _ => ndjson(1, &rows.join("\n")),
        };
        Message {
            producer,
            producer_seq,
            ..base
        }
    })
}

proptest! {
    #[test]
    fn the_cut_into_calls_does_not_matter(mut messages in prop::collection::vec(any_message(),
        1..20), cuts in prop::collection::vec(0..20_usize, 0..6)) {
        for (message, seq) in messages.iter_mut().zip(1_u64..) {
            message.seq = seq;
            message.time_ns = 1_700_000_000_000_000_000 + i64::try_from(seq).unwrap();
        }
        let mut whole = Decoder::new(SENSORS, 7, DecoderState::default());
        let expected = whole.decode(&messages);
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(messages.len())).collect();
        cuts.extend([0, messages.len()]);
        cuts.sort_unstable();
        let mut parts = Decoder::new(SENSORS, 7, DecoderState::default());
        let decode = |cut: &[usize]| parts.decode(&messages[cut[0]..cut[1]]);
        let chunks: Vec<_> = cuts.windows(2).map(decode).collect();
        let joined = concat_batches(&expected.batch.schema(),
            chunks.iter().map(|chunk| &chunk.batch)).unwrap();
        prop_assert_eq!(&joined, &expected.batch);
        prop_assert_eq!(chunks.iter().map(|chunk| chunk.duplicates).sum::<u64>(),
            expected.duplicates);
        prop_assert_eq!(chunks.iter().map(|chunk| chunk.rejected).sum::<u64>(), expected.rejected);
        prop_assert_eq!(parts.state(), whole.state());
        // No message vanishes: it has a row, or all of its rows were duplicates.
        let rows = expected.batch.num_rows() as u64 + expected.duplicates;
        prop_assert!(rows >= messages.len() as u64);
    }
}
