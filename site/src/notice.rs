//! Notices to people.

use serde::{Deserialize, Serialize};

use crate::moment::Moment;

/// How serious a notice is; it decides which channels carry it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The hourly heartbeat and other news.
    Info,
    /// Somebody should look: Telegram and e-mail.
    Warning,
    /// Somebody must act: every channel.
    Emergency,
}

/// One notice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Unique and growing within the site, over restarts too.
    pub id: u64,
    /// How serious it is.
    pub severity: Severity,
    /// What it is about, for one fact always the same: `signal_late/utility`, `trip/temperature`.
    pub topic: String,
    /// One line.
    pub title: String,
    /// What happened, what was done and what to do; plain text.
    pub text: String,
    /// When.
    pub at: Moment,
}

/// What channels must know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoticeEvent {
    /// A new notice.
    Raised(Notice),
    /// A person took notice of what a topic said up to this notice.
    Acknowledged {
        /// The topic.
        topic: String,
        /// The last notice of it.
        notice: u64,
    },
}
