//! Refusals that are held back: an address whose statements were only refused for a while waits
//! longer and longer for the next refusal.
//!
//! A client that asks again as soon as it is refused makes the process that serves miners say no
//! hundreds of times a second. What succeeds is never held, and a success forgets what was refused
//! before it, so that a client which errs now and then waits for nothing.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use axum::http::request::Parts;
use tokio::time::{Instant, sleep};

use crate::config::QueryConfig;
use crate::connection::limits::ConnectionLimits;
use crate::connection::place::ConnectionPlace;
use crate::peer::{LimitedAddress, PeerAddress};

/// Refusals in a row that are answered at once.
const FREE: u32 = 8;
/// How long the first refusal after those is held; each further one is held twice as long.
const FIRST: Duration = Duration::from_millis(10);
/// The longest that a refusal is held.
const LONGEST: Duration = Duration::from_secs(1);
/// An address without a refusal for this long begins anew.
const FORGET_AFTER: Duration = Duration::from_secs(10);
/// Addresses that are remembered; the oldest are forgotten first.
const MAX_ADDRESSES: usize = 4_096;

/// How long the next refusal of each address has to wait.
#[derive(Default)]
pub(crate) struct RefusalDelays(Mutex<RefusalHistory>);

impl RefusalDelays {
    /// Notes an answer of this status; tells how long to hold it back.
    pub(crate) fn note(&self, address: IpAddr, status: StatusCode) -> Duration {
        match Outcome::from_status(status) {
            Outcome::Success => self.forget(address),
            Outcome::Refusal => return self.lock().note_refusal(address, Instant::now()),
            Outcome::Neither => {}
        }
        Duration::ZERO
    }

    /// Notes that a statement of this address was answered.
    pub(crate) fn forget(&self, address: IpAddr) {
        self.lock().forget(address);
    }

    /// The maps are whole between any two statements.
    fn lock(&self) -> MutexGuard<'_, RefusalHistory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a request came from that may be refused.
pub(crate) struct RequestOrigin {
    /// What its refusals are counted by.
    address: IpAddr,
    /// The other end of its connection.
    peer: IpAddr,
    place: ConnectionPlace,
}

impl RequestOrigin {
    /// The origin of a request; `None` where this process asks itself, without a socket.
    pub(crate) fn from_request(parts: &Parts) -> Option<Self> {
        let PeerAddress(peer) = *parts.extensions.get::<PeerAddress>()?;
        let LimitedAddress(address) = LimitedAddress::from_request(parts);
        let place = parts.extensions.get::<ConnectionPlace>();
        Some(Self {
            address,
            peer,
            place: place.cloned().unwrap_or_default(),
        })
    }
}

/// Holds back the refusals of one server.
pub(crate) struct HeldRefusals {
    delays: RefusalDelays,
    /// A refusal that is held keeps a connection; half of those an address may have stay for its
    /// probes and pages.
    places: ConnectionLimits,
}

impl HeldRefusals {
    /// Nobody was refused anything yet.
    pub(crate) fn new(config: &QueryConfig) -> Self {
        Self {
            delays: RefusalDelays::default(),
            places: ConnectionLimits::new(
                config.max_connections / 2,
                config.max_connections_per_address / 2,
                "headframe_http_refusals_held",
            ),
        }
    }

    /// Returns when an answer of this status may be sent to where the request came from.
    pub(crate) async fn hold(&self, origin: &RequestOrigin, status: StatusCode) {
        let delay = self.delays.note(origin.address, status);
        if delay.is_zero() {
            return;
        }
        // Beyond the places it is answered at once, as all of them would be without this.
        let Some(_place) = origin.place.take(&self.places, origin.peer) else {
            return;
        };
        metrics::counter!("headframe_http_refusals_held_total").increment(1);
        sleep(delay).await;
    }
}

/// What an answer says about who asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// The statement runs.
    Success,
    /// The request was not fit, or asked for more than it may have.
    Refusal,
    /// Nothing: what went wrong is the server's, or somebody cancelled the statement.
    Neither,
}

impl Outcome {
    fn from_status(status: StatusCode) -> Self {
        match status.as_u16() {
            200..=299 => Self::Success,
            499 => Self::Neither,
            400..=498 | 504 | 507 => Self::Refusal,
            _ => Self::Neither,
        }
    }
}

/// The refusals in a row of each address, in two generations: when the newer one is full, the older
/// one is forgotten and the newer one takes its place.
#[derive(Default)]
struct RefusalHistory {
    newer: HashMap<IpAddr, Refusals>,
    older: HashMap<IpAddr, Refusals>,
}

/// Refusals of one address without a success between them.
#[derive(Debug, Clone, Copy)]
struct Refusals {
    count: u32,
    last: Instant,
}

