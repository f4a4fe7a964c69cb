//! Signed sessions that ended before their time.
//!
//! Nothing is kept of a session that this system signed until it is ended early. Then the store
//! keeps its hash until it would have ended anyway, so that no restart and no other process that
//! shares the key takes it back.

use crate::access::accounts::Accounts;
use crate::access::accounts::directory::ended_key;
use crate::access::accounts::record::EndedSessionRecord;
use crate::access::accounts::secret;
use crate::access::accounts::store::{Bucket, StoreError};
use crate::clock::now_us;

/// How many are kept; the one that would end first makes way.
const MAX_ENDED: usize = 65_536;

impl Accounts {
    /// Ends the signed session of this id, which would end at this time by itself.
    pub(crate) async fn end_signed_session(
        &self,
        id: &str,
        ends_us: i64,
    ) -> Result<(), StoreError> {
        self.end_within(id, ends_us, MAX_ENDED).await
    }

    async fn end_within(&self, id: &str, ends_us: i64, max: usize) -> Result<(), StoreError> {
        let now = now_us();
        self.change(|directory| directory.drop_ended(|end| end <= now));
        let hash = secret::hash(id);
        let (is_known, surplus) = self.read(|directory| {
            let is_known = directory.ended(&hash).is_some();
            (is_known, directory.first_ended(max))
        });
        if is_known {
            return Ok(());
        }
        if let Some(first) = surplus {
            match self.delete(Bucket::Sessions, &ended_key(&first)).await {
                Ok(()) | Err(StoreError::Changed(_)) => {}
                Err(error) => return Err(error),
            }
        }
        let record = EndedSessionRecord { ends_us };
        match self.put(Bucket::Sessions, &ended_key(&hash), &record).await {
            // Another process ended it.
            Err(StoreError::Changed(_)) => Ok(()),
            ended => ended,
        }
    }

    /// Whether the signed session of this id ended before its time.
    pub(crate) fn has_ended(&self, id: &str) -> bool {
        let hash = secret::hash(id);
        self.read(|directory| directory.ended(&hash).is_some())
    }
}
