//! In which order shares are hashed, and whose shares wait at all.
//!
//! A hash costs milliseconds and a forged share costs its sender nothing, so a single queue would
//! belong to whoever sends most. Here miners that proved themselves take turns, each connection
//! once a round. Unproven connections, which have not yet sent a good share, have a queue of their
//! own with a turn for each address; it uses what the proven leave, and never every thread. Hashes
//! wasted on wrong results come out of a budget of the address, and when that is spent, shares of
//! its unproven connections are refused. Nothing is ever accepted without its hash: when there is
//! too much, the greediest and newest unproven connections are refused, and proven miners get
//! harder jobs.
//!
//! Pure: no clock, no threads. Time is in milliseconds of any clock that does not run backwards.

use serde::{Deserialize, Serialize};
use std::net::IpAddr;

use super::overload::OverloadFactor;
use super::round_robin::{Flow, RoundRobin};
use crate::lru_map::LruMap;
use crate::token_bucket::{Bucket, Rate};

/// Addresses whose budget is remembered.
const BUDGETS: usize = 65_536;
/// Turns of proven miners for which a unproven waits at most, so that newcomers come in however
/// busy the pool is.
const TURNS_BEFORE_UNPROVEN: u32 = 16;
/// A hash in light mode, until the first ones have been measured.
const FIRST_COST_MS: f64 = 15.0;
/// Weight of the newest measurement.
const COST_WEIGHT: f64 = 0.05;

/// Who is verified first, and how much for nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FairnessSettings {
    /// Shares in flight of a connection that has not sent a good one.
    pub in_flight_unproven: usize,
    /// Shares in flight of a connection that has.
    pub in_flight_proven: usize,
    /// Shares of unproven connections that may wait; beyond, the greediest and newest are turned
    /// away.
    pub queue_unproven: usize,
    /// Milliseconds of hashing a second that an address may waste; good shares are free.
    pub budget_ms_per_s: u32,
    /// Milliseconds of hashing it may waste at once.
    pub budget_burst_ms: u32,
    /// Milliseconds a proven miner's share may wait before jobs get harder; calm makes them easier
    /// again.
    pub overload_ms: u64,
}

impl Default for FairnessSettings {
    fn default() -> Self {
        Self {
            in_flight_unproven: 2,
            in_flight_proven: 8,
            queue_unproven: 256,
            budget_ms_per_s: 50,
            budget_burst_ms: 2_000,
            overload_ms: 2_000,
        }
    }
}

/// Whose share it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// The connection; newer ones have greater numbers.
    pub session: u64,
    /// Who pays for wasted hashes; none is nobody, for addresses without limits.
    pub payer: Option<IpAddr>,
    /// Whether the connection has sent good shares.
    pub proven: bool,
}

/// Why a share is not even queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overload {
    /// The address has used up its budget.
    Budget,
    /// Too many unproven connections at once.
    Unproven,
}

impl Overload {
    /// The metric's label.
    pub fn as_str(self) -> &'static str {
        match self {
            Overload::Budget => "budget",
            Overload::Unproven => "strangers",
        }
    }
}

/// A share that waits.
#[derive(Debug)]
struct Waiting<T> {
    caller: Caller,
    since_ms: u64,
    item: T,
}

/// A share being hashed; to be given back when done.
#[derive(Debug)]
#[must_use]
pub struct Ticket {
    caller: Caller,
    unproven: bool,
    /// How long it waited.
    pub waited_ms: u64,
}

impl Ticket {
    /// Whether it came through the lane of those who have not proven themselves.
    pub fn is_unproven(&self) -> bool {
        self.unproven
    }
}

/// What became of a hash.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum HashOutcome {
    /// The claimed hash was right.
    Good {
        /// Milliseconds it took.
        cost_ms: f64,
    },
    /// It was wrong.
    Bad {
        /// Milliseconds it took.
        cost_ms: f64,
    },
    /// It was not computed, for reasons of ours.
    Skipped,
}

/// The shares that wait.
#[derive(Debug)]
pub struct FairQueue<T> {
    settings: FairnessSettings,
    threads: usize,
    proven: RoundRobin<Waiting<T>>,
    unproven: RoundRobin<Waiting<T>>,
    budgets: LruMap<IpAddr, Bucket>,
    unproven_running: usize,
    turns: u32,
    cost_ms: f64,
    overload: OverloadFactor,
}

impl<T> FairQueue<T> {
    /// An empty queue for so many threads.
    pub fn new(settings: FairnessSettings, threads: usize) -> Self {
        let overload = OverloadFactor::new(settings.overload_ms);
        Self {
            settings,
            threads: threads.max(1),
            proven: RoundRobin::new(),
            unproven: RoundRobin::new(),
            budgets: LruMap::new(BUDGETS),
            unproven_running: 0,
            turns: 0,
            cost_ms: FIRST_COST_MS,
            overload,
        }
    }

