//! What a JetStream message of ours carries besides its body: header names and content types.

/// Content type of newline-delimited JSON, and what is assumed when a message has none.
pub const NDJSON: &str = "application/x-ndjson";
/// Content type of an Arrow IPC stream.
pub const ARROW: &str = "application/vnd.apache.arrow.stream";
/// Content type of one row that was refused at HTTP ingest; the body is the row as it came.
pub const REFUSED: &str = "application/x-headframe-rejected";

/// Header: one of the content types above.
pub const CONTENT_TYPE: &str = "Content-Type";
/// Header: the producer, unique to one run of one process.
pub const PRODUCER: &str = "Headframe-Producer";
/// Header: the producer's own number of the message's first row; row `i` has this plus `i`.
pub const PRODUCER_SEQ: &str = "Headframe-Seq";
/// Header of a request: the site that forwards rows of its own JetStream. Rows that name their own
/// producer keep it, with the site's name before it; the request's numbers are for the others.
pub const SITE: &str = "Headframe-Site";
/// Header of a request: what becomes of rows that the stream does not take.
pub const BAD_ROWS: &str = "Headframe-Bad-Rows";
/// Its value when the request is refused as a whole; else they become dead letters.
pub const REFUSE_BAD_ROWS: &str = "refuse";
/// Header of a refused row: why.
pub const REASON: &str = "Headframe-Reason";

/// How a body is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    Ndjson,
    /// An Arrow IPC stream.
    Arrow,
    /// One row, refused at HTTP ingest.
    Refused,
}

impl Format {
    /// The format a content type names; `None` stands for an absent header. An unknown type is an
    /// error that names it.
    pub fn from_content_type(content_type: Option<&str>) -> Result<Self, String> {
        let Some(content_type) = content_type else {
            return Ok(Format::Ndjson);
        };
        let essence = content_type
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        match essence.as_str() {
            "" | NDJSON | "application/ndjson" | "application/jsonl" | "application/json" => {
                Ok(Format::Ndjson)
            }
            ARROW => Ok(Format::Arrow),
            REFUSED => Ok(Format::Refused),
            _ => Err(format!(
                "content type {essence:?} is not one of {NDJSON}, {ARROW}"
            )),
        }
    }
}
