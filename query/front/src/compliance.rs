//! Violations, orders and scores, as the process that serves them brings them.

use async_trait::async_trait;
use headframe_schemas::stream::orders::Order;
use headframe_schemas::stream::violations::Violation;
use headframe_schemas::violation::{Actor, Decision, OrderStep, Refusal, Report};
use serde_json::Value;

/// Which violations are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ViolationsPage {
    /// Only of this type.
    pub kind: Option<String>,
    /// Only of this severity.
    pub severity: Option<String>,
    /// Only of this status.
    pub status: Option<String>,
    /// Only of this kind of subject.
    pub subject_kind: Option<String>,
    /// Only of this subject.
    pub subject: Option<String>,
    /// Only those that began at this time, microseconds since 1970, or later.
    pub from_us: Option<i64>,
    /// Only those that began before this time.
    pub to_us: Option<i64>,
    /// Only those that come after this one: when it began, and its id.
    pub after: Option<(i64, String)>,
    /// At most so many.
    pub limit: usize,
}

impl ViolationsPage {
    /// Whether a violation is asked for.
    pub fn wants(&self, row: &Violation) -> bool {
        let is = |wanted: &Option<String>, found: &str| {
            wanted.as_ref().is_none_or(|wanted| wanted == found)
        };
        is(&self.kind, &row.kind)
            && is(&self.severity, &row.severity)
            && is(&self.status, &row.status)
            && is(&self.subject_kind, &row.subject_kind)
            && is(&self.subject, &row.subject)
            && self.from_us.is_none_or(|from| row.since >= from)
            && self.to_us.is_none_or(|to| row.since < to)
    }
}

/// Which orders are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OrdersPage {
    /// Only of this status.
    pub status: Option<String>,
    /// Only of this violation.
    pub violation: Option<String>,
    /// Only ids after this one.
    pub after: String,
    /// At most so many.
    pub limit: usize,
}

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ComplianceFailure {
    /// It is not allowed; nothing was written.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The stream does not answer; the message says whether something may have been written.
    #[error("{0}")]
    Unavailable(String),
}

/// Violations and orders as they are, what people decide about them, and what follows.
#[async_trait]
pub trait Compliance: Send + Sync {
    /// A page, the newest first, and whether there are more.
    fn violations(&self, page: &ViolationsPage) -> (Vec<Violation>, bool);
    /// Whether violations that are over are in the table alone, so that pages and scores of what is
    /// in memory lack them.
    fn has_left(&self) -> bool;
    /// The violation of this id, wherever it is.
    async fn violation(&self, id: &str) -> Result<Option<Violation>, ComplianceFailure>;
    /// A pool or an operator, and what belongs to it by the registry: kinds and ids.
    fn members(&self, subject_kind: &str, subject: &str) -> Vec<(&'static str, String)>;
    /// Opens what a person reports, durably.
    async fn report(&self, report: Report) -> Result<Violation, ComplianceFailure>;
    /// Makes a decision durable, and answers the violation since.
    async fn decide(&self, id: &str, decision: Decision) -> Result<Violation, ComplianceFailure>;
    /// A page, by id, and whether there are more.
    fn orders(&self, page: &OrdersPage) -> (Vec<Order>, bool);
    /// Makes a step of an order durable, and answers the order since.
    async fn decide_order(
        &self,
        id: &str,
        step: OrderStep,
        seen: i64,
        actor: Actor,
    ) -> Result<Order, ComplianceFailure>;
    /// `{score, grade, at, terms: […], …}` of a pool or an operator that is registered, from its
    /// violations and from how much of its data there is; `None` where it is not registered.
    /// `stored` are violations of the table, of which those in memory are newer.
    fn score(
        &self,
        subject_kind: &str,
        subject: &str,
        completeness: Option<f64>,
        stored: &[Violation],
    ) -> Option<Value>;
}
