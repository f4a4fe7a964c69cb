//! One payment: destinations that go into one transaction, and the steps it may take.

use headframe_schemas::payment::ReleaseCause;
use headframe_schemas::stream::payments::Payment;

use crate::payment::entry::{Account, Entry};

/// How long a reason may be; the texts of wallets have no limit.
const MAX_REASON_CHARS: usize = 250;

/// Where an open payment stands. A confirmed or wholly released one is not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PaymentStatus {
    /// Taken from the balances; the wallet was never asked to send.
    Reserved,
    /// The wallet may have been asked to send.
    Submitting,
    /// The wallet has sent it.
    Submitted,
    /// An operator decides.
    Review,
}

impl PaymentStatus {
    /// Its name in rows.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reserved => "reserved",
            Self::Submitting => "submitting",
            Self::Submitted => "submitted",
            Self::Review => "review",
        }
    }

    fn from_step(step: &str) -> Option<Self> {
        [
            Self::Reserved,
            Self::Submitting,
            Self::Submitted,
            Self::Review,
        ]
        .into_iter()
        .find(|status| status.as_str() == step)
    }

    /// Whether the step may follow this status.
    fn allows(self, step: &str) -> bool {
        match self {
            Self::Reserved => matches!(step, "submitting" | "released" | "review"),
            Self::Submitting => matches!(step, "submitted" | "released" | "review"),
            Self::Submitted => matches!(step, "confirmed" | "review"),
            Self::Review => matches!(step, "submitted" | "confirmed" | "released"),
        }
    }
}

/// An open payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenPayment {
    /// Its name.
    pub id: String,
    /// Where it stands.
    pub status: PaymentStatus,
    /// When it came there, microseconds since 1970.
    pub since: i64,
    /// When it was reserved, microseconds since 1970.
    pub reserved: i64,
    /// Its transaction, if known.
    pub tx_id: Option<String>,
    /// Why, when under review.
    pub reason: Option<String>,
    /// It was begun in a stream that another one has replaced since, so that steps of it may be
    /// missing.
    pub stream_replaced: bool,
    /// Its destinations as of the last step.
    pub rows: Vec<Payment>,
}

impl OpenPayment {
    /// A payment that begins.
    pub fn begin(rows: &[Payment]) -> Option<Self> {
        let first = rows
            .first()
            .filter(|row| row.step == PaymentStatus::Reserved.as_str())?;
        Some(Self {
            id: first.payment.clone(),
            status: PaymentStatus::Reserved,
            since: first.event_time,
            reserved: first.event_time,
            tx_id: None,
            reason: None,
            stream_replaced: false,
            rows: rows.to_vec(),
        })
    }

    /// What it has taken from balances, atomic units.
    pub fn amount(&self) -> i128 {
        self.rows.iter().map(|row| row.amount_atomic).sum()
    }

    /// What it sends, atomic units.
    pub fn sent(&self) -> i128 {
        self.rows.iter().map(|row| row.sent_atomic).sum()
    }

    /// Takes a step of this payment; the entries it makes, or what is wrong with it. Rows that are
    /// named leave the payment when they are released or confirmed.
    pub fn apply_step(&mut self, step: &str, rows: &[Payment]) -> Result<Vec<Entry>, String> {
        if !self.status.allows(step) {
            return Err(format!(
                "payment {} goes from {} to {step}",
                self.id,
                self.status.as_str()
            ));
        }
        for row in rows {
            let known = self.rows.iter().any(|known| {
                known.account == row.account && known.amount_atomic == row.amount_atomic
            });
            if !known
                || row.sent_atomic < 0
                || row.sent_atomic > row.amount_atomic
                || row.network_fee_atomic < 0
            {
                return Err(format!(
                    "payment {}: {step} of {} for {} was not reserved so",
                    self.id, row.amount_atomic, row.account
                ));
            }
        }
        if step != "released" && rows.len() != self.rows.len() {
            return Err(format!(
                "payment {}: {step} of {} destinations, {} are open",
                self.id,
                rows.len(),
                self.rows.len()
            ));
        }
        let entries = match step {
            "released" => rows.iter().map(release).collect(),
            "confirmed" => rows.iter().flat_map(confirm).collect(),
            _ => Vec::new(),
        };
        match PaymentStatus::from_step(step) {
            None => self
                .rows
                .retain(|known| !rows.iter().any(|row| row.account == known.account)),
            Some(status) => {
                self.status = status;
                self.rows = rows.to_vec();
                let first = rows.first();
                self.since = first.map_or(self.since, |row| row.event_time);
                self.tx_id = first
                    .and_then(|row| row.tx_id.clone())
                    .or(self.tx_id.take());
                self.reason = first.and_then(|row| row.reason.clone());
            }
        }
        Ok(entries)
    }

    /// The rows of the next step.
    pub fn rows_for(
        &self,
        step: &str,
        now: i64,
        tx_id: Option<&str>,
        reason: Option<&str>,
    ) -> Vec<Payment> {
        let row = |row: &Payment| Payment {
            event_time: now,
            step: step.to_owned(),
            tx_id: tx_id.map(str::to_owned).or_else(|| self.tx_id.clone()),
            reason: reason.map(|reason| reason.chars().take(MAX_REASON_CHARS).collect()),
            release_cause: (step == "released").then_some(ReleaseCause::NextInterval),
            ..row.clone()
        };
        self.rows.iter().map(row).collect()
    }

    /// The rows that put destinations back on their balances, and why.
    pub fn released(&self, now: i64, cause: ReleaseCause, reason: &str) -> Vec<Payment> {
        let mut rows = self.rows_for("released", now, None, None);
        for row in &mut rows {
            set_release(row, cause, reason);
        }
        rows
    }
}

/// Says in a released row why it is one.
pub fn set_release(row: &mut Payment, cause: ReleaseCause, reason: &str) {
    let text = format!("{}{reason}", cause.reason_prefix());
    row.reason = Some(text.chars().take(MAX_REASON_CHARS).collect());
    row.release_cause = Some(cause);
}

/// What a reservation does.
pub fn reserve(row: &Payment) -> Entry {
    Entry::new(
        Account::Miner(row.account.clone()),
        Account::InTransit,
        row.amount_atomic,
    )
}

fn release(row: &Payment) -> Entry {
    Entry::new(
        Account::InTransit,
        Account::Miner(row.account.clone()),
        row.amount_atomic,
    )
}

/// What arrives is paid; of the rest the network gets its fee, and the pool bears or keeps the
/// difference.
fn confirm(row: &Payment) -> Vec<Entry> {
    let kept = row.amount_atomic - row.sent_atomic;
    let to_network = kept.min(row.network_fee_atomic);
    vec![
        Entry::new(Account::InTransit, Account::Paid, row.sent_atomic),
        Entry::new(Account::InTransit, Account::Network, to_network),
        Entry::new(Account::InTransit, Account::Reserve, kept - to_network),
        Entry::new(
            Account::Reserve,
            Account::Network,
            row.network_fee_atomic - to_network,
        ),
    ]
}
