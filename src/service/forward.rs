//! The rows of a site on their way to its office, in the role forward.

use std::sync::Arc;

use anyhow::anyhow;
use async_trait::async_trait;
use headframe_ingest::{ForwardWatch, Forwarder};
use headframe_query_front::{Probe, Services};

use super::Service;
use super::components::Components;
use crate::config::Role;

impl Service {
    /// Starts to forward, where this process has the role, and lets `/ready` say how far it is.
    pub(super) fn spawn_forwarders(
        &mut self,
        components: &Components,
        services: &mut Services,
    ) -> anyhow::Result<()> {
        let config = &components.config;
        if !components.runs(Role::Forward) {
            return Ok(());
        }
        let folder = config.data_dir.join("forward");
        let forwarders = Forwarder::open_all(&config.forward, &components.nats, &folder)
            .map_err(|reason| anyhow!("rows cannot be forwarded: {reason}"))?;
        tracing::info!(
            url = config.forward.url,
            streams = config.forward.streams.join(","),
            "rows are forwarded"
        );
        let mut watches = Vec::new();
        for (forwarder, watch) in forwarders {
            watches.push(watch);
            let stop = self.stop_working.clone();
            self.tasks.spawn(async move {
                forwarder.run(stop).await;
                Ok(())
            });
        }
        services.ready.push(Arc::new(ForwardProbe(watches)));
        Ok(())
    }
}

/// Do rows reach the office. That they wait takes no site off the air: they are kept for that.
struct ForwardProbe(Vec<ForwardWatch>);

#[async_trait]
impl Probe for ForwardProbe {
    fn name(&self) -> &str {
        "forward"
    }
    async fn check(&self) -> Result<(), String> {
        Ok(())
    }
    async fn note(&self) -> Option<String> {
        let states = self.0.iter().map(|watch| (watch.stream, watch.get()));
        let notes: Vec<String> = states
            .filter_map(|(stream, state)| {
                let waits = state
                    .trouble
                    .map(|trouble| format!("{} messages wait: {trouble}", state.waiting));
                let lost = (state.lost > 0)
                    .then(|| format!("{} messages left the stream unsent", state.lost));
                let refused = (state.refused > 0)
                    .then(|| format!("{} messages were refused for good", state.refused));
                let said: Vec<String> = [waits, lost, refused].into_iter().flatten().collect();
                (!said.is_empty()).then(|| format!("{stream}: {}", said.join(", ")))
            })
            .collect();
        (!notes.is_empty()).then(|| notes.join("; "))
    }
}
