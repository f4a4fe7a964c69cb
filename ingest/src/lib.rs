//! How a fact gets into a stream, and out again, in order: the only room that knows JetStream.
//!
//! In: [`Publisher`], the HTTP [`door`], and [`Chronicle`] for streams of one writer. Out:
//! [`Reader`] hands over contiguous messages and stops with a named fault rather than skip one;
//! [`Decoder`] turns them into rows of the raw table, as a pure function, so that every process
//! that reads the same messages makes the same rows. [`Tail`] keeps the rows no committed snapshot
//! has yet.

pub mod chronicle;
pub mod decode;
pub mod door;
pub mod follow;
pub mod message;
pub mod nats;
pub mod newest;
pub mod provision;
pub mod publisher;
pub mod reader;
pub mod seen;
pub mod server;
pub mod state;
pub mod tail;

pub use chronicle::{Chronicle, ChronicleError};
pub use decode::{Chunk, Decoder};
pub use door::DoorConfig;
pub use follow::follow;
pub use message::Message;
pub use nats::{Nats, NatsConfig, NatsError};
pub use newest::newest;
pub use provision::{ProvisionError, StreamIdentity, StreamSettings, provision};
pub use publisher::{Numbered, PublishError, Publisher, PublisherConfig, Receipt};
pub use reader::{Expect, ReadFault, ReadFrom, Reader, ReaderConfig};
pub use seen::Seen;
pub use server::{ManagedServer, ServerConfig, ServerError};
pub use state::{Guard, State};
pub use tail::{Tail, TailView};
