//! Producer names of HTTP clients, in a namespace that no producer of this system uses.
//!
//! Rows are told apart for ever by producer and number. A client that named itself like the pool's
//! own publisher could post the pool's next numbers first, and the pool's rows would then be
//! dropped as repetitions. Our own producers have no slash in their names.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray, Int64Array, RecordBatch, StringViewArray};
use arrow::datatypes::Int64Type;
use axum::http::HeaderMap;
use headframe_schemas::message;

use crate::read::message::MAX_PRODUCER_BYTES;

const NAMESPACE: &str = "http/";
/// The longest name that a client may give itself, in bytes.
pub const MAX_NAME_BYTES: usize = MAX_PRODUCER_BYTES - NAMESPACE.len();

/// The longest name of a site, in bytes.
const MAX_SITE_BYTES: usize = 64;

/// Whether a site may be called so: 1 to 64 of a-z, 0-9, - and _.
pub fn is_site(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= MAX_SITE_BYTES
        && name
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
}

/// What a producer of a site is called at its office: the site's name stands before its own, which
/// is a hash where it is too long for a client's name or for a header.
pub fn of_site(site: &str, producer: &str) -> String {
    let name = format!("{site}/{producer}");
    let is_header = name.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    match is_header && name.len() <= MAX_NAME_BYTES {
        true => name,
        false => format!("{site}/{}", blake3::hash(producer.as_bytes()).to_hex()),
    }
}

/// The numbers of a request's rows.
#[derive(Debug, Clone)]
pub struct Numbering {
    /// Who counts, in the namespace of clients.
    pub producer: String,
    /// The number of the first row; row `i` has this plus `i`.
    first: i64,
    /// The site that forwards the rows.
    site: Option<String>,
}

impl Numbering {
    /// What the headers say; nothing when they say nothing. The reason names the header.
    pub fn from_headers(headers: &HeaderMap) -> Result<Option<Self>, String> {
        let text = |name: &str| headers.get(name).map(|value| value.to_str().ok());
        let (producer, number, site) = (
            text(message::PRODUCER),
            text(message::PRODUCER_SEQ),
            text(message::SITE),
        );
        let (producer, number) = match (producer, number) {
            (None, None) if site.is_none() => return Ok(None),
            (Some(producer), Some(number)) => (producer, number),
            _ => {
                return Err(
                    "Headframe-Producer and Headframe-Seq belong together, and to Headframe-Site; \
                     send both or neither"
                        .to_owned(),
                );
            }
        };
        let site = match site {
            None => None,
            Some(Some(name)) if is_site(name) => Some(name.to_owned()),
            Some(_) => return Err("Headframe-Site must be 1 to 64 of a-z, 0-9, - and _".to_owned()),
        };
        let first = number
            .and_then(|text| text.trim().parse::<i64>().ok())
            .filter(|number| *number >= 0)
            .ok_or("Headframe-Seq must be a whole number from 0")?;
        let producer = producer
            .and_then(namespaced)
            .ok_or("Headframe-Producer must be 1 to 251 visible ASCII characters")?;
        Ok(Some(Self {
            producer,
            first,
            site,
        }))
    }

    /// The number of row `row` of the request, counted from 0; none when there is none so large.
    pub fn of_row(&self, row: usize) -> Option<i64> {
        self.first.checked_add(i64::try_from(row).ok()?)
    }

    /// The batch with a producer and a number in every row. `rows` are the places of its rows in
    /// the request, where bad rows count as well.
    pub fn apply(&self, batch: &RecordBatch, rows: &[usize]) -> Result<RecordBatch, String> {
        let numbers: Option<Vec<i64>> = rows.iter().map(|&row| self.of_row(row)).collect();
        let mut numbers = numbers.ok_or("Headframe-Seq is too large for this many rows")?;
        let mut own_names: HashMap<usize, String> = HashMap::new();
        let schema = batch.schema();
        let (Ok(names_at), Ok(numbers_at)) =
            (schema.index_of("producer"), schema.index_of("producer_seq"))
        else {
            return Err("the rows have no place for their numbers".to_owned());
        };
        if let Some(site) = &self.site
            && let Some(names) = batch.column(names_at).as_string_view_opt()
            && let Some(own) = batch.column(numbers_at).as_primitive_opt::<Int64Type>()
        {
            for (row, (name, number)) in names.iter().zip(own).enumerate() {
                if let (Some(name), Some(number)) = (name.filter(|name| !name.is_empty()), number) {
                    own_names.insert(row, format!("{NAMESPACE}{}", of_site(site, name)));
                    numbers[row] = number;
                }
            }
        }
        let mut columns = batch.columns().to_vec();
        let names = (0..rows.len()).map(|row| own_names.get(&row).unwrap_or(&self.producer));
        columns[names_at] = Arc::new(StringViewArray::from_iter_values(names));
        columns[numbers_at] = Arc::new(Int64Array::from(numbers));
        RecordBatch::try_new(schema, columns).map_err(|error| error.to_string())
    }
}

/// The producer that a client's name stands for; `None` when the name is empty or too long.
pub fn namespaced(name: &str) -> Option<String> {
    (!name.is_empty() && name.len() <= MAX_NAME_BYTES).then(|| format!("{NAMESPACE}{name}"))
}

/// Whether any row of a batch names its producer.
pub fn is_named(batch: &RecordBatch) -> bool {
    batch
        .column_by_name("producer")
        .is_some_and(|column| column.null_count() < column.len())
}

/// The batch with the producers that its rows name put into the namespace.
pub fn namespaced_rows(batch: RecordBatch) -> Result<RecordBatch, String> {
    let Ok(index) = batch.schema().index_of("producer") else {
        return Ok(batch);
    };
    let Some(names) = batch.column(index).as_string_view_opt() else {
        return Err("the column producer is no text".to_owned());
    };
    if names.null_count() == names.len() {
        return Ok(batch);
    }
    let renamed = names.iter().map(|name| match name {
        None | Some("") => Ok(None),
        Some(name) => namespaced(name)
            .map(Some)
            .ok_or_else(|| format!("a producer is longer than {MAX_NAME_BYTES} bytes")),
    });
    let renamed: StringViewArray = renamed
        .collect::<Result<Vec<_>, String>>()?
        .into_iter()
        .collect();
    let mut columns = batch.columns().to_vec();
    columns[index] = Arc::new(renamed);
    RecordBatch::try_new(batch.schema(), columns).map_err(|error| error.to_string())
}
