//! monero-wallet-rpc: a transaction is made and signed first, and sent as often as need be.
//!
//! What version 0.18 really does, as it was found out with the program itself:
//! * `transfer` with `do_not_relay` gives name, fee and `tx_metadata`, and leaves the wallet as it
//!   was: inputs are not set aside.
//! * `relay_tx` of the same metadata a second time succeeds and sends nothing new, also when the
//!   transaction is in a block. Of a transaction whose inputs are spent elsewhere it says `Failed
//!   to commit tx`, and so it does when the daemon is away.
//! * A wallet killed after `relay_tx` has forgotten a transaction that is in no block yet. So "not
//!   in the history" does not mean "not sent": only sending the very same transaction again is
//!   safe.
//! * An integrated address goes alone: with another destination beside it `transfer` says
//!   `transaction was not constructed`.

use async_trait::async_trait;
use serde_json::{Value, json};

use crate::wallet::rpc::{Refusal, Rpc};
use crate::wallet::{
    AddressCheck, Funds, Output, PreparedTx, Wallet, WalletConfig, WalletError, WalletTx,
};

/// Sixteen outputs are the most that the network takes, and one of them is the change.
const MOST_OUTPUTS: usize = 15;

const WRONG_ADDRESS: i64 = -2;
const BUSY: i64 = -3;
const ZERO: i64 = -46;
const PAYMENT_ID: i64 = -5;
const NOT_FOUND: i64 = -8;
const NO_WALLET: i64 = -13;
const NOT_ENOUGH: i64 = -17;
const TOO_LARGE: i64 = -18;
const WATCH_ONLY: i64 = -29;
const NOT_ENOUGH_UNLOCKED: i64 = -37;
const NO_DAEMON: i64 = -38;

/// A wallet behind monero-wallet-rpc.
pub struct MoneroWallet {
    rpc: Rpc,
}

impl MoneroWallet {
    /// A client; nothing is called yet.
    pub fn new(config: &WalletConfig) -> Result<Self, WalletError> {
        Ok(Self {
            rpc: Rpc::new(config, "/json_rpc")?,
        })
    }

    async fn call(&self, method: &'static str, params: Value) -> Result<Value, WalletError> {
        self.rpc
            .call(method, params)
            .await?
            .map_err(|refusal| meaning(method, refusal))
    }

    /// Brings the wallet to the newest block. Without it the wallet looks once in twenty seconds.
    async fn refresh(&self) -> Result<(), WalletError> {
        self.call("refresh", json!({})).await.map(|_| ())
    }

    async fn transfer(&self, outputs: &[Output]) -> Result<Value, WalletError> {
        let destinations: Vec<Value> = outputs
            .iter()
            .map(|output| json!({"address": output.address, "amount": number(output.amount)}))
            .collect();
        let wanted = json!({
            "destinations": destinations, "account_index": 0, "priority": 0, "do_not_relay": true,
            "get_tx_metadata": true,
        });
        match self.rpc.call("transfer", wanted).await? {
            Ok(answer) => Ok(answer),
            // The message names the address, as we gave it.
            Err(Refusal {
                code: WRONG_ADDRESS,
                message,
            }) => {
                let named = outputs
                    .iter()
                    .find(|output| message.contains(&output.address))
                    .or_else(|| outputs.first());
                let address = named
                    .map(|output| output.address.clone())
                    .unwrap_or_default();
                Err(WalletError::Address {
                    address,
                    reason: message,
                })
            }
            Err(refusal) => Err(meaning("transfer", refusal)),
        }
    }
}

