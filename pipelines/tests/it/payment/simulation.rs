//! A simulated world of a payer: streams, vault and wallet in memory, and the truth about what was
//! really paid.
//!
//! Every effect lies between two points at which the payer gives way, so that whoever polls it can
//! let it die before or after each one. Failures come from a seeded source.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use headframe_pipelines::payment::{Journal, JournalError, Ledger, PaymentConfig, PayoutFact};
use headframe_schemas::stream::instructions::Instruction;
use headframe_schemas::stream::payments::Payment;
use headframe_sinks::wallet::signed_tx_store::SignedTxStore;
use headframe_sinks::wallet::{
    AddressCheck, Funds, Output, PreparedTx, Wallet, WalletError, WalletTx,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::invariants::{self, Facts, Moment};

mod journal;

pub use journal::SimJournal;

/// What the network got for each transaction.
pub const FEE: u128 = 7;

/// Destinations that a transaction takes.
const MOST: usize = 4;

/// Which wallet is simulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Prepare, then relay; forgets what is in no block when it is restarted.
    Relay,
    /// One call that cannot be repeated; its history lags behind.
    SendMany,
}

/// A transaction that was really sent.
#[derive(Debug, Clone)]
pub struct Sent {
    pub payment: String,
    pub tx_id: String,
    pub outputs: Vec<Output>,
    pub at: i64,
    pub visible: i64,
    /// Forgotten by the wallet, still on its way.
    pub forgotten: bool,
}

pub struct Inside {
    pub kind: Kind,
    pub config: PaymentConfig,
    pub random: StdRng,
    pub now: i64,
    pub payouts: Vec<PayoutFact>,
    pub payments: Vec<Vec<Payment>>,
    pub instructions: Vec<Instruction>,
    pub vault: BTreeMap<(String, String), Vec<u8>>,
    pub prepared: BTreeMap<String, Vec<Output>>,
    pub sent: Vec<Sent>,
    pub refused: BTreeSet<String>,
    /// More destinations than these are too many for one transaction just now.
    pub fitting: usize,
    /// Until when the wallet makes no transaction at all and does not say which destination is to
    /// blame, microseconds since 1970.
    pub hiccup: i64,
    /// A destination that makes every transaction fail without being named.
    pub spoils: Option<String>,
    /// Addresses that the wallet takes for none.
    pub unfit: BTreeSet<String>,
    /// All that the wallet has.
    pub total: u128,
    /// The wallet's main address, when it says one.
    pub address: Option<String>,
    /// It was scanned anew: its history leaves out what went to its main address.
    pub rescanned: bool,
    /// The stream was lost and another one took its place: so many messages are of the one before.
    /// Others may be gone.
    pub former: usize,
    pub lost: bool,
    /// Failures in a hundred calls.
    pub trouble: u32,
    pub calls: u64,
}

#[derive(Clone)]
pub struct World(pub Arc<Mutex<Inside>>);

/// How a call goes.
#[derive(PartialEq, Eq)]
enum Luck {
    Good,
    /// Not done, no answer.
    Before,
    /// Done, no answer.
    After,
}

impl Inside {
    fn luck(&mut self) -> Luck {
        self.calls += 1;
        match self.random.random_range(0..100) {
            throw if throw >= self.trouble => Luck::Good,
            throw if throw % 2 == 0 => Luck::Before,
            _ => Luck::After,
        }
    }

    /// Every fact there is.
    pub fn facts(&self) -> Facts<'_> {
        Facts {
            payouts: &self.payouts,
            payments: &self.payments,
            instructions: &self.instructions,
        }
    }

    fn left_out(&self, output: &Output) -> bool {
        self.rescanned && self.address.as_ref() == Some(&output.address)
    }

    fn send(&mut self, payment: &str, tx_id: &str, outputs: &[Output]) {
        let lag = if self.kind == Kind::SendMany {
            self.random.random_range(0..60)
        } else {
            0
        };
        let (at, visible) = (self.now, self.now + lag * 1_000_000);
        let sent = Sent {
            payment: payment.to_owned(),
            tx_id: tx_id.to_owned(),
            outputs: outputs.to_vec(),
            at,
            visible,
            forgotten: false,
        };
        self.sent.push(sent);
    }
}

fn lost(method: &'static str) -> WalletError {
    WalletError::Unreachable {
        url: "simulated".to_owned(),
        method,
        reason: "no answer".to_owned(),
    }
}

