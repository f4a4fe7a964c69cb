//! Violations and orders of a process with the role query: what there is, what people decide, and
//! scores.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use async_trait::async_trait;
use headframe_ingest::registry::shared_state::{
    ChangeError, NextMessage, SharedState, StreamState,
};
use headframe_pipelines::violation::lifecycle::{self, reported_id};
use headframe_pipelines::violation::score::{Score, Term, score};
use headframe_pipelines::violation::state::{OrderState, ViolationState};
use headframe_pipelines::violation::{order, state};
use headframe_query_front::compliance::{
    Compliance, ComplianceFailure, OrdersPage, ViolationsPage,
};
use headframe_query_front::{Registry, ResourcePage, Services};
use headframe_schemas::resource;
use headframe_schemas::resource::values::micros_text;
use headframe_schemas::stream::orders::Order;
use headframe_schemas::stream::violations::Violation;
use headframe_schemas::violation::{Actor, Decision, OrderStep, Refusal, Report};
use serde_json::{Value, json};

use crate::service::Service;
use crate::service::components::Components;

const MICRO: f64 = 1e6;

/// Both streams, and what is registered.
struct StreamCompliance {
    violations: SharedState<ViolationState>,
    orders: SharedState<OrderState>,
    registry: Arc<dyn Registry>,
}

impl Service {
    /// Learns what is registered and what violations and orders there are, and follows what others
    /// write.
    pub(super) async fn open_mine(
        &mut self,
        components: &Components,
        services: &mut Services,
    ) -> anyhow::Result<()> {
        let registry = self.open_registry(components).await?;
        let compliance = StreamCompliance {
            violations: self.open_state(components).await?,
            orders: self.open_state(components).await?,
            registry: registry.clone(),
        };
        services.registry = Some(registry);
        services.compliance = Some(Arc::new(compliance));
        Ok(())
    }

    async fn open_state<S: StreamState>(
        &mut self,
        components: &Components,
    ) -> anyhow::Result<SharedState<S>> {
        let (nats, settings) = (components.nats.clone(), &components.config.streams);
        let opened = SharedState::open::<Refusal>(nats, settings).await;
        let (state, follower) = opened.context("cannot read violations and orders")?;
        let stop = self.stop_working.clone();
        self.tasks.spawn(async move {
            follower.run(stop).await;
            Ok(())
        });
        Ok(state)
    }
}

#[async_trait]
impl Compliance for StreamCompliance {
    fn violations(&self, page: &ViolationsPage) -> (Vec<Violation>, bool) {
        let state = self.violations.state();
        let place = |row: &Violation| (row.since, row.violation.clone());
        let is_later = |row: &&Violation| {
            let after = page.after.as_ref();
            page.wants(row) && after.is_none_or(|after| place(row) < *after)
        };
        let mut found: Vec<&Violation> = state.rows().filter(is_later).collect();
        found.sort_by_key(|row| std::cmp::Reverse(place(row)));
        let has_more = found.len() > page.limit;
        found.truncate(page.limit);
        (found.into_iter().cloned().collect(), has_more)
    }

    fn has_left(&self) -> bool {
        self.violations.state().has_left()
    }

    async fn violation(&self, id: &str) -> Result<Option<Violation>, ComplianceFailure> {
        recall(&self.violations, id).await?;
        Ok(self.violations.state().find(id).cloned())
    }

    async fn report(&self, report: Report) -> Result<Violation, ComplianceFailure> {
        let id = reported_id(&report);
        recall(&self.violations, &id).await?;
        let plan = |state: &ViolationState| {
            lifecycle::report(state.find(&id), &report, now_us()).map(NextMessage::Message)
        };
        change(&self.violations, plan).await
    }

    async fn decide(&self, id: &str, decision: Decision) -> Result<Violation, ComplianceFailure> {
        recall(&self.violations, id).await?;
        let plan = |state: &ViolationState| {
            let before = state.find(id).ok_or_else(|| missing("violation", id))?;
            lifecycle::decide(before, &decision, now_us()).map(NextMessage::Message)
        };
        change(&self.violations, plan).await
    }

    fn orders(&self, page: &OrdersPage) -> (Vec<Order>, bool) {
        let is = |wanted: &Option<String>, found: &str| {
            wanted.as_ref().is_none_or(|wanted| wanted == found)
        };
        let wants = |row: &&Order| {
            row.order > page.after
                && is(&page.status, &row.status)
                && is(&page.violation, &row.violation)
        };
        let state = self.orders.state();
        let mut found = state.rows().filter(wants);
        let rows: Vec<Order> = found.by_ref().take(page.limit).cloned().collect();
        let has_more = found.next().is_some();
        (rows, has_more)
    }

