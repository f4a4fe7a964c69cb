//! The ban store: ends bans in time, keeps them in a file, and carries out operators' orders.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use super::Defence;
use super::ban_file;
use super::bans::{Ban, BanListFull, BanTarget};

/// Between looks at what has ended, and at least between two writings of the file.
const SWEEP: Duration = Duration::from_secs(1);

/// Why an operator's word was not taken, or not kept.
#[derive(Debug, Error)]
pub enum BanStoreError {
    /// The list.
    #[error(transparent)]
    Full(#[from] BanListFull),
    /// The file. The ban is in force all the same.
    #[error(
        "the ban is in force, but cannot be kept over a restart in {path}: {reason}; check the \
         folder and the disk"
    )]
    File {
        path: String,
        reason: std::io::Error,
    },
}

/// The bans of a running pool, for its operator.
#[derive(Clone)]
pub struct BanStore(pub(crate) Arc<Defence>);

impl BanStore {
    /// Every ban in force, those that end first in front.
    pub fn list(&self) -> Vec<Ban> {
        self.0.sweep();
        self.0.state().bans.all()
    }

    /// Bans by hand, for so many seconds or until lifted; connections it concerns end within a
    /// second. Returns when the file, if there is one, holds it.
    pub async fn ban(
        &self,
        subject: BanTarget,
        reason: &str,
        lasts_s: Option<u64>,
    ) -> Result<Ban, BanStoreError> {
        let ban = {
            let now_ms = self.0.now_ms();
            let mut state = self.0.state();
            let ban = state.bans.ban_manually(subject, reason, lasts_s, now_ms)?;
            self.0.note_change(state.bans.len());
            ban
        };
        self.0.tell(&ban, "ban");
        tracing::info!(kind = ban.subject.as_str(), reason, "banned by hand");
        self.0.save().await?;
        Ok(ban)
    }

    /// Lifts a ban; `None` when there is none.
    pub async fn unban(&self, subject: &BanTarget) -> Result<Option<Ban>, BanStoreError> {
        let lifted = {
            let mut state = self.0.state();
            let lifted = state.bans.unban(subject);
            self.0.note_change(state.bans.len());
            lifted
        };
        if let Some(ban) = &lifted {
            self.0.tell(ban, "unban");
            tracing::info!(kind = ban.subject.as_str(), "ban lifted by hand");
        }
        self.0.save().await?;
        Ok(lifted)
    }
}

impl Defence {
    /// Ends and saves bans until `stop`, and once more after it.
    pub(crate) async fn keep(self: Arc<Self>, stop: CancellationToken) {
        let mut is_logged = false;
        while !stop.is_cancelled() {
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(SWEEP) => {}
            }
            self.sweep();
            self.tell_overdue_refusals();
            match self.save().await {
                Ok(()) => is_logged = false,
                Err(error) if !is_logged => {
                    is_logged = true;
                    tracing::error!(%error, "bans would be forgotten at a restart");
                }
                Err(_) => {}
            }
        }
    }

    /// Ends what has ended.
    fn sweep(&self) {
        let ended = {
            let now_ms = self.now_ms();
            let mut state = self.state();
            let ended = state.bans.expire(now_ms);
            if !ended.is_empty() {
                self.note_change(state.bans.len());
            }
            ended
        };
        for ban in &ended {
            self.tell(ban, "expired");
        }
    }

    /// Writes the file, if there is one and it is old.
    async fn save(&self) -> Result<(), BanStoreError> {
        let Some(path) = self.bans_file.clone() else {
            return Ok(());
        };
        let _writing = self.writing.lock().await;
        if !self.dirty.swap(false, Relaxed) {
            return Ok(());
        }
        let bans = self.state().bans.all();
        let shown = path.display().to_string();
        let written = tokio::task::spawn_blocking(move || ban_file::write(&path, &bans)).await;
        let written = written.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        written.map_err(|reason| {
            self.dirty.store(true, Relaxed);
            BanStoreError::File {
                path: shown,
                reason,
            }
        })
    }
}
