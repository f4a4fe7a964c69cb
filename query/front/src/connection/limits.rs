//! How many connections there may be, in all and from one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::peer::network_of;

/// Counts open connections, or some of them.
pub(crate) struct ConnectionLimits {
    max: usize,
    max_per_address: usize,
    gauge: &'static str,
    open: Arc<Mutex<Open>>,
}

#[derive(Default)]
struct Open {
    all: usize,
    by_network: HashMap<IpAddr, usize>,
}

/// The limit that a further connection would break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
    /// So many connections are open.
    All(usize),
    /// So many connections from this address are open.
    PerAddress(usize),
}

impl ConnectionLimits {
    /// No connection is open. The metric of this name shows how many are.
    pub(crate) fn new(max: usize, max_per_address: usize, gauge: &'static str) -> Self {
        Self {
            max,
            max_per_address,
            gauge,
            open: Arc::default(),
        }
    }

    /// Counts a connection until its permit is dropped.
    pub(crate) fn admit(&self, address: IpAddr) -> Result<Permit, Limit> {
        let network = network_of(address);
        let mut open = lock(&self.open);
        if open.all >= self.max {
            return Err(Limit::All(self.max));
        }
        if open.by_network.get(&network).copied().unwrap_or_default() >= self.max_per_address {
            return Err(Limit::PerAddress(self.max_per_address));
        }
        Ok(self.count(&mut open, network))
    }

    /// The same whatever the limits say: another connection was ended for this one.
    pub(crate) fn admit_beyond(&self, address: IpAddr) -> Permit {
        self.count(&mut lock(&self.open), network_of(address))
    }

    fn count(&self, open: &mut Open, network: IpAddr) -> Permit {
        *open.by_network.entry(network).or_default() += 1;
        open.all += 1;
        metrics::gauge!(self.gauge).set(open.all as f64);
        Permit {
            network,
            gauge: self.gauge,
            open: self.open.clone(),
        }
    }
}

/// An open connection.
pub(crate) struct Permit {
    network: IpAddr,
    gauge: &'static str,
    open: Arc<Mutex<Open>>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut open = lock(&self.open);
        open.all -= 1;
        metrics::gauge!(self.gauge).set(open.all as f64);
        if let Some(count) = open.by_network.get_mut(&self.network) {
            *count -= 1;
            if *count == 0 {
                open.by_network.remove(&self.network);
            }
        }
    }
}

/// The counts are changed together under one lock, and nothing in between can panic.
fn lock(open: &Mutex<Open>) -> MutexGuard<'_, Open> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_closed_connection_makes_way_for_another() {
        let limits = ConnectionLimits::new(3, 2, "test");
        let [one, other, third]: [IpAddr; 3] =
            ["192.0.2.1", "192.0.2.2", "192.0.2.3"].map(|text| text.parse().unwrap());
        let first = limits.admit(one).unwrap();
        let _second = limits.admit(one).unwrap();
        assert_eq!(limits.admit(one).err(), Some(Limit::PerAddress(2)));
        let _third = limits.admit(other).unwrap();
        assert_eq!(limits.admit(third).err(), Some(Limit::All(3)));
        drop(first);
        assert!(limits.admit(one).is_ok());
        assert_eq!(lock(&limits.open).by_network.len(), 2);
    }
}
