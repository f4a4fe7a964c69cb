//! Limits of a plan: how many nodes it has, how deep they stand upon each other, and how long it
//! may be planned.
//!
//! DataFusion walks plans by recursion, again and again, and nothing ends it: a statement is
//! planned for minutes after its client has gone. The limits are checked before the optimizer
//! begins and between any two of its rules. The nodes are counted with a list instead of the stack.
//!
//! Upstream: apache/datafusion#8900 and #22936 (recursion without a limit). It goes when DataFusion
//! limits what it plans and can be told to stop.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::analyzer::Analyzer;
use datafusion::optimizer::{AnalyzerRule, Optimizer, OptimizerConfig, OptimizerRule};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::ExecutionPlan;
use headframe_query_front::QueryError;

use super::statement_limits::StatementLimits;

/// Nodes that a plan may have, those of its subqueries among them.
pub const MAX_NODES: usize = 10_000;
/// How many of them may stand upon each other.
pub const MAX_DEPTH: usize = 1_000;

/// DataFusion's own rules with the limits before each of them.
pub fn guard(builder: SessionStateBuilder) -> SessionStateBuilder {
    let analyzer = Analyzer::new().rules.into_iter().flat_map(|rule| {
        let guard: Arc<dyn AnalyzerRule + Send + Sync> = Arc::new(PlanLimits);
        [guard, rule]
    });
    let optimizer = Optimizer::new().rules.into_iter().flat_map(|rule| {
        let guard: Arc<dyn OptimizerRule + Send + Sync> = Arc::new(PlanLimits);
        [guard, rule]
    });
    let physical = PhysicalOptimizer::new().rules.into_iter().flat_map(|rule| {
        let guard: Arc<dyn PhysicalOptimizerRule + Send + Sync> = Arc::new(PlanLimits);
        [guard, rule]
    });
    builder
        .with_analyzer_rules(analyzer.collect())
        .with_optimizer_rules(optimizer.collect())
        .with_physical_optimizer_rules(physical.collect())
}

/// Refuses a plan that is too large or too deep.
pub fn check(plan: &LogicalPlan) -> Result<()> {
    let mut count = Count::default();
    let mut subqueries = Vec::new();
    count.nodes(plan, 1, Some(&mut subqueries))?;
    while let Some((subquery, depth)) = subqueries.pop() {
        count.nodes(&subquery, depth, Some(&mut subqueries))?;
    }
    Ok(())
}

/// Plans in expressions, and how deep they stand.
type Subqueries = Vec<(Arc<LogicalPlan>, usize)>;

#[derive(Default)]
struct Count {
    nodes: usize,
}

impl Count {
    fn nodes(
        &mut self,
        plan: &LogicalPlan,
        depth: usize,
        mut subqueries: Option<&mut Subqueries>,
    ) -> Result<()> {
        let mut waiting = vec![(plan, depth)];
        while let Some((node, depth)) = waiting.pop() {
            self.nodes += 1;
            if self.nodes > MAX_NODES {
                return Err(refused(format_args!("has more than {MAX_NODES} nodes")));
            }
            if depth > MAX_DEPTH {
                return Err(refused(format_args!("is more than {MAX_DEPTH} nodes deep")));
            }
            waiting.extend(node.inputs().into_iter().map(|input| (input, depth + 1)));
            if let Some(subqueries) = &mut subqueries {
                find_subqueries(node, depth + 1, subqueries)?;
            }
        }
        Ok(())
    }
}

fn find_subqueries(node: &LogicalPlan, depth: usize, found: &mut Subqueries) -> Result<()> {
    node.apply_expressions(|expression| {
        expression.apply(|part| {
            let subquery = match part {
                Expr::ScalarSubquery(subquery) => Some(subquery),
                Expr::Exists(exists) => Some(&exists.subquery),
                Expr::InSubquery(within) => Some(&within.subquery),
                Expr::SetComparison(comparison) => Some(&comparison.subquery),
                _ => None,
            };
            found.extend(subquery.map(|subquery| (subquery.subquery.clone(), depth)));
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    Ok(())
}

fn refused(what: std::fmt::Arguments<'_>) -> DataFusionError {
    let error = QueryError::bad_request(
        format!("the plan of the statement {what}"),
        "nest and join less, or ask in several statements",
    );
    DataFusionError::External(Box::new(error))
}

/// Refuses to go on with a plan that is too large, or after the statement's deadline.
#[derive(Debug)]
struct PlanLimits;

fn check_deadline(options: &ConfigOptions) -> Result<()> {
    StatementLimits::find(options).map_or(Ok(()), StatementLimits::check_deadline)
}

impl AnalyzerRule for PlanLimits {
    fn name(&self) -> &str {
        "plan_limits"
    }

    fn analyze(&self, plan: LogicalPlan, options: &ConfigOptions) -> Result<LogicalPlan> {
        check_deadline(options)?;
        check(&plan)?;
        Ok(plan)
    }
}

impl OptimizerRule for PlanLimits {
    fn name(&self) -> &str {
        "plan_limits"
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        check_deadline(&config.options())?;
        // Long lists of values would be walked again and again for subqueries, of which the
        // analyzer's check has told.
        Count::default().nodes(&plan, 1, None)?;
        Ok(Transformed::no(plan))
    }
}

impl PhysicalOptimizerRule for PlanLimits {
    fn name(&self) -> &str {
        "plan_limits"
    }

    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        options: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        check_deadline(options)?;
        Ok(plan)
    }

    fn schema_check(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use datafusion::logical_expr::{LogicalPlanBuilder, exists, lit};

    use super::*;

    fn deep(nodes: usize) -> LogicalPlan {
        let mut plan = LogicalPlanBuilder::empty(true);
        for _ in 1..nodes {
            plan = plan.limit(0, Some(1)).unwrap();
        }
        plan.build().unwrap()
    }

    fn refusal(plan: &LogicalPlan) -> String {
        check(plan).map_or_else(|error| error.to_string(), |()| String::new())
    }

    #[test]
    fn deep_and_large_plans_are_refused_by_name() {
        assert_eq!(refusal(&deep(MAX_DEPTH)), "");
        let said = refusal(&deep(MAX_DEPTH + 1));
        assert!(said.contains("more than 1000 nodes deep"), "{said}");
        let wide = |parts: usize| {
            let part = Arc::new(LogicalPlanBuilder::empty(true).build().unwrap());
            let schema = part.schema().clone();
            let inputs = std::iter::repeat_n(part, parts).collect();
            LogicalPlan::Union(datafusion::logical_expr::Union { inputs, schema })
        };
        assert_eq!(refusal(&wide(MAX_NODES - 1)), "");
        let said = refusal(&wide(MAX_NODES));
        assert!(said.contains("more than 10000 nodes"), "{said}");
    }

    #[test]
    fn subqueries_count_as_deep_as_they_stand() {
        let over = |inner: usize| {
            let filter = exists(Arc::new(deep(inner))).and(lit(true));
            let plan = LogicalPlanBuilder::from(deep(10)).filter(filter).unwrap();
            plan.build().unwrap()
        };
        assert_eq!(refusal(&over(MAX_DEPTH - 1)), "");
        let said = refusal(&over(MAX_DEPTH));
        assert!(said.contains("more than 1000 nodes deep"), "{said}");
    }
}
