//! Slots for requests that read tables: public pages, readers and operators have their own, so that
//! none of them can take those of another. One caller gets three quarters of its class at most, by
//! name where it has proved one and by address where it has not.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::response::Response;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::access::{Principal, Proof};
use crate::config::QueryConfig;
use crate::error::{ErrorCode, QueryError};
use crate::slot_quotas::{HeldSlot, SlotQuotas, three_quarters};

/// How long a request waits for a slot of its class.
const PATIENCE: Duration = Duration::from_secs(1);

/// The slots of one server. Miners have those of the public.
#[derive(Clone)]
pub(crate) struct Slots {
    public: Class,
    readers: Class,
    operators: Class,
}

/// A slot that a handler takes for its caller when it has waited.
#[derive(Clone)]
pub(crate) struct DeferredSlot {
    slots: Slots,
    principal: Principal,
    address: IpAddr,
}

impl DeferredSlot {
    /// Of this caller.
    pub(crate) fn new(slots: &Slots, principal: &Principal, address: IpAddr) -> Self {
        Self {
            slots: slots.clone(),
            principal: principal.clone(),
            address,
        }
    }

    /// What `make` answers in the slot, which is held until the answer is sent.
    pub(crate) async fn answer(
        &self,
        make: impl AsyncFnOnce() -> Result<Response, QueryError>,
    ) -> Result<Response, QueryError> {
        let slot = self.slots.acquire(&self.principal, self.address).await?;
        let mut response = make().await?;
        response.extensions_mut().insert(Arc::new(slot));
        Ok(response)
    }

    /// Whose it is.
    pub(crate) fn address(&self) -> IpAddr {
        self.address
    }
}

/// The slots of one class of callers.
#[derive(Clone)]
struct Class {
    key: &'static str,
    max: usize,
    free: Arc<Semaphore>,
    quotas: Arc<SlotQuotas<Caller>>,
}

/// Whose share it is.
#[derive(PartialEq, Eq, Hash)]
enum Caller {
    Name(Arc<str>),
    Address(IpAddr),
}

impl Slots {
    /// All are free.
    pub(crate) fn new(config: &QueryConfig) -> Self {
        let class = |key, max| Class {
            key,
            max,
            free: Arc::new(Semaphore::new(max)),
            quotas: Arc::new(SlotQuotas::new(three_quarters(max))),
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
        address: IpAddr,
    ) -> Result<HeldSlot, QueryError> {
        let class = if principal.is_operator() {
            &self.operators
        } else if principal.is_reader() {
            &self.readers
        } else {
            &self.public
        };
        let caller = match principal.proof {
            Proof::LocalProgram => None,
            Proof::Nothing => Some(Caller::Address(address)),
            _ => Some(Caller::Name(principal.name.clone())),
        };
        let deadline = Instant::now() + PATIENCE;
        let mut quotas = Vec::new();
        if let Some(caller) = caller {
            let quota = class.quotas.quota_of(caller);
            quotas.push(class.permit(quota, deadline).await?);
        }
        let slot = class.permit(class.free.clone(), deadline).await?;
        Ok(HeldSlot::new(quotas, slot))
    }
}

impl Class {
    async fn permit(
        &self,
        of: Arc<Semaphore>,
        deadline: Instant,
    ) -> Result<OwnedSemaphorePermit, QueryError> {
        match timeout_at(deadline, of.acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => {
                metrics::counter!("headframe_http_slots_full_total", "class" => self.key)
                    .increment(1);
                Err(self.full())
            }
        }
    }

    fn full(&self) -> QueryError {
        QueryError::new(
            ErrorCode::ConcurrencyLimit,
            format!(
                "{} requests of this kind are being answered, or {} of this caller's, which is \
                 the limit",
                self.max,
                self.quotas.size()
            ),
            format!("try again in a second, or raise query.{}", self.key),
        )
    }
}
