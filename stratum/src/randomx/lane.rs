//! A lane: flows that take turns, each with a line of its own.
//!
//! All items cost about the same, so one item a turn is what deficit round robin would come to.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::IpAddr;

/// Whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Flow {
    Session(u64),
    Address(IpAddr),
}

/// The lines. A flow is in `turns` and in `ranks` exactly when its line is not empty.
#[derive(Debug)]
pub(super) struct Lane<T> {
    lines: HashMap<Flow, Line<T>>,
    turns: VecDeque<Flow>,
    /// By length, then by the newest session that joined the line.
    ranks: BTreeSet<(usize, u64, Flow)>,
    len: usize,
}

#[derive(Debug)]
struct Line<T> {
    items: VecDeque<T>,
    newest: u64,
}

impl<T> Lane<T> {
    pub(super) fn new() -> Self {
        Self {
            lines: HashMap::new(),
            turns: VecDeque::new(),
            ranks: BTreeSet::new(),
            len: 0,
        }
    }

    /// Items of all flows.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// At the end of the flow's line, for a session.
    pub(super) fn push(&mut self, flow: Flow, session: u64, item: T) {
        let line = self.lines.entry(flow).or_insert_with(|| Line {
            items: VecDeque::new(),
            newest: 0,
        });
        if line.items.is_empty() {
            self.turns.push_back(flow);
        }
        self.ranks.remove(&(line.items.len(), line.newest, flow));
        line.items.push_back(item);
        line.newest = line.newest.max(session);
        self.ranks.insert((line.items.len(), line.newest, flow));
        self.len += 1;
    }

    /// The first item of the flow whose turn it is.
    pub(super) fn pop(&mut self) -> Option<T> {
        let flow = self.turns.pop_front()?;
        let line = self.lines.get_mut(&flow)?;
        self.ranks.remove(&(line.items.len(), line.newest, flow));
        let item = line.items.pop_front()?;
        self.len -= 1;
        if line.items.is_empty() {
            self.lines.remove(&flow);
        } else {
            self.ranks.insert((line.items.len(), line.newest, flow));
            self.turns.push_back(flow);
        }
        Some(item)
    }

    /// The items of the flow with the longest line; of several, of the one that the newest session
    /// joined.
    pub(super) fn longest(&self) -> Option<(Flow, impl Iterator<Item = &T>)> {
        let (_, _, flow) = *self.ranks.last()?;
        Some((flow, self.lines.get(&flow)?.items.iter()))
    }

    /// Takes matching items out of a flow's line.
    pub(super) fn remove(&mut self, flow: Flow, matches: impl Fn(&T) -> bool) -> Vec<T> {
        let Some(line) = self.lines.get_mut(&flow) else {
            return Vec::new();
        };
        self.ranks.remove(&(line.items.len(), line.newest, flow));
        let (gone, kept): (VecDeque<T>, VecDeque<T>) = std::mem::take(&mut line.items)
            .into_iter()
            .partition(matches);
        self.len -= gone.len();
        if kept.is_empty() {
            self.lines.remove(&flow);
            self.turns.retain(|turn| *turn != flow);
        } else {
            self.ranks.insert((kept.len(), line.newest, flow));
            line.items = kept;
        }
        gone.into()
    }
}
