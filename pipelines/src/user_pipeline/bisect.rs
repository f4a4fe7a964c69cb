//! Finds the rows on which a SELECT fails, by halves.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;

use crate::fault::PipelineFault;
use crate::user_pipeline::session::{EvaluationError, Evaluator, INPUT};

/// A row on which the SELECT fails, and why.
pub(super) struct BadRow {
    /// Its index in the input.
    pub(super) index: usize,
    /// What the engine says of it.
    pub(super) reason: String,
}

/// What a SELECT makes of rows, one by one: answers and rows that it fails on.
#[derive(Default)]
pub(super) struct Pieces {
    /// Answers, in the order of the rows.
    pub(super) answers: Vec<RecordBatch>,
    /// Rows that have none.
    pub(super) bad: Vec<BadRow>,
    /// How many rows this is about; the others were not reached.
    pub(super) rows: usize,
}

/// Rows in memory as a relation.
pub(super) fn relation(rows: RecordBatch) -> Result<Arc<dyn TableProvider>, PipelineFault> {
    let table = MemTable::try_new(rows.schema(), vec![vec![rows]]);
    let table = table.map_err(PipelineFault::plan("running the SELECT", INPUT))?;
    Ok(Arc::new(table))
}

/// Evaluates a SELECT that looks at one row at a time over all of them. After `most` bad rows it
/// ends at the next row for which `may_end_before` is true.
pub(super) async fn row_by_row(
    evaluator: &Evaluator,
    rows: &RecordBatch,
    most: usize,
    may_end_before: impl Fn(usize) -> bool,
) -> Result<Pieces, PipelineFault> {
    let mut pieces = Pieces::default();
    let mut waiting = vec![(0, rows.num_rows())];
    while let Some((first, count)) = waiting.pop() {
        if pieces.bad.len() >= most && may_end_before(first) {
            break;
        }
        match evaluator
            .evaluate(relation(rows.slice(first, count))?)
            .await
        {
            Ok(answer) => {
                pieces.answers.extend(answer);
                pieces.rows = first + count;
            }
            Err(EvaluationError::Fault(fault)) => return Err(fault),
            Err(EvaluationError::Rows(reason)) if count <= 1 => {
                pieces.bad.push(BadRow {
                    index: first,
                    reason,
                });
                pieces.rows = first + count;
            }
            Err(EvaluationError::Rows(_)) => {
                let half = count / 2;
                waiting.push((first + half, count - half));
                waiting.push((first, half));
            }
        }
    }
    Ok(pieces)
}

/// The rows each of which makes a SELECT over many rows fail on its own, found with at most `most`
/// evaluations; `None` where that does not find them all.
pub(super) async fn single_rows(
    evaluator: &Evaluator,
    rows: &RecordBatch,
    most: usize,
) -> Result<Option<Vec<BadRow>>, PipelineFault> {
    let mut bad = Vec::new();
    let mut waiting = vec![(0, rows.num_rows())];
    for _ in 0..most {
        let Some((first, count)) = waiting.pop() else {
            return Ok(Some(bad));
        };
        match evaluator
            .evaluate(relation(rows.slice(first, count))?)
            .await
        {
            Ok(_) => {}
            Err(EvaluationError::Fault(fault)) => return Err(fault),
            Err(EvaluationError::Rows(reason)) if count <= 1 => bad.push(BadRow {
                index: first,
                reason,
            }),
            Err(EvaluationError::Rows(_)) => {
                let half = count / 2;
                waiting.push((first + half, count - half));
                waiting.push((first, half));
            }
        }
    }
    Ok(None)
}

/// Columns under the fields that a plan was made for.
pub(super) fn with_schema(
    schema: &SchemaRef,
    rows: &RecordBatch,
) -> Result<RecordBatch, PipelineFault> {
    RecordBatch::try_new(schema.clone(), rows.columns().to_vec())
        .map_err(PipelineFault::plan("reading the input", INPUT))
}
