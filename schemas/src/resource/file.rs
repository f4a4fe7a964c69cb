//! Resources as rows of a file: CSV with the names of the fields in its first line, or NDJSON.
//!
//! A row that cannot be read is told by its number and its fields, and the rows beside it are read.

use csv::{ReaderBuilder, StringRecord, Terminator, WriterBuilder};
use serde_json::{Map, Value};

use crate::codec;
use crate::resource::values::check_id;
use crate::resource::{FieldFault, Resource, ResourceVersion, Values};

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileFormat {
    /// Comma-separated values, RFC 4180.
    Csv,
    /// One JSON object a line.
    Ndjson,
}

/// One row that can be taken.
#[derive(Debug, Clone, PartialEq)]
pub struct FileRow {
    /// Its id.
    pub id: String,
    /// Its fields, checked.
    pub values: Values,
}

/// A row of a file: its line, from 1, and what it is or what is wrong with it.
pub type ReadRow = (u64, Result<FileRow, Vec<FieldFault>>);

/// Why a file cannot be read at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// The first line does not name fields.
    #[error("the first line cannot be used: {0}")]
    Header(String),
}

impl Resource {
    /// The rows of a file.
    pub fn read_rows(&self, format: FileFormat, text: &[u8]) -> Result<Vec<ReadRow>, FileError> {
        match format {
            FileFormat::Csv => self.read_csv(text),
            FileFormat::Ndjson => Ok(codec::lines(text)
                .map(|(at, line)| (at as u64 + 1, self.read_json(line)))
                .collect()),
        }
    }

    /// The rows as a file, all fields of the kind in their order.
    pub fn write_rows(&self, format: FileFormat, rows: &[ResourceVersion]) -> Vec<u8> {
        match format {
            FileFormat::Csv => self.write_csv(rows),
            FileFormat::Ndjson => rows.iter().flat_map(write_json).collect(),
        }
    }

    fn read_json(&self, line: &[u8]) -> Result<FileRow, Vec<FieldFault>> {
        let given: Map<String, Value> = serde_json::from_slice(line).map_err(|error| {
            vec![FieldFault {
                field: String::new(),
                reason: format!("the line is no JSON object: {error}"),
            }]
        })?;
        self.read_object(given)
    }

    fn read_object(&self, given: Map<String, Value>) -> Result<FileRow, Vec<FieldFault>> {
        let id = given.get("id").and_then(Value::as_str).unwrap_or_default();
        let id = check_id(id).map(|()| id.to_owned());
        match (id, self.check(&given)) {
            (Ok(id), Ok(values)) => Ok(FileRow { id, values }),
            (Err(fault), Ok(_)) => Err(vec![fault]),
            (Ok(_), Err(faults)) => Err(faults),
            (Err(fault), Err(mut faults)) => {
                faults.insert(0, fault);
                Err(faults)
            }
        }
    }

    fn read_csv(&self, text: &[u8]) -> Result<Vec<ReadRow>, FileError> {
        // Tables saved by a spreadsheet begin with a mark of their encoding.
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        let mut reader = ReaderBuilder::new().flexible(true).from_reader(text);
        let header = reader
            .headers()
            .map_err(|error| FileError::Header(error.to_string()))?;
        let names: Vec<String> = header.iter().map(|name| name.trim().to_owned()).collect();
        self.check_header(&names)?;
        let mut rows = Vec::new();
        let mut record = StringRecord::new();
        let mut lines = LineCount { at: 0, line: 1 };
        loop {
            let line = lines.line_at(text, reader.position());
            match reader.read_record(&mut record) {
                Ok(false) => return Ok(rows),
                Ok(true) => {
                    rows.push((line, self.read_cells(&names, &record)));
                }
                Err(error) => {
                    let reason = format!("the line cannot be read: {error}");
                    let field = String::new();
                    rows.push((line, Err(vec![FieldFault { field, reason }])));
                    if error.is_io_error() {
                        return Ok(rows);
                    }
                }
            }
        }
    }

