//! What the newest rows of `violations` and `orders` add up to.

use std::collections::{BTreeMap, BTreeSet};

use headframe_ingest::registry::shared_state::StreamState;
use headframe_schemas::stream::orders::Order;
use headframe_schemas::stream::violations::Violation;

/// How far back earlier violations count, microseconds: 90 days.
const EARLIER_US: i64 = 90 * 86_400_000_000;

/// What a rule watches: the rule, the kind of subject, the subject and the object.
pub type Series = (String, String, String, Option<String>);

/// Every violation, as it is.
#[derive(Debug, Default)]
pub struct ViolationState {
    by_id: BTreeMap<String, (u64, Violation)>,
    /// Those that a rule found, by when they began.
    by_series: BTreeMap<Series, BTreeSet<(i64, String)>>,
}

impl ViolationState {
    /// The newest row of a violation.
    pub fn find(&self, id: &str) -> Option<&Violation> {
        self.by_id.get(id).map(|(_, row)| row)
    }

    /// The newest row of each, by id.
    pub fn rows(&self) -> impl Iterator<Item = &Violation> {
        self.by_id.values().map(|(_, row)| row)
    }

    /// Of a series, the violation that began last.
    pub fn newest(&self, series: &Series) -> Option<&Violation> {
        let (_, id) = self.by_series.get(series)?.last()?;
        self.find(id)
    }

    /// Every series of a rule, with the violation that began last.
    pub fn series_of(&self, rule: &str) -> impl Iterator<Item = (&Series, &Violation)> {
        let from = (rule.to_owned(), String::new(), String::new(), None);
        let rule = rule.to_owned();
        self.by_series
            .range(from..)
            .take_while(move |(series, _)| series.0 == rule)
            .filter_map(|(series, ids)| Some((series, self.find(&ids.last()?.1)?)))
    }

    /// How many violations of a series were opened in the 90 days before one that began then.
    pub fn earlier(&self, series: &Series, since_us: i64) -> usize {
        let Some(ids) = self.by_series.get(series) else {
            return 0;
        };
        let range = (since_us - EARLIER_US, String::new())..(since_us, String::new());
        let found = ids.range(range).filter_map(|(_, id)| self.find(id));
        let counts = |row: &&Violation| row.opened_at.is_some() && row.status != "false_positive";
        found.filter(counts).count()
    }
}

impl StreamState for ViolationState {
    type Row = Violation;

    fn apply(&mut self, seq: u64, row: &Violation) -> Result<(), String> {
        let known = self.by_id.get(&row.violation);
        if known.is_some_and(|(known, _)| *known >= seq) {
            return Ok(());
        }
        if let Some(rule) = &row.rule {
            let series = (
                rule.clone(),
                row.subject_kind.clone(),
                row.subject.clone(),
                row.object.clone(),
            );
            let place = (row.since, row.violation.clone());
            self.by_series.entry(series).or_default().insert(place);
        }
        self.by_id.insert(row.violation.clone(), (seq, row.clone()));
        Ok(())
    }
}

/// Every order, as it is.
#[derive(Debug, Default)]
pub struct OrderState {
    by_id: BTreeMap<String, (u64, Order)>,
}

impl OrderState {
    /// The newest row of an order.
    pub fn find(&self, id: &str) -> Option<&Order> {
        self.by_id.get(id).map(|(_, row)| row)
    }

    /// The newest row of each, by id.
    pub fn rows(&self) -> impl Iterator<Item = &Order> {
        self.by_id.values().map(|(_, row)| row)
    }
}

impl StreamState for OrderState {
    type Row = Order;

    fn apply(&mut self, seq: u64, row: &Order) -> Result<(), String> {
        let known = self.by_id.get(&row.order);
        if known.is_none_or(|(known, _)| *known < seq) {
            self.by_id.insert(row.order.clone(), (seq, row.clone()));
        }
        Ok(())
    }
}
