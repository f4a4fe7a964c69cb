//! From energy and the registry to how much of each allocation is used.
//!
//! What a row says is a function of the tables at its moment and of the allocation's row before it,
//! which is the newest message of its key. So a restart goes on with the next moment: none is
//! written twice, and quarters of an hour of the last day that passed meanwhile are made up for.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use headframe_ingest::{ExclusiveAppender, last_message};
use headframe_schemas::Stream;
use headframe_schemas::stream::allocation_usage::{AllocationUsage, AllocationUsages};
use tokio_util::sync::CancellationToken;

use crate::clock::now_us;
use crate::energy::measurement::EnergyTables;
use crate::energy::registry::EnergyRegistry;
use crate::energy::usage::{Allocation, EnergyMeasurement, Sources, is_worth_writing, usage};
use crate::fault::PipelineFault;
use crate::pipeline::derived::work_until_stopped;
use crate::pipeline::{Context, Pipeline, StreamHandle};

const MINUTE_US: i64 = 60_000_000;
const QUARTER_US: i64 = 15 * MINUTE_US;
/// A minute is looked at when its samples have come and been committed.
const LATENESS_US: i64 = 30_000_000;
/// Quarters of an hour that are made up for after a stop.
const MAX_MISSED: i64 = 96;

/// The use of allocations.
pub struct Allocations;

impl Pipeline for Allocations {
    fn name(&self) -> &'static str {
        "allocations"
    }
    fn doc(&self) -> &'static str {
        "States every quarter of an hour, and whenever a level changes, how much of each \
        allocation of power and energy is used."
    }
    fn takes(&self, stream: &dyn Stream) -> bool {
        stream.name() == "energy"
    }

    fn run(
        &self,
        context: Context,
        _: Arc<StreamHandle>,
        stop: CancellationToken,
    ) -> BoxFuture<'_, Result<(), PipelineFault>> {
        Box::pin(async move { work_until_stopped(&stop, || work(&context)).await })
    }
}

/// Looks at every minute until something fails.
async fn work(context: &Context) -> Result<(), PipelineFault> {
    let mut writer = AllocationWriter::open(context.clone()).await?;
    loop {
        let now = minute_before(now_us() - LATENESS_US);
        writer.step(now).await?;
        let next = now + MINUTE_US + LATENESS_US - now_us();
        tokio::time::sleep(Duration::from_micros(next.max(0) as u64)).await;
    }
}

/// Writes what is worth it, and knows what was written last.
pub struct AllocationWriter {
    context: Context,
    tables: EnergyTables,
    known: EnergyRegistry,
    appender: ExclusiveAppender,
    /// The newest row of each allocation; `None` where it has none.
    last: HashMap<String, Option<AllocationUsage>>,
}

impl AllocationWriter {
    /// Opens the stream of the rows; makes it where it is missing.
    pub async fn open(context: Context) -> Result<Self, PipelineFault> {
        let (nats, settings) = (context.nats.clone(), &context.settings);
        let appender = ExclusiveAppender::open(nats, &AllocationUsages, settings).await?;
        Ok(Self {
            tables: EnergyTables::open(&context.lake),
            known: EnergyRegistry::default(),
            context,
            appender,
            last: HashMap::new(),
        })
    }

    /// States what is worth it at a whole minute, microseconds since 1970, and at the quarters of
    /// an hour that passed since the last statement.
    pub async fn step(&mut self, now: i64) -> Result<(), PipelineFault> {
        self.tables.read_registry(&mut self.known).await?;
        let allocations = self.known.allocations(now);
        if allocations.is_empty() {
            return Ok(());
        }
        let Some(moment) = self.tables.moment(&self.known).await? else {
            return Ok(());
        };
        for at in self.moments(&allocations, now).await? {
            let allocations = self.known.allocations(at);
            let measured = moment.measure(&allocations, at).await?;
            for (allocation, measured) in allocations.iter().zip(&measured) {
                self.write(allocation, measured, at, moment.energy_seq)
                    .await?;
            }
        }
        Ok(())
    }

    /// The moments to look at: quarters of an hour that passed since the oldest newest row, and
    /// now.
    async fn moments(
        &mut self,
        allocations: &[Allocation],
        now: i64,
    ) -> Result<Vec<i64>, PipelineFault> {
        let mut since = now;
        for allocation in allocations {
            if let Some(last) = self.last(&allocation.name).await? {
                since = since.min(last.event_time);
            }
        }
        let since = since.max(now - MAX_MISSED * QUARTER_US);
        let first = since - since.rem_euclid(QUARTER_US) + QUARTER_US;
        let missed = (first..now).step_by(QUARTER_US as usize);
        Ok(missed.chain([now]).collect())
    }

    async fn last(&mut self, name: &str) -> Result<Option<AllocationUsage>, PipelineFault> {
        if let Some(last) = self.last.get(name) {
            return Ok(last.clone());
        }
        let found = last_message(&self.context.nats, &AllocationUsages, name).await?;
        // Another allocation may have the same subject, and its row is not this one's.
        let found = found
            .and_then(|body| serde_json::from_slice::<AllocationUsage>(&body).ok())
            .filter(|row| row.allocation == name);
        self.last.insert(name.to_owned(), found.clone());
        Ok(found)
    }

    async fn write(
        &mut self,
        allocation: &Allocation,
        measured: &[EnergyMeasurement],
        at: i64,
        energy_seq: i64,
    ) -> Result<(), PipelineFault> {
        let sources = Sources {
            energy_seq,
            registry_seq: self.known.through,
        };
        let thresholds = self.context.config.allocation;
        let before = self.last(&allocation.name).await?;
        let before = before.as_ref();
        let now = usage(allocation, measured, before, at, &thresholds, sources);
        let Some(now) = now.filter(|now| is_worth_writing(now, before)) else {
            return Ok(());
        };
        self.appender.append(std::slice::from_ref(&now)).await?;
        self.last.insert(allocation.name.clone(), Some(now));
        Ok(())
    }
}

fn minute_before(us: i64) -> i64 {
    us - us.rem_euclid(MINUTE_US)
}
