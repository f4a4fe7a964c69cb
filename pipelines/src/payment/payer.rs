//! The payer: carries payments out between a journal and a wallet, one move at a time, and may die between any two of them.
//!
//! What it knows beside the books is little and may be lost: which addresses the wallet takes, since when it looks for a
//! payment in vain, and whether it wrote `submitting` itself and has not asked the wallet yet.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use headframe_schemas::stream::payments::Payment;
use headframe_sinks::wallet::vault::Vault;
use headframe_sinks::wallet::{Fitness, Prepared, Wallet, WalletError};
use tokio_util::sync::CancellationToken;

use crate::payment::batch::{Batch, Status};
use crate::payment::books::{Books, Broken, LATER, REFUSED};
use crate::payment::journal::{Journal, JournalError};
use crate::payment::plan::{self, Means, Move};
use crate::payment::select;
use crate::payment::state::{PayerState, StateHandle};
use crate::payment::{FeePolicy, PaymentConfig};

/// Accounts that are named as due, at most.
const NAMED: usize = 1_000;
/// A fee is asked for again when the miners' amounts were reduced by it; more often than this it does not settle.
const FEE_ROUNDS: usize = 3;

/// Why nothing more is done in this round.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Pause {
    /// The ledger is wrong.
    #[error(transparent)]
    Broken(#[from] Broken),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The wallet.
    #[error(transparent)]
    Wallet(#[from] WalletError),
    /// Anything else that passes or that an operator ends.
    #[error("{0}")]
    Waiting(String),
}

/// Pays.
pub struct Payer<J> {
    config: PaymentConfig,
    journal: J,
    wallet: Arc<dyn Wallet>,
    vault: Arc<dyn Vault>,
    books: Books,
    fresh: Option<String>,
    missing: BTreeMap<String, i64>,
    fitness: BTreeMap<String, Fitness>,
    state: StateHandle,
}

impl<J: Journal> Payer<J> {
    /// A payer that knows nothing yet; the journal tells it.
    pub fn new(config: PaymentConfig, journal: J, wallet: Arc<dyn Wallet>, vault: Arc<dyn Vault>, state: StateHandle) -> Self {
        let (books, fresh) = (Books::default(), None);
        Self { config, journal, wallet, vault, books, fresh, missing: BTreeMap::new(), fitness: BTreeMap::new(), state }
    }

    /// What the payer knows.
    pub fn books(&self) -> &Books {
        &self.books
    }

    /// Pays until shutdown.
    pub async fn run(mut self, stop: CancellationToken) {
        let pause = Duration::from_millis(self.config.poll_ms);
        let mut said = None;
        while !stop.is_cancelled() {
            let now = now_us();
            let ended = self.tick(now).await;
            let why = ended.as_ref().err().map(ToString::to_string);
            if why != said {
                match &why {
                    Some(why) => tracing::warn!(why, "payments wait"),
                    None => tracing::info!("payments go on"),
                }
                said = why;
            }
            // While there is something to do, the next move follows at once.
            if ended == Ok(true) {
                continue;
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    /// One round at `now`, microseconds since 1970: looks after every open payment, then begins one if somebody is due. Answers
    /// whether anything was written.
    pub async fn tick(&mut self, now: i64) -> Result<bool, Pause> {
        let ended = self.round(now).await;
        self.tell(ended.as_ref().err(), now);
        ended
    }

    async fn round(&mut self, now: i64) -> Result<bool, Pause> {
        self.journal.catch_up(&mut self.books).await?;
        self.books.check()?;
        self.missing.retain(|id, _| self.books.batch(id).is_some());
        let open: Vec<String> = self.books.open().map(|batch| batch.id.clone()).collect();
        let mut wrote = false;
        let mut pause = None;
        for id in open {
            match self.look_after(&id, now).await {
                Ok(moved) => wrote |= moved,
                // The wallet may still know of the others; a journal that is away knows of none.
                Err(Pause::Journal(error)) => return Err(error.into()),
                Err(other) => pause = pause.or(Some(other)),
            }
            self.books.check()?;
        }
        if wrote {
            return Ok(true);
        }
        if let Some(batch) = self.books.open().find(|batch| batch.status != Status::Submitted) {
            let why = format!("payment {} is {}: {}", batch.id, batch.status.name(), batch.reason.as_deref().unwrap_or("not sent yet"));
            return Err(pause.unwrap_or(Pause::Waiting(why)));
        }
        match (self.begin(now).await, pause) {
            (Ok(false), Some(pause)) => Err(pause),
            (ended, _) => ended,
        }
    }

    /// One move of an open payment.
    async fn look_after(&mut self, id: &str, now: i64) -> Result<bool, Pause> {
        let Some(batch) = self.books.batch(id).cloned() else { return Ok(false) };
        let word = self.books.resolution(&batch).cloned();
        if let Some(told) = word.and_then(|word| plan::resolved(&batch, word.paid, word.tx_id.as_deref(), &word.reason)) {
            return self.carry_out(&batch, told, None, now).await;
        }
        if batch.status == Status::Reserved {
            return self.prepare(&batch, now).await;
        }
        self.send(&batch, now).await
    }

    /// Makes a reserved payment ready and writes that it is about to be sent; then sends it.
    async fn prepare(&mut self, batch: &Batch, now: i64) -> Result<bool, Pause> {
        if let Some(reason) = self.books.held() {
            return Err(Pause::Waiting(format!("payments are held: {reason}")));
        }
        if self.config.dry_run {
            return Err(Pause::Waiting(format!("dry run: payment {} stays reserved", batch.id)));
        }
        let (outputs, prepared) = match self.ready(batch).await {
            Ok(ready) => ready,
            Err(error) => return self.not_ready(batch, error, now).await,
        };
        let tx_id = prepared.tx_id.as_deref();
        if let (Some(signed), Some(tx_id)) = (&prepared.signed, tx_id) {
            self.vault.put(&batch.id, tx_id, signed).await?;
        }
        self.write(plan::submitting(batch, &outputs, tx_id, prepared.fee, now)).await?;
        self.fresh = Some(batch.id.clone());
        let Some(batch) = self.books.batch(&batch.id).cloned() else { return Ok(true) };
        self.send(&batch, now).await?;
        Ok(true)
    }

    /// The outputs, and the transaction that the wallet made of them.
    async fn ready(&self, batch: &Batch) -> Result<(Vec<headframe_sinks::wallet::Output>, Prepared), WalletError> {
        let mut fee = 0;
        let mut outputs = plan::outputs(batch, self.config.fee_policy, fee);
        let mut prepared = self.wallet.prepare(&batch.id, &outputs).await?;
        for _ in 0..FEE_ROUNDS {
            if self.config.fee_policy == FeePolicy::Pool || prepared.fee == fee {
                break;
            }
            fee = prepared.fee;
            outputs = plan::outputs(batch, self.config.fee_policy, fee);
            if let Some(poor) = outputs.iter().find(|output| output.amount == 0) {
                let reason = "the balance does not cover its part of the network's fee".to_owned();
                return Err(WalletError::Address { address: poor.address.clone(), reason });
            }
            prepared = self.wallet.prepare(&batch.id, &outputs).await?;
        }
        Ok((outputs, prepared))
    }

    /// Nothing was sent. What stands in the way of all is waited for; what stands in the way of some is taken out.
    async fn not_ready(&mut self, batch: &Batch, error: WalletError, now: i64) -> Result<bool, Pause> {
        let patience = i64::try_from(self.config.settle_s).unwrap_or(i64::MAX / 1_000_000).saturating_mul(1_000_000);
        let late = now.saturating_sub(batch.since) >= patience;
        let all = batch.rows_for("released", now, None, Some(&error.to_string()));
        let half = || -> Vec<Payment> {
            let later = format!("{LATER}{error}");
            batch.rows_for("released", now, None, Some(&later)).split_off(batch.rows.len() / 2)
        };
        let refused = |address: Option<&str>| -> Vec<Payment> {
            let rows = batch.rows_for("released", now, None, Some(&format!("{REFUSED}{error}")));
            rows.into_iter().filter(|row| address.is_none_or(|address| row.address == address)).collect()
        };
        let rows = match &error {
            WalletError::Address { address, .. } => refused(Some(address)),
            WalletError::TooLarge(_) if batch.rows.len() > 1 => half(),
            WalletError::TooLarge(_) => refused(None),
            WalletError::NotEnough(_) if late => all,
            WalletError::Refused { .. } if late && batch.rows.len() > 1 => half(),
            WalletError::Refused { .. } if late => refused(None),
            _ => Vec::new(),
        };
        if rows.is_empty() {
            return Err(error.into());
        }
        tracing::warn!(payment = batch.id, destinations = rows.len(), %error, "taken out of a payment");
        self.write(rows).await?;
        Ok(true)
    }

    /// Follows a payment that may have been sent.
    async fn send(&mut self, batch: &Batch, now: i64) -> Result<bool, Pause> {
        let fresh = self.fresh.as_deref() == Some(batch.id.as_str());
        let signed = match batch.tx_id.as_deref() {
            Some(tx_id) => self.vault.get(&batch.id, tx_id).await?,
            None => None,
        };
        let found = match fresh {
            true => None,
            false => self.wallet.find(&batch.id, batch.tx_id.as_deref(), batch.reserved).await?,
        };
        let missing = match found {
            Some(_) => self.missing.remove(&batch.id).unwrap_or(now),
            None => *self.missing.entry(batch.id.clone()).or_insert(now),
        };
        let means = Means { fresh, signed: signed.is_some() };
        let next = plan::after_looking(batch, found.as_ref(), means, &self.config, missing, now);
        self.carry_out(batch, next, signed.as_deref(), now).await
    }

    async fn carry_out(&mut self, batch: &Batch, next: Move, signed: Option<&[u8]>, now: i64) -> Result<bool, Pause> {
        match next {
            Move::Wait(why) if batch.status == Status::Submitted => {
                tracing::trace!(payment = batch.id, why, "a payment waits");
                Ok(false)
            }
            Move::Wait(why) => Err(Pause::Waiting(format!("payment {}: {why}", batch.id))),
            Move::Submit if self.config.dry_run => Err(Pause::Waiting(format!("dry run: payment {} is not sent", batch.id))),
            Move::Submit => self.submit(batch, signed, now).await,
            Move::Write { step, tx_id, fee, reason } => {
                let rows = batch.rows_for(step, now, tx_id.as_deref(), reason.as_deref());
                self.write(fee.map_or(rows.clone(), |fee| plan::with_fee(rows, fee))).await?;
                if matches!(step, "confirmed" | "released") {
                    self.vault.remove(&batch.id).await?;
                }
                Ok(true)
            }
        }
    }

    async fn submit(&mut self, batch: &Batch, signed: Option<&[u8]>, now: i64) -> Result<bool, Pause> {
        // Whatever comes of it, this was the one time that it may be sent unsigned.
        let fresh = self.fresh.take_if(|id| *id == batch.id).is_some();
        let outputs: Vec<_> = plan::outputs(batch, FeePolicy::Pool, 0)
            .into_iter()
            .zip(&batch.rows)
            .map(|(mut output, row)| {
                output.amount = u128::try_from(row.sent_atomic).unwrap_or_default();
                output
            })
            .collect();
        match self.wallet.submit(&batch.id, &outputs, signed).await {
            Ok(_) if batch.status == Status::Submitted => Ok(false),
            Ok(tx_id) => {
                self.write(batch.rows_for("submitted", now, Some(&tx_id), None)).await?;
                Ok(true)
            }
            Err(error) if fresh && self.wallet.is_definite(&error) => {
                // Nothing was sent by the only call there ever was.
                let refused = match &error {
                    WalletError::Address { address, .. } => Some(address.clone()),
                    _ => None,
                };
                // Without enough money the same would happen again at once.
                let begins = if matches!(error, WalletError::NotEnough(_)) { "" } else { LATER };
                let mut rows = batch.rows_for("released", now, None, Some(&format!("{begins}{error}")));
                for row in rows.iter_mut().filter(|row| refused.as_ref() == Some(&row.address)) {
                    row.reason = Some(format!("{REFUSED}{error}").chars().take(250).collect());
                }
                self.write(rows).await?;
                Err(error.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Reserves the next payment, if somebody is due.
    async fn begin(&mut self, now: i64) -> Result<bool, Pause> {
        let candidates = select::candidates(&self.books, &self.config, now);
        if candidates.is_empty() || self.config.dry_run {
            return Ok(false);
        }
        let funds = self.wallet.funds().await?;
        if let (Some(wanted), Some(found)) = (&self.config.wallet.address, &funds.address)
            && wanted != found
        {
            return Err(Pause::Waiting(format!(
                "the wallet's address is {found}, payments.wallet.address is {wanted}: it is another wallet"
            )));
        }
        let room = self.wallet.most_outputs();
        let enough = self.config.batch_size.min(room);
        let mut payable = 0;
        for candidate in &candidates {
            if !self.fitness.contains_key(&candidate.account) {
                let fitness = self.wallet.examine(&candidate.account).await?;
                self.fitness.insert(candidate.account.clone(), fitness);
            }
            payable += usize::from(self.fitness.get(&candidate.account) == Some(&Fitness::Payable));
            if payable > enough {
                break;
            }
        }
        let chosen = select::batch(&candidates, &self.fitness, &self.config, funds.unlocked, room);
        if chosen.is_empty() {
            let able = candidates.iter().any(|one| !matches!(self.fitness.get(&one.account), Some(Fitness::Refused(_))));
            return match able {
                true => Err(WalletError::NotEnough(format!("{} atomic units", funds.unlocked)).into()),
                false => Ok(false),
            };
        }
        let id = format!("{}-{}-{now}", self.config.pool, self.journal.position() + 1);
        self.write(select::rows(&chosen, &self.config.pool, &id, now)).await?;
        Ok(true)
    }

    /// Writes a step and learns it. Whatever the journal could not promise is read from it in the next round.
    async fn write(&mut self, rows: Vec<Payment>) -> Result<(), Pause> {
        self.journal.append(&rows).await?;
        if let Some(first) = rows.first() {
            let (payment, step) = (first.payment.as_str(), first.step.as_str());
            tracing::info!(payment, step, destinations = rows.len(), tx_id = first.tx_id, "payment");
            metrics::counter!("headframe_payment_steps_total", "step" => first.step.clone()).increment(1);
        }
        self.books.payment(&rows);
        Ok(())
    }

    fn tell(&self, pause: Option<&Pause>, now: i64) {
        let stopped = match pause {
            Some(Pause::Broken(broken)) => Some((broken.rule, broken.why.clone())),
            _ => None,
        };
        let due = select::candidates(&self.books, &self.config, now).into_iter().take(NAMED).map(|one| (one.account, one.amount));
        let refused = self.fitness.iter().filter_map(|(account, fitness)| match fitness {
            Fitness::Refused(reason) => Some((account.clone(), reason.clone())),
            _ => None,
        });
        let state = PayerState {
            waiting: pause.filter(|_| stopped.is_none()).map(ToString::to_string),
            stopped,
            dry_run: self.config.dry_run,
            due: due.collect(),
            refused: refused.take(NAMED).collect(),
            at: now,
        };
        self.state.set(state);
    }
}

/// Microseconds since 1970.
pub fn now_us() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
