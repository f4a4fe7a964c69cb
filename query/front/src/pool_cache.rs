//! The newest answer about all pools, kept for a moment because every page of a pool polls it.

use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::Mutex;

use crate::error::QueryError;
use crate::reports::Reports;

/// How old an answer may be.
const MAX_AGE: Duration = Duration::from_secs(2);

/// The newest answer and when it was made.
#[derive(Default)]
pub(crate) struct PoolAnswerCache(Mutex<Option<(Instant, Value)>>);

impl PoolAnswerCache {
    /// An answer that is at most [`MAX_AGE`] old. Callers that come while it is made wait for it.
    pub(crate) async fn get(&self, reports: &dyn Reports) -> Result<Value, QueryError> {
        let mut cached = self.0.lock().await;
        if let Some((made, answer)) = cached.as_ref()
            && made.elapsed() < MAX_AGE
        {
            return Ok(answer.clone());
        }
        let answer = reports.pools().await?;
        *cached = Some((Instant::now(), answer.clone()));
        Ok(answer)
    }
}
