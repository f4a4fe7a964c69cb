//! Which row of the input each row of an answer is made of, where a SELECT works row by row.
//!
//! The place of a row is carried through the plan beside the SELECT's own columns. Only plans that
//! look at one row at a time have it at their end, so that this is also the check that a SELECT
//! without windows does.

use datafusion::common::tree_node::TreeNode;
use datafusion::common::{DataFusionError, Result, plan_err};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::prelude::ident;

/// Columns of the input that say where a row came from, and what they are called while they are
/// carried.
const PLACES: [(&str, &str); 3] = [
    ("seq", "headframe_seq"),
    ("row", "headframe_row"),
    ("ingest_time", "headframe_ingest_time"),
];

/// The plan whose rows end with sequence, index and `ingest_time` of their input row. The error
/// says what needs more than one row.
pub(super) fn carry(plan: &LogicalPlan) -> Result<LogicalPlan> {
    match plan {
        LogicalPlan::TableScan(_) => {
            let own = plan.schema().columns().into_iter().map(Expr::Column);
            let places = PLACES.map(|(column, name)| ident(column).alias(name));
            let columns: Vec<Expr> = own.chain(places).collect();
            LogicalPlanBuilder::from(plan.clone())
                .project(columns)?
                .build()
        }
        LogicalPlan::Projection(projection) => {
            check(&projection.expr)?;
            let input = carry(&projection.input)?;
            let mut columns = projection.expr.clone();
            columns.extend(places(&input));
            LogicalPlanBuilder::from(input).project(columns)?.build()
        }
        LogicalPlan::Filter(filter) => {
            check(std::slice::from_ref(&filter.predicate))?;
            let input = carry(&filter.input)?;
            let kept = LogicalPlanBuilder::from(input).filter(filter.predicate.clone())?;
            kept.build()
        }
        LogicalPlan::SubqueryAlias(alias) => {
            let input = carry(&alias.input)?;
            let named = LogicalPlanBuilder::from(input).alias(alias.alias.clone())?;
            named.build()
        }
        other => plan_err!("{} needs more than one row of input", named(other)),
    }
}

/// Refuses expressions that look at other rows.
fn check(expressions: &[Expr]) -> Result<()> {
    let is_subquery = |part: &Expr| {
        Ok(matches!(
            part,
            Expr::ScalarSubquery(_)
                | Expr::Exists(_)
                | Expr::InSubquery(_)
                | Expr::SetComparison(_)
        ))
    };
    for expression in expressions {
        if expression.exists(is_subquery)? {
            return plan_err!("a subquery needs more than one row of input");
        }
    }
    Ok(())
}

/// The carried columns of a plan.
fn places(plan: &LogicalPlan) -> Vec<Expr> {
    let columns = plan.schema().columns().into_iter();
    let is_place = |name: &str| PLACES.iter().any(|(_, carried)| *carried == name);
    columns
        .filter(|column| is_place(&column.name))
        .map(Expr::Column)
        .collect()
}

fn named(plan: &LogicalPlan) -> &'static str {
    match plan {
        LogicalPlan::Aggregate(_) => "an aggregate or GROUP BY",
        LogicalPlan::Window(_) => "a window function",
        LogicalPlan::Sort(_) => "ORDER BY",
        LogicalPlan::Limit(_) => "LIMIT",
        LogicalPlan::Distinct(_) => "DISTINCT",
        LogicalPlan::Join(_) => "a join",
        LogicalPlan::Union(_) => "UNION",
        LogicalPlan::EmptyRelation(_) | LogicalPlan::Values(_) => "a SELECT that reads no `input`",
        LogicalPlan::Unnest(_) => "unnest",
        _ => "part of the statement",
    }
}

/// The refusal of a plan that is not of one row at a time.
pub(super) fn refusal(error: &DataFusionError) -> String {
    let why = error.strip_backtrace();
    let why = why
        .strip_prefix("Error during planning: ")
        .unwrap_or(why.as_str());
    format!("{why}; name a window, such as window = \"1m\", or take it out")
}
