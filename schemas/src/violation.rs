//! Violations of rules: their types, severities and statuses, what people can decide about one, and
//! what becomes of the orders that follow from them.

/// The types of violations.
pub const TYPES: &[&str] = &[
    "ENERGY_LIMIT_WARNING",
    "ENERGY_LIMIT_CRITICAL",
    "ENERGY_LIMIT_EXCEEDED",
    "PEAK_DEMAND_EXCEEDED",
    "CURTAILMENT_NONCOMPLIANCE",
    "RESTRICTED_HOURS",
    "UNREGISTERED_MACHINE",
    "MACHINE_MISMATCH",
    "CAPACITY_MISDECLARED",
    "METER_TAMPER_OR_GAP",
    "METER_DRIFT",
    "REPORT_LATE",
    "REPORT_INACCURATE",
    "LICENSE_EXPIRED",
    "LOCATION_CHANGE_UNDECLARED",
    "POOL_NOT_ACCREDITED",
    "SAFETY_TEMP",
    "POWER_QUALITY",
    "DATA_INTEGRITY",
    "OTHER",
];
/// Types that are about the safety of people.
pub const SAFETY_TYPES: &[&str] = &["SAFETY_TEMP", "POWER_QUALITY"];
/// From the mildest to the worst.
pub const SEVERITIES: &[&str] = &["low", "medium", "high", "critical"];
/// What can violate a rule.
pub const SUBJECT_KINDS: &[&str] = &["pool", "site", "operator", "machine", "meter"];
/// Where a violation can be.
pub const STATUSES: &[&str] = &[
    "detected",
    "open",
    "acknowledged",
    "in_remediation",
    "resolved",
    "verified",
    "closed",
    "waived",
    "false_positive",
];
/// Whether what a rule forbids is so.
pub const CONDITIONS: &[&str] = &["holds", "ended", "missing"];
/// What can happen to a violation.
pub const TRANSITIONS: &[&str] = &[
    "detected",
    "opened",
    "acknowledged",
    "remediation_begun",
    "resolved",
    "verified",
    "closed",
    "waived",
    "found_false",
    "reopened",
    "escalated",
    "condition_ended",
    "condition_returned",
    "data_missing",
    "data_returned",
];
/// What a rule may ask for.
pub const ORDER_ACTIONS: &[&str] = &["notice", "cap", "stop"];
/// Where an order can be.
pub const ORDER_STATUSES: &[&str] = &["proposed", "carried_out", "signed_off", "withdrawn"];

/// How bad a violation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// To be looked at within days.
    Low,
    /// Within a day.
    Medium,
    /// Within hours.
    High,
    /// At once.
    Critical,
}

impl Severity {
    /// From the mildest to the worst.
    pub const ALL: [Self; 4] = [Self::Low, Self::Medium, Self::High, Self::Critical];

    /// Its name in the stream.
    pub fn name(self) -> &'static str {
        SEVERITIES[self as usize]
    }

    /// The severity of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|severity| severity.name() == name)
    }

    /// Seconds until it must be acknowledged: 72 h, 24 h, 4 h, 15 min.
    pub fn acknowledge_s(self) -> i64 {
        [259_200, 86_400, 14_400, 900][self as usize]
    }

    /// Seconds until it must be resolved: 30 d, 14 d, 3 d, 4 h.
    pub fn resolve_s(self) -> i64 {
        [2_592_000, 1_209_600, 259_200, 14_400][self as usize]
    }
}

/// Where a violation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// It was measured, and has not lasted long enough yet: an alert.
    Detected,
    /// It lasted, or a person reported it.
    Open,
    /// Somebody took notice.
    Acknowledged,
    /// Somebody works on it.
    InRemediation,
    /// It is over.
    Resolved,
    /// Somebody made sure of that.
    Verified,
    /// Nothing is left to do.
    Closed,
    /// It is allowed until a time.
    Waived,
    /// It never was one.
    FalsePositive,
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 9] = [
        Self::Detected,
        Self::Open,
        Self::Acknowledged,
        Self::InRemediation,
        Self::Resolved,
        Self::Verified,
        Self::Closed,
        Self::Waived,
        Self::FalsePositive,
    ];

    /// Its name in the stream.
    pub fn name(self) -> &'static str {
        STATUSES[self as usize]
    }

    /// The status of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == name)
    }

    /// Whether somebody has to do something.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Open | Self::Acknowledged | Self::InRemediation)
    }

    /// Whether it was open and is over, so that it may be reopened.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Resolved | Self::Verified | Self::Closed)
    }
}

