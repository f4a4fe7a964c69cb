//! The raw tables as users see them: good rows under the stream's name, refused ones in
//! `dead_letters`.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, StringViewArray};
use arrow::datatypes::DataType;
use datafusion::catalog::TableProvider;
use datafusion::catalog::view::ViewTable;
use datafusion::datasource::provider_as_source;
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, LogicalPlanBuilder, ScalarUDF, Volatility, create_udf,
};
use datafusion::prelude::{Expr, col, lit};
use headframe_query_front::access::RowAccess;
use headframe_schemas::stream::shares::Shares;
use headframe_schemas::table::{INGEST_TIME, PAYLOAD, REJECT_REASON, ROW, SEQ};
use headframe_schemas::{Column, Kind, Stream, Table};

use crate::catalog::good_rows::GoodRows;
use crate::union::UnionTable;

/// The name of the table of refused rows.
pub const DEAD_LETTERS: &str = "dead_letters";

/// The columns of `dead_letters`.
pub fn dead_letter_columns() -> Vec<Column> {
    vec![
        Column::new(
            "stream",
            Kind::Text,
            "The stream the row was sent to, or the pipeline whose SELECT fails on it.",
        ),
        SEQ,
        ROW,
        INGEST_TIME,
        Column::new("reason", Kind::Text, "Why the row was refused."),
        Column::new(
            "payload",
            Kind::Text,
            "The row as it came; bytes that are not UTF-8 are shown as U+FFFD.",
        ),
    ]
}

/// The good rows of a raw table, of which there are `count` where that is known. Where `all_good`
/// is known nothing is filtered but what the condition says.
pub fn good_rows(
    stream: &dyn Stream,
    access: &RowAccess,
    physical: Arc<dyn TableProvider>,
    (all_good, count): (bool, Option<usize>),
    condition: Option<Expr>,
) -> Result<Arc<dyn TableProvider>> {
    let columns: Vec<Expr> = access
        .columns(stream)
        .iter()
        .map(|column| col(column.name))
        .collect();
    let rows = match all_good {
        true => physical,
        false => Arc::new(GoodRows::new(physical, count)),
    };
    let mut rows = LogicalPlanBuilder::scan(stream.name(), provider_as_source(rows), None)?;
    if let Some(condition) = condition {
        rows = rows.filter(condition)?;
    }
    let plan = rows.project(columns)?.build()?;
    Ok(Arc::new(ViewTable::new(plan, None)))
}

/// The good rows with all physical columns. Where `all_good` is known nothing is filtered.
pub fn good(
    name: &str,
    physical: Arc<dyn TableProvider>,
    all_good: bool,
) -> Result<LogicalPlanBuilder> {
    let rows = LogicalPlanBuilder::scan(name, provider_as_source(physical), None)?;
    if all_good {
        Ok(rows)
    } else {
        rows.filter(col(REJECT_REASON.name).is_null())
    }
}

/// The refused rows of these tables, each with the name of its stream or pipeline; of no table, no
/// rows with the same columns.
pub fn dead_letters(tables: &[(String, Arc<dyn TableProvider>)]) -> Result<Arc<dyn TableProvider>> {
    let text = lossy_text();
    let empty: Arc<dyn TableProvider> =
        Arc::new(UnionTable::new(Table::raw(&Shares).schema(), None, None));
    let none = [(Shares.name().to_owned(), empty)];
    let tables = if tables.is_empty() { &none[..] } else { tables };
    let mut all: Option<LogicalPlanBuilder> = None;
    for (stream, physical) in tables {
        let name = datafusion::common::ScalarValue::Utf8View(Some(stream.clone()));
        let columns = vec![
            lit(name).alias("stream"),
            col(SEQ.name).alias(SEQ.name),
            col(ROW.name).alias(ROW.name),
            col(INGEST_TIME.name).alias(INGEST_TIME.name),
            col(REJECT_REASON.name).alias("reason"),
            text.call(vec![col(PAYLOAD.name)]).alias("payload"),
        ];
        let part = LogicalPlanBuilder::scan(stream, provider_as_source(physical.clone()), None)?
            .filter(col(REJECT_REASON.name).is_not_null())?
            .project(columns)?;
        all = Some(match all {
            None => part,
            Some(before) => before.union(part.build()?)?,
        });
    }
    let plan = all
        .unwrap_or_else(|| LogicalPlanBuilder::empty(false))
        .build()?;
    Ok(Arc::new(ViewTable::new(plan, None)))
}

/// Bytes as text, whatever they are.
fn lossy_text() -> ScalarUDF {
    let function = |arguments: &[ColumnarValue]| {
        let arrays = ColumnarValue::values_to_arrays(arguments)?;
        let texts: StringViewArray = arrays[0]
            .as_binary_view()
            .iter()
            .map(|bytes| bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned()))
            .collect();
        Ok(ColumnarValue::Array(Arc::new(texts) as ArrayRef))
    };
    create_udf(
        "lossy_text",
        vec![DataType::BinaryView],
        DataType::Utf8View,
        Volatility::Immutable,
        Arc::new(function),
    )
}
