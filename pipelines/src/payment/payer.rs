//! The payer: carries payments out between a journal and a wallet, one move at a time, and may die
//! between any two of them.
//!
//! What it knows beside the books is little and may be lost: which addresses the wallet takes,
//! since when it looks for a payment in vain, what it reserved itself, and whether it wrote
//! `submitting` itself and has not asked the wallet yet.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use headframe_schemas::stream::payments::Payment;
use headframe_sinks::wallet::vault::Vault;
use headframe_sinks::wallet::{Fitness, Found, Wallet, WalletError};
use tokio_util::sync::CancellationToken;

use crate::payment::batch::{Batch, Status};
use crate::payment::books::{Books, Broken, LATER, REFUSED, Resolution};
use crate::payment::journal::{Journal, JournalError};
use crate::payment::kept::Kept;
use crate::payment::plan::{self, Means, Move};
use crate::payment::select;
use crate::payment::state::{KEPT, PayerState, Purse, STREAM, StateHandle};
use crate::payment::{FeePolicy, PaymentConfig};

mod prepare;
pub mod purse;

/// Accounts that are named as due, at most.
const NAMED: usize = 1_000;

/// After so long the wallet is asked again about an address that it did not take, microseconds.
const ASK_AGAIN_US: i64 = 3_600_000_000;

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
    /// A payment was begun of which nothing is in the ledger.
    #[error(
        "a signed transaction of payment {0} is kept in the folder payments of the data folder, and the ledger has no such payment: find out whether it was sent, have the ledger say so (headframe payments adjust), move the file away, start again"
    )]
    Unclaimed(String),
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
    kept: Vec<Kept>,
    /// The payment that this process reserved last.
    begun: Option<String>,
    fresh: Option<String>,
    missing: BTreeMap<String, i64>,
    fitness: BTreeMap<String, Fitness>,
    /// When the wallet refused an address by its form, microseconds since 1970: it is asked again
    /// after a while.
    unfit: BTreeMap<String, i64>,
    /// When the wallet was last asked what it has, and what it answered.
    weighed: Option<i64>,
    purse: Option<Purse>,
    state: StateHandle,
}

impl<J: Journal> Payer<J> {
    /// A payer that knows nothing yet; the journal tells it.
    pub fn new(
        config: PaymentConfig,
        journal: J,
        wallet: Arc<dyn Wallet>,
        vault: Arc<dyn Vault>,
        state: StateHandle,
    ) -> Self {
        let (books, kept, begun, fresh) = (Books::default(), Vec::new(), None, None);
        let (missing, fitness, unfit, weighed, purse) = (
            BTreeMap::new(),
            BTreeMap::new(),
            BTreeMap::new(),
            None,
            None,
        );
        Self {
            config,
            journal,
            wallet,
            vault,
            books,
            kept,
            begun,
            fresh,
            missing,
            fitness,
            unfit,
            weighed,
            purse,
            state,
        }
    }

    /// The same payer, which knows what lay in the vault when it began.
    #[must_use]
    pub fn with_kept(mut self, kept: Vec<Kept>) -> Self {
        self.books.expect(&kept);
        self.kept = kept;
        self
    }

    /// What the payer knows.
    pub fn books(&self) -> &Books {
        &self.books
    }

