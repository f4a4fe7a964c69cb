//! One place for all answers of a connection that are held back.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::connection::limits::{ConnectionLimits, Permit};

/// The place that the refusals of one connection share while they are held: over HTTP/2 there may
/// be many at once.
#[derive(Clone, Default)]
pub(crate) struct ConnectionPlace(Arc<Mutex<Weak<Permit>>>);

impl ConnectionPlace {
    /// The place until it is dropped; `None` where all are taken.
    pub(crate) fn take(&self, places: &ConnectionLimits, peer: IpAddr) -> Option<Arc<Permit>> {
        // It names a place or none, whoever panicked.
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = held.upgrade() {
            return Some(place);
        }
        let place = Arc::new(places.admit(peer).ok()?);
        *held = Arc::downgrade(&place);
        Some(place)
    }
}
