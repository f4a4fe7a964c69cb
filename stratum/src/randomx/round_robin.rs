//! A lane: flows that take turns, each with a queue of its own.
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

/// The queues. A flow is in `turns` and in `ranks` exactly when its queue is not empty.
#[derive(Debug)]
pub(super) struct RoundRobin<T> {
    queues: HashMap<Flow, FlowQueue<T>>,
    turns: VecDeque<Flow>,
    /// By length, then by the newest session that joined the queue.
    ranks: BTreeSet<(usize, u64, Flow)>,
    len: usize,
}

#[derive(Debug)]
struct FlowQueue<T> {
    items: VecDeque<T>,
    newest: u64,
}

impl<T> RoundRobin<T> {
    pub(super) fn new() -> Self {
        Self {
            queues: HashMap::new(),
            turns: VecDeque::new(),
            ranks: BTreeSet::new(),
            len: 0,
        }
    }

    /// Items of all flows.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// At the end of the flow's queue, for a session.
    pub(super) fn push(&mut self, flow: Flow, session: u64, item: T) {
        let queue = self.queues.entry(flow).or_insert_with(|| FlowQueue {
            items: VecDeque::new(),
            newest: 0,
        });
        if queue.items.is_empty() {
            self.turns.push_back(flow);
        }
        self.ranks.remove(&(queue.items.len(), queue.newest, flow));
        queue.items.push_back(item);
        queue.newest = queue.newest.max(session);
        self.ranks.insert((queue.items.len(), queue.newest, flow));
        self.len += 1;
    }

    /// The first item of the flow whose turn it is.
    pub(super) fn pop(&mut self) -> Option<T> {
        let flow = self.turns.pop_front()?;
        let queue = self.queues.get_mut(&flow)?;
        self.ranks.remove(&(queue.items.len(), queue.newest, flow));
        let item = queue.items.pop_front()?;
        self.len -= 1;
        if queue.items.is_empty() {
            self.queues.remove(&flow);
        } else {
            self.ranks.insert((queue.items.len(), queue.newest, flow));
            self.turns.push_back(flow);
        }
        Some(item)
    }

    /// The items of the flow with the longest queue; of several, of the one that the newest session
    /// joined.
    pub(super) fn longest(&self) -> Option<(Flow, impl Iterator<Item = &T>)> {
        let (_, _, flow) = *self.ranks.last()?;
        Some((flow, self.queues.get(&flow)?.items.iter()))
    }

    /// Takes matching items out of a flow's queue.
    pub(super) fn remove(&mut self, flow: Flow, matches: impl Fn(&T) -> bool) -> Vec<T> {
        let Some(queue) = self.queues.get_mut(&flow) else {
            return Vec::new();
        };
        self.ranks.remove(&(queue.items.len(), queue.newest, flow));
        let (gone, kept): (VecDeque<T>, VecDeque<T>) = std::mem::take(&mut queue.items)
            .into_iter()
            .partition(matches);
        self.len -= gone.len();
        if kept.is_empty() {
            self.queues.remove(&flow);
            self.turns.retain(|turn| *turn != flow);
        } else {
            self.ranks.insert((kept.len(), queue.newest, flow));
            queue.items = kept;
        }
        gone.into()
    }
}
