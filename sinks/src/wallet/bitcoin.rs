//! The wallet of a node of Bitcoin's kind: `sendmany`, with our name for the payment as its
//! comment.
//!
//! `sendmany` makes, signs and sends in one move and cannot be repeated, so that it is called at
//! most once a payment. After a lost answer the wallet's history is searched for the comment. What
//! is not found there is never sent again by itself.

use async_trait::async_trait;
use serde_json::{Map, Value, json};

use crate::wallet::rpc::{Refusal, Rpc};
use crate::wallet::{
    AddressCheck, Funds, Output, PreparedTx, Wallet, WalletConfig, WalletError, WalletTx,
};

/// A transaction of so many outputs stays far below the size that nodes relay.
/// Blocks on a conflicting transaction after which the conflict is believed to last.
const BURIED: i64 = 20;
const MOST_OUTPUTS: usize = 500;
/// Entries of the history that are read at once.
const PAGE: usize = 500;
/// Pages that are read before the search is given up as unanswered.
const MOST_PAGES: usize = 200;
/// How far the node's clock may be behind ours when its history is searched, in seconds.
const CLOCK: i64 = 86_400;

const TYPE: i64 = -3;
const ADDRESS: i64 = -5;
const FUNDS: i64 = -6;
const PARAMETER: i64 = -8;
const NO_WALLET: i64 = -18;
const NO_WALLET_NAMED: i64 = -19;
const WARMING_UP: i64 = -28;
const UNLOCK: i64 = -13;
const METHOD: i64 = -32_601;

/// A wallet behind a node's RPC.
pub struct BitcoinWallet {
    rpc: Rpc,
    decimals: u32,
}

impl BitcoinWallet {
    /// A client; nothing is called yet. A node with several wallets is named with its path:
    /// `http://127.0.0.1:8332/wallet/pool`.
    pub fn new(config: &WalletConfig) -> Result<Self, WalletError> {
        Ok(Self {
            rpc: Rpc::new(config, "")?,
            decimals: config.decimals,
        })
    }

    async fn call(&self, method: &'static str, params: Value) -> Result<Value, WalletError> {
        self.rpc
            .call(method, params)
            .await?
            .map_err(|refusal| meaning(method, refusal))
    }

    fn atomic(&self, method: &'static str, value: &Value) -> Result<i128, WalletError> {
        let text = value.to_string();
        // Numbers of JSON are read as doubles, which are exact for so many units and not beyond.
        let exact = |amount: &i128| amount.unsigned_abs() < 1 << 52;
        let read = atomic(&text, self.decimals).filter(exact);
        read.ok_or_else(|| {
            self.rpc.unreachable(
                method,
                format!("{text} is not an amount that can be read exactly"),
            )
        })
    }

    /// What can be spent now, and what cannot yet. Nodes before 0.19 say it in `getwalletinfo`,
    /// those from 30 on do not.
    async fn balances(&self, info: &Value) -> Result<(i128, i128), WalletError> {
        let method = "getbalances";
        match self.rpc.call(method, json!([])).await? {
            Ok(said) => Ok((
                self.atomic(method, &said["mine"]["trusted"])?,
                self.atomic(method, &said["mine"]["immature"])?,
            )),
            Err(Refusal { code: METHOD, .. }) => {
                let method = "getwalletinfo";
                let immature = info
                    .get("immature_balance")
                    .unwrap_or(&Value::from(0))
                    .clone();
                Ok((
                    self.atomic(method, &info["balance"])?,
                    self.atomic(method, &immature)?,
                ))
            }
            Err(refusal) => Err(meaning(method, refusal)),
        }
    }

