//! What a client sends in pieces, put together as the Arrow IPC stream that it is.
//!
//! A message of Flight is a frame of such a stream without its lengths. The rows are not read
//! here: whoever takes the stream does not trust it anyway.

use std::collections::BTreeMap;

use arrow::ipc::{MessageHeader, root_as_message};
use arrow_flight::FlightData;
use bytes::{BufMut, Bytes, BytesMut};
use tonic::{Code, Status};

use crate::wire::flight::status;

const CONTINUATION: [u8; 4] = [0xff; 4];
const END: [u8; 8] = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];

/// The frames of one call so far.
pub(super) struct Messages {
    /// The columns, which go before each piece.
    columns: BytesMut,
    /// The dictionaries as they are now, by their numbers, which go before each piece as well.
    dictionaries: BTreeMap<i64, BytesMut>,
    rows: BytesMut,
    max_bytes: usize,
}

impl Messages {
    /// Nothing yet. A piece may have so many bytes.
    pub(super) fn new(max_bytes: usize) -> Self {
        Self {
            columns: BytesMut::new(),
            dictionaries: BTreeMap::new(),
            rows: BytesMut::new(),
            max_bytes,
        }
    }

    /// Takes a message in. One without a header carries a command alone.
    pub(super) fn push(&mut self, data: &FlightData) -> Result<(), Status> {
        if data.data_header.is_empty() {
            return Ok(());
        }
        let message = root_as_message(&data.data_header)
            .map_err(|error| status::malformed("a message", error))?;
        let dictionary = message.header_as_dictionary_batch();
        let has_columns = !self.columns.is_empty();
        match (message.header_type(), dictionary) {
            (MessageHeader::Schema, _) if !has_columns => frame(&mut self.columns, data),
            (MessageHeader::RecordBatch, _) if has_columns => frame(&mut self.rows, data),
            (_, Some(dictionary)) if has_columns && self.rows.is_empty() => {
                let kept = self.dictionaries.entry(dictionary.id()).or_default();
                if !dictionary.isDelta() {
                    kept.clear();
                }
                frame(kept, data);
            }
            _ => {
                let rule = "the columns come first and once, a dictionary before its rows";
                return Err(status::malformed("a message", rule));
            }
        }
        self.check_size()
    }

    /// Bytes of the rows that wait.
    pub(super) fn waiting(&self) -> usize {
        self.rows.len()
    }

    /// Whether a message may not follow the rows that wait within the same piece.
    pub(super) fn ends_piece(&self, data: &FlightData) -> bool {
        let header = root_as_message(&data.data_header);
        let is_rows = header.is_ok_and(|header| header.header_type() == MessageHeader::RecordBatch);
        let bytes = data.data_header.len() + data.data_body.len();
        !self.rows.is_empty() && (!is_rows || self.size() + bytes + 64 > self.max_bytes)
    }

    /// The stream of the columns and the rows that wait, which wait no longer.
    pub(super) fn take(&mut self) -> Bytes {
        let mut stream = BytesMut::with_capacity(self.size());
        stream.put_slice(&self.columns);
        for dictionary in self.dictionaries.values() {
            stream.put_slice(dictionary);
        }
        stream.put_slice(&self.rows);
        stream.put_slice(&END);
        self.rows.clear();
        stream.freeze()
    }

    fn size(&self) -> usize {
        let dictionaries: usize = self.dictionaries.values().map(BytesMut::len).sum();
        self.columns.len() + dictionaries + self.rows.len() + END.len()
    }

    fn check_size(&self) -> Result<(), Status> {
        if self.size() <= self.max_bytes {
            return Ok(());
        }
        let message = format!(
            "a batch with its dictionaries is {} bytes, more than {}",
            self.size(),
            self.max_bytes
        );
        Err(status::refusal(
            Code::ResourceExhausted,
            &message,
            TOO_LARGE,
        ))
    }
}

