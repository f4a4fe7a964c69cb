//! Which connections are let in, and which one has to go so that another is.
//!
//! A server that must always be reachable keeps places for the programs of its own machine, and
//! ends the connection that has waited longest without asking anything before it refuses one.

use std::net::IpAddr;
use std::sync::{Arc, Weak};

use crate::connection::activity::Activity;
use crate::connection::limits::{ConnectionLimits, Limit, Permit};
use crate::connection::settings::ConnectionSettings;
use crate::peer::network_of;

/// Lets connections in.
pub(super) struct Admission {
    limits: ConnectionLimits,
    /// The places of this machine's own programs, where some are kept.
    kept: Option<ConnectionLimits>,
    open: Vec<Open>,
}

/// A connection that was let in.
struct Open {
    is_local: bool,
    network: IpAddr,
    activity: Weak<Activity>,
}

impl Admission {
    /// With the limits of these settings.
    pub(super) fn new(settings: &ConnectionSettings) -> Self {
        let limits = |max, per_address| ConnectionLimits::new(max, per_address, settings.gauge);
        Self {
            limits: limits(settings.max, settings.max_per_address),
            kept: settings.kept_for_local.map(|kept| limits(kept, kept)),
            open: Vec::new(),
        }
    }

    /// Counts a connection until its permit is dropped; the limit that it would break otherwise.
    pub(super) fn admit(
        &mut self,
        address: IpAddr,
        activity: &Arc<Activity>,
    ) -> Result<Permit, Limit> {
        let Some(kept) = &self.kept else {
            return self.limits.admit(address);
        };
        let is_local = address.to_canonical().is_loopback();
        let limits = if is_local { kept } else { &self.limits };
        self.open.retain(|one| one.activity.strong_count() > 0);
        let network = network_of(address);
        let permit = match limits.admit(address) {
            Ok(permit) => permit,
            Err(limit) => {
                let is_of_address = matches!(limit, Limit::PerAddress(_));
                let others = self.open.iter().filter(|one| {
                    one.is_local == is_local && (!is_of_address || one.network == network)
                });
                let waiting = others.filter_map(|one| {
                    let activity = one.activity.upgrade()?;
                    Some((activity.waits_since()?, activity))
                });
                let longest = waiting.min_by_key(|(since, _)| *since);
                let Some((_, longest)) = longest else {
                    return Err(limit);
                };
                longest.end();
                limits.admit_beyond(address)
            }
        };
        self.open.push(Open {
            is_local,
            network,
            activity: Arc::downgrade(activity),
        });
        Ok(permit)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use axum::http::Version;

    fn admission() -> Admission {
        Admission::new(&ConnectionSettings {
            max: 3,
            max_per_address: 2,
            kept_for_local: Some(2),
            gauge: "test",
            ..ConnectionSettings::default()
        })
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_longest_makes_way_and_whoever_is_answered_does_not() {
        let mut admission = admission();
        let [far, local]: [IpAddr; 2] = ["192.0.2.1", "127.0.0.1"].map(|one| one.parse().unwrap());
        let mut held = Vec::new();
        let mut open = async |address: IpAddr| {
            tokio::time::advance(std::time::Duration::from_millis(1)).await;
            let activity = Arc::new(Activity::default());
            let admitted = admission.admit(address, &activity);
            admitted.map(|permit| {
                held.push(permit);
                activity
            })
        };
        let first = open(far).await.unwrap();
        let second = open(far).await.unwrap();
        // Places of this machine are its own.
        let (one, two) = (open(local).await.unwrap(), open(local).await.unwrap());
        let third = open(far).await.unwrap();
        assert!(first.waits_since().is_none(), "it was ended");
        assert!(second.waits_since().is_some() && one.waits_since().is_some());
        let busy = [second, third, two].map(|one| Activity::begin_request(&one, Version::HTTP_11));
        assert_eq!(open(far).await.err(), Some(Limit::All(3)));
        assert!(open(local).await.is_ok());
        assert!(one.waits_since().is_none(), "it made way");
        drop(busy);
    }
}
