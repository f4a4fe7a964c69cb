//! The registry of a process with the role query: what is registered, and how it is changed.

use std::sync::Arc;

use anyhow::Context as _;
use async_trait::async_trait;
use headframe_ingest::registry::resources::{ChangeError, ResourceRegistry, open_bucket};
use headframe_query_front::{Registry, RegistryFailure, ResourcePage};
use headframe_schemas::Resource;
use headframe_schemas::resource::{Change, ResourceVersion};

use crate::service::Service;
use crate::service::components::Components;

/// The registry in the stream.
struct StreamRegistry(ResourceRegistry);

impl Service {
    /// Learns what is registered, and follows what others change.
    pub(super) async fn open_registry(
        &mut self,
        components: &Components,
    ) -> anyhow::Result<Arc<dyn Registry>> {
        let (nats, settings) = (components.nats.clone(), &components.config.streams);
        let opened = ResourceRegistry::open(nats.clone(), settings).await;
        let (registry, follower) = opened.context("cannot read the registry")?;
        open_bucket(nats, settings.replicas).await?;
        let stop = self.stop_working.clone();
        self.tasks.spawn(async move {
            follower.run(stop).await;
            Ok(())
        });
        Ok(Arc::new(StreamRegistry(registry)))
    }
}

#[async_trait]
impl Registry for StreamRegistry {
    fn find(&self, resource: &'static Resource, id: &str) -> Option<ResourceVersion> {
        self.0.state().find(resource.name, id)
    }

    fn page(
        &self,
        resource: &'static Resource,
        page: &ResourcePage,
    ) -> (Vec<ResourceVersion>, bool) {
        let wants = |values: &_| page.wants(values);
        self.0
            .state()
            .page(resource.name, &page.after, page.limit, wants)
    }

    async fn change(&self, change: Change) -> Result<ResourceVersion, RegistryFailure> {
        self.0.change(&change).await.map_err(|error| match error {
            ChangeError::Refused(refusal) => RegistryFailure::Refused(refusal),
            error => RegistryFailure::Unavailable(error.to_string()),
        })
    }
}
