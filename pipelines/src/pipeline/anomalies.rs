//! From readings of power, sensors and hashrate to anomalies, each written once.
//!
//! The readings are the committed rows of the raw tables, in their order. Anomalies are rows of a
//! stream of its own with one writer, which learns at its start what it has written already.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use headframe_schemas::Stream;
use tokio_util::sync::CancellationToken;

use crate::fault::PipelineFault;
use crate::pipeline::derived::work_until_stopped;
use crate::pipeline::{Context, Pipeline, StreamHandle};

mod follower;
mod modes;
mod output;
mod source;
mod watched;

use follower::{Follower, Progress};
use modes::Modes;
use output::Output;

/// The anomalies of every source.
pub struct Anomalies;

impl Pipeline for Anomalies {
    fn name(&self) -> &'static str {
        "anomalies"
    }
    fn doc(&self) -> &'static str {
        "Finds anomalies in the rows of energy, sensors and hashrate, and states each beginning \
        and end once."
    }
    fn takes(&self, stream: &dyn Stream) -> bool {
        // One writer for all sources; the others are read beside it.
        stream.name() == source::ALL[0].stream.name()
    }

    fn run(
        &self,
        context: Context,
        handle: Arc<StreamHandle>,
        stop: CancellationToken,
    ) -> BoxFuture<'_, Result<(), PipelineFault>> {
        Box::pin(async move {
            if !context.anomalies.enabled {
                stop.cancelled().await;
                return Ok(());
            }
            work_until_stopped(&stop, || work(&context, &handle)).await
        })
    }
}

/// Recovers, then finds anomalies until something fails.
async fn work(context: &Context, handle: &StreamHandle) -> Result<(), PipelineFault> {
    let mut output = Output::open(context).await?;
    let mut modes = Modes::open(context);
    let mut committed = handle.committed.subscribe();
    let mut followers: Vec<Option<Follower>> = source::ALL.iter().map(|_| None).collect();
    let pause = Duration::from_millis(context.config.rollup_ms);
    loop {
        for (source, follower) in source::ALL.iter().zip(&mut followers) {
            if follower.is_none() {
                *follower = Follower::recover(context, source, &output).await?;
            }
            let Some(follower) = follower else {
                continue;
            };
            while follower.advance(context, &mut modes, &mut output).await? == Progress::Behind {}
            follower.tick(context, &mut output).await?;
        }
        // Rows of one source wake the work, the pause makes it look at the others and at the clock.
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            changed = committed.changed() => {
                changed.map_err(PipelineFault::plan("waiting for rows", "anomalies"))?;
            }
        }
    }
}
