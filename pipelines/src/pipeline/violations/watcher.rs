//! Applies every rule to the samples since the last look, and writes what follows.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

use headframe_ingest::registry::shared_state::{
    ChangeError, NextMessage, SharedState, StreamState,
};
use headframe_schemas::Record;
use headframe_schemas::resource::Values;
use headframe_schemas::stream::orders::Order;
use headframe_schemas::stream::violations::Violation;
use headframe_schemas::violation::{Severity, Status};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::gauges;
use super::watched_rule::{SeriesFinding, WatchedRule};
use crate::fault::PipelineFault;
use crate::pipeline::Context;
use crate::violation::lifecycle::{Finder, end_waiver, observe, violation_id};
use crate::violation::metric::{MetricTables, ReadingCache, Selection, Span};
use crate::violation::order::{OrderPolicy, order_id, propose, withdraw};
use crate::violation::rule::{Rule, defaults};
use crate::violation::severity::{Circumstances, severity};
use crate::violation::state::{OrderState, ViolationState};

/// How far back the first look at a rule reaches, microseconds: a day.
const LOOKBACK_US: i64 = 86_400_000_000;
/// What is read at once, microseconds: an hour.
const PIECE_US: i64 = 3_600_000_000;

/// The rules at work.
pub struct RuleWatcher {
    tables: MetricTables,
    violations: SharedState<ViolationState>,
    orders: SharedState<OrderState>,
    rules: BTreeMap<String, WatchedRule>,
    through_us: Option<i64>,
    /// Those that follow both streams; they end with this.
    _followers: JoinSet<()>,
}

impl RuleWatcher {
    /// Learns what violations and orders there are; makes the streams where they are missing.
    pub async fn open(context: &Context) -> Result<Self, PipelineFault> {
        let mut followers = JoinSet::new();
        let violations = open_state(context, &mut followers).await?;
        let orders = open_state(context, &mut followers).await?;
        Ok(Self {
            tables: MetricTables::open(&context.lake),
            violations,
            orders,
            rules: BTreeMap::new(),
            through_us: None,
            _followers: followers,
        })
    }

    /// Applies the rules to what was measured until a time, microseconds since 1970. Times must
    /// rise. A rule that was not known before begins where it holds from, at most a day ago.
    pub async fn step(&mut self, now_us: i64) -> Result<(), PipelineFault> {
        self.tables.refresh().await?;
        self.learn_rules(now_us);
        while let Some(span) = next_span(self.rules.values(), now_us) {
            for found in self.findings(span).await? {
                self.write_finding(&found).await?;
            }
            let passed = self.rules.values_mut();
            for rule in passed.filter(|rule| rule.through_us == span.after_us) {
                rule.through_us = span.through_us;
            }
        }
        self.end_waivers(now_us).await?;
        self.write_orders().await?;
        gauges::show(&self.violations.state(), self.rules.values());
        self.through_us = Some(now_us);
        Ok(())
    }

    /// The rules of the registry, and those by default of which it has none of the id.
    fn learn_rules(&mut self, now_us: i64) {
        let registered = self.tables.registered("rules");
        let registered =
            registered.map(|(id, rule)| (id.clone(), (rule.values.clone(), rule.at_us)));
        let mut wanted: BTreeMap<String, (Values, i64)> = registered.collect();
        for (id, values) in defaults() {
            wanted.entry(id).or_insert((values, i64::MIN));
        }
        self.rules.retain(|id, rule| {
            wanted
                .get(id)
                .is_some_and(|(values, since_us)| rule.is_made_of(values, *since_us))
        });
        let state = self.violations.state();
        let earliest_us = now_us - LOOKBACK_US;
        let latest_us = self.through_us.unwrap_or(now_us);
        for (id, (values, since_us)) in wanted {
            if self.rules.contains_key(&id) {
                continue;
            }
            if let Some(rule) = Rule::parse(&id, &values, since_us) {
                if !rule.has_subjects() {
                    let (metric, kind) = (rule.metric.name(), &rule.subject_kind);
                    tracing::warn!(rule = id, metric, kind, "a rule watches what nothing has");
                }
                let from_us = read_from(rule.since_us(), earliest_us).min(latest_us);
                let rule = WatchedRule::new(rule, (values, since_us), &state, from_us);
                self.rules.insert(id, rule);
            }
        }
    }

