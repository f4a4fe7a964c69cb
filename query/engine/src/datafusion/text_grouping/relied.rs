//! Which parts of a plan rely on the partition that a name lies in.

use std::sync::Arc;

use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::joins::{
    CrossJoinExec, HashJoinExec, NestedLoopJoinExec, PartitionMode,
};
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::union::UnionExec;

/// Whether the partitions below a node must be those of names: what is joined partition by
/// partition comes from two sides, each with numbers of its own.
pub(super) fn is_relied_below(node: &Arc<dyn ExecutionPlan>, relied_on: bool) -> bool {
    let moves_rows = node.is::<RepartitionExec>()
        || node.is::<CoalescePartitionsExec>()
        || node.is::<SortPreservingMergeExec>()
        || node.is::<UnionExec>();
    let join = node.downcast_ref::<HashJoinExec>();
    let reads_one_side_whole = node.is::<NestedLoopJoinExec>()
        || node.is::<CrossJoinExec>()
        || join.is_some_and(|join| *join.partition_mode() == PartitionMode::CollectLeft);
    match node.children().len() {
        _ if moves_rows => false,
        0 | 1 => relied_on,
        _ => relied_on || !reads_one_side_whole,
    }
}
