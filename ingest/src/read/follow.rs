//! Keeps a [`Tail`] up to date where no pipeline runs: a reader and a decoder of its own.
//!
//! It starts from the state of a committed snapshot and, because decoding is a pure function, makes
//! the very rows the pipeline will commit.

use std::sync::Arc;
use std::time::Duration;

use headframe_schemas::Stream;
use tokio_util::sync::CancellationToken;

use crate::nats::Nats;
use crate::read::decode::Decoder;
use crate::read::state::DecoderState;
use crate::read::tail::Tail;
use crate::read::{ReadFault, ReadFrom, Reader};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Reads, decodes and pushes until cancelled (`Ok`) or until the stream has a fault nobody here can
/// decide.
///
/// `from.next` must be the sequence after `state`'s last message, and `base` the table's binding to
/// the stream.
pub async fn follow_stream(
    nats: Nats,
    stream: &'static dyn Stream,
    base: i64,
    from: ReadFrom,
    state: DecoderState,
    tail: Arc<Tail>,
    stop: CancellationToken,
) -> Result<(), ReadFault> {
    let mut pause = Pause(FIRST_PAUSE);
    let work = async {
        let mut reader = loop {
            match Reader::open(nats.clone(), stream, from.clone()).await {
                Ok(reader) => break reader,
                Err(fault) => pause.after(stream, fault).await?,
            }
        };
        let mut decoder = Decoder::new(stream, base, state);
        loop {
            match reader.next().await {
                Ok(messages) => {
                    tail.push(&decoder.decode(&messages));
                    pause = Pause(FIRST_PAUSE);
                }
                Err(fault) => pause.after(stream, fault).await?,
            }
        }
    };
    tokio::select! {
        () = stop.cancelled() => Ok(()),
        fault = work => fault,
    }
}

/// Pauses that grow: an outage of NATS is long for a program.
struct Pause(Duration);

impl Pause {
    async fn after(&mut self, stream: &dyn Stream, fault: ReadFault) -> Result<(), ReadFault> {
        if !fault.retryable() {
            return Err(fault);
        }
        tracing::warn!(stream = stream.name(), %fault, "tail cannot read; trying again");
        tokio::time::sleep(self.0).await;
        self.0 = (self.0 * 2).min(LONGEST_PAUSE);
        Ok(())
    }
}
