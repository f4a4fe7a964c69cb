//! What can go wrong with a simulated device, and when.

use serde::{Deserialize, Serialize};

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// It answers what it answered when the fault began, its clock included.
    Frozen,
    /// It speaks Fahrenheit, and says so where its protocol can.
    Fahrenheit,
    /// Its answers break off and end in rubbish.
    Malformed,
    /// HTTP 500, or what its protocol has for that.
    Error500,
    /// HTTP 429 with a pause of a second, or what its protocol has for that.
    Busy,
    /// It answers after half a minute.
    Slow,
    /// Its readings are impossible.
    Lying,
    /// It has no readings, in the way of its protocol.
    Missing,
    /// Its clock is a day fast.
    ClockOff,
    /// It takes connections and closes them.
    Dead,
    /// It answers after two and a half seconds.
    Sluggish,
    /// It says yes to commands and does nothing.
    Ignoring,
    /// It says no to commands.
    Refusing,
    /// Its sensors hang: it shows the values of when the fault began, and its clock goes on.
    Stuck,
    /// Its temperatures are twelve degrees too high.
    Shifted,
}

impl FaultKind {
    /// Every fault.
    pub const ALL: [Self; 15] = [
        Self::Frozen,
        Self::Fahrenheit,
        Self::Malformed,
        Self::Error500,
        Self::Busy,
        Self::Slow,
        Self::Lying,
        Self::Missing,
        Self::ClockOff,
        Self::Dead,
        Self::Sluggish,
        Self::Ignoring,
        Self::Refusing,
        Self::Stuck,
        Self::Shifted,
    ];
}

/// A fault at a time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduledFault {
    /// A name, or the beginning of names and `*`.
    pub device: String,
    /// What.
    pub kind: FaultKind,
    /// Seconds since the start.
    pub at_s: f64,
    /// Seconds; for ever when left out.
    #[serde(default)]
    pub for_s: Option<f64>,
}

/// The fault of a device at a moment, and since when. The last that is listed counts.
pub fn fault_at(
    faults: &[ScheduledFault],
    device: &str,
    elapsed_s: f64,
) -> Option<(FaultKind, f64)> {
    let active = |fault: &&ScheduledFault| {
        picks(&fault.device, device)
            && elapsed_s >= fault.at_s
            && fault
                .for_s
                .is_none_or(|for_s| elapsed_s < fault.at_s + for_s)
    };
    let found = faults.iter().rev().find(active)?;
    Some((found.kind, found.at_s))
}

/// Whether a pattern picks a name: the name itself, or the beginning of it and `*`.
pub fn picks(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => pattern == name,
    }
}