/// What a person decides about a violation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// To have taken notice.
    Acknowledge,
    /// To work on it.
    Remediate,
    /// That it is over.
    Resolve,
    /// That it is over indeed.
    Verify,
    /// That nothing is left to do.
    Close,
    /// To allow it until a time.
    Waive,
    /// That it never was one.
    FalsePositive,
    /// That it is not over.
    Reopen,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 8] = [
        Self::Acknowledge,
        Self::Remediate,
        Self::Resolve,
        Self::Verify,
        Self::Close,
        Self::Waive,
        Self::FalsePositive,
        Self::Reopen,
    ];

    /// Its name in a path.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Acknowledge => "acknowledge",
            Self::Remediate => "remediate",
            Self::Resolve => "resolve",
            Self::Verify => "verify",
            Self::Close => "close",
            Self::Waive => "waive",
            Self::FalsePositive => "false-positive",
            Self::Reopen => "reopen",
        }
    }

    /// The transition that it makes.
    pub fn transition(self) -> &'static str {
        match self {
            Self::Acknowledge => "acknowledged",
            Self::Remediate => "remediation_begun",
            Self::Resolve => "resolved",
            Self::Verify => "verified",
            Self::Close => "closed",
            Self::Waive => "waived",
            Self::FalsePositive => "found_false",
            Self::Reopen => "reopened",
        }
    }

    /// Where it leads to.
    pub fn target(self) -> Status {
        match self {
            Self::Acknowledge => Status::Acknowledged,
            Self::Remediate => Status::InRemediation,
            Self::Resolve => Status::Resolved,
            Self::Verify => Status::Verified,
            Self::Close => Status::Closed,
            Self::Waive => Status::Waived,
            Self::FalsePositive => Status::FalsePositive,
            Self::Reopen => Status::Open,
        }
    }

    /// From where it may be done: the table of transitions.
    pub fn allowed_from(self) -> &'static [Status] {
        use Status::{
            Acknowledged, Closed, Detected, FalsePositive, InRemediation, Open, Resolved, Verified,
            Waived,
        };
        match self {
            Self::Acknowledge => &[Open],
            Self::Remediate => &[Open, Acknowledged],
            Self::Resolve => &[Open, Acknowledged, InRemediation],
            Self::Verify => &[Resolved],
            Self::Close => &[Verified],
            Self::Waive => &[Detected, Open, Acknowledged, InRemediation],
            Self::FalsePositive => &[
                Detected,
                Open,
                Acknowledged,
                InRemediation,
                Resolved,
                Waived,
            ],
            Self::Reopen => &[Resolved, Verified, Closed, Waived, FalsePositive],
        }
    }
}

/// Who wants something, and why.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Actor {
    /// A user, a token or `local`.
    pub name: String,
    /// A role.
    pub role: Option<String>,
    /// In words.
    pub reason: String,
}

/// A decision about a violation at the version that somebody saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What is to be done.
    pub action: Action,
    /// Until when it is waived, microseconds since 1970.
    pub until_us: Option<i64>,
    /// The version that was seen.
    pub seen: i64,
    /// Who, and why.
    pub actor: Actor,
}

/// What a person reports.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// One of [`TYPES`].
    pub kind: &'static str,
    /// One of [`SUBJECT_KINDS`].
    pub subject_kind: &'static str,
    /// An id.
    pub subject: String,
    /// How bad it is.
    pub severity: Severity,
    /// When it began, microseconds since 1970.
    pub since_us: i64,
    /// When it ended, if it has.
    pub until_us: Option<i64>,
    /// Who, and why.
    pub actor: Actor,
}

/// What is done about an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrderStep {
    /// It was carried out.
    CarryOut,
    /// Somebody made sure of that.
    SignOff,
    /// It is not wanted any more.
    Withdraw,
}

impl OrderStep {
    /// Every step.
    pub const ALL: [Self; 3] = [Self::CarryOut, Self::SignOff, Self::Withdraw];

    /// Its name in a path.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CarryOut => "carry-out",
            Self::SignOff => "sign-off",
            Self::Withdraw => "withdraw",
        }
    }

    /// Where it leads to.
    pub fn target(self) -> &'static str {
        match self {
            Self::CarryOut => "carried_out",
            Self::SignOff => "signed_off",
            Self::Withdraw => "withdrawn",
        }
    }

    /// From where it may be done.
    pub fn allowed_from(self) -> &'static str {
        match self {
            Self::CarryOut | Self::Withdraw => "proposed",
            Self::SignOff => "carried_out",
        }
    }
}

/// Why something is not done, although it is well formed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is none of this id.
    #[error("there is no {what} {id:?}")]
    Missing {
        /// violation or order.
        what: &'static str,
        /// The id.
        id: String,
    },
    /// The same was reported before.
    #[error("that is violation {id:?} already")]
    Exists {
        /// Its id.
        id: String,
    },
    /// Somebody else was faster.
    #[error("{what} {id:?} is at version {found} and no longer at {seen}")]
    Changed {
        /// violation or order.
        what: &'static str,
        /// Its id.
        id: String,
        /// The version that was seen.
        seen: i64,
        /// The version that it is at.
        found: i64,
    },
    /// It cannot be done from there.
    #[error("{what} {id:?} is {status}; {action} can be done where it is {allowed}")]
    NotAllowed {
        /// violation or order.
        what: &'static str,
        /// Its id.
        id: String,
        /// Where it is.
        status: String,
        /// What was wanted.
        action: &'static str,
        /// From where it can be done.
        allowed: String,
    },
    /// What the rule forbids goes on.
    #[error("what the rule of violation {id:?} forbids still holds, so that it is not resolved")]
    Holds {
        /// Its id.
        id: String,
    },
    /// A waiver has no end, or one that is past or too far away.
    #[error("a waiver ends after now and within 366 days")]
    WaiverEnd,
}

/// The table of what can be decided from where, for the documents.
pub fn markdown_table() -> String {
    let mut text = "| decision | from | to |\n|---|---|---|\n".to_owned();
    for action in Action::ALL {
        let from: Vec<&str> = action.allowed_from().iter().map(|s| s.name()).collect();
        let target = action.target().name();
        text.push_str(&format!(
            "| `{}` | {} | {target} |\n",
            action.name(),
            from.join(", ")
        ));
    }
    text
}
