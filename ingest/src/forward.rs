//! Rows of a site go on to the office: every row of some streams of the site's own JetStream, once,
//! whenever there is a way.
//!
//! The site's nats-server keeps the rows, however long nobody can be reached. They travel over the
//! HTTP ingest, which is what an office opens to others: with TLS, a token that names the streams,
//! and limits. A message goes as it is, under the numbers that its producer gave its rows, so that
//! what is sent again after a crash or a lost answer is known as the same and stored once. The
//! place in each stream is a small file; without it everything that the stream still holds is sent
//! again, under the same numbers.
//!
//! JetStream's own sources between leaf nodes are not used for this: they bypass the ingest, so
//! that a site could write anything; they need the office's NATS open to the site; and what they
//! repeat after the newest message of a source has aged out has no number that tells it apart.

use std::path::Path;
use std::time::{Duration, Instant};

use futures::StreamExt;
use headframe_schemas::Stream;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::lasting_state::{LastingChange, LastingState};
use crate::nats::Nats;
use crate::nats::provision::inspect_stream;
use crate::read::message::Message;
use crate::read::state::MessageFingerprint;
use crate::read::{ExpectedStream, ReadFault, ReadFrom, Reader};

mod config;
mod office;
mod place;

pub use config::ForwardConfig;
use office::{Delivery, Office};
use place::{Place, PlaceFile};

/// Messages whose fate is known before the place is written down.
const STEP: usize = 256;
/// The first pause after a failure, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// How far one stream has come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ForwardState {
    /// Messages that wait, as far as is known.
    pub waiting: u64,
    /// Why they wait; nothing while they do not.
    pub trouble: Option<String>,
    /// Messages that left the stream before they were sent, since the start.
    pub lost: u64,
    /// Messages that the office can never read, since the start; the site still has them.
    pub refused: u64,
}

/// Sends one stream's messages.
pub struct Forwarder {
    stream: &'static dyn Stream,
    nats: Nats,
    office: Office,
    max_in_flight: usize,
    file: PlaceFile,
    place: Option<Place>,
    state: watch::Sender<ForwardState>,
    lasting: LastingState,
}

/// Why sending pauses, and for how long at least.
struct Pause {
    reason: String,
    at_least: Duration,
}

impl Pause {
    /// One that nobody asked to be long.
    fn now(reason: impl ToString) -> Self {
        Self {
            reason: reason.to_string(),
            at_least: Duration::ZERO,
        }
    }
}

impl Forwarder {
    /// One forwarder a stream of the configuration, with what tells how far it is. Their places are
    /// kept in `folder`. The error names the key.
    pub fn open_all(
        config: &ForwardConfig,
        nats: &Nats,
        folder: &Path,
    ) -> Result<Vec<(Self, ForwardWatch)>, String> {
        let office = Office::open(config)?;
        let forwarders = config.streams()?.into_iter().map(|stream| {
            let (state, receiver) = watch::channel(ForwardState::default());
            let file = PlaceFile::new(folder, stream.name());
            let place = file.read()?;
            let forwarder = Self {
                stream,
                nats: nats.clone(),
                office: office.clone(),
                max_in_flight: config.max_in_flight,
                file,
                place,
                state,
                lasting: LastingState::default(),
            };
            let watch = ForwardWatch {
                stream: stream.name(),
                state: receiver,
            };
            Ok((forwarder, watch))
        });
        forwarders.collect()
    }

