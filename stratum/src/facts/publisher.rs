//! Facts into JetStream, through the room that knows it.

use futures::FutureExt;
use futures::future::BoxFuture;
use headframe_ingest::Publisher;
use headframe_schemas::Record;
use headframe_schemas::stream::bans::Ban;
use headframe_schemas::stream::blocks::Block;
use headframe_schemas::stream::hashrate::Hashrate;
use headframe_schemas::stream::sessions::Session;
use headframe_schemas::stream::shares::Share;

use super::{FactError, Facts};

/// Facts over a publisher, which returns only when JetStream holds the row durably.
#[derive(Clone)]
pub struct PublisherFacts(pub Publisher);

impl PublisherFacts {
    async fn record<R: Record>(&self, record: R) -> Result<(), FactError> {
        match self.0.record(&record).await {
            Ok(_) => Ok(()),
            Err(error) => Err(FactError { stream: R::STREAM.name(), reason: error.to_string() }),
        }
    }
}

impl Facts for PublisherFacts {
    fn share(&self, share: Share) -> BoxFuture<'_, Result<(), FactError>> {
        self.record(share).boxed()
    }
    fn block(&self, block: Block) -> BoxFuture<'_, Result<(), FactError>> {
        self.record(block).boxed()
    }
    fn hashrate(&self, hashrate: Hashrate) -> BoxFuture<'_, Result<(), FactError>> {
        self.record(hashrate).boxed()
    }
    fn session(&self, session: Session) -> BoxFuture<'_, Result<(), FactError>> {
        self.record(session).boxed()
    }
    fn ban(&self, ban: Ban) -> BoxFuture<'_, Result<(), FactError>> {
        self.record(ban).boxed()
    }
}