    /// Pays until shutdown, or until the stream turns out to be another one: then the journal must
    /// be opened anew.
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
            if matches!(ended, Err(Pause::Journal(JournalError::Astray(_)))) {
                return;
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

    /// One round at `now`, microseconds since 1970: looks after every open payment, then begins one
    /// if somebody is due. Answers whether anything was written.
    pub async fn tick(&mut self, now: i64) -> Result<bool, Pause> {
        let ended = self.round(now).await;
        // From books that were not read to their end nothing follows.
        if !matches!(ended, Err(Pause::Journal(_))) {
            self.weigh(now).await;
        }
        self.tell(ended.as_ref().err(), now);
        ended
    }

    async fn round(&mut self, now: i64) -> Result<bool, Pause> {
        self.journal.catch_up(&mut self.books).await?;
        self.books.check()?;
        if let Some(payment) = self.books.unclaimed() {
            return Err(Pause::Unclaimed(payment.to_owned()));
        }
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
        if let Some(batch) = self
            .books
            .open()
            .find(|batch| batch.status != Status::Submitted)
        {
            let why = format!(
                "payment {} is {}: {}",
                batch.id,
                batch.status.name(),
                batch.reason.as_deref().unwrap_or("not sent yet")
            );
            return Err(pause.unwrap_or(Pause::Waiting(why)));
        }
        match (self.begin(now).await, pause) {
            (Ok(false), Some(pause)) => Err(pause),
            (ended, _) => ended,
        }
    }

    /// One move of an open payment.
    async fn look_after(&mut self, id: &str, now: i64) -> Result<bool, Pause> {
        let Some(batch) = self.books.batch(id).cloned() else {
            return Ok(false);
        };
        if let Some(word) = self.books.resolution(&batch).cloned()
            && let Some(told) =
                plan::resolved(&batch, word.paid, word.tx_id.as_deref(), &word.reason)
        {
            return match word.paid {
                true => self.carry_out(&batch, told, None, now).await,
                false => self.give_back(&batch, &word, told, now).await,
            };
        }
        if batch.status == Status::Reserved {
            return self.prepare(&batch, now).await;
        }
        self.send(&batch, now).await
    }

    /// An operator calls a payment unpaid: `told` is done about it if the wallet's history says
    /// nothing else. A wallet that does not answer is waited for.
    async fn give_back(
        &mut self,
        batch: &Batch,
        word: &Resolution,
        told: Move,
        now: i64,
    ) -> Result<bool, Pause> {
        let Some(found) = self.search(batch).await? else {
            return self.carry_out(batch, told, None, now).await;
        };
        let Found {
            tx_id,
            confirmations,
            ..
        } = &found;
        let said = format!(
            "not given back: an operator called it unpaid ({}), and the wallet's history has it in transaction {tx_id}, with {confirmations} blocks on it",
            word.reason
        );
        match self.after_finding(batch, &found, now).await? {
            Move::Write {
                step, tx_id, fee, ..
            } => {
                tracing::error!(
                    payment = batch.id,
                    said,
                    "a payment that was called unpaid was sent"
                );
                self.carry_out(
                    batch,
                    Move::Write {
                        step,
                        tx_id,
                        fee,
                        reason: Some(said),
                    },
                    None,
                    now,
                )
                .await
            }
            _ => Err(Pause::Waiting(format!("payment {}: {said}", batch.id))),
        }
    }

    /// What follows from what the history has. Its amount leaves out what went to the wallet's own
    /// address.
    async fn after_finding(&self, batch: &Batch, found: &Found, now: i64) -> Result<Move, Pause> {
        let mut means = Means::default();
        if u128::try_from(batch.sent()) != Ok(found.amount) {
            let own = match &self.config.wallet.address {
                Some(address) => Some(address.clone()),
                None => self.wallet.funds().await?.address,
            };
            let to_own = batch
                .rows
                .iter()
                .filter(|row| Some(&row.address) == own.as_ref());
            means.own =
                u128::try_from(to_own.map(|row| row.sent_atomic).sum::<i128>()).unwrap_or_default();
        }
        Ok(plan::after_looking(
            batch,
            Some(found),
            means,
            &self.config,
            now,
            now,
        ))
    }

    /// Follows a payment that may have been sent.
    pub(super) async fn send(&mut self, batch: &Batch, now: i64) -> Result<bool, Pause> {
        let fresh = self.fresh.as_deref() == Some(batch.id.as_str());
        let signed = match batch.tx_id.as_deref() {
            Some(tx_id) => self.vault.get(&batch.id, tx_id).await?,
            None => None,
        };
        let found = match fresh {
            true => None,
            false => self.search(batch).await?,
        };
        if let Some(found) = found {
            self.missing.remove(&batch.id);
            let next = self.after_finding(batch, &found, now).await?;
            return self.carry_out(batch, next, signed.as_deref(), now).await;
        }
        let missing = *self.missing.entry(batch.id.clone()).or_insert(now);
        let means = Means {
            fresh,
            signed: signed.is_some(),
            own: 0,
        };
        let next = plan::after_looking(batch, None, means, &self.config, missing, now);
        self.carry_out(batch, next, signed.as_deref(), now).await
    }

    async fn carry_out(
        &mut self,
        batch: &Batch,
        next: Move,
        signed: Option<&[u8]>,
        now: i64,
    ) -> Result<bool, Pause> {
        match next {
            Move::Wait(why) if batch.status == Status::Submitted => {
                tracing::trace!(payment = batch.id, why, "a payment waits");
                Ok(false)
            }
            Move::Wait(why) => Err(Pause::Waiting(format!("payment {}: {why}", batch.id))),
            Move::Submit if self.config.dry_run => Err(Pause::Waiting(format!(
                "dry run: payment {} is not sent",
                batch.id
            ))),
            Move::Submit => self.submit(batch, signed, now).await,
            Move::Write {
                step,
                tx_id,
                fee,
                reason,
            } => {
                let rows = batch.rows_for(step, now, tx_id.as_deref(), reason.as_deref());
                self.write(fee.map_or(rows.clone(), |fee| plan::with_fee(rows, fee)))
                    .await?;
                Ok(true)
            }
        }
    }

    async fn submit(
        &mut self,
        batch: &Batch,
        signed: Option<&[u8]>,
        now: i64,
    ) -> Result<bool, Pause> {
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
                self.write(batch.rows_for("submitted", now, Some(&tx_id), None))
                    .await?;
                Ok(true)
            }
            Err(error) if fresh && self.wallet.is_definite(&error) => {
                // Nothing was sent by the only call there ever was.
                let refused = match &error {
                    WalletError::Address { address, .. } => Some(address.clone()),
                    _ => None,
                };
                // The same would happen again at once. Of several destinations the first half is
                // tried by itself, so that one that spoils all is left alone in the end; whoever is
                // put back goes behind the others.
                let named = refused.is_some();
                let alone = batch.rows.len().div_ceil(2) * usize::from(batch.rows.len() > 1);
                let mut rows = batch.rows_for("released", now, None, Some(&error.to_string()));
                for row in rows
                    .iter_mut()
                    .take(if named { batch.rows.len() } else { alone })
                {
                    row.reason = Some(format!("{LATER}{error}").chars().take(250).collect());
                }
                for row in rows
                    .iter_mut()
                    .filter(|row| refused.as_ref() == Some(&row.address))
                {
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
        // The fault may have been the wallet's, such as one of another network: an operator's word,
        // or some time, has it asked again.
        let stale = |account: &str, asked: i64| {
            asked <= self.books.resumed(account) || now.saturating_sub(asked) >= ASK_AGAIN_US
        };
        let again: Vec<String> = self
            .unfit
            .iter()
            .filter(|(account, asked)| stale(account, **asked))
            .map(|(account, _)| account.clone())
            .collect();
        for account in again {
            self.unfit.remove(&account);
            self.fitness.remove(&account);
        }
        let room = self.wallet.most_outputs();
        let enough = self.config.batch_size.min(room);
        let mut payable = 0;
        for candidate in &candidates {
            if !self.fitness.contains_key(&candidate.account) {
                let fitness = self.wallet.examine(&candidate.account).await?;
                if matches!(fitness, Fitness::Refused(_)) {
                    self.unfit.insert(candidate.account.clone(), now);
                }
                self.fitness.insert(candidate.account.clone(), fitness);
            }
            payable += usize::from(self.fitness.get(&candidate.account) == Some(&Fitness::Payable));
            if payable > enough {
                break;
            }
        }
        let chosen = select::batch(
            &candidates,
            &self.fitness,
            &self.config,
            funds.unlocked,
            room,
        );
        if chosen.is_empty() {
            let able = candidates
                .iter()
                .any(|one| !matches!(self.fitness.get(&one.account), Some(Fitness::Refused(_))));
            return match able {
                true => {
                    Err(WalletError::NotEnough(format!("{} atomic units", funds.unlocked)).into())
                }
                false => Ok(false),
            };
        }
        let id = format!("{}-{}-{now}", self.config.pool, self.journal.position() + 1);
        self.write(select::rows(&chosen, &self.config.pool, &id, now))
            .await?;
        self.begun = Some(id);
        Ok(true)
    }

    /// Writes a step and learns it. Whatever the journal could not promise is read from it in the
    /// next round.
    pub(super) async fn write(&mut self, rows: Vec<Payment>) -> Result<(), Pause> {
        self.journal.append(&rows).await?;
        if let Some(first) = rows.first() {
            let (payment, step) = (first.payment.as_str(), first.step.as_str());
            tracing::info!(
                payment,
                step,
                destinations = rows.len(),
                tx_id = first.tx_id,
                "payment"
            );
            metrics::counter!("headframe_payment_steps_total", "step" => first.step.clone())
                .increment(1);
        }
        self.books.payment(&rows);
        match rows.first() {
            // What was signed for a payment that is over is not to be sent any more.
            Some(first) if self.books.batch(&first.payment).is_none() => {
                Ok(self.vault.remove(&first.payment).await?)
            }
            _ => Ok(()),
        }
    }

    fn tell(&self, pause: Option<&Pause>, now: i64) {
        let stopped = match pause {
            Some(Pause::Broken(broken)) => Some((broken.rule, broken.why.clone())),
            Some(Pause::Journal(error @ JournalError::Astray(_))) => {
                Some((STREAM, error.to_string()))
            }
            Some(error @ Pause::Unclaimed(_)) => Some((KEPT, error.to_string())),
            _ => None,
        };
        let due = select::candidates(&self.books, &self.config, now)
            .into_iter()
            .take(NAMED)
            .map(|one| (one.account, one.amount));
        let unfit = self
            .fitness
            .iter()
            .filter_map(|(account, fitness)| match fitness {
                Fitness::Refused(reason) => Some((account.clone(), reason.clone())),
                _ => None,
            });
        let owned = |account: &str, reason: &str| (account.to_owned(), reason.to_owned());
        let refused: Vec<_> = self
            .books
            .refused()
            .map(|(account, reason)| owned(account, reason))
            .chain(unfit)
            .take(NAMED)
            .collect();
        let held: Vec<_> = self
            .books
            .holds()
            .map(|(account, reason)| owned(account, reason))
            .take(NAMED)
            .collect();
        let state = PayerState {
            waiting: pause.filter(|_| stopped.is_none()).map(ToString::to_string),
            stopped,
            dry_run: self.config.dry_run,
            due: due.collect(),
            refused,
            held,
            purse: self.purse,
            at: now,
        };
        self.state.set(state);
    }
}

/// Microseconds since 1970.
pub fn now_us() -> i64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