    fn check_header(&self, names: &[String]) -> Result<(), FileError> {
        let is_known = |name: &String| {
            self.field(name).is_some()
                || ["id", "version", "updated_at", "updated_by"].contains(&name.as_str())
        };
        if let Some(unknown) = names.iter().find(|name| !is_known(name)) {
            let known: Vec<&str> = self.fields.iter().map(|field| field.name()).collect();
            return Err(FileError::Header(format!(
                "{} have no field {unknown:?}; there are id, {}",
                self.name,
                known.join(", ")
            )));
        }
        let mut sorted: Vec<&String> = names.iter().collect();
        sorted.sort();
        match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(FileError::Header(format!(
                "{:?} stands there twice",
                pair[0]
            ))),
            None if !names.iter().any(|name| name == "id") => {
                Err(FileError::Header("there is no id".to_owned()))
            }
            None => Ok(()),
        }
    }

    fn read_cells(
        &self,
        names: &[String],
        record: &StringRecord,
    ) -> Result<FileRow, Vec<FieldFault>> {
        if record.len() != names.len() {
            return Err(vec![FieldFault {
                field: String::new(),
                reason: format!("{} cells instead of {}", record.len(), names.len()),
            }]);
        }
        let mut given = Map::new();
        let mut faults = Vec::new();
        for (name, cell) in names
            .iter()
            .zip(record)
            .filter(|(_, cell)| !cell.trim().is_empty())
        {
            let value = match self.field(name) {
                Some(field) => field.parse(cell),
                None => Ok(Value::String(cell.to_owned())),
            };
            match value {
                Ok(value) => {
                    given.insert(name.clone(), value);
                }
                Err(fault) => faults.push(fault),
            }
        }
        match (self.read_object(given), faults.is_empty()) {
            (row, true) => row,
            (Ok(_), false) => Err(faults),
            (Err(more), false) => {
                let has = |fault: &FieldFault| faults.iter().any(|one| one.field == fault.field);
                let more: Vec<FieldFault> = more.into_iter().filter(|one| !has(one)).collect();
                faults.extend(more);
                Err(faults)
            }
        }
    }

    fn write_csv(&self, rows: &[ResourceVersion]) -> Vec<u8> {
        let mut writer = WriterBuilder::new()
            .terminator(Terminator::CRLF)
            .from_writer(Vec::new());
        let names = self.fields.iter().map(|field| field.name());
        let header: Vec<&str> = std::iter::once("id").chain(names).collect();
        // Writing into memory cannot fail.
        let _ = writer.write_record(&header);
        for row in rows {
            let cell = |name: &str| row.values.get(name).map_or_else(String::new, cell_text);
            let cells = header.iter().skip(1).map(|name| cell(name));
            let _ = writer.write_record(std::iter::once(row.id.clone()).chain(cells));
        }
        writer.into_inner().unwrap_or_default()
    }
}

/// Which line a place of a file is in.
struct LineCount {
    at: usize,
    line: u64,
}

impl LineCount {
    /// The line of the row that begins at this place or after the ends of lines there.
    fn line_at(&mut self, text: &[u8], place: &csv::Position) -> u64 {
        let begins = usize::try_from(place.byte())
            .unwrap_or(usize::MAX)
            .max(self.at);
        let rest = text.get(begins..).unwrap_or_default();
        let ends = rest
            .iter()
            .take_while(|byte| matches!(byte, b'\r' | b'\n'))
            .count();
        let begins = (begins + ends).min(text.len());
        let passed = text.get(self.at..begins).unwrap_or_default();
        self.line += passed.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.at = begins;
        self.line
    }
}

fn cell_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

