//! Arrow IPC streams from outside, read without trusting them.
//!
//! The reader believes the lengths and offsets it finds in a stream: wrong ones make it panic, and
//! a few kilobytes of compressed zeros, or a column that needs no bytes at all, make it ask for
//! gigabytes. So the frames are walked through first.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::{CompressionType, MessageHeader, RecordBatch as Header, root_as_message};

/// Rows that one stream may have.
pub const MAX_ROWS: usize = 1 << 20;
/// Bytes that one stream may take once it is unpacked.
pub const MAX_BYTES: usize = 256 << 20;

const CONTINUATION: [u8; 4] = [0xff; 4];
/// Each compressed buffer begins with the length of what is in it; this one stands for "not
/// compressed".
const AS_IT_IS: i64 = -1;

/// The batches of a stream as their sender made them. The error says why the bytes cannot be read.
pub fn read(body: &[u8]) -> Result<(SchemaRef, Vec<RecordBatch>), String> {
    walk(body)?;
    // The reader has assertions about what only a broken stream can hold; nothing of ours is
    // touched within.
    let read = catch_unwind(AssertUnwindSafe(|| {
        let reader = StreamReader::try_new(Cursor::new(body), None)
            .map_err(|error| format!("not an Arrow IPC stream: {error}"))?;
        let schema = reader.schema();
        let batches = reader
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| format!("broken Arrow IPC stream: {error}"))?;
        Ok((schema, batches))
    }));
    read.unwrap_or_else(|_| {
        Err("broken Arrow IPC stream: its parts contradict each other".to_owned())
    })
}

/// What the frames of a stream add up to.
#[derive(Default)]
struct Sum {
    rows: usize,
    bytes: usize,
}

/// Refuses streams whose frames do not fit into each other or add up to too much.
fn walk(body: &[u8]) -> Result<(), String> {
    let mut rest = body;
    let mut sum = Sum::default();
    while let Some((head, after)) = frame(rest)? {
        let message =
            root_as_message(head).map_err(|error| format!("not an Arrow IPC stream: {error}"))?;
        let length = usize::try_from(message.bodyLength())
            .ok()
            .filter(|length| *length <= after.len());
        let Some(length) = length else {
            return Err("broken Arrow IPC stream: a message is longer than the body".to_owned());
        };
        let (content, next) = after.split_at(length);
        let (header, rows) = match message.header_type() {
            MessageHeader::RecordBatch => (message.header_as_record_batch(), true),
            MessageHeader::DictionaryBatch => (
                message
                    .header_as_dictionary_batch()
                    .and_then(|batch| batch.data()),
                false,
            ),
            _ => (None, false),
        };
        if let Some(header) = header {
            sum.add(&header, content, rows)?;
        }
        rest = next;
    }
    Ok(())
}

/// A frame's metadata and what follows it.
type Frame<'a> = (&'a [u8], &'a [u8]);

/// The next frame; `None` at the end.
fn frame(rest: &[u8]) -> Result<Option<Frame<'_>>, String> {
    let cut = || "broken Arrow IPC stream: it ends in the middle".to_owned();
    if rest.is_empty() {
        return Ok(None);
    }
    // The mark is absent in streams of before 2019.
    let rest = rest.strip_prefix(&CONTINUATION).unwrap_or(rest);
    let (length, rest) = rest.split_first_chunk().ok_or_else(cut)?;
    let length = i32::from_le_bytes(*length);
    if length == 0 {
        return Ok(None);
    }
    let length = usize::try_from(length)
        .map_err(|_| "not an Arrow IPC stream: a frame has a negative length".to_owned())?;
    rest.split_at_checked(length).ok_or_else(cut).map(Some)
}

impl Sum {
    fn add(&mut self, header: &Header<'_>, content: &[u8], rows: bool) -> Result<(), String> {
        let broken = |what: &str| Err(format!("broken Arrow IPC stream: {what}"));
        let nodes = header
            .nodes()
            .into_iter()
            .flatten()
            .map(|node| (node.length(), node.null_count()));
        for (length, nulls) in nodes.chain([(header.length(), 0)]) {
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            if length > MAX_ROWS {
                return Err(format!(
                    "the Arrow IPC stream has a column of more than {MAX_ROWS} values; send it in \
                     parts"
                ));
            }
            if !usize::try_from(nulls).is_ok_and(|nulls| nulls <= length) {
                return broken("a column has more nulls than values");
            }
        }
        self.rows += if rows {
            usize::try_from(header.length()).unwrap_or(usize::MAX)
        } else {
            0
        };
        let packed = header.compression().map(|compression| compression.codec());
        for buffer in header.buffers().into_iter().flatten() {
            let begin = usize::try_from(buffer.offset()).ok();
            let end =
                begin.and_then(|begin| usize::try_from(buffer.length()).ok()?.checked_add(begin));
            let Some(bytes) = begin
                .zip(end)
                .and_then(|(begin, end)| content.get(begin..end))
            else {
                return broken("a column lies outside its message");
            };
            self.bytes = self.bytes.saturating_add(unpacked(bytes, packed)?);
        }
        if self.rows > MAX_ROWS {
            return Err(format!(
                "the Arrow IPC stream has more than {MAX_ROWS} rows; send it in parts"
            ));
        }
        if self.bytes > MAX_BYTES {
            return Err(format!(
                "the Arrow IPC stream takes more than {MAX_BYTES} bytes unpacked; send it in parts"
            ));
        }
        Ok(())
    }
}

