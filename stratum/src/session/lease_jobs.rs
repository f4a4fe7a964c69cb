//! More jobs for a miner that is many machines, each with an extranonce of its own.

use serde_json::Value;

use super::Session;
use crate::protocol::{answer, lease};
use crate::share::Rejection;

/// Said to a miner that did not ask for leases when it logged in.
const NOT_WANTED: &str =
    "Leases are for miners that name lease among the extensions of their login";
/// Said to a miner that has not shown yet that it works.
const UNPROVEN: &str = "Leases are for miners that have sent a good share; ask again after one";

impl Session {
    /// Makes jobs beside the current one, at its difficulty, as many as a job may have beside it. A
    /// miner of which nothing good is known gets none, because each takes memory and time here.
    pub(super) fn lease_jobs(&mut self, id: &Value, count: usize) -> String {
        if !self.leases {
            return answer::error(id, NOT_WANTED);
        }
        if !self.peer.is_proven() {
            return answer::error(id, UNPROVEN);
        }
        let made = self.jobs.lease(count);
        if made == 0 {
            return answer::error(id, Rejection::Expired.message());
        }
        lease::answer(id, self.jobs.newest_leased(made), self.pool.chain.algo())
    }
}
