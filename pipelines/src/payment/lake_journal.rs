//! The journal of a running system: facts from the stored tables, own steps through a
//! [`ExclusiveAppender`].
//!
//! Only committed tables are read, since streams forget after days and tables do not. A step that
//! was just written is known without reading it again; after a conflict or a lost answer the table
//! is waited for until it has everything.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Decimal128Type, Int64Type, TimestampMicrosecondType};
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::future::BoxFuture;
use headframe_ingest::{AppendError, ExclusiveAppender, Nats, StreamSettings};
use headframe_schemas::payment::ReleaseCause;
use headframe_schemas::stream::instructions::Instruction;
use headframe_schemas::stream::payments::{Payment, Payments};
use headframe_schemas::{Table, stream};
use headframe_sinks::{Lake, Snapshot, StreamBinding};

use crate::payment::journal::{Journal, JournalError};
use crate::payment::ledger::{Ledger, PayoutFact};
use crate::payment::table_pages::{PAGE_ROWS, TablePages};

/// Tables and stream.
pub struct LakeJournal {
    appender: ExclusiveAppender,
    /// Which stream the table `payments` goes on from, and what is added to its sequences to get
    /// the table's.
    binding: StreamBinding,
    /// Whether the ledger knows which payments were begun in the stream before that one.
    replacement_marked: bool,
    payouts: TablePages,
    payments: TablePages,
    instructions: TablePages,
}

fn unavailable(error: impl std::fmt::Display) -> JournalError {
    JournalError::Unavailable(error.to_string())
}

impl LakeJournal {
    /// Of one pool. The raw tables of the three streams are written by the pipelines, in this
    /// process or another. A stream that the table `payments` does not go on from is
    /// [`JournalError::Inconsistent`].
    pub async fn open(
        lake: &Lake,
        nats: Nats,
        settings: &StreamSettings,
        pool: &str,
    ) -> Result<Self, JournalError> {
        Self::open_with(lake, nats, settings, pool, PAGE_ROWS).await
    }

    /// The same with another number of rows that are in memory at once.
    pub async fn open_with(
        lake: &Lake,
        nats: Nats,
        settings: &StreamSettings,
        pool: &str,
        page: usize,
    ) -> Result<Self, JournalError> {
        let session =
            SessionContext::new_with_config(SessionConfig::new().with_target_partitions(2));
        lake.register(session.runtime_env().as_ref());
        let pages = |name: &str, columns: &'static str| -> Result<TablePages, JournalError> {
            let stream = stream::find(name)
                .ok_or_else(|| unavailable(format!("there is no stream {name}")))?;
            Ok(TablePages::open(
                &session,
                lake,
                Table::raw(stream),
                pool,
                columns,
                page,
            ))
        };
        let (payouts, payments) = (
            pages("payouts", PAYOUT_COLUMNS)?,
            pages("payments", PAYMENT_COLUMNS)?,
        );
        let instructions = pages("instructions", INSTRUCTION_COLUMNS)?;
        // The table before the stream: what it has committed, a sound stream holds or has held.
        let snapshot = payments.refresh().await?;
        let binding = table_binding(&snapshot)?;
        let appender = ExclusiveAppender::open(nats, &Payments, settings)
            .await
            .map_err(unavailable)?;
        let journal = Self {
            appender,
            binding,
            replacement_marked: false,
            payouts,
            payments,
            instructions,
        };
        journal.check_binding(&snapshot, journal.appender.last_seq())?;
        Ok(journal)
    }

    /// The last message of `payments`, as the table counts.
    fn last(&self) -> i64 {
        self.binding.base + i64::try_from(self.appender.last_seq()).unwrap_or(i64::MAX)
    }

    /// Whether the table goes on from the stream that was opened, which ends at `last`.
    fn check_binding(&self, snapshot: &Snapshot, last: u64) -> Result<(), JournalError> {
        let (found, created) = (
            table_binding(snapshot)?,
            self.appender.identity().created_ns,
        );
        let through = snapshot.offset.map_or(0, |offset| offset - found.base);
        let why = if found.created_ns != created {
            format!(
                "the table payments goes on from the stream created at {} (ns), this one was \
                created at {created}; find out what the old one held, then decide with `headframe \
                adopt payments`",
                found.created_ns
            )
        } else if found != self.binding {
            "the table payments was adopted a moment ago".to_owned()
        } else if u64::try_from(through).is_ok_and(|through| through > last) {
            format!(
                "the table payments holds its message {through}, it ends at {last}: it has lost \
                messages; restore it, or decide with `headframe adopt payments`"
            )
        } else {
            return Ok(());
        };
        Err(JournalError::Inconsistent(why))
    }

    /// Hands one message over. What is open when the first message of the present stream comes was
    /// begun in another one.
    fn apply_message(&mut self, ledger: &mut Ledger, seq: i64, message: &[Payment]) {
        if !self.replacement_marked && seq > self.binding.base {
            self.replacement_marked = true;
            ledger.mark_stream_replaced();
        }
        ledger.apply_payment(message);
    }

    async fn read_payments(
        &mut self,
        snapshot: &Arc<Snapshot>,
        ledger: &mut Ledger,
    ) -> Result<(), JournalError> {
        let last = self.last();
        // Nobody but this writer can have written more, and what it wrote it knows.
        if self
            .payments
            .through()
            .is_some_and(|through| through >= last)
        {
            return Ok(());
        }
        let (offset, base) = (snapshot.offset, self.binding.base);
        if last > base && offset.unwrap_or(base) < last {
            return Err(unavailable(format!(
                "the table payments has not committed the stream's last message yet ({offset:?} \
                of {last})"
            )));
        }
        while let Some(page) = self.payments.next(snapshot).await? {
            let mut message: Vec<Payment> = Vec::new();
            let mut at = 0;
            for (seq, row) in page.iter().flat_map(payments) {
                if at != seq && !message.is_empty() {
                    self.apply_message(ledger, at, &message);
                    message.clear();
                }
                at = seq;
                message.push(row);
            }
            self.apply_message(ledger, at, &message);
        }
        if !self.replacement_marked {
            self.replacement_marked = true;
            ledger.mark_stream_replaced();
        }
        if offset.is_some() {
            self.payments.skip_through(last);
        }
        Ok(())
    }
}

