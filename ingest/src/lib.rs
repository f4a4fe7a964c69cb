//! How a fact gets into a stream, and out again, in order: the only crate that knows JetStream.
//!
//! In: [`Publisher`], the HTTP ingest endpoint ([`http`]), and [`ExclusiveAppender`] for streams
//! of one writer. Out: [`Reader`] hands over contiguous messages and stops with a named fault
//! rather than skip one; [`Decoder`] turns them into rows of the raw table, as a pure function, so
//! that every process that reads the same messages makes the same rows. [`Tail`] keeps the rows
//! that no committed snapshot has yet. [`forward`] sends the rows of a site on to its office.
//! [`registry`] keeps small values by key. [`source`] polls
//! devices into streams, and [`simulator`] is a site of such devices.

pub mod forward;
pub mod http;
pub mod lasting_state;
pub mod nats;
pub mod publish;
pub mod read;
pub mod registry;
pub mod simulator;
pub mod source;

pub use forward::{ForwardConfig, ForwardWatch, Forwarder};
pub use http::HttpIngestConfig;
pub use nats::provision::{
    ProvisionError, StreamIdentity, StreamSettings, inspect_stream, provision_stream,
};
pub use nats::server::{ManagedServer, ServerConfig, ServerError, find_nats_server};
pub use nats::{Nats, NatsConfig, NatsError};
pub use publish::exclusive::{AppendError, ExclusiveAppender};
pub use publish::{PublishError, Publisher, PublisherConfig, Receipt, SequencedBatch};
pub use read::decode::{DecodedRows, Decoder};
pub use read::duplicate_filter::DuplicateFilter;
pub use read::follow::follow_stream;
pub use read::last_message::last_message;
pub use read::message::Message;
pub use read::state::{DecoderState, DecoderStateError, MessageFingerprint};
pub use read::tail::{Tail, TailView};
pub use read::{ExpectedStream, ReadFault, ReadFrom, Reader, ReaderConfig};
