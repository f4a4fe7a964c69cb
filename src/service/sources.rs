//! The polling of devices, in the role sources.
//!
//! It has a publisher of its own: a flood of readings fills its own queue, never the one that the
//! pool's shares and the rows over HTTP wait in.

use anyhow::Context as _;
use headframe_ingest::source::Poller;
use headframe_ingest::{Publisher, PublisherConfig};

use super::Service;
use super::components::Components;
use crate::config::Role;

/// Bytes of readings that may wait for JetStream.
const QUEUE_BYTES: usize = 8 * 1024 * 1024;

impl Service {
    /// Starts to poll, where this process has the role and there are devices.
    pub(super) fn spawn_sources(&mut self, components: &Components) -> anyhow::Result<()> {
        let config = &components.config;
        if !components.runs(Role::Sources) || config.source.is_empty() {
            return Ok(());
        }
        let queue = PublisherConfig {
            queue_bytes: QUEUE_BYTES.max(config.publisher.max_bytes),
            ..config.publisher.clone()
        };
        let publisher = Publisher::new(components.nats.clone(), "sources", queue);
        let poller = Poller::new(publisher, &config.sources, &config.source)
            .context("the devices cannot be polled")?;
        tracing::info!(sources = config.source.len(), "devices are polled");
        let stop = self.stop_working.clone();
        self.tasks.spawn(async move {
            poller.run(stop).await;
            Ok(())
        });
        Ok(())
    }
}
