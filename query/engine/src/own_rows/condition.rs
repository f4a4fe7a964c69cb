//! A miner's condition on its own rows: one expression over the columns that it sees.
//!
//! The condition stands right above the scan of the miner's rows, below the statement that names
//! their places. It is planned against the visible columns alone, so that a place is no column
//! there and nothing that stands in it reads a table.

use std::ops::ControlFlow;

use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::Expr;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    Expr as SqlExpr, ExprWithAlias, SetExpr, Statement as Sql, visit_expressions,
};
use headframe_query_front::QueryError;
use headframe_schemas::{Column, Stream};

use crate::error::EngineError;
use crate::statement;

/// Plans a condition over these columns of a stream whose rows have the physical schema.
pub fn plan(
    state: &SessionState,
    stream: &dyn Stream,
    columns: &[Column],
    physical: &SchemaRef,
    text: &str,
) -> Result<Expr, EngineError> {
    let expr = parse(state, text)?;
    let fields: Result<Vec<_>, _> = columns
        .iter()
        .map(|column| physical.field_with_name(column.name).cloned())
        .collect();
    let visible = Schema::new(fields.map_err(datafusion::error::DataFusionError::from)?);
    let visible = DFSchema::try_from_qualified_schema(stream.name(), &visible)?;
    let expr = ExprWithAlias { expr, alias: None };
    let planned = state.create_logical_expr_from_sql_expr(expr, &visible)?;
    let mut is_of_one_row = true;
    planned.apply(|node| {
        is_of_one_row &= is_of_row(node);
        Ok(TreeNodeRecursion::Continue)
    })?;
    match is_of_one_row {
        true => Ok(planned),
        false => Err(not_of_one_row().into()),
    }
}

/// The expression that a text is, as it may stand after WHERE.
fn parse(state: &SessionState, text: &str) -> Result<SqlExpr, QueryError> {
    let statement_with = |condition: &str| {
        let sql = format!("SELECT 1 WHERE (\n{condition}\n)");
        statement::parse_text(state, &sql, state.config().options().sql_parser.dialect)
    };
    let (mut statement, mut simplest) = (statement_with(text)?, statement_with("true")?);
    let condition = take_condition(&mut statement);
    take_condition(&mut simplest);
    // Whatever else the text holds is left over beside the condition.
    let Some(condition) = condition.filter(|_| statement == simplest) else {
        return Err(QueryError::bad_request(
            "where is not one condition",
            "write one condition, such as outcome = 'accepted' AND difficulty > 1000",
        ));
    };
    // The planner would say that a table is not there.
    let has_query = visit_expressions(&condition, |part| match part {
        SqlExpr::Subquery(_) | SqlExpr::Exists { .. } | SqlExpr::InSubquery { .. } => {
            ControlFlow::Break(())
        }
        _ => ControlFlow::Continue(()),
    });
    match has_query.is_break() {
        true => Err(not_of_one_row()),
        false => Ok(condition),
    }
}

fn take_condition(statement: &mut Statement) -> Option<SqlExpr> {
    let Statement::Statement(sql) = statement else {
        return None;
    };
    let Sql::Query(query) = sql.as_mut() else {
        return None;
    };
    match query.body.as_mut() {
        SetExpr::Select(select) => select.selection.take(),
        _ => None,
    }
}

/// Whether a part of an expression has its value from one row and constants.
fn is_of_row(part: &Expr) -> bool {
    matches!(
        part,
        Expr::Alias(_)
            | Expr::Column(_)
            | Expr::Literal(..)
            | Expr::BinaryExpr(_)
            | Expr::Like(_)
            | Expr::SimilarTo(_)
            | Expr::Not(_)
            | Expr::IsNotNull(_)
            | Expr::IsNull(_)
            | Expr::IsTrue(_)
            | Expr::IsFalse(_)
            | Expr::IsUnknown(_)
            | Expr::IsNotTrue(_)
            | Expr::IsNotFalse(_)
            | Expr::IsNotUnknown(_)
            | Expr::Negative(_)
            | Expr::Between(_)
            | Expr::Case(_)
            | Expr::Cast(_)
            | Expr::TryCast(_)
            | Expr::ScalarFunction(_)
            | Expr::InList(_)
    )
}

fn not_of_one_row() -> QueryError {
    QueryError::bad_request(
        "where asks for more than the columns of one row",
        "leave out subqueries, aggregates, windows and placeholders, or ask /api/v1/sql",
    )
}
