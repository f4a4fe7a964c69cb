//! A wallet that pays: the actuator that money depends on, behind one trait.
//!
//! A payment happens in two moves. [`Wallet::prepare`] makes sure that the wallet can pay and sends
//! nothing; [`Wallet::submit`] sends. Whoever calls it writes down between the two that it is about
//! to. An answer that got lost is never taken for a "no": [`Wallet::find`] asks the wallet's own
//! history.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

pub mod bitcoin;
mod credentials;
mod digest;
pub mod monero;
pub mod rpc;
pub mod signed_tx_store;

/// The environment variable with `user:password` of the wallet's RPC.
pub const LOGIN_VARIABLE: &str = "HEADFRAME_WALLET_LOGIN";

/// Which wallet there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WalletKind {
    /// None: nothing is paid.
    #[default]
    None,
    /// monero-wallet-rpc.
    Monero,
    /// The wallet of a node of Bitcoin's kind, with `sendmany`.
    Bitcoin,
}

/// Where the wallet is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WalletConfig {
    /// Which program: none, monero (monero-wallet-rpc) or bitcoin (a node with `sendmany`).
    pub kind: WalletKind,
    /// Its RPC, e.g. `http://127.0.0.1:18083`.
    pub url: String,
    /// A file whose first line is `user:password` of the RPC; `HEADFRAME_WALLET_LOGIN` in the
    /// environment goes before it.
    pub login_file: Option<PathBuf>,
    /// The main address that the wallet must have, so that nobody is paid from a wrong one; any
    /// when absent.
    pub address: Option<String>,
    /// How long one call may take, in seconds.
    pub timeout_s: u64,
    /// Digits after the point of one coin, for wallets that speak in coins: 8 for Bitcoin's kind.
    pub decimals: u32,
}

impl Default for WalletConfig {
    fn default() -> Self {
        let url = "http://127.0.0.1:18083".to_owned();
        Self {
            kind: WalletKind::None,
            url,
            login_file: None,
            address: None,
            timeout_s: 120,
            decimals: 8,
        }
    }
}

impl WalletConfig {
    /// Refuses what cannot work. The reason names the key.
    pub fn validate(&self) -> Result<(), String> {
        if self.kind == WalletKind::None {
            return Ok(());
        }
        let url = url::Url::parse(&self.url)
            .map_err(|error| format!("payments.wallet.url is {:?}: {error}", self.url))?;
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err(format!(
                "payments.wallet.url is {:?}; it must look like http://127.0.0.1:18083",
                self.url
            ));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(format!(
                "payments.wallet.url holds a login; put user:password into \
                 payments.wallet.login_file or {LOGIN_VARIABLE}"
            ));
        }
        if !(1..=600).contains(&self.timeout_s) {
            return Err(format!(
                "payments.wallet.timeout_s is {}; it must be from 1 to 600",
                self.timeout_s
            ));
        }
        if self.decimals > 18 {
            return Err(format!(
                "payments.wallet.decimals is {}; it must be at most 18",
                self.decimals
            ));
        }
        credentials::read(self.login_file.as_deref()).map(|_| ())
    }

    /// The wallet; `None` when there is none.
    pub fn open(&self) -> Result<Option<Arc<dyn Wallet>>, WalletError> {
        Ok(match self.kind {
            WalletKind::None => None,
            WalletKind::Monero => Some(Arc::new(monero::MoneroWallet::new(self)?)),
            WalletKind::Bitcoin => Some(Arc::new(bitcoin::BitcoinWallet::new(self)?)),
        })
    }
}

/// One destination of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Wallet address.
    pub address: String,
    /// What arrives, atomic units.
    pub amount: u128,
}

/// What a wallet has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Funds {
    /// What it could spend now, atomic units.
    pub unlocked: u128,
    /// All it has, atomic units.
    pub total: u128,
    /// Its main address, where it says one.
    pub address: Option<String>,
}

/// Whether an address can be paid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AddressCheck {
    /// Together with others.
    Payable,
    /// Only in a transaction of its own: an integrated address of Monero.
    Alone,
    /// Never, and why.
    Refused(String),
}

