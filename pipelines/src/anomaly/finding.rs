//! What is said of a signal: an anomaly began, or ended.

/// Whether an anomaly begins or ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transition {
    /// It begins.
    Opened,
    /// It ends.
    Closed,
}

impl Transition {
    /// As rows carry it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Closed => "closed",
        }
    }
}

/// Why an anomaly ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The signal is back where it was expected.
    Returned,
    /// It has lasted so long that it is the new normal.
    Accepted,
    /// The machine was told to do something else.
    ModeChanged,
    /// The detectors began anew, and nobody knows.
    Restarted,
}

impl Reason {
    /// Every reason.
    pub const ALL: &[Self] = &[
        Self::Returned,
        Self::Accepted,
        Self::ModeChanged,
        Self::Restarted,
    ];

    /// As rows carry it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Returned => "returned",
            Self::Accepted => "accepted",
            Self::ModeChanged => "mode_changed",
            Self::Restarted => "restarted",
        }
    }
}

/// The beginning or the end of an anomaly of one signal.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// The detector that saw it first.
    pub detector: &'static str,
    /// Beginning or end.
    pub transition: Transition,
    /// When it was found, microseconds since 1970.
    pub time: i64,
    /// When it began, microseconds since 1970; the same in both of its rows.
    pub since: i64,
    /// What was read; `None` when nothing was.
    pub value: Option<f64>,
    /// What was expected, where there is an expectation.
    pub expected: Option<f64>,
    /// The lower end of what is normal.
    pub lower: Option<f64>,
    /// The upper end of what is normal.
    pub upper: Option<f64>,
    /// How far the detector's statistic is, in parts of its threshold.
    pub score: f64,
    /// Of an end: why.
    pub reason: Option<Reason>,
}
