//! How the site did over a stretch of time, for askers who want reports.

use thiserror::Error;

/// Why a report was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum UsageReportError {
    /// The asker does not want it, and will not later.
    #[error("{0}")]
    Refused(String),
    /// It may be taken later.
    #[error("{0}")]
    NotTaken(String),
}

/// What the site is doing, in OpenADR's words.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum OperatingState {
    /// It runs as it wants to.
    #[default]
    Normal,
    /// It draws less than it wants to.
    Curtailed,
    /// Something is wrong.
    Error,
}

/// Energy of one stretch of time.
#[derive(Debug, Clone, PartialEq)]
pub struct Usage {
    /// The event that asked, as in [`crate::request::Request::event`]; the last one of the signal
    /// when left out.
    pub event: Option<String>,
    /// From, microseconds since 1970.
    pub from_us: i64,
    /// To, microseconds since 1970.
    pub to_us: i64,
    /// Energy in kWh; nothing when it was not metered.
    pub energy_kwh: Option<f64>,
    /// Mean power in kW; nothing when it was not metered.
    pub power_kw: Option<f64>,
    /// Whether a part of it is estimated.
    pub is_estimated: bool,
    /// What the site was doing.
    pub state: OperatingState,
}
