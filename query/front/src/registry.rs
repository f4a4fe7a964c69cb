//! The registry of the mine, as the process that serves it brings it.

use async_trait::async_trait;
use headframe_schemas::Resource;
use headframe_schemas::resource::{Change, Refusal, ResourceVersion, Values};

/// A page of resources, by id.
#[derive(Debug, Clone, Default)]
pub struct ResourcePage {
    /// At most so many.
    pub limit: usize,
    /// Only ids after this one.
    pub after: String,
    /// Only those with these values.
    pub filter: Values,
}

impl ResourcePage {
    /// Whether a resource with these values is wanted.
    pub fn wants(&self, values: &Values) -> bool {
        let mut filter = self.filter.iter();
        filter.all(|(name, value)| values.get(name) == Some(value))
    }
}

/// Why the registry did not do something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistryFailure {
    /// It does not allow it; nothing was written.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It does not answer; the message says whether something may have been written.
    #[error("{0}")]
    Unavailable(String),
}

/// What is registered, and how it is changed.
#[async_trait]
pub trait Registry: Send + Sync {
    /// The resource of this id.
    fn find(&self, resource: &'static Resource, id: &str) -> Option<ResourceVersion>;
    /// A page, and whether there are more.
    fn page(
        &self,
        resource: &'static Resource,
        page: &ResourcePage,
    ) -> (Vec<ResourceVersion>, bool);
    /// Makes a change, and answers what is there since; after a deletion, what was there.
    async fn change(&self, change: Change) -> Result<ResourceVersion, RegistryFailure>;
}