/// One point at which the payer may die.
async fn give_way() {
    let mut waited = false;
    std::future::poll_fn(|_| match std::mem::replace(&mut waited, true) {
        true => std::task::Poll::Ready(()),
        false => std::task::Poll::Pending,
    })
    .await;
}

impl World {
    pub fn new(kind: Kind, config: PaymentConfig, seed: u64, trouble: u32) -> Self {
        let inside = Inside {
            kind,
            config,
            random: StdRng::seed_from_u64(seed),
            now: 1_790_000_000_000_000,
            payouts: Vec::new(),
            payments: Vec::new(),
            instructions: Vec::new(),
            vault: BTreeMap::new(),
            prepared: BTreeMap::new(),
            sent: Vec::new(),
            refused: BTreeSet::new(),
            fitting: MOST,
            hiccup: 0,
            spoils: None,
            unfit: BTreeSet::new(),
            total: 2_000_000_000,
            address: None,
            rescanned: false,
            former: 0,
            lost: false,
            trouble,
            calls: 0,
        };
        Self(Arc::new(Mutex::new(inside)))
    }

    pub fn inside(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap()
    }

    /// An effect with its failures: runs `effect` unless the call fails before it.
    async fn effect<T>(
        &self,
        method: &'static str,
        effect: impl FnOnce(&mut Inside) -> T,
    ) -> Result<T, WalletError> {
        give_way().await;
        let done = {
            let mut inside = self.inside();
            match inside.luck() {
                Luck::Before => Err(lost(method)),
                Luck::Good => Ok(effect(&mut inside)),
                Luck::After => {
                    effect(&mut inside);
                    Err(lost(method))
                }
            }
        };
        give_way().await;
        done
    }
}

#[async_trait]
impl SignedTxStore for World {
    async fn put(&self, payment: &str, tx_id: &str, signed: &[u8]) -> Result<(), WalletError> {
        let key = (payment.to_owned(), tx_id.to_owned());
        self.effect("put", |inside| inside.vault.insert(key, signed.to_vec()))
            .await
            .map(|_| ())
    }

    async fn get(&self, payment: &str, tx_id: &str) -> Result<Option<Vec<u8>>, WalletError> {
        let key = (payment.to_owned(), tx_id.to_owned());
        self.effect("get", |inside| inside.vault.get(&key).cloned())
            .await
    }

    async fn remove(&self, payment: &str) -> Result<(), WalletError> {
        self.effect("remove", |inside| {
            inside.vault.retain(|(of, _), _| of != payment)
        })
        .await
    }
}