    /// Queues a share. `Ok` names those that had to go for it, which may include itself; `Err`
    /// gives it back.
    pub fn push(&mut self, caller: Caller, item: T, now_ms: u64) -> Result<Vec<T>, (Overload, T)> {
        // A proven miner is not held up by what others behind its address wasted.
        if !caller.proven
            && caller
                .payer
                .is_some_and(|payer| self.is_spent(payer, now_ms))
        {
            return Err((Overload::Budget, item));
        }
        let waiting = Waiting {
            caller,
            since_ms: now_ms,
            item,
        };
        if caller.proven {
            self.proven
                .push(Flow::Session(caller.session), caller.session, waiting);
            return Ok(Vec::new());
        }
        self.unproven
            .push(unproven_flow(&caller), caller.session, waiting);
        if self.unproven.len() > self.settings.queue_unproven {
            Ok(self.shed())
        } else {
            Ok(Vec::new())
        }
    }

    /// The next share to hash; [`FairQueue::done`] must follow. `None` when there is none, or when
    /// unproven connections must leave a thread free.
    pub fn pop(&mut self, now_ms: u64) -> Option<(Ticket, T)> {
        let free_for_unproven = self.threads == 1 || self.unproven_running < self.threads - 1;
        let unproven_waits = free_for_unproven && self.unproven.len() > 0;
        let owed = self.turns >= TURNS_BEFORE_UNPROVEN;
        let unproven = unproven_waits && (owed || self.proven.len() == 0);
        let waiting = if unproven {
            self.unproven.pop()
        } else {
            self.proven.pop()
        }?;
        let waited_ms = now_ms.saturating_sub(waiting.since_ms);
        if unproven {
            self.turns = 0;
            self.unproven_running += 1;
        } else {
            self.turns += u32::from(unproven_waits);
            self.overload.record_wait(waited_ms, now_ms);
        }
        Some((
            Ticket {
                caller: waiting.caller,
                unproven,
                waited_ms,
            },
            waiting.item,
        ))
    }

    /// A popped share is done with. Returns those that are refused for it: the unproven
    /// connections' shares of an address whose budget is spent.
    pub fn done(&mut self, ticket: Ticket, done: HashOutcome, now_ms: u64) -> Vec<T> {
        self.unproven_running -= usize::from(ticket.unproven);
        let (HashOutcome::Good { cost_ms } | HashOutcome::Bad { cost_ms }) = done else {
            return Vec::new();
        };
        self.cost_ms += (cost_ms - self.cost_ms) * COST_WEIGHT;
        if matches!(done, HashOutcome::Good { .. }) {
            return Vec::new();
        }
        self.demote(ticket.caller);
        let Some(payer) = ticket.caller.payer else {
            return Vec::new();
        };
        let rate = self.rate();
        self.budgets
            .entry(&payer, || Bucket::full(rate, now_ms))
            .charge(rate, cost_ms, now_ms);
        if !self.is_spent(payer, now_ms) {
            return Vec::new();
        }
        self.unproven
            .remove(Flow::Address(payer), |_| true)
            .into_iter()
            .map(|waiting| waiting.item)
            .collect()
    }

    /// Whether an address cannot afford another wasted hash.
    fn is_spent(&mut self, payer: IpAddr, now_ms: u64) -> bool {
        let (rate, cost_ms) = (self.rate(), self.cost_ms);
        self.budgets
            .entry(&payer, || Bucket::full(rate, now_ms))
            .level(rate, now_ms)
            < cost_ms
    }

    /// Shares that wait, of proven miners and of unproven connections.
    pub fn len(&self) -> (usize, usize) {
        (self.proven.len(), self.unproven.len())
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == (0, 0)
    }

    /// By how much jobs should be harder than miners ask for: 1, 2, 4, up to 64.
    pub fn overload_factor(&mut self, now_ms: u64) -> u64 {
        self.overload.factor(now_ms)
    }

    /// A connection whose result was wrong goes to the back of the unproven queue with everything
    /// it still has waiting.
    fn demote(&mut self, caller: Caller) {
        for mut waiting in self.proven.remove(Flow::Session(caller.session), |_| true) {
            waiting.caller.proven = false;
            self.unproven
                .push(unproven_flow(&caller), caller.session, waiting);
        }
    }

    /// Turns away the newest connection of those with the longest line.
    fn shed(&mut self) -> Vec<T> {
        let longest = self
            .unproven
            .longest()
            .map(|(flow, line)| (flow, line.map(|waiting| waiting.caller.session).max()));
        let Some((flow, Some(session))) = longest else {
            return Vec::new();
        };
        let gone = self
            .unproven
            .remove(flow, |waiting| waiting.caller.session == session);
        gone.into_iter().map(|waiting| waiting.item).collect()
    }

    fn rate(&self) -> Rate {
        Rate {
            per_s: f64::from(self.settings.budget_ms_per_s),
            burst: f64::from(self.settings.budget_burst_ms),
        }
    }
}

/// Unproven connections take turns by address, so that many connections are no more than one; where
/// addresses say nothing, by connection.
fn unproven_flow(caller: &Caller) -> Flow {
    caller
        .payer
        .map_or(Flow::Session(caller.session), Flow::Address)
}