impl Journal for LakeJournal {
    fn catch_up<'a>(
        &'a mut self,
        ledger: &'a mut Ledger,
    ) -> BoxFuture<'a, Result<(), JournalError>> {
        Box::pin(async move {
            // What became of a message whose answer was lost, before anything else.
            match self.appender.settle().await {
                Ok(_) => {}
                Err(AppendError::Conflict { lost: false, .. }) => {
                    self.appender.refresh().await.map_err(journal_error)?;
                }
                Err(error) => return Err(journal_error(error)),
            }
            // Each time, since a stream may be replaced under a running process: the table first,
            // for the reason given above.
            let snapshot = self.payments.refresh().await?;
            let last = self.appender.verify().await.map_err(journal_error)?;
            self.check_binding(&snapshot, last)?;
            // Payments first: those that are read rest on payouts that are then committed, too.
            self.read_payments(&snapshot, ledger).await?;
            let snapshot = self.instructions.refresh().await?;
            while let Some(page) = self.instructions.next(&snapshot).await? {
                page.iter()
                    .flat_map(instructions)
                    .for_each(|row| ledger.apply_instruction(&row));
            }
            let snapshot = self.payouts.refresh().await?;
            while let Some(page) = self.payouts.next(&snapshot).await? {
                page.iter()
                    .for_each(|batch| ledger.apply_payouts(&payouts(batch)));
            }
            Ok(())
        })
    }

    fn append<'a>(&'a mut self, rows: &'a [Payment]) -> BoxFuture<'a, Result<(), JournalError>> {
        Box::pin(async move {
            match self.appender.append(rows).await {
                Ok(_) => {
                    self.payments.skip_through(self.last());
                    Ok(())
                }
                Err(error @ AppendError::Conflict { lost: false, .. }) => {
                    self.appender.refresh().await.map_err(journal_error)?;
                    Err(journal_error(error))
                }
                Err(error) => Err(journal_error(error)),
            }
        })
    }

    fn position(&self) -> i64 {
        self.last()
    }
}

/// Which stream the table goes on from.
fn table_binding(snapshot: &Snapshot) -> Result<StreamBinding, JournalError> {
    snapshot.binding.ok_or_else(|| {
        unavailable("there is no table payments yet; a process with the role pipelines makes it")
    })
}