/// A transaction that could be sent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PreparedTx {
    /// Its name, when the wallet can say so before it is sent.
    pub tx_id: Option<String>,
    /// The network's fee for it, atomic units; 0 when it is not known before.
    pub fee: u128,
    /// The signed transaction, which can be sent any number of times and pays once. Whoever has it
    /// can send it: keep it secret.
    pub signed: Option<Vec<u8>>,
}

/// A transaction as the wallet's history knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalletTx {
    /// Its name.
    pub tx_id: String,
    /// Blocks on top of it, its own included; 0 while it waits.
    pub confirmations: u64,
    /// What it sent to others, atomic units.
    pub amount: u128,
    /// The network's fee, atomic units.
    pub fee: u128,
}

/// Why a wallet did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WalletError {
    /// No usable answer. Whether it was done is unknown.
    #[error("the wallet at {url} did not answer {method}: {reason}; is it running, and reachable?")]
    Unreachable {
        /// Where, without a password.
        url: String,
        /// What was called.
        method: &'static str,
        /// In words.
        reason: String,
    },
    /// It does not take the login.
    #[error(
        "the wallet at {url} does not take the login; check payments.wallet.login_file or \
         HEADFRAME_WALLET_LOGIN"
    )]
    Login {
        /// Where.
        url: String,
    },
    /// It has no wallet open, or one without its passphrase.
    #[error("the wallet is locked: {0}; open it, with its password")]
    Locked(String),
    /// It does not know the newest blocks.
    #[error("the wallet is not synchronised: {0}")]
    Unsynced(String),
    /// It has too little that it could spend now.
    #[error("not enough unlocked money in the wallet: {0}")]
    NotEnough(String),
    /// So many destinations or inputs do not fit.
    #[error("the transaction would be too large: {0}")]
    TooLarge(String),
    /// One destination is not possible.
    #[error("the wallet refuses the address {address}: {reason}")]
    Address {
        /// Which.
        address: String,
        /// In words.
        reason: String,
    },
    /// Any other refusal.
    #[error("the wallet refused {method}: {message} (code {code})")]
    Refused {
        /// What was called.
        method: &'static str,
        /// Its own code.
        code: i64,
        /// Its own words.
        message: String,
    },
    /// The machine's own files.
    #[error("{0}")]
    File(String),
}

/// A wallet.
#[async_trait]
pub trait Wallet: Send + Sync {
    /// Its program.
    fn name(&self) -> &'static str;
    /// The most destinations that one transaction takes.
    fn max_outputs(&self) -> usize;
    /// What it has; an error when it could not pay at all, e.g. because it is locked.
    async fn funds(&self) -> Result<Funds, WalletError>;
    /// Whether it would pay to this address.
    async fn check_address(&self, address: &str) -> Result<AddressCheck, WalletError>;
    /// Makes a payment ready, sends nothing. `payment` is its name with us.
    async fn prepare(&self, payment: &str, outputs: &[Output]) -> Result<PreparedTx, WalletError>;
    /// Sends it; the transaction's name. After [`WalletError::Unreachable`], and any refusal that
    /// [`Wallet::is_definite`] does not vouch for, it may have been sent.
    async fn submit(
        &self,
        payment: &str,
        outputs: &[Output],
        signed: Option<&[u8]>,
    ) -> Result<String, WalletError>;
    /// Whether this answer to [`Wallet::submit`] means that nothing was sent.
    fn is_definite(&self, error: &WalletError) -> bool;
    /// What the wallet's history has of a payment, by its transaction where that is known and by
    /// our name for it otherwise. It was not sent before `since`, microseconds since 1970.
    async fn find(
        &self,
        payment: &str,
        tx_id: Option<&str>,
        since: i64,
    ) -> Result<Option<WalletTx>, WalletError>;
    /// Whether the owner of an address signed this text.
    async fn verify(&self, address: &str, text: &str, signature: &str)
    -> Result<bool, WalletError>;
}
