//! COPY … TO STDOUT: its options, and how its rows are written.

use arrow::error::ArrowError;

use crate::error::QueryError;
use crate::wire::postgres::encode::{Column, Format};
use crate::wire::postgres::reply::count_of;
use crate::wire::postgres::words::{Words, syntax, unsupported};

/// What a binary COPY begins with: a signature, no flags, no extension.
const BINARY_HEAD: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// How the rows of a COPY are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CopyForm {
    kind: Kind,
    header: bool,
    delimiter: u8,
    null: String,
    quote: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Csv,
    Binary,
}

impl CopyForm {
    /// As the options say, in either of PostgreSQL's two ways of writing them.
    pub(super) fn from_options(words: &mut Words<'_>) -> Result<Self, QueryError> {
        let mut form = Self {
            kind: Kind::Text,
            header: false,
            delimiter: 0,
            null: String::new(),
            quote: b'"',
        };
        let mut null = None;
        words.skip("with");
        words.skip_symbol('(');
        while let Some(option) = words.name() {
            match option.as_str() {
                "format" => form.kind = Kind::from_name(&words.name().unwrap_or_default())?,
                "csv" | "binary" | "text" => form.kind = Kind::from_name(&option)?,
                "header" => {
                    let off = ["false", "off", "0"];
                    let is_off = words
                        .peek()
                        .is_some_and(|t| off.iter().any(|word| t.is(word)));
                    let given = is_off || words.skip("true") || words.skip("on");
                    if is_off && given {
                        words.name();
                    }
                    form.header = !is_off;
                }
                "delimiter" | "quote" => {
                    words.skip("as");
                    let value = words.name().unwrap_or_default();
                    let [byte] = value.as_bytes() else {
                        return Err(syntax("COPY takes one character there"));
                    };
                    match option.as_str() {
                        "delimiter" => form.delimiter = *byte,
                        _ => form.quote = *byte,
                    }
                }
                "null" => {
                    words.skip("as");
                    null = words.name();
                }
                "encoding" => {
                    words.name();
                }
                _ => {
                    let hint = "FORMAT, HEADER, DELIMITER, NULL and QUOTE are known";
                    return Err(unsupported("COPY has an option that is not known", hint));
                }
            }
            words.skip_symbol(',');
        }
        let (delimiter, default) = match form.kind {
            Kind::Csv => (b',', ""),
            _ => (b'\t', "\\N"),
        };
        if form.delimiter == 0 {
            form.delimiter = delimiter;
        }
        form.null = null.unwrap_or_else(|| default.to_owned());
        Ok(form)
    }

    /// How the values are encoded.
    pub(super) fn format(&self) -> Format {
        match self.kind {
            Kind::Binary => Format::Binary,
            _ => Format::Text,
        }
    }

    /// What goes into the message of the first row, before it.
    pub(super) fn prefix(&self) -> Vec<u8> {
        match self.kind {
            Kind::Binary => BINARY_HEAD.to_vec(),
            _ => Vec::new(),
        }
    }

    /// The line before the first row, if there is to be one.
    pub(super) fn head<'a>(&self, names: impl Iterator<Item = &'a str>) -> Option<Vec<u8>> {
        if !self.header {
            return None;
        }
        let mut line = Vec::new();
        for (index, name) in names.enumerate() {
            if index > 0 {
                line.push(self.delimiter);
            }
            self.write_value(name.as_bytes(), &mut line);
        }
        line.push(b'\n');
        (self.kind != Kind::Binary).then_some(line)
    }

    /// What goes behind the last row, if anything does.
    pub(super) fn tail(&self) -> Option<&'static [u8]> {
        (self.kind == Kind::Binary).then_some(&[0xff, 0xff])
    }

    /// Writes one row.
    pub(super) fn write(
        &self,
        columns: &[Column],
        row: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), ArrowError> {
        if self.kind == Kind::Binary {
            out.extend_from_slice(&count_of(columns.len()));
            return columns.iter().try_for_each(|column| column.write(row, out));
        }
        let mut text = Vec::new();
        for (index, column) in columns.iter().enumerate() {
            if index > 0 {
                out.push(self.delimiter);
            }
            if column.is_null(row) {
                out.extend_from_slice(self.null.as_bytes());
                continue;
            }
            text.clear();
            column.write_text(row, &mut text)?;
            self.write_value(&text, out);
        }
        out.push(b'\n');
        Ok(())
    }

    fn write_value(&self, text: &[u8], out: &mut Vec<u8>) {
        match self.kind {
            Kind::Csv => self.write_csv(text, out),
            _ => self.write_escaped(text, out),
        }
    }

    /// In quotes where the text could be taken for something else.
    fn write_csv(&self, text: &[u8], out: &mut Vec<u8>) {
        let special = |byte: &u8| {
            *byte == self.delimiter || *byte == self.quote || matches!(byte, b'\n' | b'\r')
        };
        if text != self.null.as_bytes() && !text.iter().any(special) && text != b"\\." {
            return out.extend_from_slice(text);
        }
        out.push(self.quote);
        for byte in text {
            if *byte == self.quote {
                out.push(self.quote);
            }
            out.push(*byte);
        }
        out.push(self.quote);
    }

    /// With a backslash before what would end a value or a row.
    fn write_escaped(&self, text: &[u8], out: &mut Vec<u8>) {
        for byte in text {
            let escaped = match byte {
                b'\x08' => b'b',
                b'\x0b' => b'v',
                b'\x0c' => b'f',
                b'\n' => b'n',
                b'\r' => b'r',
                b'\t' => b't',
                b'\\' => b'\\',
                byte if *byte == self.delimiter => *byte,
                byte => {
                    out.push(*byte);
                    continue;
                }
            };
            out.extend_from_slice(&[b'\\', escaped]);
        }
    }
}

impl Kind {
    fn from_name(name: &str) -> Result<Self, QueryError> {
        match name {
            "text" => Ok(Kind::Text),
            "csv" => Ok(Kind::Csv),
            "binary" => Ok(Kind::Binary),
            _ => Err(syntax("COPY knows the formats text, csv and binary")),
        }
    }
}
