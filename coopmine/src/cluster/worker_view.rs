//! A worker as pages, rows and whoever asks see it.

use serde::Serialize;

use super::totals::WorkerTotals;

/// A worker as it is shown.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WorkerView {
    /// Its id.
    pub id: String,
    /// The name people see.
    pub name: String,
    /// Whether it is heard of.
    pub online: bool,
    /// Whether its results were wrong too often.
    pub quarantined: bool,
    /// For how many seconds it is kept out yet.
    pub quarantine_s: Option<u64>,
    /// How far its results are believed, percent.
    pub trust_pct: u32,
    /// What it says it hashes a second.
    pub hashrate_hs: f64,
    /// What its results show.
    pub hashrate_shown_hs: Option<f64>,
    /// Hashing threads it has.
    pub threads: u32,
    /// Hashing threads that hash.
    pub threads_active: u32,
    /// The processor's temperature, where it can be read.
    pub temperature_c: Option<f64>,
    /// How busy the machine's processors are, percent.
    pub cpu_pct: Option<f64>,
    /// Its program.
    pub agent: String,
    /// Seconds since it came.
    pub connected_s: u64,
    /// Seconds since it was heard.
    pub silent_s: u64,
    /// Seconds since its last right result.
    pub last_share_s: Option<u64>,
    /// Its sums.
    #[serde(flatten)]
    pub totals: WorkerTotals,
    /// The last command: its number, its name and how far it has come.
    pub command: Option<CommandView>,
}

/// A command as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CommandView {
    /// Its number.
    pub id: u64,
    /// Its name.
    pub command: &'static str,
    /// `sent`, `acknowledged`, `verified` or `refused`.
    pub state: &'static str,
    /// The worker's words if it refused.
    pub refusal: String,
}
