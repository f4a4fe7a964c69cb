//! How many subscribers there may be: in all, of one principal, and from one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::config::QueryConfig;
use crate::error::{ErrorCode, QueryError};

/// Counts subscribers.
pub(super) struct Subscribers {
    max: Limit,
    max_per_principal: Limit,
    max_per_address: Limit,
    gauge: &'static str,
    seats: Arc<Mutex<Seats>>,
}

/// How many there may be, and the key of the configuration that says so.
#[derive(Clone, Copy)]
struct Limit(usize, &'static str);

#[derive(Default)]
struct Seats {
    all: usize,
    by_principal: HashMap<Arc<str>, usize>,
    by_address: HashMap<IpAddr, usize>,
}

/// A subscriber is counted as long as this is there.
pub(super) struct Seat {
    principal: Arc<str>,
    address: IpAddr,
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
            gauge: "headframe_live_statements",
            seats: Arc::default(),
        }
    }

    /// Counts a subscriber.
    pub(super) fn admit(&self, principal: &Arc<str>, address: IpAddr) -> Result<Seat, QueryError> {
        let mut seats = lock(&self.seats);
        let of_principal = seats.by_principal.get(principal).copied().unwrap_or(0);
        let of_address = seats.by_address.get(&address).copied().unwrap_or(0);
        let limits = [
            (seats.all, self.max),
            (of_principal, self.max_per_principal),
            (of_address, self.max_per_address),
        ];
        if let Some((_, Limit(max, key))) = limits.iter().find(|(count, max)| *count >= max.0) {
            return Err(full(*max, key));
        }
        seats.all += 1;
        *seats.by_principal.entry(principal.clone()).or_default() += 1;
        *seats.by_address.entry(address).or_default() += 1;
        metrics::gauge!(self.gauge).set(seats.all as f64);
        Ok(Seat {
            gauge: self.gauge,
            principal: principal.clone(),
            address,
            seats: self.seats.clone(),
        })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = lock(&self.seats);
        seats.all -= 1;
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
        let (ann, bob): (Arc<str>, Arc<str>) = ("ann".into(), "bob".into());
        let refused = |principal: &Arc<str>, last| {
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
}