    /// What the rules that are known until the beginning of a span find in it, in the order of
    /// time.
    async fn findings(&mut self, span: Span) -> Result<Vec<SeriesFinding>, PipelineFault> {
        let mut cache = ReadingCache::default();
        let mut all = Vec::new();
        let rules = self.rules.values_mut();
        for watched in rules.filter(|rule| rule.through_us == span.after_us) {
            let rule = &watched.rule;
            let selection = Selection {
                subject_kind: rule.subject_kind.clone(),
                quantity: rule.quantity.clone(),
            };
            let metric = rule.metric;
            let reach = Span {
                after_us: span.after_us - metric.lateness_us(),
                ..span
            };
            let readings = match rule.has_subjects() {
                true => {
                    cache
                        .readings(metric, &self.tables, &selection, reach)
                        .await?
                }
                false => Default::default(),
            };
            let state = self.violations.state();
            all.extend(watched.take(&readings, span.through_us, &state, span.after_us));
        }
        all.sort_by_key(|found| found.finding.at_us);
        Ok(all)
    }

    async fn write_finding(&self, found: &SeriesFinding) -> Result<(), PipelineFault> {
        let (rule, kind, subject, object) = &found.series;
        let Some(watched) = self.rules.get(rule) else {
            return Ok(());
        };
        let finding = &found.finding;
        let window_us = finding.episode.window_us;
        let id = violation_id(rule, (kind, subject), object.as_deref(), window_us);
        let finder = |state: &ViolationState| Finder {
            rule,
            kind: watched.rule.kind,
            threshold: watched.rule.condition.threshold,
            subject_kind: kind,
            subject,
            object: object.as_deref(),
            evidence_stream: watched.rule.metric.source().name(),
            severity: severity_of(&watched.rule, found, state),
        };
        // What is over for long may not be in memory, and is not to be found a second time.
        let recalled = self.violations.recall(&id).await;
        recalled.map_err(fault::<ViolationState>)?;
        let next = |state: &ViolationState| observe(state.find(&id), &finder(state), finding);
        match write(&self.violations, next).await? {
            // At once, so that it does not matter what else is found in the same look.
            Some(row) => self.write_orders_of(&row).await,
            None => Ok(()),
        }
    }

    async fn end_waivers(&self, now_us: i64) -> Result<(), PipelineFault> {
        let ended: Vec<String> = {
            let state = self.violations.state();
            let ended = state.rows().filter(|row| end_waiver(row, now_us).is_some());
            ended.map(|row| row.violation.clone()).collect()
        };
        for id in ended {
            let next = |state: &ViolationState| end_waiver(state.find(&id)?, now_us);
            write(&self.violations, next).await?;
        }
        Ok(())
    }

    /// Proposes the orders that rules ask for, and withdraws those that are not wanted any more.
    async fn write_orders(&self) -> Result<(), PipelineFault> {
        let waiting: BTreeSet<String> = {
            let orders = self.orders.state();
            let proposed = orders.rows().filter(|row| row.status == "proposed");
            proposed.map(|row| row.violation.clone()).collect()
        };
        let violations: Vec<Violation> = {
            let state = self.violations.state();
            let concerned = state
                .rows()
                .filter(|row| self.is_wanted(row) || waiting.contains(&row.violation));
            concerned.cloned().collect()
        };
        for violation in &violations {
            self.write_orders_of(violation).await?;
        }
        Ok(())
    }

    async fn write_orders_of(&self, violation: &Violation) -> Result<(), PipelineFault> {
        if let Some((policy, id)) = self.policy(violation).zip(order_id(violation)) {
            let recalled = self.orders.recall(&id).await;
            recalled.map_err(fault::<OrderState>)?;
            let next = |state: &OrderState| propose(state.find(&id), violation, policy);
            write(&self.orders, next).await?;
        }
        let waiting: Vec<String> = {
            let orders = self.orders.state();
            let waits =
                |row: &&Order| row.status == "proposed" && row.violation == violation.violation;
            orders
                .rows()
                .filter(waits)
                .map(|row| row.order.clone())
                .collect()
        };
        for order in waiting {
            let next = |state: &OrderState| withdraw(state.find(&order)?, violation);
            write(&self.orders, next).await?;
        }
        Ok(())
    }