    /// A transaction by its name; `None` when the wallet does not know it, or has given it up.
    async fn transaction(&self, tx_id: &str) -> Result<Option<WalletTx>, WalletError> {
        let method = "gettransaction";
        let whole = match self.rpc.call(method, json!([tx_id, true])).await? {
            Ok(whole) => whole,
            Err(Refusal { code: ADDRESS, .. }) => return Ok(None),
            Err(refusal) => return Err(meaning(method, refusal)),
        };
        // A conflict is said as a negative number: how deep the other one lies that spends the same
        // coins. Such a transaction waits until that is buried, and counts as gone then; what
        // becomes of it is for an operator to say.
        let depth = whole["confirmations"].as_i64().unwrap_or_default();
        if depth <= -BURIED {
            return Ok(None);
        }
        let confirmations = u64::try_from(depth).unwrap_or_default();
        let mut found = WalletTx {
            tx_id: tx_id.to_owned(),
            confirmations,
            amount: 0,
            fee: 0,
        };
        let sent = |entry: &&Value| entry["category"] == "send" && entry["abandoned"] != true;
        let entries: Vec<&Value> = whole["details"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(sent)
            .collect();
        for entry in &entries {
            found.amount += self.atomic(method, &entry["amount"])?.unsigned_abs();
            found.fee = self
                .atomic(method, entry.get("fee").unwrap_or(&json!(0)))?
                .unsigned_abs();
        }
        Ok((!entries.is_empty()).then_some(found))
    }
}

#[async_trait]
impl Wallet for BitcoinWallet {
    fn name(&self) -> &'static str {
        "sendmany"
    }

    fn max_outputs(&self) -> usize {
        MOST_OUTPUTS
    }

    async fn funds(&self) -> Result<Funds, WalletError> {
        let chain = self.call("getblockchaininfo", json!([])).await?;
        if chain["initialblockdownload"] == true {
            return Err(WalletError::Unsynced(format!(
                "it is at block {} of {}",
                chain["blocks"], chain["headers"]
            )));
        }
        let info = self.call("getwalletinfo", json!([])).await?;
        if info["unlocked_until"] == 0 {
            return Err(WalletError::Locked(
                "its passphrase is needed: walletpassphrase".to_owned(),
            ));
        }
        let (balance, immature) = self.balances(&info).await?;
        let plus = |amount: i128| u128::try_from(amount).unwrap_or_default();
        Ok(Funds {
            unlocked: plus(balance),
            total: plus(balance + immature),
            address: None,
        })
    }

    async fn check_address(&self, address: &str) -> Result<AddressCheck, WalletError> {
        let said = self.call("validateaddress", json!([address])).await?;
        Ok(match said["isvalid"].as_bool() {
            Some(true) => AddressCheck::Payable,
            _ => AddressCheck::Refused("it is not an address of this wallet's network".to_owned()),
        })
    }

    async fn prepare(&self, _payment: &str, outputs: &[Output]) -> Result<PreparedTx, WalletError> {
        let funds = self.funds().await?;
        let wanted: u128 = outputs.iter().map(|output| output.amount).sum();
        if wanted >= funds.unlocked {
            return Err(WalletError::NotEnough(format!(
                "{wanted} atomic units and the fee are wanted, {} are there",
                funds.unlocked
            )));
        }
        Ok(PreparedTx::default())
    }

    async fn submit(
        &self,
        payment: &str,
        outputs: &[Output],
        _signed: Option<&[u8]>,
    ) -> Result<String, WalletError> {
        let mut amounts = Map::new();
        for output in outputs {
            // As text, which the node reads exactly; a float of ours would not carry every amount.
            amounts.insert(
                output.address.clone(),
                json!(coins(output.amount, self.decimals)),
            );
        }
        match self
            .call("sendmany", json!(["", amounts, 1, payment]))
            .await?
        {
            Value::String(tx_id) => Ok(tx_id),
            other => Err(self
                .rpc
                .unreachable("sendmany", format!("its answer {other} is no transaction"))),
        }
    }

    fn is_definite(&self, error: &WalletError) -> bool {
        // These are said before anything is signed. Any other code, such as -4, may come after it.
        match error {
            WalletError::Locked(_)
            | WalletError::NotEnough(_)
            | WalletError::Address { .. }
            | WalletError::Login { .. } => true,
            WalletError::Unsynced(_) => true,
            WalletError::Refused { code, .. } => matches!(*code, TYPE | PARAMETER | METHOD),
            _ => false,
        }
    }

