//! Requests that wait for the next answer instead of asking again, as some front ends of pools do.

use std::net::IpAddr;
use std::time::Duration;

use crate::connection::limits::{ConnectionLimits, Limit};
use crate::error::{ErrorCode, QueryError};

/// How long one waits, which is how old answers of the peers are at most.
pub(crate) const WAIT: Duration = Duration::from_secs(5);
/// Requests that wait at once, in all and of one address.
const MAX_WAITING: usize = 4_096;
const MAX_OF_ADDRESS: usize = 256;

/// The places of those that wait.
pub(crate) struct LongPolls(ConnectionLimits);

impl LongPolls {
    /// All are free.
    pub(crate) fn new() -> Self {
        let gauge = "headframe_http_long_polls";
        Self(ConnectionLimits::new(MAX_WAITING, MAX_OF_ADDRESS, gauge))
    }

    /// Waits for [`WAIT`], or refuses when too many do.
    pub(crate) async fn wait(&self, address: IpAddr) -> Result<(), QueryError> {
        let _place = self.0.admit(address).map_err(|limit| {
            let waiting = match limit {
                Limit::All(max) => format!("{max} requests wait"),
                Limit::PerAddress(max) => format!("{max} requests of this address wait"),
            };
            QueryError::new(
                ErrorCode::ConnectionLimit,
                format!("{waiting} for the next answer already"),
                "ask again in some seconds, or without longpoll",
            )
        })?;
        tokio::time::sleep(WAIT).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn one_too_many_of_an_address_is_refused_and_others_are_not() {
        let polls = LongPolls::new();
        let [one, other]: [IpAddr; 2] =
            ["192.0.2.1", "192.0.2.2"].map(|text| text.parse().unwrap());
        let held: Vec<_> = (0..MAX_OF_ADDRESS).map(|_| polls.0.admit(one)).collect();
        let refused = tokio::time::timeout(WAIT / 2, polls.wait(one)).await;
        assert_eq!(
            refused.unwrap().unwrap_err().code,
            ErrorCode::ConnectionLimit
        );
        let brief = Duration::from_millis(20);
        let waits = tokio::time::timeout(brief, polls.wait(other)).await;
        assert!(waits.is_err(), "another address waits");
        drop(held);
        let waits = tokio::time::timeout(brief, polls.wait(one)).await;
        assert!(waits.is_err(), "its places are free again");
    }
}