fn journal_error(error: AppendError) -> JournalError {
    match error {
        AppendError::Conflict { lost: true, .. } => JournalError::Inconsistent(error.to_string()),
        AppendError::Conflict { .. } => JournalError::Conflict(error.to_string()),
        AppendError::Unknown { .. } => JournalError::Unknown(error.to_string()),
        AppendError::Refused(_) | AppendError::Provision(_) => unavailable(error),
    }
}

const PAYMENT_COLUMNS: &str = "event_time, payment, step, account, address, amount_atomic, \
    sent_atomic, network_fee_atomic, tx_id, reason, release_cause, pool";
const INSTRUCTION_COLUMNS: &str =
    "event_time, kind, account, amount_atomic, payment, verdict, tx_id, reason, actor, pool";
const PAYOUT_COLUMNS: &str = "block_hash, step, account, coalesce(amount_atomic, reward_atomic) \
    AS amount_atomic, was_mature";

/// Reads cells of a batch by name; an absent one is a null.
struct Cells<'a>(&'a RecordBatch);

impl Cells<'_> {
    fn text(&self, name: &str, row: usize) -> Option<String> {
        let column = self.0.column_by_name(name)?.as_string_view_opt()?;
        column.is_valid(row).then(|| column.value(row).to_owned())
    }

    fn number(&self, name: &str, row: usize) -> Option<i128> {
        let column = self
            .0
            .column_by_name(name)?
            .as_primitive_opt::<Decimal128Type>()?;
        column.is_valid(row).then(|| column.value(row))
    }

    fn time(&self, row: usize) -> i64 {
        let column = self
            .0
            .column_by_name("event_time")
            .and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>());
        column.map_or(0, |column| column.value(row))
    }

    fn seq(&self, row: usize) -> i64 {
        self.0
            .column_by_name("seq")
            .and_then(|column| column.as_primitive_opt::<Int64Type>())
            .map_or(0, |column| column.value(row))
    }

    fn flag(&self, name: &str, row: usize) -> bool {
        let column = self
            .0
            .column_by_name(name)
            .and_then(|column| column.as_boolean_opt());
        column.is_some_and(|column| column.is_valid(row) && column.value(row))
    }
}

fn payments(batch: &RecordBatch) -> Vec<(i64, Payment)> {
    let cells = Cells(batch);
    let row = |row| {
        let text = |name| cells.text(name, row);
        let payment = Payment {
            event_time: cells.time(row),
            pool: text("pool").unwrap_or_default(),
            payment: text("payment").unwrap_or_default(),
            step: text("step").unwrap_or_default(),
            account: text("account").unwrap_or_default(),
            address: text("address").unwrap_or_default(),
            amount_atomic: cells.number("amount_atomic", row).unwrap_or_default(),
            sent_atomic: cells.number("sent_atomic", row).unwrap_or_default(),
            network_fee_atomic: cells.number("network_fee_atomic", row).unwrap_or_default(),
            tx_id: text("tx_id"),
            reason: text("reason"),
            release_cause: text("release_cause").and_then(|name| ReleaseCause::find(&name)),
        };
        (cells.seq(row), payment)
    };
    (0..batch.num_rows()).map(row).collect()
}

fn instructions(batch: &RecordBatch) -> Vec<Instruction> {
    let cells = Cells(batch);
    let row = |row| {
        let text = |name| cells.text(name, row);
        Instruction {
            event_time: cells.time(row),
            pool: text("pool").unwrap_or_default(),
            kind: text("kind").unwrap_or_default(),
            account: text("account"),
            amount_atomic: cells.number("amount_atomic", row),
            payment: text("payment"),
            verdict: text("verdict"),
            tx_id: text("tx_id"),
            reason: text("reason"),
            actor: text("actor").unwrap_or_default(),
            proof: None,
        }
    };
    (0..batch.num_rows()).map(row).collect()
}

fn payouts(batch: &RecordBatch) -> Vec<PayoutFact> {
    let cells = Cells(batch);
    let row = |row| PayoutFact {
        block: cells.text("block_hash", row).unwrap_or_default(),
        step: cells.text("step", row).unwrap_or_default(),
        account: cells.text("account", row),
        amount: cells.number("amount_atomic", row).unwrap_or_default(),
        was_mature: cells.flag("was_mature", row),
    };
    (0..batch.num_rows()).map(row).collect()
}
