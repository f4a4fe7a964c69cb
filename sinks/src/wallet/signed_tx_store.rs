//! Where signed transactions that are not confirmed yet are kept: files that only their owner can
//! read.
//!
//! They are what makes a payment repeatable: the very same transaction can be sent again without
//! paying twice, while a new one for the same payment could. A file is whole or not there, and on
//! the disk before the payment goes on.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use async_trait::async_trait;

use crate::wallet::WalletError;

/// A place for signed transactions, by payment and transaction.
#[async_trait]
pub trait SignedTxStore: Send + Sync {
    /// Keeps it durably.
    async fn put(&self, payment: &str, tx_id: &str, signed: &[u8]) -> Result<(), WalletError>;
    /// What was kept, if anything.
    async fn get(&self, payment: &str, tx_id: &str) -> Result<Option<Vec<u8>>, WalletError>;
    /// Removes whatever was kept for a payment.
    async fn remove(&self, payment: &str) -> Result<(), WalletError>;
}

/// A folder of this machine, mode 0700, its files 0600.
#[derive(Debug, Clone)]
pub struct SignedTxFolder {
    folder: PathBuf,
}

impl SignedTxFolder {
    /// Makes the folder.
    pub fn open(folder: &Path) -> Result<Self, WalletError> {
        use std::os::unix::fs::DirBuilderExt;
        let made = std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder);
        made.map_err(|error| failed("make the folder", folder, &error))?;
        Ok(Self {
            folder: folder.to_owned(),
        })
    }

    fn path(&self, payment: &str, tx_id: &str) -> PathBuf {
        self.folder
            .join(format!("{}.{}.tx", clean(payment), clean(tx_id)))
    }
}

#[async_trait]
impl SignedTxStore for SignedTxFolder {
    async fn put(&self, payment: &str, tx_id: &str, signed: &[u8]) -> Result<(), WalletError> {
        let path = self.path(payment, tx_id);
        let part = path.with_extension("part");
        let write = || {
            let mut file = std::fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&part)?;
            file.write_all(signed)?;
            file.sync_all()?;
            std::fs::rename(&part, &path)?;
            std::fs::File::open(&self.folder)?.sync_all()
        };
        write().map_err(|error| failed("keep a signed transaction in", &path, &error))
    }

    async fn get(&self, payment: &str, tx_id: &str) -> Result<Option<Vec<u8>>, WalletError> {
        let path = self.path(payment, tx_id);
        match std::fs::read(&path) {
            Ok(signed) => Ok(Some(signed)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("read a signed transaction from", &path, &error)),
        }
    }

    async fn remove(&self, payment: &str) -> Result<(), WalletError> {
        let prefix = format!("{}.", clean(payment));
        let entries = std::fs::read_dir(&self.folder)
            .map_err(|error| failed("list", &self.folder, &error))?;
        for path in entries.flatten().map(|entry| entry.path()) {
            let ours = path
                .file_name()
                .and_then(|name| name.to_str())
                .is_some_and(|name| name.starts_with(&prefix));
            if ours {
                std::fs::remove_file(&path).map_err(|error| failed("remove", &path, &error))?;
            }
        }
        Ok(())
    }
}

/// Names come from us, but a name never leaves the folder.
fn clean(name: &str) -> String {
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

fn failed(what: &str, path: &Path, error: &std::io::Error) -> WalletError {
    WalletError::File(format!(
        "cannot {what} {}: {error}; payments wait until it can be",
        path.display()
    ))
}
