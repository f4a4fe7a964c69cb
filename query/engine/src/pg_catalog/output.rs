//! The columns of an answer as PostgreSQL's clients expect them: two may have the same name, and
//! lists of numbers of the catalogue are lists of `oid`.
//!
//! The engine wants names that differ. The rewriter puts a mark and a number behind a name that it
//! gives; here both are taken away again.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::error::Result;

/// Stands between the name of a column and what makes it differ from others.
pub const SEPARATOR: char = '\u{1}';

/// The key under which a field says that its numbers are object identifiers.
const OID_ALIAS: &str = "pg.oid_alias";

/// The columns of an answer as they are told.
pub fn schema(planned: &Schema, of_catalogue: bool) -> SchemaRef {
    let fields = planned.fields().iter().map(|field| {
        let name = field.name().split(SEPARATOR).next().unwrap_or_default();
        let field = field.as_ref().clone().with_name(name);
        match field.data_type() {
            DataType::List(item) if of_catalogue && *item.data_type() == DataType::Int32 => {
                let oid = [(OID_ALIAS.to_owned(), "oid".to_owned())];
                let item = item.as_ref().clone().with_metadata(oid.into());
                let list = DataType::List(Arc::new(item));
                field.with_data_type(list)
            }
            _ => field,
        }
    });
    let fields: Vec<Field> = fields.collect();
    Arc::new(Schema::new_with_metadata(
        fields,
        planned.metadata().clone(),
    ))
}

/// The same rows under these columns.
pub fn batch(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let columns = batch.columns().iter().zip(schema.fields());
    let column = |(array, field): (&ArrayRef, &Arc<Field>)| match field.data_type() {
        list @ DataType::List(_) => cast(array, list),
        _ => Ok(array.clone()),
    };
    let columns = columns.map(column).collect::<Result<Vec<_>, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(
        schema.clone(),
        columns,
        &options,
    )?)
}
