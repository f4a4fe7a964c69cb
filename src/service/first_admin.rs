//! The offer to become the first admin, which a start without any user prints.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use headframe_query_front::access::accounts::{AccountError, Actor, Wire};

use super::Service;

/// How long the offer is open.
const OFFER_LIFE: Duration = Duration::from_secs(3_600);

impl Service {
    /// Prints a link that makes the first admin, when there is no user yet. Its token is in the
    /// fragment, which browsers send to nobody. Printing it is not logging it: standard output
    /// belongs to whoever started the process.
    pub async fn offer_first_admin(&self) {
        match self.first_admin_token().await {
            Ok(Some(token)) => println!(
                "There is no user yet. Whoever opens this within an hour becomes the first \
                 admin; it works once:\n  \
                 {0}/sign-in#{token}\n\
                 or sends:\n  \
                 curl {0}/api/v1/setup -H 'Content-Type: application/json' -d \
                 '{{\"token\": \"{token}\", \"name\": \"NAME\", \"password\": \"PASSWORD\"}}'",
                self.http_url
            ),
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "no first admin can be offered"),
        }
    }

    async fn first_admin_token(&self) -> Result<Option<String>, AccountError> {
        let Some(accounts) = &self.accounts else {
            return Ok(None);
        };
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let expires = i64::try_from((now + OFFER_LIFE).as_micros()).unwrap_or(i64::MAX);
        let actor = Actor {
            name: "headframe".to_owned(),
            wire: Wire::Command,
        };
        accounts.offer_setup(&actor, expires).await
    }
}
