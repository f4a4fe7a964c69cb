//! Slots for requests that read tables: public pages, readers and operators have their own, so that
//! none of them can take those of another.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::access::Principal;
use crate::config::QueryConfig;
use crate::error::{ErrorCode, QueryError};

/// How long a request waits for a slot of its class.
const PATIENCE: Duration = Duration::from_secs(1);

/// The slots of one server. Miners have those of the public.
#[derive(Clone)]
pub(crate) struct Slots {
    public: Class,
    readers: Class,
    operators: Class,
}

/// The slots of one class of callers.
#[derive(Clone)]
struct Class {
    key: &'static str,
    max: usize,
    free: Arc<Semaphore>,
}

impl Slots {
    /// All are free.
    pub(crate) fn new(config: &QueryConfig) -> Self {
        let class = |key, max| Class {
            key,
            max,
            free: Arc::new(Semaphore::new(max)),
        };
        Self {
            public: class("public_slots", config.public_slots),
            readers: class("reader_slots", config.reader_slots),
            operators: class("operator_slots", config.operator_slots),
        }
    }

    /// A slot of the caller's class, which it holds until its answer is sent.
    pub(crate) async fn acquire(
        &self,
        principal: &Principal,
    ) -> Result<OwnedSemaphorePermit, QueryError> {
        let class = if principal.is_operator() {
            &self.operators
        } else if principal.is_reader() {
            &self.readers
        } else {
            &self.public
        };
        match timeout(PATIENCE, class.free.clone().acquire_owned()).await {
            Ok(Ok(slot)) => Ok(slot),
            _ => {
                metrics::counter!("headframe_http_slots_full_total", "class" => class.key)
                    .increment(1);
                Err(class.full())
            }
        }
    }
}

impl Class {
    fn full(&self) -> QueryError {
        QueryError::new(
            ErrorCode::ConcurrencyLimit,
            format!(
                "{} requests of this kind are being answered, which is the limit",
                self.max
            ),
            format!("try again in a second, or raise query.{}", self.key),
        )
    }
}
