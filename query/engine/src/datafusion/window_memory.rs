//! Memory of window functions, paid from the pool of the query.
//!
//! DataFusion's window operators keep all rows that come in, or those of open frames, and count
//! them nowhere: `count(*) OVER ()` over long strings took gigabytes beside a limit of megabytes.
//! Here an operator's input is counted on its way in, and paid for until as many rows have come
//! out.
//!
//! Upstream: apache/datafusion#23207 (accounting, closed unmerged) and #22946 (spilling, open). It
//! goes when window operators hold a `MemoryReservation`.

use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::utils::memory::RecordBatchMemoryCounter;
use datafusion::common::{DataFusionError, internal_err};
use datafusion::error::Result;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::{Stream, StreamExt};

/// How often an operator holds its rows: as they came, and joined to one batch.
const COPIES: usize = 2;

/// The plan with every window operator paying for the rows it holds.
pub fn account(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    plan.transform_up(|node| {
        let window = node.downcast_ref::<WindowAggExec>().is_some()
            || node.downcast_ref::<BoundedWindowAggExec>().is_some();
        let [input] = node.children()[..] else {
            return Ok(Transformed::no(node));
        };
        if !window {
            return Ok(Transformed::no(node));
        }
        let held = Arc::default();
        let counted = Arc::new(Counted {
            plan: input.clone(),
            end: End::Input,
            held: Arc::clone(&held),
        });
        let keep = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Keep);
        let plan = node.replace_children(vec![counted], keep)?;
        let end = End::Output;
        Ok(Transformed::yes(Arc::new(Counted { plan, end, held }) as _))
    })
    .data()
}

/// What the two ends of an operator share, a partition each.
type Held = Mutex<HashMap<usize, Arc<UncommittedRows>>>;

/// The rows that an operator holds of one partition.
#[derive(Debug)]
struct UncommittedRows {
    reservation: MemoryReservation,
    rows_in: AtomicUsize,
    rows_out: AtomicUsize,
    bytes_in: AtomicUsize,
}

impl UncommittedRows {
    fn bytes_held(&self) -> usize {
        let (rows_in, rows_out) = (self.rows_in.load(Relaxed), self.rows_out.load(Relaxed));
        let held = rows_in.saturating_sub(rows_out) as u128;
        let bytes = self.bytes_in.load(Relaxed) as u128 * COPIES as u128;
        // Not more than the bytes that came in, which did fit.
        (bytes * held / rows_in.max(1) as u128) as usize
    }

    fn came_in(&self, rows: usize, bytes: usize) -> Result<()> {
        self.rows_in.fetch_add(rows, Relaxed);
        self.bytes_in.fetch_add(bytes, Relaxed);
        self.reservation.try_resize(self.bytes_held())
    }

    fn went_out(&self, rows: usize) -> Result<()> {
        self.rows_out.fetch_add(rows, Relaxed);
        self.reservation.try_resize(self.bytes_held())
    }
}

/// Which end of the operator a node stands at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Input,
    Output,
}

/// A node that counts the rows of another one and changes nothing.
#[derive(Debug)]
struct Counted {
    plan: Arc<dyn ExecutionPlan>,
    end: End,
    held: Arc<Held>,
}

impl Counted {
    fn rows(&self, partition: usize, context: &TaskContext) -> Option<Arc<UncommittedRows>> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        match self.end {
            // The output is executed first, and executes the input while it is.
            End::Output => {
                let consumer = MemoryConsumer::new(format!("window[{partition}]"));
                let rows = Arc::new(UncommittedRows {
                    reservation: consumer.register(context.memory_pool()),
                    rows_in: AtomicUsize::new(0),
                    rows_out: AtomicUsize::new(0),
                    bytes_in: AtomicUsize::new(0),
                });
                held.insert(partition, rows.clone());
                Some(rows)
            }
            End::Input => held.remove(&partition),
        }
    }
}

impl DisplayAs for Counted {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WindowMemory: {:?}", self.end)
    }
}

impl ExecutionPlan for Counted {
    fn name(&self) -> &str {
        "WindowMemory"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.plan.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.plan]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match (children.pop(), children.pop()) {
            (Some(plan), None) => Ok(Arc::new(Self {
                plan,
                end: self.end,
                held: self.held.clone(),
            })),
            _ => internal_err!("WindowMemory has one input"),
        }
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let Some(rows) = self.rows(partition, &context) else {
            return internal_err!("the input of a window is executed without its output");
        };
        Ok(Box::pin(CountedStream {
            stream: self.plan.execute(partition, context)?,
            end: self.end,
            rows,
            counter: RecordBatchMemoryCounter::new(),
        }))
    }
}

struct CountedStream {
    stream: SendableRecordBatchStream,
    end: End,
    rows: Arc<UncommittedRows>,
    counter: RecordBatchMemoryCounter,
}

impl CountedStream {
    fn counted(&mut self, batch: RecordBatch) -> Result<RecordBatch, DataFusionError> {
        match self.end {
            End::Input => {
                let bytes = self.counter.count_batch(&batch);
                self.rows.came_in(batch.num_rows(), bytes)?;
            }
            End::Output => self.rows.went_out(batch.num_rows())?,
        }
        Ok(batch)
    }
}

impl Stream for CountedStream {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = ready!(self.stream.poll_next_unpin(context));
        Poll::Ready(next.map(|batch| batch.and_then(|batch| self.counted(batch))))
    }
}

impl RecordBatchStream for CountedStream {
    fn schema(&self) -> SchemaRef {
        self.stream.schema()
    }
}
