//! The tables that payouts are made of, as rows: what the pipeline recovers from and what an audit
//! reads.
//!
//! Only committed rows count. Where the tables lie, no server need run.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Decimal128Type, Int32Type, Int64Type, TimestampMicrosecondType};
use datafusion::functions_aggregate::expr_fn::max;
use datafusion::prelude::{Expr, SessionConfig, SessionContext, col, lit};
use headframe_schemas::stream::payouts::{FrozenWindow, Payout, Payouts};
use headframe_schemas::stream::windows::{WindowRow, Windows};
use headframe_schemas::stream::{blocks::Blocks, shares::Shares};
use headframe_schemas::{Stream, Table};
use headframe_sinks::{Lake, Snapshot, SnapshotReader, SnapshotTable};

use super::lifecycle::{BlockRow, RowPosition};
use super::window_scan::WindowScanner;
use crate::fault::PipelineFault;

/// The tables of one lake.
pub struct PayoutTables {
    session: SessionContext,
    /// FoundWindow blocks.
    pub blocks: SnapshotReader,
    /// Shares.
    pub shares: SnapshotReader,
    /// Frozen windows.
    pub windows: SnapshotReader,
    /// Payouts.
    pub payouts: SnapshotReader,
    /// Searches windows in `shares`.
    pub scanner: WindowScanner,
}

/// A row of `payouts` and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PayoutRow {
    /// Where it stands.
    pub place: RowPosition,
    /// The row.
    pub payout: Payout,
}

impl PayoutTables {
    /// Does no I/O.
    pub fn open(lake: &Lake) -> Self {
        let session =
            SessionContext::new_with_config(SessionConfig::new().with_target_partitions(2));
        lake.register(session.runtime_env().as_ref());
        let open = |stream: &dyn Stream| SnapshotReader::open(lake, Table::raw(stream));
        Self {
            session,
            blocks: open(&Blocks),
            shares: open(&Shares),
            windows: open(&Windows),
            payouts: open(&Payouts),
            scanner: WindowScanner::default(),
        }
    }

    /// The good rows of `blocks` after a sequence, in their order.
    pub async fn block_rows(
        &self,
        blocks: &Arc<Snapshot>,
        after: Option<i64>,
    ) -> Result<Vec<BlockRow>, PipelineFault> {
        let table = SnapshotTable::new(blocks.clone()).with_range(after, blocks.offset);
        let batches = self.rows(table, "blocks", None).await?;
        Ok(batches
            .iter()
            .flat_map(|batch| block_rows(&Columns(batch)))
            .collect())
    }

    /// The rows of `windows` of a block, in the order of their places in the table.
    pub async fn window_rows(
        &self,
        windows: &Arc<Snapshot>,
        hash: &str,
    ) -> Result<Vec<WindowRow>, PipelineFault> {
        let batches = self
            .rows(
                SnapshotTable::new(windows.clone()),
                "windows",
                Some(col("block_hash").eq(lit(hash))),
            )
            .await?;
        Ok(batches
            .iter()
            .flat_map(|batch| window_rows(&Columns(batch)))
            .collect())
    }

    /// The rows of `payouts` that a filter leaves, in the order of their places.
    pub async fn payout_rows(
        &self,
        payouts: &Arc<Snapshot>,
        filter: Option<Expr>,
    ) -> Result<Vec<PayoutRow>, PipelineFault> {
        let batches = self
            .rows(SnapshotTable::new(payouts.clone()), "payouts", filter)
            .await?;
        Ok(batches
            .iter()
            .flat_map(|batch| payout_rows(&Columns(batch)))
            .collect())
    }

    /// The frozen window of a block of a pool, as `payouts` states it.
    pub async fn frozen(
        &self,
        payouts: &Arc<Snapshot>,
        pool: &str,
        hash: &str,
    ) -> Result<Option<FrozenWindow>, PipelineFault> {
        let filter = col("block_hash")
            .eq(lit(hash))
            .and(col("step").eq(lit("frozen")));
        let rows = self.payout_rows(payouts, Some(filter)).await?;
        Ok(rows
            .into_iter()
            .filter(|row| row.payout.pool == pool)
            .find_map(|row| row.payout.frozen))
    }