/// The bytes a buffer takes once it is unpacked, as it says itself; the reader refuses a buffer
/// that lied.
fn unpacked(bytes: &[u8], codec: Option<CompressionType>) -> Result<usize, String> {
    let (Some(_), false) = (codec, bytes.is_empty()) else {
        return Ok(bytes.len());
    };
    match bytes
        .first_chunk()
        .map(|length| i64::from_le_bytes(*length))
    {
        Some(AS_IT_IS) => Ok(bytes.len()),
        Some(length) => usize::try_from(length)
            .map_err(|_| "broken Arrow IPC stream: a column has a negative length".to_owned()),
        None => Err("broken Arrow IPC stream: a packed column has no length".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{
        Array, ArrayRef, Int64Array, NullArray, RunArray, StringArray, types::Int32Type,
    };
    use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
    use proptest::prelude::*;
    use std::sync::Arc;

    fn stream(columns: Vec<(&str, ArrayRef)>, codec: Option<CompressionType>) -> Vec<u8> {
        let batch = RecordBatch::try_from_iter_with_nullable(
            columns.into_iter().map(|(name, array)| (name, array, true)),
        )
        .unwrap();
        let options = IpcWriteOptions::default()
            .try_with_compression(codec)
            .unwrap();
        let mut writer =
            StreamWriter::try_new_with_options(Vec::new(), &batch.schema(), options).unwrap();
        writer.write(&batch).unwrap();
        writer.into_inner().unwrap()
    }

    fn rows() -> Vec<u8> {
        let words: ArrayRef = Arc::new(StringArray::from(vec![Some("north"), None, Some("south")]));
        let packed =
            arrow::compute::cast(&words, &"Dictionary(Int32, Utf8)".parse().unwrap()).unwrap();
        stream(
            vec![
                ("n", Arc::new(Int64Array::from(vec![1, 2, 3]))),
                ("word", words),
                ("packed", packed),
            ],
            None,
        )
    }

    #[test]
    fn what_was_written_is_read() {
        let (schema, batches) = read(&rows()).unwrap();
        assert_eq!(
            (schema.fields().len(), batches.len(), batches[0].num_rows()),
            (3, 1, 3)
        );
        assert!(read(b"").unwrap_err().contains("empty"));
        let options = IpcWriteOptions::try_new(8, true, arrow::ipc::MetadataVersion::V4).unwrap();
        let batch = &batches[0];
        let mut writer = StreamWriter::try_new_with_options(Vec::new(), &schema, options).unwrap();
        writer.write(batch).unwrap();
        assert_eq!(
            &read(&writer.into_inner().unwrap()).unwrap().1[0],
            batch,
            "the form of before 2019"
        );
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..10_000));
        for codec in [CompressionType::ZSTD, CompressionType::LZ4_FRAME] {
            let (_, batches) = read(&stream(vec![("n", numbers.clone())], Some(codec))).unwrap();
            assert_eq!(batches[0].column(0).as_ref(), numbers.as_ref());
        }
    }

    #[test]
    fn a_stream_that_would_fill_memory_is_refused() {
        let zeros: ArrayRef = Arc::new(Int64Array::from_value(0, MAX_ROWS));
        let columns: Vec<String> = (0..=MAX_BYTES / (8 * MAX_ROWS))
            .map(|number| format!("c{number}"))
            .collect();
        let body = stream(
            columns
                .iter()
                .map(|name| (name.as_str(), zeros.clone()))
                .collect(),
            Some(CompressionType::ZSTD),
        );
        assert!(body.len() < 1 << 20);
        assert!(
            read(&body).unwrap_err().contains("bytes unpacked"),
            "{} bytes",
            body.len()
        );
        let nothing = stream(vec![("n", Arc::new(NullArray::new(1 << 40)))], None);
        assert!(read(&nothing).unwrap_err().contains("more than"));
        let run =
            RunArray::<Int32Type>::try_new(&vec![1 << 30].into(), &StringArray::from(vec!["x"]))
                .unwrap();
        assert_eq!(run.len(), 1 << 30);
        assert!(
            read(&stream(vec![("n", Arc::new(run))], None))
                .unwrap_err()
                .contains("more than")
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn no_damage_makes_it_panic(at in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..5), cut in any::<proptest::sample::Index>(), whole in any::<bool>()) {
            let mut body = rows();
            for (place, byte) in at {
                let place = place.index(body.len());
                body[place] = byte;
            }
            if !whole {
                body.truncate(cut.index(body.len()));
            }
            // Reading either works or says why not; that it comes back at all is what is tested.
            let _ = read(&body);
        }
    }
}
