//! Lists as PostgreSQL's arrays.

use arrow::array::ListArray;
use arrow::datatypes::Field;
use arrow::error::ArrowError;

use crate::wire::postgres::column_types;
use crate::wire::postgres::encode::{Column, Format};

/// A column of lists.
pub(super) struct List {
    lists: ListArray,
    items: Column,
    item_oid: u32,
    /// Whether PostgreSQL has a type for it; a list of lists is text.
    has_type: bool,
}

impl List {
    /// Of these lists of this item.
    pub(super) fn new(lists: ListArray, item: &Field, has_type: bool) -> Result<Self, ArrowError> {
        Ok(Self {
            items: Column::new(lists.values(), item, Format::Binary)?,
            item_oid: column_types::type_of(item).oid(),
            lists,
            has_type,
        })
    }

    fn rows(&self, row: usize) -> std::ops::Range<usize> {
        let offsets = self.lists.value_offsets();
        // Offsets of a list are never negative.
        let at = |index: usize| usize::try_from(offsets[index]).unwrap_or_default();
        at(row)..at(row + 1)
    }

    /// `{1,2,NULL}`.
    pub(super) fn write_text(&self, row: usize, out: &mut Vec<u8>) -> Result<(), ArrowError> {
        out.push(b'{');
        let rows = self.rows(row);
        let first = rows.start;
        let mut text = Vec::new();
        for item in rows {
            if item > first {
                out.push(b',');
            }
            if self.items.is_null(item) {
                out.extend_from_slice(b"NULL");
                continue;
            }
            text.clear();
            self.items.write_text(item, &mut text)?;
            // A list inside this one is no text of its own.
            match self.has_type && must_be_quoted(&text) {
                true => quote(&text, out),
                false => out.extend_from_slice(&text),
            }
        }
        out.push(b'}');
        Ok(())
    }

    /// Dimensions, whether there are NULLs, the item's type, length and first index, and the items.
    pub(super) fn write_binary(&self, row: usize, out: &mut Vec<u8>) -> Result<(), ArrowError> {
        if !self.has_type {
            return self.write_text(row, out);
        }
        let rows = self.rows(row);
        let has_nulls = rows.clone().any(|item| self.items.is_null(item));
        // An array without items has no dimension.
        out.extend_from_slice(&i32::from(!rows.is_empty()).to_be_bytes());
        out.extend_from_slice(&i32::from(has_nulls).to_be_bytes());
        out.extend_from_slice(&self.item_oid.to_be_bytes());
        if rows.is_empty() {
            return Ok(());
        }
        let length = i32::try_from(rows.len()).unwrap_or(i32::MAX);
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&1_i32.to_be_bytes());
        for item in rows {
            self.items.write(item, out)?;
        }
        Ok(())
    }
}

fn must_be_quoted(text: &[u8]) -> bool {
    let special =
        |byte: &u8| matches!(byte, b'{' | b'}' | b',' | b'"' | b'\\') || byte.is_ascii_whitespace();
    text.is_empty() || text.eq_ignore_ascii_case(b"null") || text.iter().any(special)
}

fn quote(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in text {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(*byte);
    }
    out.push(b'"');
}
