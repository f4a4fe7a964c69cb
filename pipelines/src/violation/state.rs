//! What the newest rows of `violations` and `orders` add up to.

use std::collections::BTreeMap;

use headframe_ingest::registry::shared_state::StreamState;
use headframe_schemas::stream::orders::Order;
use headframe_schemas::stream::violations::Violation;
use headframe_schemas::violation::Status;

use crate::violation::newest::{Leave, NewestRows};

/// How far back earlier violations count, microseconds: 90 days.
const EARLIER_US: i64 = 90 * 86_400_000_000;
/// Violations, and orders, of which a process holds the newest row, unless more are not over: a row
/// is some 600 bytes.
pub const MOST_ROWS: usize = 100_000;

/// What a rule watches: the rule, the kind of subject, the subject and the object.
pub type Series = (String, String, String, Option<String>);

/// Every violation, as it is, but for those that are over for long where there are very many.
#[derive(Debug)]
pub struct ViolationState {
    newest: NewestRows<Violation>,
    /// Those that a rule found in the last 90 days of its series, by when they began; whether they
    /// count as earlier ones.
    by_series: BTreeMap<Series, BTreeMap<(i64, String), bool>>,
}

impl Default for ViolationState {
    fn default() -> Self {
        Self::with_most(MOST_ROWS)
    }
}

impl ViolationState {
    /// With the newest rows of at most so many, unless more are not over.
    pub fn with_most(most: usize) -> Self {
        Self {
            newest: NewestRows::new(most),
            by_series: BTreeMap::new(),
        }
    }

    /// The newest row of a violation, unless it has left.
    pub fn find(&self, id: &str) -> Option<&Violation> {
        self.newest.find(id)
    }

    /// The newest row of each that has not left, by id.
    pub fn rows(&self) -> impl Iterator<Item = &Violation> {
        self.newest.rows()
    }

    /// Whether there are violations whose newest row is in the table alone.
    pub fn has_left(&self) -> bool {
        self.newest.has_left()
    }

    /// Of a series, the violation that began last.
    pub fn newest(&self, series: &Series) -> Option<&Violation> {
        let ((_, id), _) = self.by_series.get(series)?.last_key_value()?;
        self.find(id)
    }

    /// Every series of a rule, with the violation that began last.
    pub fn series_of(&self, rule: &str) -> impl Iterator<Item = (&Series, &Violation)> {
        let from = (rule.to_owned(), String::new(), String::new(), None);
        let rule = rule.to_owned();
        self.by_series
            .range(from..)
            .take_while(move |(series, _)| series.0 == rule)
            .filter_map(|(series, ids)| Some((series, self.find(&ids.last_key_value()?.0.1)?)))
    }

    /// How many violations of a series were opened in the 90 days before one that began then.
    pub fn earlier(&self, series: &Series, since_us: i64) -> usize {
        let Some(ids) = self.by_series.get(series) else {
            return 0;
        };
        let range = (since_us - EARLIER_US, String::new())..(since_us, String::new());
        ids.range(range).filter(|(_, counts)| **counts).count()
    }

    fn remember(&mut self, series: Series, row: &Violation) {
        let counts = row.opened_at.is_some() && row.status != Status::FalsePositive.name();
        let ids = self.by_series.entry(series).or_default();
        ids.insert((row.since, row.violation.clone()), counts);
        // The newest stays, however old it is.
        let newest_us = ids.last_key_value().map_or(0, |((since, _), _)| *since);
        let is_old = |since: i64| since < newest_us - EARLIER_US;
        while ids
            .first_key_value()
            .is_some_and(|((since, _), _)| is_old(*since))
        {
            ids.pop_first();
        }
    }
}

/// What nobody has to look at again leaves first; what was resolved and not verified, last.
fn leave(row: &Violation) -> Leave {
    let rank = match Status::parse(&row.status)? {
        Status::Closed | Status::FalsePositive => 0,
        Status::Verified => 1,
        Status::Resolved => 2,
        _ => return None,
    };
    Some((rank, row.event_time))
}

impl StreamState for ViolationState {
    type Row = Violation;

    fn apply(&mut self, seq: u64, row: &Violation) -> Result<(), String> {
        if !self.newest.is_new(&row.violation, seq) {
            return Ok(());
        }
        if let Some(rule) = &row.rule {
            let series = (
                rule.clone(),
                row.subject_kind.clone(),
                row.subject.clone(),
                row.object.clone(),
            );
            self.remember(series, row);
        }
        self.newest.insert(&row.violation, seq, row.clone(), leave);
        Ok(())
    }

    fn may_have_left(&self, key: &str) -> bool {
        self.newest.has_left() && self.newest.find(key).is_none()
    }

    fn recall(&mut self, seq: u64, row: &Violation) -> Result<(), String> {
        self.newest.keep(&row.violation);
        self.apply(seq, row)
    }
}

/// Every order, as it is, but for those that are over for long where there are very many.
#[derive(Debug)]
pub struct OrderState {
    newest: NewestRows<Order>,
}

impl Default for OrderState {
    fn default() -> Self {
        Self {
            newest: NewestRows::new(MOST_ROWS),
        }
    }
}

impl OrderState {
    /// The newest row of an order, unless it has left.
    pub fn find(&self, id: &str) -> Option<&Order> {
        self.newest.find(id)
    }

    /// The newest row of each that has not left, by id.
    pub fn rows(&self) -> impl Iterator<Item = &Order> {
        self.newest.rows()
    }
}

fn leave_order(row: &Order) -> Leave {
    let is_over = matches!(row.status.as_str(), "signed_off" | "withdrawn");
    is_over.then_some((0, row.event_time))
}

impl StreamState for OrderState {
    type Row = Order;

    fn apply(&mut self, seq: u64, row: &Order) -> Result<(), String> {
        if self.newest.is_new(&row.order, seq) {
            self.newest
                .insert(&row.order, seq, row.clone(), leave_order);
        }
        Ok(())
    }

    fn may_have_left(&self, key: &str) -> bool {
        self.newest.has_left() && self.newest.find(key).is_none()
    }

    fn recall(&mut self, seq: u64, row: &Order) -> Result<(), String> {
        self.newest.keep(&row.order);
        self.apply(seq, row)
    }
}
