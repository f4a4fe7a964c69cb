//! Rows as a table for the terminal: what `headframe sql` prints and `format=text` answers.
//!
//! Numbers are set to the right, everything else to the left. No value is cut: a table that lies is
//! worse than a wide one.

use std::fmt::Write;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};

/// The rows as a table with a header and a last line that counts them. Every line ends in a line
/// feed.
pub fn render(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<String, ArrowError> {
    let columns = schema
        .fields()
        .iter()
        .enumerate()
        .map(|(index, field)| texts(index, field.name(), batches));
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    let widths: Vec<usize> = columns
        .iter()
        .map(|column| {
            column
                .iter()
                .map(|text| text.chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let right: Vec<bool> = schema
        .fields()
        .iter()
        .map(|field| is_number(field.data_type()))
        .collect();
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    let mut out = String::new();
    for row in 0..=rows {
        let mut line = String::new();
        for (index, column) in columns.iter().enumerate() {
            let (text, width) = (&column[row], widths[index]);
            line.push_str(if index == 0 { " " } else { " | " });
            let pad = " ".repeat(width - text.chars().count());
            let (before, after) = if right[index] {
                (pad.as_str(), "")
            } else {
                ("", pad.as_str())
            };
            line.push_str(before);
            line.push_str(text);
            line.push_str(after);
        }
        out.push_str(line.trim_end());
        out.push('\n');
        if row == 0 {
            let rule: Vec<String> = widths.iter().map(|width| "-".repeat(width + 2)).collect();
            out.push_str(&rule.join("+"));
            out.push('\n');
        }
    }
    // Writing to a String cannot fail.
    let _ = writeln!(out, "({rows} {})", if rows == 1 { "row" } else { "rows" });
    Ok(out)
}

/// A column's name and values as text. Line feeds and other control characters would break the
/// table, so they are escaped.
fn texts(index: usize, name: &str, batches: &[RecordBatch]) -> Result<Vec<String>, ArrowError> {
    let options = FormatOptions::default();
    let mut texts = vec![clean(name.to_owned())];
    for batch in batches {
        let formatter = ArrayFormatter::try_new(batch.column(index).as_ref(), &options)?;
        for row in 0..batch.num_rows() {
            texts.push(clean(formatter.value(row).try_to_string()?));
        }
    }
    Ok(texts)
}

/// Bytes of the widest cell of a column as [`table`] writes it, with what stands between two cells.
pub fn widest(column: &ArrayRef) -> Result<usize, ArrowError> {
    let options = FormatOptions::default();
    let formatter = ArrayFormatter::try_new(column.as_ref(), &options)?;
    let mut widest = 0;
    for row in 0..column.len() {
        let text = clean(formatter.value(row).try_to_string()?);
        widest = widest.max(text.len() + 3);
    }
    Ok(widest)
}

fn clean(text: String) -> String {
    if !text.contains(char::is_control) {
        return text;
    }
    text.chars()
        .flat_map(|c| {
            if c.is_control() {
                c.escape_default().collect::<Vec<_>>()
            } else {
                vec![c]
            }
        })
        .collect()
}

fn is_number(kind: &DataType) -> bool {
    kind.is_numeric()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringArray};

    use super::*;

    #[test]
    fn numbers_stand_right_and_control_characters_are_shown() {
        let workers: ArrayRef = Arc::new(StringArray::from(vec![
            Some("rig-1"),
            Some("a\nb\u{1b}[31m"),
            None,
        ]));
        let shares: ArrayRef = Arc::new(Int64Array::from(vec![7, 1234, 0]));
        let batch = RecordBatch::try_from_iter([("worker", workers), ("shares", shares)]).unwrap();
        let expected = [
            " worker         | shares",
            "----------------+--------",
            " rig-1          |      7",
            " a\\nb\\u{1b}[31m |   1234",
            "                |      0",
            "(3 rows)\n",
        ];
        let expected = expected.join("\n");
        assert_eq!(
            render(&batch.schema(), std::slice::from_ref(&batch)).unwrap(),
            expected
        );
        assert!(
            render(&batch.schema(), &[])
                .unwrap()
                .ends_with("(0 rows)\n")
        );
    }
}