    async fn decide_order(
        &self,
        id: &str,
        step: OrderStep,
        seen: i64,
        actor: Actor,
    ) -> Result<Order, ComplianceFailure> {
        recall(&self.orders, id).await?;
        let plan = |state: &state::OrderState| {
            let before = state.find(id).ok_or_else(|| missing("order", id))?;
            order::decide(before, step, seen, &actor, now_us()).map(NextMessage::Message)
        };
        change(&self.orders, plan).await
    }

    fn score(
        &self,
        subject_kind: &str,
        subject: &str,
        completeness: Option<f64>,
        stored: &[Violation],
    ) -> Option<Value> {
        let kind = resource::find(&format!("{subject_kind}s"))?;
        self.registry.find(kind, subject)?;
        let members = self.members(subject_kind, subject);
        let state = self.violations.state();
        let is_member = |row: &&Violation| {
            members
                .iter()
                .any(|(kind, id)| *kind == row.subject_kind && *id == row.subject)
        };
        let left = stored
            .iter()
            .filter(|row| state.find(&row.violation).is_none());
        let now = now_us();
        let rows = state.rows().filter(is_member).chain(left);
        let score = score(rows, completeness, now);
        Some(score_json((subject_kind, subject), &score, now))
    }

    fn members(&self, subject_kind: &str, subject: &str) -> Vec<(&'static str, String)> {
        let own = match subject_kind {
            "operator" => "operator",
            _ => "pool",
        };
        let mut members = vec![(own, subject.to_owned())];
        for (kind, name) in [
            ("pools", "pool"),
            ("sites", "site"),
            ("machines", "machine"),
            ("meters", "meter"),
        ] {
            let Some(kind) = resource::find(kind).filter(|kind| kind.field(own).is_some()) else {
                continue;
            };
            let mut page = ResourcePage {
                limit: usize::MAX,
                ..ResourcePage::default()
            };
            page.filter.insert(own.to_owned(), Value::from(subject));
            let (found, _) = self.registry.page(kind, &page);
            members.extend(found.into_iter().map(|found| (name, found.id)));
        }
        members
    }
}

/// Takes the newest row of a violation or an order in again, where it left memory.
async fn recall<S: StreamState>(state: &SharedState<S>, id: &str) -> Result<(), ComplianceFailure> {
    let recalled = state.recall::<Refusal>(id).await;
    recalled.map_err(|error| ComplianceFailure::Unavailable(error.to_string()))
}

async fn change<S: StreamState>(
    state: &SharedState<S>,
    plan: impl Fn(&S) -> Result<NextMessage<S::Row, S::Row>, Refusal>,
) -> Result<S::Row, ComplianceFailure> {
    match state.change(plan).await {
        Ok(NextMessage::Message(row) | NextMessage::Unchanged(row)) => Ok(row),
        Err(ChangeError::Refused(refusal)) => Err(refusal.into()),
        Err(error) => Err(ComplianceFailure::Unavailable(error.to_string())),
    }
}

fn missing(what: &'static str, id: &str) -> Refusal {
    Refusal::Missing {
        what,
        id: id.to_owned(),
    }
}

fn score_json((subject_kind, subject): (&str, &str), score: &Score, now: i64) -> Value {
    let points = |micro: i64| micro as f64 / MICRO;
    let term = |term: &Term| {
        json!({
            "violation": term.violation,
            "type": term.kind,
            "severity": term.severity.name(),
            "weight": term.weight,
            "duration_share": term.duration_share,
            "age_days": term.age_days,
            "decay": term.decay,
            "factor": term.factor,
            "points": points(term.points_micro),
        })
    };
    let terms: Vec<Value> = score.terms.iter().map(term).collect();
    json!({
        "subject_kind": subject_kind,
        "subject": subject,
        "at": micros_text(now),
        "score": points(score.micro),
        "grade": score.grade.to_string(),
        "terms": terms,
        "data_completeness": score.completeness,
        "data_completeness_points": points(score.completeness_micro),
        "late_reports": score.late_reports,
        "late_reports_points": points(score.late_micro),
    })
}

fn now_us() -> i64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(now.as_micros()).unwrap_or(i64::MAX)
}