#[async_trait]
impl Wallet for World {
    fn name(&self) -> &'static str {
        "simulated"
    }

    fn max_outputs(&self) -> usize {
        MOST
    }

    async fn funds(&self) -> Result<Funds, WalletError> {
        let look = |inside: &mut Inside| {
            (
                inside.trouble > 0 && inside.random.random_ratio(1, 30),
                inside.total,
                inside.address.clone(),
            )
        };
        let (locked, total, address) = self.effect("funds", look).await?;
        let funds = Funds {
            unlocked: total.min(1_000_000_000),
            total,
            address,
        };
        if locked {
            Err(WalletError::Locked("its passphrase is needed".to_owned()))
        } else {
            Ok(funds)
        }
    }

    async fn check_address(&self, address: &str) -> Result<AddressCheck, WalletError> {
        self.effect("examine", |inside| match address {
            _ if inside.unfit.contains(address) => {
                AddressCheck::Refused("not an address of this network".to_owned())
            }
            _ if address.starts_with("alone") => AddressCheck::Alone,
            _ => AddressCheck::Payable,
        })
        .await
    }

    async fn prepare(&self, _payment: &str, outputs: &[Output]) -> Result<PreparedTx, WalletError> {
        self.effect("prepare", |inside| {
            assert!(
                outputs.len() <= MOST,
                "{} destinations, the wallet takes {MOST}",
                outputs.len()
            );
            assert!(
                outputs.len() == 1
                    || outputs
                        .iter()
                        .all(|output| !output.address.starts_with("alone")),
                "{outputs:?}"
            );
            if let Some(bad) = outputs
                .iter()
                .find(|output| inside.refused.contains(&output.address))
            {
                return Err(WalletError::Address {
                    address: bad.address.clone(),
                    reason: "not of this network".to_owned(),
                });
            }
            let spoilt = inside.kind == Kind::Relay
                && outputs
                    .iter()
                    .any(|output| inside.spoils.as_ref() == Some(&output.address));
            if inside.now < inside.hiccup || spoilt {
                let message = "failed to get output distribution".to_owned();
                return Err(WalletError::Refused {
                    method: "transfer",
                    code: -4,
                    message,
                });
            }
            if outputs.len() > inside.fitting
                || (outputs.len() > 3 && inside.random.random_ratio(1, 3))
            {
                return Err(WalletError::TooLarge("too many inputs".to_owned()));
            }
            if inside.kind == Kind::SendMany {
                return Ok(PreparedTx::default());
            }
            if outputs.iter().map(|output| output.amount).sum::<u128>() + FEE > inside.total {
                return Err(WalletError::NotEnough("not enough money".to_owned()));
            }
            let tx_id = format!("tx{}", inside.prepared.len());
            inside.prepared.insert(tx_id.clone(), outputs.to_vec());
            Ok(PreparedTx {
                signed: Some(tx_id.clone().into_bytes()),
                tx_id: Some(tx_id),
                fee: FEE,
            })
        })
        .await?
    }

    async fn submit(
        &self,
        payment: &str,
        outputs: &[Output],
        signed: Option<&[u8]>,
    ) -> Result<String, WalletError> {
        self.effect("submit", |inside| {
            if inside.kind == Kind::SendMany {
                if outputs
                    .iter()
                    .any(|output| inside.spoils.as_ref() == Some(&output.address))
                {
                    return Err(WalletError::NotEnough(
                        "one of them cannot be paid".to_owned(),
                    ));
                }
                if inside.trouble > 0 && inside.random.random_ratio(1, 20) {
                    return Err(WalletError::NotEnough("spent by somebody else".to_owned()));
                }
                let tx_id = format!("tx{}", inside.sent.len());
                inside.send(payment, &tx_id, outputs);
                return Ok(tx_id);
            }
            let tx_id = String::from_utf8(
                signed
                    .expect("it is relayed only when it is there")
                    .to_vec(),
            )
            .unwrap();
            let prepared = inside.prepared[&tx_id].clone();
            assert_eq!(prepared, outputs, "the transaction is not the payment's");
            let again = inside.trouble > 0 && inside.random.random_ratio(1, 10);
            match inside.sent.iter_mut().find(|sent| sent.tx_id == tx_id) {
                // A refusal that says nothing about the first time.
                Some(_) if again => {
                    return Err(WalletError::NotEnough("its coins are spent".to_owned()));
                }
                Some(sent) => sent.forgotten = false,
                None => inside.send(payment, &tx_id, &prepared),
            }
            Ok(tx_id)
        })
        .await?
    }

    fn is_definite(&self, error: &WalletError) -> bool {
        matches!(error, WalletError::NotEnough(_))
    }

    async fn find(
        &self,
        payment: &str,
        tx_id: Option<&str>,
        since: i64,
    ) -> Result<Option<WalletTx>, WalletError> {
        self.effect("find", |inside| {
            let early = inside
                .sent
                .iter()
                .find(|sent| sent.payment == payment && sent.at < since);
            assert!(early.is_none(), "looked for since {since}: {early:?}");
            // The wallet itself is restarted now and then and forgets what is in no block.
            if inside.kind == Kind::Relay && inside.trouble > 0 && inside.random.random_ratio(1, 20)
            {
                let now = inside.now;
                inside
                    .sent
                    .iter_mut()
                    .filter(|sent| now - sent.at < 60_000_000)
                    .for_each(|sent| sent.forgotten = true);
            }
            let now = inside.now;
            let known = |sent: &&Sent| match inside.kind {
                Kind::Relay => {
                    tx_id == Some(sent.tx_id.as_str())
                        && (!sent.forgotten || now - sent.at >= 60_000_000)
                }
                Kind::SendMany => sent.payment == payment && now >= sent.visible,
            };
            inside.sent.iter().find(known).map(|sent| WalletTx {
                tx_id: sent.tx_id.clone(),
                confirmations: u64::try_from((now - sent.at) / 60_000_000).unwrap(),
                amount: sent
                    .outputs
                    .iter()
                    .filter(|output| !inside.left_out(output))
                    .map(|output| output.amount)
                    .sum(),
                fee: FEE,
            })
        })
        .await
    }

    async fn verify(
        &self,
        _address: &str,
        _text: &str,
        _signature: &str,
    ) -> Result<bool, WalletError> {
        Ok(false)
    }
}