/// What to do about a batch that is too large.
pub(super) const TOO_LARGE: &str = "send batches of fewer rows (a pyarrow Table is cut by \
                                    to_batches(max_chunksize)), or raise ingest.max_body_bytes";

/// One frame: its length, its header filled up to eight bytes, its body.
fn frame(stream: &mut BytesMut, data: &FlightData) {
    let length = data.data_header.len().next_multiple_of(8);
    stream.put_slice(&CONTINUATION);
    // A message has far fewer bytes than 2^31: tonic's limit is below.
    stream.put_u32_le(u32::try_from(length).unwrap_or(u32::MAX));
    stream.put_slice(&data.data_header);
    stream.put_bytes(0, length - data.data_header.len());
    stream.put_slice(&data.data_body);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use arrow::array::{ArrayRef, DictionaryArray, Int64Array, RecordBatch};
    use arrow::compute::concat_batches;
    use arrow::datatypes::Int32Type;
    use arrow_flight::encode::{DictionaryHandling, FlightDataEncoderBuilder};
    use futures::TryStreamExt;
    use headframe_schemas::arrow_stream;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn batch(from: i64) -> RecordBatch {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(from..from + 10));
        let words: DictionaryArray<Int32Type> = (0..10).map(|_| Some("word")).collect();
        RecordBatch::try_from_iter([("n", numbers), ("w", Arc::new(words))]).unwrap()
    }

    fn sent(batches: Vec<RecordBatch>) -> Vec<FlightData> {
        let encoder = FlightDataEncoderBuilder::new()
            .with_dictionary_handling(DictionaryHandling::Resend)
            .build(futures::stream::iter(batches.into_iter().map(Ok)));
        futures::executor::block_on(encoder.try_collect()).unwrap()
    }

    #[test]
    fn pieces_are_streams_of_their_own_that_hold_every_row() {
        let batches: Vec<RecordBatch> = (0..5).map(|number| batch(number * 10)).collect();
        let mut messages = Messages::new(1 << 20);
        let mut found = Vec::new();
        let mut take = |messages: &mut Messages| {
            let (_, read) = arrow_stream::read(&messages.take()).unwrap();
            found.extend(read);
        };
        for data in sent(batches.clone()) {
            if messages.ends_piece(&data) {
                take(&mut messages);
            }
            messages.push(&data).unwrap();
        }
        take(&mut messages);
        let schema = batches[0].schema();
        assert_eq!(
            concat_batches(&schema, &found).unwrap(),
            concat_batches(&schema, &batches).unwrap()
        );
    }

    #[test]
    fn what_is_out_of_order_or_too_large_is_refused() {
        let data = sent(vec![batch(0)]);
        let mut messages = Messages::new(1 << 20);
        assert!(
            messages.push(data.last().unwrap()).is_err(),
            "no columns yet"
        );
        messages.push(&data[0]).unwrap();
        assert!(messages.push(&data[0]).is_err(), "columns twice");
        let mut small = Messages::new(600);
        let refused = data.iter().find_map(|data| small.push(data).err()).unwrap();
        assert_eq!(refused.code(), Code::ResourceExhausted);
    }

    proptest! {
        #[test]
        fn no_bytes_confuse_it(
            header in vec(any::<u8>(), 0..200),
            body in vec(any::<u8>(), 0..100),
            flip in 0..2_000_usize,
        ) {
            let mut all = sent(vec![batch(0)]);
            let last = all.last_mut().unwrap();
            let mut bytes = last.data_header.to_vec();
            let at = flip / 8 % bytes.len();
            bytes[at] ^= 1 << (flip % 8);
            last.data_header = bytes.into();
            let random = FlightData::new().with_data_header(header).with_data_body(body);
            let mut messages = Messages::new(1 << 16);
            for data in all.iter().chain([&random]) {
                let _ = messages.ends_piece(data);
                let _ = messages.push(data);
            }
            let _ = arrow_stream::read(&messages.take());
        }
    }
}
