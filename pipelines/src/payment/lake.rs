//! The journal of a running system: facts from the stored tables, own steps through a [`Chronicle`].
//!
//! Only committed tables are read, since streams forget after days and tables do not. A step that was just written is known
//! without reading it again; after a conflict or a lost answer the table is waited for until it has everything.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Decimal128Type, Int64Type, TimestampMicrosecondType};
use async_trait::async_trait;
use datafusion::prelude::{SessionConfig, SessionContext};
use headframe_ingest::{Chronicle, ChronicleError, Nats, StreamSettings};
use headframe_schemas::stream::instructions::Instruction;
use headframe_schemas::stream::payments::{Payment, Payments};
use headframe_schemas::{Table, stream};
use headframe_sinks::Lake;

use crate::payment::books::{Books, Payout};
use crate::payment::journal::{Journal, JournalError};
use crate::payment::pages::{PAGE, Pages};

/// Tables and stream.
pub struct LakeJournal {
    chronicle: Chronicle,
    /// What is added to a sequence of the stream `payments` to get the table's.
    base: i64,
    payouts: Pages,
    payments: Pages,
    instructions: Pages,
}

fn away(error: impl std::fmt::Display) -> JournalError {
    JournalError::Away(error.to_string())
}

impl LakeJournal {
    /// Of one pool. The raw tables of the three streams are written by the pipelines, in this process or another.
    pub async fn open(lake: &Lake, nats: Nats, settings: &StreamSettings, pool: &str) -> Result<Self, JournalError> {
        Self::open_with(lake, nats, settings, pool, PAGE).await
    }

    /// The same with another number of rows that are in memory at once.
    pub async fn open_with(lake: &Lake, nats: Nats, settings: &StreamSettings, pool: &str, page: usize) -> Result<Self, JournalError> {
        let session = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(2));
        lake.register(session.runtime_env().as_ref());
        let pages = |name: &str, columns: &'static str| -> Result<Pages, JournalError> {
            let stream = stream::find(name).ok_or_else(|| away(format!("there is no stream {name}")))?;
            Ok(Pages::open(&session, lake, Table::raw(stream), pool, columns, page))
        };
        let chronicle = Chronicle::open(nats, &Payments, settings).await.map_err(away)?;
        let (payouts, payments) = (pages("payouts", PAYOUT)?, pages("payments", PAYMENT)?);
        let instructions = pages("instructions", INSTRUCTION)?;
        let base = payments.refresh().await?.binding.map_or(0, |binding| binding.base);
        Ok(Self { chronicle, base, payouts, payments, instructions })
    }

    /// The last message of `payments`, as the table counts.
    fn last(&self) -> i64 {
        self.base + i64::try_from(self.chronicle.last()).unwrap_or(i64::MAX)
    }

    async fn read_payments(&mut self, books: &mut Books) -> Result<(), JournalError> {
        let last = self.last();
        // Nobody but this writer can have written more, and what it wrote it knows.
        if self.payments.through().is_some_and(|through| through >= last) {
            return Ok(());
        }
        let snapshot = self.payments.refresh().await?;
        let offset = snapshot.offset;
        if last > self.base && offset.unwrap_or(self.base) < last {
            return Err(away(format!("the table payments has not committed the stream's last message yet ({offset:?} of {last})")));
        }
        while let Some(page) = self.payments.next(&snapshot).await? {
            let mut message: Vec<Payment> = Vec::new();
            let mut at = None;
            for (seq, row) in page.iter().flat_map(payments) {
                if at.is_some_and(|at| at != seq) {
                    books.payment(&message);
                    message.clear();
                }
                at = Some(seq);
                message.push(row);
            }
            books.payment(&message);
        }
        if offset.is_some() {
            self.payments.pass(last);
        }
        Ok(())
    }
}

#[async_trait]
impl Journal for LakeJournal {
    async fn catch_up(&mut self, books: &mut Books) -> Result<(), JournalError> {
        // What became of a message whose answer was lost, before anything else.
        match self.chronicle.settle().await {
            Ok(_) => {}
            Err(ChronicleError::Conflict { .. }) => {
                self.chronicle.refresh().await.map_err(away)?;
            }
            Err(error) => return Err(meaning(error)),
        }
        // Payments first: those that are read rest on payouts that are then committed, too.
        self.read_payments(books).await?;
        let snapshot = self.instructions.refresh().await?;
        while let Some(page) = self.instructions.next(&snapshot).await? {
            page.iter().flat_map(instructions).for_each(|row| books.instruction(&row));
        }
        let snapshot = self.payouts.refresh().await?;
        while let Some(page) = self.payouts.next(&snapshot).await? {
            page.iter().for_each(|batch| books.payouts(&payouts(batch)));
        }
        Ok(())
    }

    async fn append(&mut self, rows: &[Payment]) -> Result<(), JournalError> {
        match self.chronicle.append(rows).await {
            Ok(_) => {
                self.payments.pass(self.last());
                Ok(())
            }
            Err(error @ ChronicleError::Conflict { .. }) => {
                self.chronicle.refresh().await.map_err(away)?;
                Err(meaning(error))
            }
            Err(error) => Err(meaning(error)),
        }
    }

    fn position(&self) -> i64 {
        self.last()
    }
}

fn meaning(error: ChronicleError) -> JournalError {
    match error {
        ChronicleError::Conflict { .. } => JournalError::Conflict(error.to_string()),
        ChronicleError::Unknown { .. } => JournalError::Unknown(error.to_string()),
        ChronicleError::Refused(_) | ChronicleError::Provision(_) => away(error),
    }
}

const PAYMENT: &str = "event_time, payment, step, account, address, amount_atomic, sent_atomic, network_fee_atomic, tx_id, reason, pool";
const INSTRUCTION: &str = "event_time, kind, account, amount_atomic, payment, verdict, tx_id, reason, actor, pool";
const PAYOUT: &str = "block_hash, step, account, coalesce(amount_atomic, reward_atomic) AS amount_atomic, was_mature";

/// Reads cells of a batch by name; an absent one is a null.
struct Cells<'a>(&'a RecordBatch);

impl Cells<'_> {
    fn text(&self, name: &str, row: usize) -> Option<String> {
        let column = self.0.column_by_name(name)?.as_string_view_opt()?;
        column.is_valid(row).then(|| column.value(row).to_owned())
    }

    fn number(&self, name: &str, row: usize) -> Option<i128> {
        let column = self.0.column_by_name(name)?.as_primitive_opt::<Decimal128Type>()?;
        column.is_valid(row).then(|| column.value(row))
    }

    fn time(&self, row: usize) -> i64 {
        let column = self.0.column_by_name("event_time").and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>());
        column.map_or(0, |column| column.value(row))
    }

    fn seq(&self, row: usize) -> i64 {
        self.0.column_by_name("seq").and_then(|column| column.as_primitive_opt::<Int64Type>()).map_or(0, |column| column.value(row))
    }

    fn flag(&self, name: &str, row: usize) -> bool {
        let column = self.0.column_by_name(name).and_then(|column| column.as_boolean_opt());
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

fn payouts(batch: &RecordBatch) -> Vec<Payout> {
    let cells = Cells(batch);
    let row = |row| Payout {
        block: cells.text("block_hash", row).unwrap_or_default(),
        step: cells.text("step", row).unwrap_or_default(),
        account: cells.text("account", row),
        amount: cells.number("amount_atomic", row).unwrap_or_default(),
        was_mature: cells.flag("was_mature", row),
    };
    (0..batch.num_rows()).map(row).collect()
}
