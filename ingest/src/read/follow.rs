//! Keeps a [`Tail`] up to date where no pipeline runs: a reader and a decoder of its own.
//!
//! It starts from the state of a committed snapshot and, because decoding is a pure function, makes
//! the very rows the pipeline will commit.

use std::sync::Arc;
use std::time::{Duration, Instant};

use headframe_schemas::Stream;
use tokio_util::sync::CancellationToken;

use crate::lasting_state::{LastingChange, LastingState};
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
    let mut retry = Retry::new(stream.name());
    let work = async {
        let mut reader = loop {
            match Reader::open(nats.clone(), stream, from.clone()).await {
                Ok(reader) => break reader,
                Err(fault) => retry.after(fault).await?,
            }
        };
        let mut decoder = Decoder::new(stream, base, state);
        loop {
            match reader.next().await {
                Ok(messages) => {
                    tail.push(&decoder.decode(&messages));
                    retry.succeeded(Instant::now());
                }
                Err(fault) => retry.after(fault).await?,
            }
        }
    };
    tokio::select! {
        () = stop.cancelled() => Ok(()),
        fault = work => fault,
    }
}

/// Pauses that grow, since an outage of NATS is long for a program; and what the log says of it.
struct Retry {
    stream: &'static str,
    pause: Duration,
    unreadable: LastingState,
}

impl Retry {
    fn new(stream: &'static str) -> Self {
        Self {
            stream,
            pause: FIRST_PAUSE,
            unreadable: LastingState::default(),
        }
    }

    async fn after(&mut self, fault: ReadFault) -> Result<(), ReadFault> {
        if !fault.retryable() {
            return Err(fault);
        }
        if self.unreadable.update(true, Instant::now()).is_some() {
            tracing::warn!(stream = self.stream, %fault, "tail cannot read; trying again");
        }
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Ok(())
    }

    fn succeeded(&mut self, now: Instant) {
        self.pause = FIRST_PAUSE;
        if let Some(LastingChange::Ended(lasted)) = self.unreadable.update(false, now) {
            let lasted_s = lasted.as_secs_f64();
            tracing::info!(stream = self.stream, lasted_s, "tail reads again");
        }
    }
}
