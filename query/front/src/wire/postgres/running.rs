//! A statement that runs, and its rows on their way to the client.

use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use futures::StreamExt;
use tokio::time::Instant;

use crate::error::QueryError;
use crate::service::{Answer, Rows};
use crate::wire::postgres::column_types;
use crate::wire::postgres::copy::CopyForm;
use crate::wire::postgres::encode::{Column, Format};
use crate::wire::postgres::outcome::{Ended, Failure, Input, Output};
use crate::wire::postgres::reply::{ColumnHead, Replies, count_of};

/// Rows that are encoded before the client is looked at again.
const ROWS_AT_ONCE: usize = 1_024;

/// A statement that runs.
pub(super) struct Running {
    /// Its id.
    pub(super) id: String,
    schema: SchemaRef,
    rows: Rows,
    /// Rows that were made but not sent yet.
    batch: Option<RecordBatch>,
    ended: bool,
    /// What goes before the first row, in its message.
    prefix: Vec<u8>,
}

/// Where rows go.
pub(super) enum RowForm<'a> {
    /// To the client, in these formats.
    Data(&'a [i16]),
    /// To the client as a COPY.
    Copy(&'a CopyForm),
    /// Nowhere.
    Skip,
}

impl Running {
    /// The rows of an answer.
    pub(super) fn new(answer: Answer) -> Self {
        Self {
            id: answer.id,
            schema: answer.schema,
            rows: answer.rows,
            batch: None,
            ended: false,
            prefix: Vec::new(),
        }
    }

    /// Puts this before the first row, in its message.
    pub(super) fn set_prefix(&mut self, prefix: Vec<u8>) {
        self.prefix = prefix;
    }

    /// What there was no row to go before.
    pub(super) fn take_prefix(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.prefix)
    }

    /// Its columns.
    pub(super) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// When its time ends.
    pub(super) fn deadline(&self) -> Instant {
        self.rows.deadline()
    }

    /// Whether all its rows were sent.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Sends up to `max` rows, and tells how many there were.
    pub(super) async fn send(
        &mut self,
        max: u64,
        form: &RowForm<'_>,
        input: &mut Input,
        output: &mut Output,
    ) -> Result<u64, Failure> {
        let mut sent = 0;
        while sent < max && !self.ended {
            let Some(batch) = self.next_batch(input).await? else {
                break;
            };
            let left = usize::try_from(max - sent).unwrap_or(usize::MAX);
            let rows = batch.num_rows().min(left);
            if rows < batch.num_rows() {
                self.batch = Some(batch.slice(rows, batch.num_rows() - rows));
            }
            write(
                &self.schema,
                &batch.slice(0, rows),
                form,
                &mut self.prefix,
                output,
            )
            .await?;
            sent += rows as u64;
        }
        Ok(sent)
    }

    /// Rows that are there, else the next ones; `None` at the end. A client that hangs up ends it.
    async fn next_batch(&mut self, input: &mut Input) -> Result<Option<RecordBatch>, Failure> {
        if let Some(batch) = self.batch.take() {
            return Ok(Some(batch));
        }
        let next = tokio::select! {
            next = self.rows.next() => next,
            () = input.hung_up() => return Err(Failure::Session(Ended::Gone)),
        };
        self.ended = next.is_none();
        Ok(next.transpose()?)
    }
}

async fn write(
    schema: &SchemaRef,
    batch: &RecordBatch,
    form: &RowForm<'_>,
    prefix: &mut Vec<u8>,
    output: &mut Output,
) -> Result<(), Failure> {
    if matches!(form, RowForm::Skip) {
        return Ok(());
    }
    for first in (0..batch.num_rows()).step_by(ROWS_AT_ONCE) {
        let rows = ROWS_AT_ONCE.min(batch.num_rows() - first);
        let columns = columns_of(schema, &batch.slice(first, rows), form).map_err(unwritable)?;
        for row in 0..rows {
            write_row(&columns, row, form, prefix, output).map_err(unwritable)?;
            output.flush_when_full().await?;
        }
    }
    Ok(())
}

fn columns_of(
    schema: &SchemaRef,
    batch: &RecordBatch,
    form: &RowForm<'_>,
) -> Result<Vec<Column>, ArrowError> {
    let fields = schema.fields().iter().enumerate();
    fields
        .zip(batch.columns())
        .map(|((index, field), array)| {
            let format = match form {
                RowForm::Copy(copy) => copy.format(),
                RowForm::Data(formats) => format_of(formats, index),
                RowForm::Skip => Format::Text,
            };
            Column::new(array, field, format)
        })
        .collect()
}

/// A row is written wholly or not at all.
fn write_row(
    columns: &[Column],
    row: usize,
    form: &RowForm<'_>,
    prefix: &mut Vec<u8>,
    output: &mut Output,
) -> Result<(), ArrowError> {
    let place = output.place();
    let written = match form {
        RowForm::Data(_) => output.message(b'D', |out| {
            out.extend_from_slice(&count_of(columns.len()));
            columns.iter().try_for_each(|column| column.write(row, out))
        }),
        RowForm::Copy(copy) => output.message(b'd', |out| {
            out.append(prefix);
            copy.write(columns, row, out)
        }),
        RowForm::Skip => Ok(()),
    };
    if written.is_err() {
        output.truncate(place);
    }
    written
}

fn unwritable(error: ArrowError) -> Failure {
    QueryError::internal(format!("a row cannot be written: {error}")).into()
}

/// None for text, one for all columns, or one each.
fn format_of(formats: &[i16], column: usize) -> Format {
    let format = match formats {
        [all] => Some(all),
        formats => formats.get(column),
    };
    match format {
        Some(1) => Format::Binary,
        _ => Format::Text,
    }
}

/// Tells a client the columns of an answer.
pub(super) fn describe<W: tokio::io::AsyncWrite + Unpin>(
    schema: &SchemaRef,
    formats: &[i16],
    output: &mut Replies<W>,
) {
    let columns = schema.fields().iter().enumerate();
    output.row_description(columns.map(|(index, field)| {
        let of = column_types::type_of(field);
        ColumnHead {
            name: field.name(),
            oid: of.oid(),
            length: column_types::length_of(&of),
            modifier: column_types::modifier_of(field.data_type()),
            format: i16::from(format_of(formats, index) == Format::Binary),
        }
    }));
}

/// The time that an idle session may still hold a portal whose rows were not all taken.
pub(super) fn earliest(deadlines: impl Iterator<Item = Instant>, idle: Duration) -> Instant {
    deadlines.fold(Instant::now() + idle, Instant::min)
}