impl RefusalHistory {
    /// Notes a refusal; answers how long it is held.
    fn note_refusal(&mut self, address: IpAddr, now: Instant) -> Duration {
        let before = self.newer.get(&address).or(self.older.get(&address));
        let count = match before {
            Some(refusals) if now.saturating_duration_since(refusals.last) < FORGET_AFTER => {
                refusals.count.saturating_add(1)
            }
            _ => 1,
        };
        self.older.remove(&address);
        if self.newer.len() >= MAX_ADDRESSES / 2 && !self.newer.contains_key(&address) {
            self.older = std::mem::take(&mut self.newer);
        }
        self.newer.insert(address, Refusals { count, last: now });
        delay_of(count)
    }

    /// Notes a success.
    fn forget(&mut self, address: IpAddr) {
        self.newer.remove(&address);
        self.older.remove(&address);
    }
}

/// How long the refusal of this number in a row is held.
fn delay_of(count: u32) -> Duration {
    match count.checked_sub(FREE + 1) {
        None => Duration::ZERO,
        // Beyond the 16th doubling it is the longest anyway.
        Some(doublings) => (FIRST * (1 << doublings.min(16))).min(LONGEST),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn address(number: u32) -> IpAddr {
        Ipv4Addr::from_bits(number).into()
    }

    #[test]
    fn delays_double_up_to_a_second_after_a_few_free_refusals() {
        let mut history = RefusalHistory::default();
        let now = Instant::now();
        let delays: Vec<u128> = (0..20)
            .map(|_| history.note_refusal(address(1), now).as_millis())
            .collect();
        assert_eq!(delays[..8], [0; 8]);
        assert_eq!(delays[8..16], [10, 20, 40, 80, 160, 320, 640, 1_000]);
        assert_eq!(delays[16..], [1_000; 4]);
        assert_eq!(delay_of(u32::MAX), LONGEST);
        assert_eq!(
            history.note_refusal(address(2), now),
            Duration::ZERO,
            "others are not concerned"
        );
    }

    #[test]
    fn a_success_and_a_pause_begin_anew() {
        let mut history = RefusalHistory::default();
        let now = Instant::now();
        let refuse = |history: &mut RefusalHistory, at| {
            (0..12).fold(Duration::ZERO, |_, _| history.note_refusal(address(1), at))
        };
        assert!(!refuse(&mut history, now).is_zero());
        history.forget(address(1));
        assert!(history.note_refusal(address(1), now).is_zero());
        assert!(!refuse(&mut history, now).is_zero());
        let soon = now + FORGET_AFTER - Duration::from_millis(1);
        assert!(!history.note_refusal(address(1), soon).is_zero());
        let later = soon + FORGET_AFTER;
        assert!(history.note_refusal(address(1), later).is_zero());
    }

    #[test]
    fn only_refusals_count() {
        for (status, outcome) in [
            (200, Outcome::Success),
            (400, Outcome::Refusal),
            (401, Outcome::Refusal),
            (429, Outcome::Refusal),
            (499, Outcome::Neither),
            (500, Outcome::Neither),
            (503, Outcome::Neither),
            (504, Outcome::Refusal),
            (507, Outcome::Refusal),
        ] {
            let status = StatusCode::from_u16(status).unwrap_or_default();
            assert_eq!(Outcome::from_status(status), outcome, "{status}");
        }
    }

    #[test]
    fn the_oldest_addresses_are_forgotten_first() {
        let mut history = RefusalHistory::default();
        let now = Instant::now();
        let all = 10 * MAX_ADDRESSES as u32;
        for number in 0..all {
            for _ in 0..FREE {
                history.note_refusal(address(number), now);
            }
            assert!(history.newer.len() + history.older.len() <= MAX_ADDRESSES);
        }
        for newest in all - MAX_ADDRESSES as u32 / 2..all {
            assert!(!history.note_refusal(address(newest), now).is_zero());
        }
        assert!(history.note_refusal(address(0), now).is_zero());
    }

    #[derive(Debug, Clone, Copy)]
    enum Event {
        Refused(u32),
        Succeeded(u32),
        Passed(u64),
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            6 => (0..4_u32).prop_map(Event::Refused),
            1 => (0..4_u32).prop_map(Event::Succeeded),
            1 => (0..4_000_u64).prop_map(Event::Passed),
        ]
    }

    proptest! {
        /// The same from the whole history of one address, without a table.
        #[test]
        fn each_address_waits_by_its_own_refusals_since_its_last_success(
            events in vec(event(), 0..300),
        ) {
            let mut history = RefusalHistory::default();
            let mut now = Instant::now();
            let mut seen: [Vec<Instant>; 4] = Default::default();
            for event in events {
                match event {
                    Event::Passed(millis) => now += Duration::from_millis(millis),
                    Event::Succeeded(number) => {
                        history.forget(address(number));
                        seen[number as usize].clear();
                    }
                    Event::Refused(number) => {
                        let refused = &mut seen[number as usize];
                        if refused.last().is_some_and(|last| now - *last >= FORGET_AFTER) {
                            refused.clear();
                        }
                        refused.push(now);
                        let held = history.note_refusal(address(number), now);
                        prop_assert!(held <= LONGEST);
                        prop_assert_eq!(held, delay_of(refused.len() as u32));
                        prop_assert_eq!(held.is_zero(), refused.len() as u32 <= FREE);
                    }
                }
            }
        }
    }
}