#[async_trait]
impl Wallet for MoneroWallet {
    fn name(&self) -> &'static str {
        "monero-wallet-rpc"
    }

    fn max_outputs(&self) -> usize {
        MOST_OUTPUTS
    }

    async fn funds(&self) -> Result<Funds, WalletError> {
        self.refresh().await?;
        let address = self
            .call("get_address", json!({"account_index": 0}))
            .await?;
        let balance = self
            .call("get_balance", json!({"account_index": 0}))
            .await?;
        Ok(Funds {
            unlocked: amount(&balance, "unlocked_balance"),
            total: amount(&balance, "balance"),
            address: address["address"].as_str().map(str::to_owned),
        })
    }

    async fn check_address(&self, address: &str) -> Result<AddressCheck, WalletError> {
        let said = self
            .call("validate_address", json!({"address": address}))
            .await?;
        Ok(
            match (said["valid"].as_bool(), said["integrated"].as_bool()) {
                (Some(true), Some(true)) => AddressCheck::Alone,
                (Some(true), _) => AddressCheck::Payable,
                _ => AddressCheck::Refused(
                    "it is not an address of this wallet's network".to_owned(),
                ),
            },
        )
    }

    async fn prepare(&self, _payment: &str, outputs: &[Output]) -> Result<PreparedTx, WalletError> {
        if outputs.len() > MOST_OUTPUTS {
            return Err(WalletError::TooLarge(format!(
                "{} destinations, a transaction takes {MOST_OUTPUTS}",
                outputs.len()
            )));
        }
        self.refresh().await?;
        let answer = self.transfer(outputs).await?;
        let text = |key: &str| {
            answer[key]
                .as_str()
                .filter(|text| !text.is_empty())
                .map(str::to_owned)
        };
        let (Some(tx_id), Some(signed)) = (text("tx_hash"), text("tx_metadata")) else {
            return Err(self
                .rpc
                .unreachable("transfer", "its answer has no transaction".to_owned()));
        };
        Ok(PreparedTx {
            tx_id: Some(tx_id),
            fee: amount(&answer, "fee"),
            signed: Some(signed.into_bytes()),
        })
    }

    async fn submit(
        &self,
        _payment: &str,
        _outputs: &[Output],
        signed: Option<&[u8]>,
    ) -> Result<String, WalletError> {
        let Some(metadata) = signed.and_then(|signed| std::str::from_utf8(signed).ok()) else {
            return Err(WalletError::File(
                "the signed transaction is not there any more".to_owned(),
            ));
        };
        let answer = self.call("relay_tx", json!({"hex": metadata})).await?;
        let tx_id = answer["tx_hash"].as_str().map(str::to_owned);
        // A wallet that is killed has its history from the last time it was stored.
        if let Err(error) = self.call("store", json!({})).await {
            tracing::warn!(%error, "the wallet does not store its file");
        }
        tx_id.ok_or_else(|| {
            self.rpc
                .unreachable("relay_tx", "its answer has no transaction".to_owned())
        })
    }

    fn is_definite(&self, _error: &WalletError) -> bool {
        // `Failed to commit tx` hides a daemon whose answer got lost.
        false
    }

    async fn find(
        &self,
        _payment: &str,
        tx_id: Option<&str>,
        _since: i64,
    ) -> Result<Option<WalletTx>, WalletError> {
        let Some(tx_id) = tx_id else { return Ok(None) };
        self.refresh().await?;
        let answer = match self
            .rpc
            .call("get_transfer_by_txid", json!({"txid": tx_id}))
            .await?
        {
            Ok(answer) => answer,
            Err(Refusal {
                code: NOT_FOUND,
                message,
            }) if message.contains("not found") => return Ok(None),
            Err(refusal) => return Err(meaning("get_transfer_by_txid", refusal)),
        };
        let all = answer["transfers"]
            .as_array()
            .cloned()
            .unwrap_or_else(|| vec![answer["transfer"].clone()]);
        // One that was sent again when it was in a block already is there twice; the one in the
        // block tells.
        let of = |kind: &str| all.iter().find(|transfer| transfer["type"] == kind);
        let Some(transfer) = of("out").or_else(|| of("pending")) else {
            return Ok(None);
        };
        Ok(Some(WalletTx {
            tx_id: tx_id.to_owned(),
            confirmations: transfer["confirmations"].as_u64().unwrap_or_default(),
            amount: amount(transfer, "amount"),
            fee: amount(transfer, "fee"),
        }))
    }

    async fn verify(
        &self,
        address: &str,
        text: &str,
        signature: &str,
    ) -> Result<bool, WalletError> {
        match self
            .rpc
            .call(
                "verify",
                json!({"data": text, "address": address, "signature": signature}),
            )
            .await?
        {
            // The private view key, which auditors and exchanges hold as well, signs too.
            Ok(answer) => Ok(answer["good"] == true && answer["signature_type"] != "view"),
            Err(Refusal {
                code: WRONG_ADDRESS,
                ..
            }) => Ok(false),
            Err(refusal) => Err(meaning("verify", refusal)),
        }
    }
}

fn meaning(method: &'static str, Refusal { code, message }: Refusal) -> WalletError {
    match code {
        NO_WALLET => WalletError::Locked("monero-wallet-rpc has no wallet open".to_owned()),
        WATCH_ONLY => WalletError::Locked("it is a view-only wallet, which cannot pay".to_owned()),
        BUSY | NO_DAEMON => WalletError::Unsynced(message),
        NOT_ENOUGH | NOT_ENOUGH_UNLOCKED => WalletError::NotEnough(message),
        TOO_LARGE => WalletError::TooLarge(message),
        WRONG_ADDRESS | PAYMENT_ID | ZERO => WalletError::Refused {
            method,
            code,
            message,
        },
        _ if message.contains("no connection to daemon") => WalletError::Unsynced(message),
        _ => WalletError::Refused {
            method,
            code,
            message,
        },
    }
}

fn amount(value: &Value, key: &str) -> u128 {
    value[key].as_u64().map_or(0, u128::from)
}

/// Monero's amounts are 64 bits wide; what does not fit is refused by the wallet as more than it
/// has.
fn number(amount: u128) -> u64 {
    u64::try_from(amount).unwrap_or(u64::MAX)
}
