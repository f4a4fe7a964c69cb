//! The signed transactions that lay in the data folder when this process began: witnesses of
//! payments that were begun.
//!
//! A stream can be lost with the last steps of a payment. The transaction that was signed for it,
//! and perhaps sent, is still there, in a place of its own. A payer that finds one whose payment
//! the ledger does not know must not go on.

use std::path::Path;

use headframe_sinks::wallet::Output;
use serde_json::{Value, json};

use crate::payment::open_payment::OpenPayment;

/// One signed transaction, by the names that its file bears.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SignedTx {
    /// The payment, as [`file_name`] writes it.
    pub payment: String,
    /// The transaction.
    pub tx_id: String,
}

/// Those of a pool, by name. The folder is that of `SignedTxFolder`, whose files are called
/// `PAYMENT.TRANSACTION.tx`; one that is not there holds nothing.
pub fn list(folder: &Path, pool: &str) -> std::io::Result<Vec<SignedTx>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        found.extend(name.to_str().and_then(|name| parse(name, pool)));
    }
    found.sort();
    Ok(found)
}

/// A file's name read: payments are called `POOL-NUMBER-TIME`.
fn parse(name: &str, pool: &str) -> Option<SignedTx> {
    let (payment, tx_id) = name.strip_suffix(".tx")?.split_once('.')?;
    let (number, time) = payment
        .strip_prefix(&file_name(pool))?
        .strip_prefix('-')?
        .split_once('-')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit());
    (digits(number) && digits(time) && !tx_id.ends_with(OUTPUTS_SUFFIX)).then(|| SignedTx {
        payment: payment.to_owned(),
        tx_id: tx_id.to_owned(),
    })
}

/// A name as it stands in the name of a file.
pub fn file_name(name: &str) -> String {
    name.chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '-' || c == '_' {
                c
            } else {
                '_'
            }
        })
        .collect()
}

/// What is kept beside a signed transaction: what it pays, so that it can be told later whether it
/// still is the payment's.
const OUTPUTS_SUFFIX: &str = "-pays";

/// The name under which the terms of a transaction are kept.
pub fn outputs_name(tx_id: &str) -> String {
    format!("{tx_id}{OUTPUTS_SUFFIX}")
}

/// What a transaction pays, and its fee, as text.
pub fn encode_outputs(outputs: &[Output], fee: u128) -> Vec<u8> {
    let outputs: Vec<Value> = outputs
        .iter()
        .map(|output| json!([output.address, output.amount.to_string()]))
        .collect();
    json!({"fee": fee.to_string(), "outputs": outputs})
        .to_string()
        .into_bytes()
}

/// The same read back: the outputs, if they are those of this payment as it stands, and the fee.
pub fn decode_matching_outputs(text: &[u8], payment: &OpenPayment) -> Option<(Vec<Output>, u128)> {
    let value: Value = serde_json::from_slice(text).ok()?;
    let number = |value: &Value| value.as_str()?.parse::<u128>().ok();
    let output = |pair: &Value| {
        Some(Output {
            address: pair[0].as_str()?.to_owned(),
            amount: number(&pair[1])?,
        })
    };
    let outputs: Vec<Output> = value["outputs"]
        .as_array()?
        .iter()
        .map(output)
        .collect::<Option<_>>()?;
    let fits = |(output, row): (&Output, &headframe_schemas::stream::payments::Payment)| {
        output.address == row.address
            && i128::try_from(output.amount).is_ok_and(|amount| amount <= row.amount_atomic)
    };
    let same = outputs.len() == payment.rows.len() && outputs.iter().zip(&payment.rows).all(fits);
    same.then_some((outputs, number(&value["fee"])?))
}
