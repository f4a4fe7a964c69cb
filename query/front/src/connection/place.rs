//! One place for all answers of a connection that are held back.

#[cfg(feature = "server")]
use std::net::IpAddr;
#[cfg(feature = "server")]
use std::sync::PoisonError;
use std::sync::{Arc, Mutex, Weak};

#[cfg(feature = "server")]
use crate::connection::limits::ConnectionLimits;
use crate::connection::limits::Permit;

/// The place that the refusals of one connection share while they are held: over HTTP/2 there may
/// be many at once.
#[derive(Clone, Default)]
#[cfg_attr(
    not(feature = "server"),
    allow(dead_code, reason = "no refusal is held there")
)]
pub(crate) struct ConnectionPlace(Arc<Mutex<Weak<Permit>>>);

#[cfg(feature = "server")]
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
