//! From what rules watch to violations and orders, each transition written once.
//!
//! What is known of a series of values is the newest row of its violation; the rest follows from
//! the samples since. So a restart reads the samples of the last day again and finds what it found,
//! and what the rows say already is not written again. People write into the same streams: each
//! transition is judged by the newest row, whoever wrote it.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use headframe_schemas::Stream;
use tokio_util::sync::CancellationToken;

use crate::clock::now_us;
use crate::fault::PipelineFault;
use crate::pipeline::derived::work_until_stopped;
use crate::pipeline::{Context, Pipeline, StreamHandle};

mod gauges;
mod watched_rule;
mod watcher;

pub use watcher::RuleWatcher;

/// Pauses of a rollup between two looks: a minute by default.
const LOOK_PAUSES: u64 = 12;
/// How many times the longest way of a row into a window is waited for.
const LATENESS: u64 = 2;

/// The violations of every rule.
pub struct Violations;

impl Pipeline for Violations {
    fn name(&self) -> &'static str {
        "violations"
    }
    fn doc(&self) -> &'static str {
        "Applies rules to energy, allocations, sensors, anomalies and the registry, and states \
        each violation, what becomes of it, and the orders that follow."
    }
    fn takes(&self, stream: &dyn Stream) -> bool {
        // One writer for all rules; other streams are read beside it.
        stream.name() == "allocation_usage"
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

/// Recovers, then applies the rules until something fails.
async fn work(context: &Context) -> Result<(), PipelineFault> {
    let mut watcher = RuleWatcher::open(context).await?;
    let config = &context.config;
    let lateness = Duration::from_millis(LATENESS * (config.commit_ms + config.rollup_ms));
    let pause = Duration::from_millis(LOOK_PAUSES * config.rollup_ms);
    loop {
        let late_us = i64::try_from(lateness.as_micros()).unwrap_or(0);
        watcher.step(now_us() - late_us).await?;
        tokio::time::sleep(pause).await;
    }
}
