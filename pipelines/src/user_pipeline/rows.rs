//! A step of a pipeline without windows: each row of the input once through the SELECT.

use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::Int64Type;
use datafusion::prelude::{SessionContext, col, ident};
use headframe_sinks::{Snapshot, SnapshotTable};

use crate::fault::PipelineFault;
use crate::user_pipeline::bisect::{row_by_row, with_schema};
use crate::user_pipeline::output::{Places, good_rows, refused_input};
use crate::user_pipeline::plan::input_schema;
use crate::user_pipeline::session::Evaluator;
use crate::user_pipeline::{Step, UserPipeline};

/// After this many rows that were refused, a step ends at the end of a message.
const MAX_REFUSED: usize = 1_000;

/// What comes of the input's messages with `after < seq <= last`.
pub(super) async fn step(
    pipeline: &UserPipeline,
    evaluator: &Evaluator,
    snapshot: Arc<Snapshot>,
    (after, last): (i64, i64),
) -> Result<Step, PipelineFault> {
    let rows = input(pipeline, evaluator, snapshot, (after, last)).await?;
    if rows.num_rows() == 0 {
        return Ok(Step::through(last));
    }
    let seqs = rows
        .column_by_name("seq")
        .map(|seqs| seqs.as_primitive::<Int64Type>().clone())
        .ok_or("a column is missing: seq")
        .map_err(PipelineFault::plan("reading the input", pipeline.name))?;
    let begins_message = |at: usize| at > 0 && seqs.value(at) != seqs.value(at - 1);
    let pieces = row_by_row(evaluator, &rows, MAX_REFUSED, begins_message).await?;
    let schema = pipeline.table.table().schema();
    let failed = PipelineFault::plan::<String>;
    let own = pipeline.table.columns.len();
    let mut made = Vec::new();
    for answer in &pieces.answers {
        let places = Places::in_columns(answer, own);
        let rows = good_rows(&schema, answer, own, places);
        made.push(rows.map_err(failed("writing rows", pipeline.name))?);
    }
    for bad in &pieces.bad {
        let row = rows.slice(bad.index, 1);
        let refused = refused_input(&schema, &row, &bad.reason);
        made.push(refused.map_err(failed("writing rows", pipeline.name))?);
    }
    let is_whole = pieces.rows == rows.num_rows();
    let end = match is_whole {
        true => last,
        false => seqs.value(pieces.rows - 1),
    };
    Ok(Step {
        rows: made,
        refused: pieces.bad.len() as u64,
        ..Step::through(end)
    })
}

/// The good rows of the input in their order.
async fn input(
    pipeline: &UserPipeline,
    evaluator: &Evaluator,
    snapshot: Arc<Snapshot>,
    (after, last): (i64, i64),
) -> Result<RecordBatch, PipelineFault> {
    let failed = || PipelineFault::query("reading the input", pipeline.name);
    let session = SessionContext::new_with_state(evaluator.session().clone());
    let table = SnapshotTable::new(snapshot).with_range(Some(after), Some(last));
    let schema = input_schema(pipeline.stream, false);
    let columns: Vec<_> = schema
        .fields()
        .iter()
        .map(|field| ident(field.name()))
        .collect();
    let good = session
        .read_table(Arc::new(table))
        .and_then(|rows| rows.filter(col("reject_reason").is_null()))
        .and_then(|rows| rows.select(columns))
        .and_then(|rows| {
            let order = vec![
                ident("seq").sort(true, false),
                ident("row").sort(true, false),
            ];
            rows.sort(order)
        });
    let plan = good.map_err(failed())?.into_unoptimized_plan();
    let batches = evaluator.run_own(evaluator.session(), &plan).await?;
    let batches = batches
        .iter()
        .map(|batch| with_schema(&schema, batch))
        .collect::<Result<Vec<_>, _>>()?;
    concat_batches(&schema, &batches)
        .map_err(PipelineFault::plan("reading the input", pipeline.name))
}