    async fn find(
        &self,
        payment: &str,
        tx_id: Option<&str>,
        since: i64,
    ) -> Result<Option<WalletTx>, WalletError> {
        if let Some(tx_id) = tx_id
            && let Some(found) = self.transaction(tx_id).await?
        {
            return Ok(Some(found));
        }
        let earliest = since / 1_000_000 - CLOCK;
        for page in 0..MOST_PAGES {
            let listed = self
                .call("listtransactions", json!(["*", PAGE, page * PAGE, true]))
                .await?;
            let Some(entries) = listed.as_array() else {
                return Err(self
                    .rpc
                    .unreachable("listtransactions", "its answer is no list".to_owned()));
            };
            let ours = |entry: &&Value| {
                entry["category"] == "send"
                    && entry["abandoned"] != true
                    && entry["comment"] == payment
            };
            if let Some(name) = entries
                .iter()
                .find(ours)
                .and_then(|entry| entry["txid"].as_str())
            {
                // A page may end between the entries of a transaction; it is asked for as a whole.
                return self.transaction(name).await;
            }
            // The oldest comes first, in the order in which the wallet heard of them.
            let older = entries
                .first()
                .and_then(|entry| entry["timereceived"].as_i64())
                .is_some_and(|time| time < earliest);
            if older || entries.len() < PAGE {
                return Ok(None);
            }
        }
        Err(self.rpc.unreachable(
            "listtransactions",
            format!("the history is longer than {} entries", PAGE * MOST_PAGES),
        ))
    }

    async fn verify(
        &self,
        address: &str,
        text: &str,
        signature: &str,
    ) -> Result<bool, WalletError> {
        match self
            .rpc
            .call("verifymessage", json!([address, signature, text]))
            .await?
        {
            Ok(answer) => Ok(answer == true),
            Err(Refusal {
                code: TYPE | ADDRESS,
                ..
            }) => Ok(false),
            Err(refusal) => Err(meaning("verifymessage", refusal)),
        }
    }
}

fn meaning(method: &'static str, Refusal { code, message }: Refusal) -> WalletError {
    match code {
        UNLOCK => WalletError::Locked(message),
        NO_WALLET | NO_WALLET_NAMED => {
            WalletError::Locked(format!("the node has no such wallet open: {message}"))
        }
        WARMING_UP => WalletError::Unsynced(message),
        FUNDS => WalletError::NotEnough(message),
        ADDRESS => {
            // `Invalid Bitcoin address: bc1...`
            let address = message.rsplit(' ').next().unwrap_or_default().to_owned();
            WalletError::Address {
                address,
                reason: message,
            }
        }
        _ => WalletError::Refused {
            method,
            code,
            message,
        },
    }
}

/// An amount in coins, as the node reads it: `0.00012300`.
fn coins(amount: u128, decimals: u32) -> String {
    let one = 10_u128.pow(decimals);
    match decimals {
        0 => amount.to_string(),
        _ => format!(
            "{}.{:0width$}",
            amount / one,
            amount % one,
            width = decimals as usize
        ),
    }
}

/// An amount in coins as the node writes it, in atomic units; exact, whatever way the number is
/// written.
fn atomic(text: &str, decimals: u32) -> Option<i128> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (negative, mantissa) = mantissa
        .strip_prefix('-')
        .map_or((false, mantissa), |rest| (true, rest));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut digits = format!("{whole}{fraction}");
    let shift = i32::try_from(decimals).ok()? + exponent - i32::try_from(fraction.len()).ok()?;
    if shift >= 0 {
        digits.extend(std::iter::repeat_n('0', usize::try_from(shift).ok()?));
    } else {
        let cut = digits.len().checked_sub(usize::try_from(-shift).ok()?)?;
        if digits[cut..].bytes().any(|digit| digit != b'0') {
            return None;
        }
        digits.truncate(cut);
    }
    let amount: i128 = if digits.is_empty() {
        0
    } else {
        digits.parse().ok()?
    };
    Some(if negative { -amount } else { amount })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coins_are_read_and_written_to_the_last_unit() {
        for (text, amount) in [
            ("0.00000001", 1),
            ("-0.1", -10_000_000),
            ("21000000", 2_100_000_000_000_000),
            ("1e-8", 1),
            ("5.0e-1", 50_000_000),
        ] {
            assert_eq!(atomic(text, 8), Some(amount), "{text}");
        }
        assert_eq!(atomic("0.000000001", 8), None, "less than one unit");
        assert_eq!(atomic("null", 8), None);
        for amount in [0, 1, 99_999_999, 100_000_000, 2_099_999_997_690_000] {
            assert_eq!(atomic(&coins(amount, 8), 8), Some(amount as i128));
        }
    }
}