    /// The newest row of `payouts`.
    pub async fn last_payout(
        &self,
        payouts: &Arc<Snapshot>,
    ) -> Result<Option<Payout>, PipelineFault> {
        let Some(seq) = self.last_seq(payouts, "payouts").await? else {
            return Ok(None);
        };
        let table = SnapshotTable::new(payouts.clone()).with_range(Some(seq - 1), Some(seq));
        let batches = self.rows(table, "payouts", None).await?;
        Ok(batches
            .iter()
            .flat_map(|batch| payout_rows(&Columns(batch)))
            .last()
            .map(|stated| stated.payout))
    }

    /// The newest row of `windows`.
    pub async fn last_window(
        &self,
        windows: &Arc<Snapshot>,
    ) -> Result<Option<WindowRow>, PipelineFault> {
        let Some(seq) = self.last_seq(windows, "windows").await? else {
            return Ok(None);
        };
        let table = SnapshotTable::new(windows.clone()).with_range(Some(seq - 1), Some(seq));
        let batches = self.rows(table, "windows", None).await?;
        Ok(batches
            .iter()
            .flat_map(|batch| window_rows(&Columns(batch)))
            .last())
    }

    /// The highest sequence of a good row, from the newest file. Of that column alone: a file may
    /// have millions of rows.
    async fn last_seq(
        &self,
        snapshot: &Arc<Snapshot>,
        name: &'static str,
    ) -> Result<Option<i64>, PipelineFault> {
        let error = || PipelineFault::query("reading rows", name);
        let newest = snapshot
            .files
            .iter()
            .map(|file| file.seq_range().map_or(i64::MIN, |range| range.0))
            .max();
        // Rows that were sent by somebody else may have been refused; then the whole table is
        // asked.
        for after in [newest.map(|low| low.saturating_sub(1)), None] {
            let table = SnapshotTable::new(snapshot.clone()).with_range(after, snapshot.offset);
            let rows = self
                .session
                .read_table(Arc::new(table))
                .and_then(|rows| rows.filter(col("reject_reason").is_null()));
            let last = rows
                .and_then(|rows| rows.aggregate(Vec::new(), vec![max(col("seq")).alias("seq")]))
                .map_err(error())?;
            let last = last.collect().await.map_err(error())?;
            if let Some(seq) = last
                .iter()
                .filter(|batch| batch.num_rows() > 0)
                .find_map(|batch| Columns(batch).int("seq", 0))
            {
                return Ok(Some(seq));
            }
        }
        Ok(None)
    }

    async fn rows(
        &self,
        table: SnapshotTable,
        name: &'static str,
        filter: Option<Expr>,
    ) -> Result<Vec<RecordBatch>, PipelineFault> {
        let error = || PipelineFault::query("reading rows", name);
        let mut rows = self.session.read_table(Arc::new(table)).map_err(error())?;
        rows = rows
            .filter(col("reject_reason").is_null())
            .map_err(error())?;
        if let Some(filter) = filter {
            rows = rows.filter(filter).map_err(error())?;
        }
        let rows = rows
            .sort(vec![
                col("seq").sort(true, true),
                col("row").sort(true, true),
            ])
            .map_err(error())?;
        rows.collect().await.map_err(error())
    }
}

/// The columns of a batch by name. A value that is not there is `None`.
struct Columns<'a>(&'a RecordBatch);

