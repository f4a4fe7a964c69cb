//! Works around an optimizer that takes `SELECT x + 1 AS x` over `SELECT x + 1 AS x` for the same
//! work done twice.
//!
//! It compares two projections that stand upon each other by their expressions, in which both
//! columns are called `x`, and drops one (DataFusion 55, `merge_consecutive_projections`). A
//! projection that hides a column behind its own name therefore reads from an input with a name of
//! its own, after which no two are alike.
//!
//! Upstream: apache/datafusion#24686, merged after 55.2. It goes with the first release that has
//! it.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, TableReference};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, LogicalPlan, Projection, SubqueryAlias};
use datafusion::optimizer::AnalyzerRule;

/// The rule.
#[derive(Debug)]
pub struct NameInputs;

impl AnalyzerRule for NameInputs {
    fn name(&self) -> &str {
        "name_inputs"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let mut count = 0;
        let renamed = plan.transform_up_with_subqueries(|node| match node {
            LogicalPlan::Projection(projection)
                if projection.expr.iter().any(hides) && apart(&projection) =>
            {
                count += 1;
                over(projection, &format!("__input_{count}"))
                    .map(|projection| Transformed::yes(LogicalPlan::Projection(projection)))
            }
            node => Ok(Transformed::no(node)),
        });
        renamed.map(|renamed| renamed.data)
    }
}

/// Whether an expression is called as a column that it is made of.
fn hides(expression: &Expr) -> bool {
    match expression {
        Expr::Alias(alias) => {
            !matches!(*alias.expr, Expr::Column(_))
                && alias
                    .expr
                    .column_refs()
                    .iter()
                    .any(|column| column.name == alias.name)
        }
        _ => false,
    }
}

/// Whether the input's columns can be told apart by their names alone.
fn apart(projection: &Projection) -> bool {
    let names: std::collections::HashSet<_> = projection
        .input
        .schema()
        .fields()
        .iter()
        .map(|field| field.name())
        .collect();
    names.len() == projection.input.schema().fields().len()
}

/// The same projection over an input of this name.
fn over(projection: Projection, name: &str) -> Result<Projection> {
    let name = TableReference::bare(name);
    let input = SubqueryAlias::try_new(projection.input.clone(), name.clone())?;
    let renamed = |expression: &Expr| -> Result<Expr> {
        let renamed = expression.clone().transform(|part| match part {
            Expr::Column(column) => Ok(Transformed::yes(Expr::Column(Column::new(
                Some(name.clone()),
                column.name,
            )))),
            part => Ok(Transformed::no(part)),
        })?;
        let (relation, original) = expression.qualified_name();
        Ok(renamed.data.unalias().alias_qualified(relation, original))
    };
    let expressions = projection
        .expr
        .iter()
        .map(renamed)
        .collect::<Result<Vec<_>>>()?;
    Projection::try_new(expressions, Arc::new(LogicalPlan::SubqueryAlias(input)))
}
