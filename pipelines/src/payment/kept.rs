//! The signed transactions that lay in the data folder when this process began: witnesses of payments that were begun.
//!
//! A stream can be lost with the last steps of a payment. The transaction that was signed for it, and perhaps sent, is still
//! there, in a place of its own. A payer that finds one whose payment the ledger does not know must not go on.

use std::path::Path;

/// One signed transaction, by the names that its file bears.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kept {
    /// The payment, as [`file_name`] writes it.
    pub payment: String,
    /// The transaction.
    pub tx_id: String,
}

/// Those of a pool, by name. The folder is that of `FolderVault`, whose files are called `PAYMENT.TRANSACTION.tx`; one that is
/// not there holds nothing.
pub fn kept(folder: &Path, pool: &str) -> std::io::Result<Vec<Kept>> {
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
fn parse(name: &str, pool: &str) -> Option<Kept> {
    let (payment, tx_id) = name.strip_suffix(".tx")?.split_once('.')?;
    let (number, time) = payment.strip_prefix(&file_name(pool))?.strip_prefix('-')?.split_once('-')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit());
    (digits(number) && digits(time)).then(|| Kept { payment: payment.to_owned(), tx_id: tx_id.to_owned() })
}

/// A name as it stands in the name of a file.
pub fn file_name(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '_' }).collect()
}
