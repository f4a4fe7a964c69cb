//! How many subscribers there may be: in all, of miners, of one principal, and from one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::access::{Principal, Role};
use crate::config::QueryConfig;
use crate::error::{ErrorCode, QueryError};
use crate::slot_quotas::three_quarters;

/// Counts subscribers.
pub(super) struct Subscribers {
    max: Limit,
    max_per_principal: Limit,
    max_per_address: Limit,
    /// All miners together, since an address to mine to is free.
    max_of_miners: Limit,
    gauge: &'static str,
    seats: Arc<Mutex<Seats>>,
}

/// How many there may be, and the key of the configuration that says so.
#[derive(Clone, Copy)]
struct Limit(usize, &'static str);

#[derive(Default)]
struct Seats {
    all: usize,
    of_miners: usize,
    by_principal: HashMap<Arc<str>, usize>,
    by_address: HashMap<IpAddr, usize>,
}

/// A subscriber is counted as long as this is there.
pub(crate) struct Seat {
    principal: Arc<str>,
    address: IpAddr,
    is_miner: bool,
    gauge: &'static str,
    seats: Arc<Mutex<Seats>>,
}

impl Subscribers {
    /// Nobody subscribes.
    pub(super) fn new(config: &QueryConfig) -> Self {
        Self {
            max: Limit(config.live_subscribers, "live_subscribers"),
            max_per_principal: Limit(
                config.live_subscribers_per_principal,
                "live_subscribers_per_principal",
            ),
            max_per_address: Limit(
                config.live_subscribers_per_address,
                "live_subscribers_per_address",
            ),
            max_of_miners: Limit(three_quarters(config.live_subscribers), "live_subscribers"),
            gauge: "headframe_live_subscribers",
            seats: Arc::default(),
        }
    }

    /// The same for statements whose answers are pushed.
    pub(super) fn of_answers(config: &QueryConfig) -> Self {
        let half = config.live_statements.div_ceil(2);
        Self {
            max: Limit(config.live_statements, "live_statements"),
            // Nobody takes all of them.
            max_per_principal: Limit(half, "live_statements"),
            max_per_address: Limit(half, "live_statements"),
            max_of_miners: Limit(half, "live_statements"),
            gauge: "headframe_live_statements",
            seats: Arc::default(),
        }
    }

    /// The same for connections whose token has not come yet: as many as subscribers, and a quarter
    /// of those of one address.
    pub(super) fn of_arrivals(config: &QueryConfig) -> Self {
        let key = "live_subscribers_per_address";
        let max = Limit(config.live_subscribers, "live_subscribers");
        Self {
            max,
            max_per_principal: max,
            max_per_address: Limit(config.live_subscribers_per_address.div_ceil(4), key),
            max_of_miners: max,
            gauge: "headframe_live_arrivals",
            seats: Arc::default(),
        }
    }

    /// Counts a subscriber.
    pub(super) fn admit(&self, principal: &Principal, address: IpAddr) -> Result<Seat, QueryError> {
        let is_miner = matches!(principal.role, Some(Role::Miner(_)));
        let principal = &principal.name;
        let mut seats = lock(&self.seats);
        let of_principal = seats.by_principal.get(principal).copied().unwrap_or(0);
        let of_miners = if is_miner { seats.of_miners } else { 0 };
        let of_address = seats.by_address.get(&address).copied().unwrap_or(0);
        let limits = [
            (seats.all, self.max),
            (of_principal, self.max_per_principal),
            (of_address, self.max_per_address),
            (of_miners, self.max_of_miners),
        ];
        if let Some((_, Limit(max, key))) = limits.iter().find(|(count, max)| *count >= max.0) {
            return Err(full(*max, key));
        }
        seats.all += 1;
        seats.of_miners += usize::from(is_miner);
        *seats.by_principal.entry(principal.clone()).or_default() += 1;
        *seats.by_address.entry(address).or_default() += 1;
        metrics::gauge!(self.gauge).set(seats.all as f64);
        Ok(Seat {
            gauge: self.gauge,
            principal: principal.clone(),
            address,
            is_miner,
            seats: self.seats.clone(),
        })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = lock(&self.seats);
        seats.all -= 1;
        seats.of_miners -= usize::from(self.is_miner);
        leave(&mut seats.by_principal, &self.principal);
        leave(&mut seats.by_address, &self.address);
        metrics::gauge!(self.gauge).set(seats.all as f64);
    }
}

fn leave<K: Eq + std::hash::Hash>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

/// The error of a subscriber too many.
pub(super) fn full(max: usize, key: &str) -> QueryError {
    QueryError::new(
        ErrorCode::ConcurrencyLimit,
        format!("{max} subscriptions of this kind are open, which is the limit"),
        format!("close some, or raise query.{key}"),
    )
}

/// The counts are changed together under one lock, and nothing in between can panic.
fn lock(seats: &Mutex<Seats>) -> MutexGuard<'_, Seats> {
    seats.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn each_limit_holds_and_whoever_leaves_makes_way() {
        let subscribers = Subscribers::new(&QueryConfig {
            live_subscribers: 4,
            live_subscribers_per_principal: 3,
            live_subscribers_per_address: 2,
            ..QueryConfig::default()
        });
        let address = |last: u8| IpAddr::from([192, 0, 2, last]);
        let named = |name: &str| Principal {
            name: name.into(),
            ..Principal::reader()
        };
        let (ann, bob) = (named("ann"), named("bob"));
        let refused = |principal: &Principal, last| {
            let refusal = subscribers.admit(principal, address(last)).err();
            refusal.map(|error| error.hint.replace("close some, or raise query.", ""))
        };
        let first = subscribers.admit(&ann, address(1)).unwrap();
        let _second = subscribers.admit(&ann, address(1)).unwrap();
        let of_address = "live_subscribers_per_address".to_owned();
        assert_eq!(refused(&bob, 1), Some(of_address));
        let _third = subscribers.admit(&ann, address(2)).unwrap();
        let of_principal = "live_subscribers_per_principal".to_owned();
        assert_eq!(refused(&ann, 3), Some(of_principal));
        let _fourth = subscribers.admit(&bob, address(3)).unwrap();
        assert_eq!(refused(&bob, 4), Some("live_subscribers".to_owned()));
        drop(first);
        assert_eq!(refused(&bob, 1), None);
        assert_eq!(lock(&subscribers.seats).by_address.len(), 3);
    }

    #[test]
    fn miners_leave_some_to_others_however_many_they_are() {
        let subscribers = Subscribers::of_answers(&QueryConfig {
            live_statements: 4,
            ..QueryConfig::default()
        });
        let miner = |name: &str| Principal {
            name: name.into(),
            role: Some(Role::Miner(name.into())),
            ..Principal::reader()
        };
        let admit = |principal: &Principal, last: u8| {
            subscribers.admit(principal, IpAddr::from([192, 0, 2, last]))
        };
        let first = admit(&miner("4A"), 1).unwrap();
        let _second = admit(&miner("4B"), 2).unwrap();
        let refusal = admit(&miner("4C"), 3).err().map(|error| error.hint);
        assert!(refusal.is_some_and(|hint| hint.contains("live_statements")));
        let _viewer = admit(&Principal::reader(), 3).unwrap();
        drop(first);
        assert!(admit(&miner("4C"), 4).is_ok());
    }
}
