//! Which driver a configuration asks for: the one place that lists the chains there are.

use serde::{Deserialize, Serialize};
use std::sync::Arc;

use super::bitcoin;
use super::monero;
use super::monero::address::{self, Form};
use super::{AddressError, Chain, ChainConfig, ChainError};

/// The chains a pool can mine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChainKind {
    /// Monero and what is shaped like it.
    #[default]
    Monero,
    /// OpenSY: Bitcoin's blocks, RandomX over their header.
    Opensy,
}

impl ChainKind {
    /// Whether a text is an address that blocks of this chain can pay, on whatever network. monerod
    /// takes an integrated address and leaves its payment id out, and refuses a subaddress.
    pub fn check_wallet(self, wallet: &str) -> Result<(), AddressError> {
        match self {
            ChainKind::Monero => match address::parse(wallet)? {
                (_, Form::Subaddress) => Err(address::AddressError::Subaddress.into()),
                (_, Form::Standard | Form::Integrated) => Ok(()),
            },
            ChainKind::Opensy => Ok(bitcoin::address::parse_any(wallet).map(|_| ())?),
        }
    }
}

/// The driver of the configured chain, over the daemons it names.
pub fn open(config: &ChainConfig) -> Result<Arc<dyn Chain>, ChainError> {
    Ok(match config.kind {
        ChainKind::Monero => Arc::new(monero::open_daemons(config)?),
        ChainKind::Opensy => Arc::new(bitcoin::open_daemons(config)?),
    })
}
