//! Values that are larger than what they are made of: refused before they are made.
//!
//! The memory limit counts what operators keep, not what functions make. `repeat('x', 2000000000)`
//! asks for two gigabytes in one step, a long constant is copied into each of 8,192 rows, and an
//! allocation that fails ends the whole process. So functions that make large values out of small
//! ones say first what they would make, and batches are the shorter the longer constants are. What
//! they then make is paid for as long as it is held.
//!
//! Upstream: apache/datafusion#5415 (`rpad` takes all memory) and #12919 (`generate_series` heeds
//! no limit). It goes when DataFusion's functions allocate from the memory pool.

use std::sync::Arc;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan};

use bounded::Bounded;

mod bounded;
mod bounds;
mod concat;

/// Bytes that one function may make of one batch.
pub const MAX_BATCH_BYTES: u128 = 256 << 20;
/// Steps that one function may take over one batch, which nothing interrupts: about a second.
pub const MAX_BATCH_STEPS: u128 = 1 << 28;
/// Bytes of a value made of constants only.
pub const MAX_CONSTANT_BYTES: u128 = 64 << 10;
/// Bytes that the constants of a statement may add to one batch.
const CONSTANTS_A_BATCH: usize = 128 << 20;

/// Puts a bound on every function that can make much of little.
pub fn bound(state: &mut SessionState) -> Result<()> {
    for (names, bound) in bounds::ALL {
        for name in *names {
            if let Ok(inner) = state.udf(name) {
                state.register_udf(Arc::new(Bounded::new(inner, *bound).into()))?;
            }
        }
    }
    state.register_expr_planner(Arc::new(concat::Planner::new()))
}

/// The rows a batch may have for the constants of this plan, if it is fewer than usual.
pub fn batch_rows(plan: &LogicalPlan, usual: usize) -> Result<Option<usize>> {
    let mut bytes = 0_usize;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expression| {
            expression.apply(|part| {
                if let Expr::Literal(value, _) = part {
                    bytes = bytes.saturating_add(value.size());
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    let rows = (CONSTANTS_A_BATCH / bytes.max(1)).max(1);
    Ok((rows < usual).then_some(rows))
}