    /// Whether a violation that is open leads to an order.
    fn is_wanted(&self, violation: &Violation) -> bool {
        let is_open = Status::parse(&violation.status).is_some_and(Status::is_open);
        is_open && self.policy(violation).is_some()
    }

    /// What the rule of a violation asks for.
    fn policy(&self, violation: &Violation) -> Option<&OrderPolicy> {
        let rule = self.rules.get(violation.rule.as_ref()?)?;
        rule.rule.order.as_ref()
    }
}

/// From when on the samples of a rule are read that holds from a time on: in whole pieces from the
/// earliest time, so that many rules need no more looks than one.
fn read_from(since_us: i64, earliest_us: i64) -> i64 {
    let passed_us = since_us.saturating_sub(earliest_us).max(0);
    earliest_us + passed_us / PIECE_US * PIECE_US
}

/// What is looked at next: a day of every machine would not fit into memory at once. It ends where
/// another rule is known until, so that each sample is taken once.
fn next_span<'a>(rules: impl Iterator<Item = &'a WatchedRule>, now_us: i64) -> Option<Span> {
    let known: BTreeSet<i64> = rules.map(|rule| rule.through_us).collect();
    let mut known = known.into_iter().filter(|through_us| *through_us < now_us);
    let after_us = known.next()?;
    let through_us = known.next().unwrap_or(now_us).min(after_us + PIECE_US);
    Some(Span {
        after_us,
        through_us,
    })
}

/// How bad a violation is by now.
fn severity_of(rule: &Rule, found: &SeriesFinding, state: &ViolationState) -> Severity {
    let episode = &found.finding.episode;
    rule.severity.unwrap_or_else(|| {
        severity(&Circumstances {
            peak: episode.peak,
            threshold: rule.condition.threshold,
            lasted_us: found.finding.at_us - episode.since_us,
            earlier: state.earlier(&found.series, episode.since_us),
            is_safety: rule.is_about_safety(),
        })
    })
}

async fn open_state<S: StreamState>(
    context: &Context,
    followers: &mut JoinSet<()>,
) -> Result<SharedState<S>, PipelineFault> {
    let opened = SharedState::open::<Infallible>(context.nats.clone(), &context.settings).await;
    let (state, follower) = opened.map_err(fault::<S>)?;
    followers.spawn(follower.run(CancellationToken::new()));
    Ok(state)
}

/// Writes the row that follows, if any, and answers it.
async fn write<S: StreamState>(
    state: &SharedState<S>,
    next: impl Fn(&S) -> Option<S::Row>,
) -> Result<Option<S::Row>, PipelineFault> {
    // Most findings change nothing; the stream need not be asked for that.
    if next(&state.state()).is_none() {
        return Ok(None);
    }
    let plan = |state: &S| -> Result<NextMessage<S::Row, ()>, Infallible> {
        Ok(next(state).map_or(NextMessage::Unchanged(()), NextMessage::Message))
    };
    let NextMessage::Message(row) = state.change(plan).await.map_err(fault::<S>)? else {
        return Ok(None);
    };
    let stream = <S::Row as Record>::STREAM.name();
    metrics::counter!("headframe_rule_rows_total", "stream" => stream).increment(1);
    Ok(Some(row))
}

/// What others write all the time, or what cannot be read just now, passes.
fn fault<S: StreamState>(error: ChangeError<Infallible>) -> PipelineFault {
    let stream = <S::Row as Record>::STREAM.name();
    match error {
        ChangeError::Stream(error) => error.into(),
        ChangeError::Refused(never) => match never {},
        error => PipelineFault::Storage {
            action: "writing what rules find",
            table: stream.to_owned(),
            why: error.to_string(),
        },
    }
}