impl Columns<'_> {
    fn int(&self, name: &str, row: usize) -> Option<i64> {
        let column = self
            .0
            .column_by_name(name)
            .filter(|column| column.is_valid(row))?;
        match column.as_primitive_opt::<Int64Type>() {
            Some(ints) => Some(ints.value(row)),
            None => column
                .as_primitive_opt::<Int32Type>()
                .map(|ints| i64::from(ints.value(row))),
        }
    }

    fn wide(&self, name: &str, row: usize) -> Option<i128> {
        let column = self
            .0
            .column_by_name(name)
            .filter(|column| column.is_valid(row))?;
        Some(column.as_primitive_opt::<Decimal128Type>()?.value(row))
    }

    fn time(&self, name: &str, row: usize) -> Option<i64> {
        let column = self
            .0
            .column_by_name(name)
            .filter(|column| column.is_valid(row))?;
        Some(
            column
                .as_primitive_opt::<TimestampMicrosecondType>()?
                .value(row),
        )
    }

    fn text(&self, name: &str, row: usize) -> Option<String> {
        let column = self
            .0
            .column_by_name(name)
            .filter(|column| column.is_valid(row))?;
        Some(column.as_string_view_opt()?.value(row).to_owned())
    }

    fn truth(&self, name: &str, row: usize) -> Option<bool> {
        let column = self
            .0
            .column_by_name(name)
            .filter(|column| column.is_valid(row))?;
        Some(column.as_boolean_opt()?.value(row))
    }

    fn place(&self, row: usize) -> Option<RowPosition> {
        Some(RowPosition {
            seq: self.int("seq", row)?,
            row: self.int("row", row)?,
        })
    }
}

fn block_rows(columns: &Columns<'_>) -> Vec<BlockRow> {
    let row = |row| {
        Some(BlockRow {
            place: columns.place(row)?,
            ingest_time: columns.time("ingest_time", row)?,
            event_time: columns.time("event_time", row)?,
            pool: columns.text("pool", row)?,
            hash: columns.text("hash", row)?,
            height: columns.int("height", row)?,
            miner: columns.text("miner", row)?,
            status: columns.text("status", row)?,
            reward: columns.wide("reward_atomic", row),
            reason: columns.text("reason", row),
            scheme: columns.text("scheme", row),
            window_milli: columns.int("window_milli", row),
            fee_bp: columns.int("fee_bp", row),
            solo: columns.truth("solo", row).unwrap_or(false),
        })
    };
    (0..columns.0.num_rows()).filter_map(row).collect()
}

fn window_rows(columns: &Columns<'_>) -> Vec<WindowRow> {
    let row = |row| {
        Some(WindowRow {
            event_time: columns.time("event_time", row)?,
            pool: columns.text("pool", row)?,
            block_hash: columns.text("block_hash", row)?,
            height: columns.int("height", row)?,
            position: columns.int("position", row)?,
            miner: columns.text("miner", row)?,
            weight: columns.wide("weight", row)?,
            shares: columns.int("shares", row)?,
            amount_atomic: columns.wide("amount_atomic", row)?,
        })
    };
    (0..columns.0.num_rows()).filter_map(row).collect()
}

fn payout_rows(columns: &Columns<'_>) -> Vec<PayoutRow> {
    let row = |row| {
        let payout = Payout {
            event_time: columns.time("event_time", row)?,
            pool: columns.text("pool", row)?,
            block_hash: columns.text("block_hash", row)?,
            height: columns.int("height", row)?,
            step: columns.text("step", row)?,
            account: columns.text("account", row),
            amount_atomic: columns.wide("amount_atomic", row),
            was_mature: columns.truth("was_mature", row),
            cause_seq: columns.int("cause_seq", row)?,
            cause_row: columns.int("cause_row", row)?,
            reason: columns.text("reason", row),
            frozen: frozen(columns, row),
        };
        Some(PayoutRow {
            place: columns.place(row)?,
            payout,
        })
    };
    (0..columns.0.num_rows()).filter_map(row).collect()
}

fn frozen(columns: &Columns<'_>, row: usize) -> Option<FrozenWindow> {
    Some(FrozenWindow {
        scheme: columns.text("scheme", row)?,
        window_milli: columns.int("window_milli", row)?,
        fee_bp: columns.int("fee_bp", row)?,
        reward_atomic: columns.wide("reward_atomic", row)?,
        total_weight: columns.wide("total_weight", row)?,
        shares: columns.int("shares", row)?,
        miners: columns.int("miners", row)?,
        winning_seq: columns.int("winning_seq", row),
        winning_row: columns.int("winning_row", row),
        edge_seq: columns.int("edge_seq", row),
        edge_row: columns.int("edge_row", row),
        merkle_root: columns.text("merkle_root", row),
        signature: columns.text("signature", row)?,
        public_key: columns.text("public_key", row)?,
    })
}