    /// Sends until it is stopped.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut pause = PAUSES.0;
        loop {
            let work = self.work(&mut pause);
            let halt = tokio::select! {
                () = stop.cancelled() => return,
                Err(halt) = work => halt,
            };
            self.show_trouble(&halt.reason).await;
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause.max(halt.at_least)) => {}
            }
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    /// Reads and sends until something is in the way. May be dropped at any time: what was sent and
    /// not written down is sent again under the same numbers.
    async fn work(&mut self, pause: &mut Duration) -> Result<std::convert::Infallible, Pause> {
        self.office.read_token().map_err(Pause::now)?;
        let mut reader = self.open_reader().await?;
        loop {
            let messages = match reader.next().await {
                Ok(messages) => messages,
                Err(fault) => return Err(self.decide(fault).await?),
            };
            for step in messages.chunks(STEP) {
                self.send(step, reader.created_ns()).await?;
                *pause = PAUSES.0;
            }
            self.show_progress(reader.last_seq());
        }
    }

    async fn open_reader(&mut self) -> Result<Reader, Pause> {
        loop {
            let from = match &self.place {
                Some(place) => place.read_from(),
                None => self.beginning().await?,
            };
            let next = from.next;
            match Reader::open(self.nats.clone(), self.stream, from).await {
                Ok(reader) => return Ok(reader),
                Err(fault) => {
                    let halt = self.decide(fault).await?;
                    // Nothing was decided that moves the place.
                    if self.place.as_ref().map_or(0, |place| place.next) == next {
                        return Err(halt);
                    }
                }
            }
        }
    }

    /// The oldest message that the stream holds.
    async fn beginning(&self) -> Result<ReadFrom, Pause> {
        let found = inspect_stream(&self.nats.js, self.stream).await;
        match found {
            Ok(Some(identity)) => Ok(ReadFrom {
                next: identity.first_seq,
                expect: ExpectedStream {
                    created_ns: Some(identity.created_ns),
                    last_message: None,
                },
            }),
            Ok(None) => {
                let name = self.stream.name();
                Err(Pause::now(format!("stream {name} does not exist")))
            }
            Err(error) => Err(Pause::now(error)),
        }
    }

    /// What becomes of a fault of the stream. Rows must go on, so what is gone is counted and said,
    /// and the stream that is there is taken as it is.
    async fn decide(&mut self, fault: ReadFault) -> Result<Pause, Pause> {
        let stream = self.stream.name();
        match (&fault, &mut self.place) {
            (ReadFault::Gap { from, to, .. }, Some(place)) => {
                let lost = to - from + 1;
                tracing::error!(
                    stream,
                    from,
                    to,
                    lost,
                    "messages left the site's stream before the office had them; give \
                     streams.max_age_s more time"
                );
                metrics::counter!("headframe_forward_lost_messages_total", "stream" => stream)
                    .increment(lost);
                place.next = to + 1;
                place.last_message = None;
                self.state.send_modify(|state| state.lost += lost);
                self.write_place()?;
            }
            (ReadFault::StreamRecreated { .. } | ReadFault::SourceRegressed { .. }, _) => {
                tracing::warn!(stream, %fault, "the site's stream is another; sending all of it");
                self.place = None;
            }
            _ => {}
        }
        Ok(Pause::now(fault))
    }

    /// Sends contiguous messages, some at a time, and remembers the place after the last that needs
    /// nothing more.
    async fn send(&mut self, messages: &[Message], created_ns: i64) -> Result<(), Pause> {
        let stream = self.stream;
        let sent = messages.iter().cloned().map(|message| {
            let office = self.office.clone();
            async move {
                let delivery = office.send(stream, &message, created_ns).await;
                (message, delivery)
            }
        });
        let mut sent = futures::stream::iter(sent).buffered(self.max_in_flight);
        let (mut last, mut halt, mut counts) = (None, None, Counts::default());
        while let Some((message, delivery)) = sent.next().await {
            match delivery {
                Delivery::Stored { dead_letters } => counts.dead_letters += dead_letters,
                Delivery::Skipped => {}
                Delivery::Refused(reason) => {
                    counts.refused += 1;
                    tracing::error!(
                        stream = stream.name(),
                        seq = message.seq,
                        reason,
                        "the office cannot read a message; it stays at the site"
                    );
                }
                Delivery::Later { reason, at_least } => {
                    halt = Some(Pause { reason, at_least });
                    break;
                }
            }
            counts.messages += 1;
            last = Some(message);
        }
        drop(sent);
        if let Some(last) = last {
            self.place = Some(Place::after(&last, created_ns));
            self.write_place()?;
            self.count(&counts);
        }
        halt.map_or(Ok(()), Err)
    }

    fn write_place(&self) -> Result<(), Pause> {
        let Some(place) = &self.place else {
            return Ok(());
        };
        self.file.write(place).map_err(Pause::now)
    }

    fn count(&self, counts: &Counts) {
        let stream = self.stream.name();
        metrics::counter!("headframe_forward_messages_total", "stream" => stream)
            .increment(counts.messages);
        metrics::counter!("headframe_forward_refused_messages_total", "stream" => stream)
            .increment(counts.refused);
        if counts.dead_letters > 0 {
            tracing::warn!(
                stream,
                rows = counts.dead_letters,
                "rows of the site are dead letters of the office"
            );
        }
        self.state
            .send_modify(|state| state.refused += counts.refused);
    }

    /// How many wait after those that were sent.
    fn show_waiting(&self, last_seq: u64) -> u64 {
        let next = self.place.as_ref().map_or(1, |place| place.next);
        let waiting = (last_seq + 1).saturating_sub(next);
        let stream = self.stream.name();
        // A gauge takes floats; the count is exact far beyond what a stream holds.
        metrics::gauge!("headframe_forward_waiting_messages", "stream" => stream)
            .set(waiting as f64);
        waiting
    }

    fn show_progress(&mut self, last_seq: u64) {
        let stream = self.stream.name();
        if let Some(LastingChange::Ended(lasted)) = self.lasting.update(false, Instant::now()) {
            let lasted_s = lasted.as_secs_f64();
            tracing::info!(stream, lasted_s, "rows go to the office again");
        }
        let waiting = self.show_waiting(last_seq);
        self.state.send_modify(|state| {
            state.waiting = waiting;
            state.trouble = None;
        });
    }

    async fn show_trouble(&mut self, reason: &str) {
        let stream = self.stream.name();
        if self.lasting.update(true, Instant::now()).is_some() {
            tracing::warn!(stream, reason, "rows wait at the site");
        }
        let found = inspect_stream(&self.nats.js, self.stream).await;
        let waiting = match found {
            Ok(Some(identity)) => self.show_waiting(identity.last_seq),
            _ => self.state.borrow().waiting,
        };
        self.state.send_modify(|state| {
            state.waiting = waiting;
            state.trouble = Some(reason.to_owned());
        });
    }
}

/// What became of some messages.
#[derive(Default)]
struct Counts {
    messages: u64,
    refused: u64,
    dead_letters: u64,
}

/// How far one stream has come, for whoever shows it.
#[derive(Debug, Clone)]
pub struct ForwardWatch {
    /// Its name.
    pub stream: &'static str,
    state: watch::Receiver<ForwardState>,
}

impl ForwardWatch {
    /// As it is now.
    pub fn get(&self) -> ForwardState {
        self.state.borrow().clone()
    }
}
