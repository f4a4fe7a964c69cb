//! Anomalies of a signal: what it should have read, and which of several detectors says that it
//! did not.
//!
//! A signal is one column of one meter, sensor or worker. Its state is small, of bounded size and
//! can be stored; each sample costs the same. What is found is a function of the state and the
//! sample alone, so that the same samples lead to the same findings however they are cut into
//! batches. `docs/anomalies.md` has the formulas and where they come from.
//!
//! A sample passes three stages: detectors that judge the reading itself, the baseline that says
//! what was expected, and detectors that judge how far the reading is from that. Silence is judged
//! by [`SignalState::tick`].

use serde::{Deserialize, Serialize};

pub mod baseline;
mod bits;
pub mod clock;
pub mod config;
pub mod drift;
pub mod finding;
pub mod impossible;
pub mod missing;
pub mod open;
pub mod rating;
pub mod season;
pub mod signal;
pub mod spike;
pub mod step;
pub mod stuck;

pub use baseline::Residual;
pub use config::{AnomalyConfig, Bounds};
pub use finding::{Finding, Reason, Transition};
pub use signal::{Observation, SignalState};

/// What a machine or site is meant to do while a sample is taken. Each mode has a baseline of its
/// own, so that a machine that was told to stop is compared with machines that were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// It hashes.
    Running,
    /// It was told to draw less, or nothing.
    Curtailed,
    /// It waits.
    Standby,
    /// It is a sum of machines of which some were told to draw less: by how much differs each time,
    /// so that no baseline fits.
    Changing,
    /// Nobody said.
    #[default]
    Unknown,
}

/// One reading of a signal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// When it was taken by its own clock, microseconds since 1970.
    pub event_time: i64,
    /// When it was stored by ours, microseconds since 1970.
    pub ingest_time: i64,
    /// What was read; `None` where the row has no value.
    pub value: Option<f64>,
    /// What the machine was meant to do.
    pub mode: Mode,
    /// What its maker rates this quantity at, where that is known and less is better: J/TH.
    pub rated: Option<f64>,
}

/// What a detector looks at.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// The sample.
    pub sample: &'a Sample,
    /// What was read.
    pub value: f64,
    /// The time that the sample is judged at, microseconds since 1970.
    pub time: i64,
    /// How far the reading is from what was expected; `None` before the baseline has said.
    pub residual: Option<&'a Residual>,
    /// The usual time between two samples, in microseconds; 0 until two came.
    pub interval_us: i64,
    /// Time since the sample before was stored, in microseconds.
    pub ingest_gap_us: i64,
    /// The limits that hold for every signal.
    pub config: &'a AnomalyConfig,
    /// What the quantity can be at all.
    pub bounds: Bounds,
}

/// What a detector remembers of one signal, of the same size for each of them.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Memory {
    /// Two numbers of its own.
    #[serde(with = "bits")]
    pub first: f64,
    /// The other one.
    #[serde(with = "bits")]
    pub second: f64,
    /// Since when the first is not zero, microseconds since 1970.
    pub first_since: i64,
    /// Since when the second is not zero, microseconds since 1970.
    pub second_since: i64,
    /// A count.
    pub count: u32,
    /// Another one.
    pub longest: u32,
}

/// What a detector says of a sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Verdict {
    /// How far the statistic is, in parts of its threshold: 1 or more is abnormal.
    pub score: f64,
    /// Since when, microseconds since 1970.
    pub since: i64,
}

/// Which anomalies of a signal shut each other out: of each slot at most one is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// What the signal reads: one fault is one anomaly, whichever detector is the first to see it.
    Value,
    /// When it says that it was read.
    Clock,
    /// That it says nothing.
    Silence,
}

/// At which stage a detector is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It judges the reading itself; an abnormal one is not learnt from.
    Reading,
    /// It judges how far the reading is from the baseline.
    Residual,
    /// It judges that nothing came; it is called by the clock.
    Silence,
}

/// When an anomaly of a detector ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closing {
    /// After so many samples in a row with half the score.
    Calm(u32),
    /// When the reading is back where the baseline expected it.
    Returned,
}

/// A way to find anomalies in one signal.
pub trait Detector: Sync {
    /// Its name, as rows carry it.
    fn name(&self) -> &'static str;
    /// One sentence for the users.
    fn doc(&self) -> &'static str;
    /// When it is called.
    fn stage(&self) -> Stage;
    /// Which other anomalies shut it out.
    fn slot(&self) -> Slot;
    /// When its anomalies end.
    fn closing(&self) -> Closing;
    /// Whether a level that lasts is taken for the new one after
    /// [`AnomalyConfig::accept_after_s`].
    fn accepts_new_level(&self) -> bool;
    /// Takes a sample in and judges it. Without anything abnormal the score is below 1.
    fn judge(&self, evidence: &Evidence<'_>, memory: &mut Memory) -> Verdict;
}

/// Every detector. The order is that of a signal's memories and of findings of one sample.
pub const ALL: &[&dyn Detector] = &[
    &clock::Clock,
    &missing::Missing,
    &impossible::Impossible,
    &stuck::Stuck,
    &rating::Rating,
    &spike::Spike,
    &step::Step,
    &drift::Drift,
];

/// The names of every detector.
pub fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|detector| detector.name())
}