fn write_json(row: &ResourceVersion) -> Vec<u8> {
    let mut object = Map::new();
    object.insert("id".to_owned(), Value::String(row.id.clone()));
    object.extend(row.values.clone());
    let mut line = Value::Object(object).to_string().into_bytes();
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::column::{Kind, Limits};
    use crate::resource::{self, Format, machines::MACHINES, sites::SITES};

    #[test]
    fn bad_rows_are_named_and_the_others_read() {
        let text = "id,name,location,time_zone,latitude_deg\r\n\
                    north,North,\"1, Fjord road\",Europe/Oslo,60.5\r\n\
                    so uth,South,there,UTC,x\r\n\
                    east,East,there\r\n\
                    west,,there,Mars/Base,\r\n";
        let rows = SITES.read_rows(FileFormat::Csv, text.as_bytes()).unwrap();
        assert_eq!(rows.len(), 4);
        assert_eq!(rows[0].0, 2);
        let north = rows[0].1.as_ref().unwrap();
        assert_eq!(north.values["location"], json!("1, Fjord road"));
        assert_eq!(north.values["latitude_deg"], json!(60.5));
        let said = |row: &ReadRow| {
            let faults = row.1.as_ref().unwrap_err();
            faults
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("; ")
        };
        assert_eq!(rows[1].0, 3);
        assert!(
            said(&rows[1]).contains("field `id`: \"so uth\""),
            "{}",
            said(&rows[1])
        );
        assert!(said(&rows[1]).contains("field `latitude_deg`: \"x\" is no number"));
        assert!(said(&rows[2]).contains("3 cells instead of 5"));
        assert!(said(&rows[3]).contains("missing field `name`"));
        assert!(said(&rows[3]).contains("field `time_zone`"));
        for (header, word) in [
            ("id,zz", "zz"),
            ("id,name,name", "twice"),
            ("name", "no id"),
        ] {
            let error = SITES
                .read_rows(FileFormat::Csv, header.as_bytes())
                .unwrap_err();
            assert!(error.to_string().contains(word), "{error}");
        }
        let rows = MACHINES
            .read_rows(FileFormat::Ndjson, b"\n[1]\n{\"id\":\"a\"}\n")
            .unwrap();
        assert_eq!(rows.iter().map(|row| row.0).collect::<Vec<_>>(), [2, 3]);
        assert!(said(&rows[1]).contains("missing field `serial_number`"));
    }

    /// A good value of a field.
    fn value(field: &'static crate::resource::Field) -> BoxedStrategy<Value> {
        match (field.format, field.column.kind, field.column.limits) {
            (Format::Reference(_), ..) => "[a-zA-Z0-9][a-zA-Z0-9_-]{0,47}"
                .prop_map(Value::from)
                .boxed(),
            (Format::TimeZone, ..) => Just(json!("Europe/Oslo")).boxed(),
            (Format::Country, ..) => "[A-Z]{2}".prop_map(Value::from).boxed(),
            (Format::HttpUrl, ..) => "https?://[a-z]{1,9}(:[1-9][0-9]{0,3})?(/[a-z,;'=@]{0,9})?"
                .prop_map(Value::from)
                .boxed(),
            (Format::Photos, ..) => "[0-9a-f]{64}".prop_map(Value::from).boxed(),
            (_, _, Limits::OneOf(words)) => {
                prop::sample::select(words).prop_map(Value::from).boxed()
            }
            (_, Kind::Float, Limits::Float(least, most)) => {
                let normal = move |value: f64| field.check(&json!(value)).unwrap();
                (least..=most).prop_map(normal).boxed()
            }
            (_, Kind::Int, Limits::Int(least, most)) => {
                (least..=most).prop_map(Value::from).boxed()
            }
            (_, Kind::Timestamp, _) => (0..2_000_000_000_000_000_i64)
                .prop_map(|us| json!(resource::values::micros_text(us + 1_300_000_000_000_000)))
                .boxed(),
            _ => "[a-zA-Z,;\"'\n\t äß€-]{0,20}[a-z]"
                .prop_map(Value::from)
                .boxed(),
        }
    }

    /// Rows of a kind, whatever its rules between fields say.
    fn rows() -> impl Strategy<Value = (&'static Resource, Vec<ResourceVersion>)> {
        prop::sample::select(resource::ALL).prop_flat_map(|kind| {
            let fields: Vec<_> = kind
                .fields
                .iter()
                .map(|field| match field.column.required {
                    true => value(field).prop_map(Some).boxed(),
                    false => prop::option::of(value(field)).boxed(),
                })
                .collect();
            let row = ("[a-z0-9][a-zA-Z0-9_-]{0,20}", fields).prop_map(move |(id, found)| {
                let named = kind
                    .fields
                    .iter()
                    .map(|field| field.name().to_owned())
                    .zip(found);
                let values = named
                    .filter_map(|(name, value)| Some((name, value?)))
                    .collect();
                ResourceVersion {
                    id,
                    version: 1,
                    updated_us: 0,
                    updated_by: String::new(),
                    values,
                }
            });
            (Just(kind), prop::collection::vec(row, 0..4))
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_as_it_was((kind, rows) in rows()) {
            for format in [FileFormat::Csv, FileFormat::Ndjson] {
                let text = kind.write_rows(format, &rows);
                let found = kind.read_rows(format, &text).unwrap();
                prop_assert_eq!(found.len(), rows.len());
                for ((_, found), row) in found.iter().zip(&rows) {
                    match (found, kind.check(&row.values)) {
                        (Ok(found), Ok(values)) => {
                            prop_assert_eq!(&found.values, &values);
                            prop_assert_eq!(&found.values, &row.values);
                            prop_assert_eq!(&found.id, &row.id);
                        }
                        (Err(found), Err(faults)) => prop_assert_eq!(found, &faults),
                        (found, faults) => prop_assert!(false, "{:?} {:?}", found, faults),
                    }
                }
            }
        }

        #[test]
        fn no_file_is_too_strange(text in prop::collection::vec(any::<u8>(), 0..300)) {
            for kind in resource::ALL {
                let _ = kind.read_rows(FileFormat::Csv, &text);
                let _ = kind.read_rows(FileFormat::Ndjson, &text);
            }
        }
    }
}
