//! Grouping by numbers gives what grouping by names gives, whatever the names are and however they
//! lie in memory.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringViewArray};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::util::pretty::pretty_format_batches;
use datafusion::datasource::MemTable;
use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryPool, UnboundedMemoryPool};
use datafusion::physical_plan::{ExecutionPlan, collect, displayable};
use datafusion::prelude::{SessionConfig, SessionContext};
use headframe_query_engine::datafusion::text_grouping;
use proptest::prelude::*;

use crate::cases::cases;

/// Short, long, nearly the same, empty: what can be confused if looked at by its place alone.
const NAMES: &[&str] = &[
    "",
    "a",
    "b",
    "twelve bytes",
    "thirteen byte",
    "a wallet address that is long enough 1",
    "a wallet address that is long enough 2",
    "a wallet address that is long enough",
    "矿机-矿机-矿机-矿机-矿机",
];

const QUESTIONS: &[&str] = &[
    "SELECT miner, count(*), sum(work) FROM rows GROUP BY miner",
    "SELECT miner, worker, sum(work) FROM rows GROUP BY miner, worker",
    "SELECT worker, work % 3, count(*) FROM rows WHERE work > 2 GROUP BY 1, 2",
    "SELECT DISTINCT worker FROM rows",
    "SELECT miner, max(worker), count(DISTINCT worker) FROM rows GROUP BY miner",
    "SELECT miner, upper(miner), count(*) FROM rows GROUP BY 1, 2",
    "SELECT miner, count(*) FILTER (WHERE worker = 'a') FROM rows GROUP BY miner",
    "SELECT count(*) FROM (SELECT miner, worker FROM rows GROUP BY miner, worker)",
    "SELECT miner, worker, grouping(miner), count(*) FROM rows GROUP BY ROLLUP (miner, worker)",
    "SELECT a.miner, count(*) FROM rows a JOIN (SELECT miner FROM rows GROUP BY miner) b \
     ON a.miner = b.miner GROUP BY a.miner",
];

/// One of the names, or none.
fn name() -> impl Strategy<Value = Option<usize>> {
    prop::option::of(0..NAMES.len())
}

type Row = (Option<usize>, Option<usize>, i64);

fn batch(rows: &[Row]) -> RecordBatch {
    let names = |pick: &dyn Fn(&Row) -> Option<usize>| -> ArrayRef {
        Arc::new(
            rows.iter()
                .map(|row| pick(row).map(|name| NAMES[name]))
                .collect::<StringViewArray>(),
        )
    };
    let work: ArrayRef = Arc::new(rows.iter().map(|row| row.2).collect::<Int64Array>());
    RecordBatch::try_from_iter_with_nullable([
        ("miner", names(&|row| row.0), true),
        ("worker", names(&|row| row.1), true),
        ("work", work, true),
    ])
    .unwrap()
}

async fn plan(
    partitions: Vec<Vec<RecordBatch>>,
    question: &str,
) -> (Arc<dyn ExecutionPlan>, SessionContext) {
    let context = SessionContext::new_with_config(
        SessionConfig::new()
            .with_target_partitions(3)
            .with_batch_size(16),
    );
    let table = MemTable::try_new(partitions[0][0].schema(), partitions).unwrap();
    context.register_table("rows", Arc::new(table)).unwrap();
    let plan = context
        .sql(question)
        .await
        .unwrap()
        .create_physical_plan()
        .await
        .unwrap();
    (plan, context)
}

async fn answer(plan: Arc<dyn ExecutionPlan>, context: &SessionContext) -> Vec<String> {
    let schema = plan.schema();
    let batches = collect(plan, context.task_ctx()).await.unwrap();
    let all = concat_batches(&schema, &batches).unwrap();
    let text = pretty_format_batches(&[all]).unwrap().to_string();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort_unstable();
    lines
}

fn unbounded() -> Arc<dyn MemoryPool> {
    Arc::new(UnboundedMemoryPool::default())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(6)))]
    #[test]
    fn numbers_group_as_names_do(
        rows in prop::collection::vec((name(), name(), 0..9_i64), 1..120),
        pieces in 1_usize..6,
        shuffle in any::<u64>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            // Rows taken in another order share buffers with other batches and leave some of their
            // bytes unused.
            let whole = batch(&rows);
            let count = rows.len() as u64;
            let shuffled = |row: u64| ((row * 7 + shuffle % 97) % count) as u32;
            let order: arrow::array::UInt32Array =
                (0..count).map(|row| Some(shuffled(row))).collect();
            let taken = take_record_batch(&whole, &order).unwrap();
            let step = rows.len().div_ceil(pieces);
            let partitions = |batch: &RecordBatch| -> Vec<RecordBatch> {
                (0..rows.len())
                    .step_by(step)
                    .map(|from| batch.slice(from, step.min(rows.len() - from)))
                    .collect()
            };
            let partitions = vec![partitions(&whole), partitions(&taken), vec![batch(&rows)]];
            for question in QUESTIONS {
                let (plain, context) = plan(partitions.clone(), question).await;
                let better = text_grouping::by_number(plain.clone(), &unbounded()).unwrap();
                assert_eq!(better.schema(), plain.schema(), "{question}");
                let changed = answer(better, &context).await;
                // A plan runs once, and the changed one shares parts with the one it was made from.
                let (plain, context) = plan(partitions.clone(), question).await;
                assert_eq!(changed, answer(plain, &context).await, "{question}");
            }
        });
    }
}

#[tokio::test]
async fn plans_that_group_by_names_are_changed() {
    let rows = [(Some(5), Some(1), 1), (None, Some(6), 2)];
    for (question, times) in QUESTIONS.iter().zip([2, 4, 2, 2, 2, 2, 2]) {
        let (plain, _) = plan(vec![vec![batch(&rows)], vec![batch(&rows)]], question).await;
        let better = text_grouping::by_number(plain, &unbounded()).unwrap();
        let shown = displayable(better.as_ref()).indent(false).to_string();
        let found = shown.matches("number(").count() + shown.matches("name(").count();
        assert!(found >= times, "{question}: {found} in\n{shown}");
    }
}

#[tokio::test]
async fn names_count_as_memory_of_the_query() {
    let rows: Vec<Row> = (0..NAMES.len()).map(|name| (Some(name), None, 1)).collect();
    let (plain, context) = plan(vec![vec![batch(&rows)]], QUESTIONS[0]).await;
    let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(200));
    let better = text_grouping::by_number(plain, &pool).unwrap();
    let error = collect(better, context.task_ctx()).await.unwrap_err();
    assert!(error.to_string().contains("names"), "{error}");
}
