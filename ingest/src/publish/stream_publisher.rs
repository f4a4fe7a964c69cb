//! The task of one stream: gathers rows, sends messages, repeats what was not acknowledged, in the
//! order of first sending.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::context::PublishError as AckError;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::publish::PublishAck;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::error::{Verdict, judge};
use super::message::{Body, Job, Open, Sealed, Sealer};
use super::{PublishError, PublisherConfig, Receipt};
use crate::lasting_state::{LastingChange, LastingState};
use crate::nats::Nats;

/// How long nobody may answer for a subject before that is called a missing stream: a server that
/// starts needs a moment.
const NO_STREAM_PATIENCE: Duration = Duration::from_secs(10);
const MIN_BACKOFF: Duration = Duration::from_millis(50);
const MAX_BACKOFF: Duration = Duration::from_secs(2);

type Ack = BoxFuture<'static, (u64, u32, Result<PublishAck, AckError>)>;

struct StreamPublisher {
    nats: Nats,
    config: PublisherConfig,
    stream: &'static str,
    sealer: Sealer,
    open: HashMap<String, Open>,
    ready: VecDeque<Sealed>,
    /// Sent and not settled, by order.
    flying: BTreeMap<u64, Sealed>,
    acks: FuturesUnordered<Ack>,
    /// The connection the flying messages were last sent on.
    connects: u64,
    retry_at: Option<Instant>,
    backoff: Duration,
    /// JetStream does not confirm.
    unconfirmed: LastingState,
}

/// Runs until every sender is dropped and every message is settled.
pub async fn run(
    nats: Nats,
    config: PublisherConfig,
    producer: Arc<str>,
    stream: &'static str,
    mut jobs: mpsc::Receiver<Job>,
) {
    let mut connected = nats.connected();
    let connects = nats.connects();
    let mut publisher = StreamPublisher {
        nats,
        config,
        stream,
        sealer: Sealer::new(producer),
        open: HashMap::new(),
        ready: VecDeque::new(),
        flying: BTreeMap::new(),
        acks: FuturesUnordered::new(),
        connects,
        retry_at: None,
        backoff: MIN_BACKOFF,
        unconfirmed: LastingState::default(),
    };
    let mut incoming = Vec::new();
    let mut closed = false;
    let mut events = true;
    while !closed || !publisher.idle() {
        let wake = publisher.wake_at();
        tokio::select! {
            Some((order, attempt, result)) = publisher.acks.next(),
                if !publisher.acks.is_empty() => publisher.settle(order, attempt, result),
            change = connected.changed(), if events => events = change.is_ok(),
            () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
            count = jobs.recv_many(&mut incoming, 1024),
                if !closed && publisher.has_space() => closed = count == 0,
        }
        let now = Instant::now();
        incoming
            .drain(..)
            .for_each(|job| publisher.absorb(job, now));
        publisher.expire(now);
        publisher.repeat(now).await;
        publisher.close_due(now, closed || jobs.is_empty());
        publisher.send_ready(now).await;
    }
}

impl StreamPublisher {
    fn idle(&self) -> bool {
        self.open.is_empty() && self.ready.is_empty() && self.flying.is_empty()
    }

    /// Rows are taken only while they can be sent soon; the rest waits with its callers.
    fn has_space(&self) -> bool {
        self.ready.len() < self.config.in_flight
            && self
                .open
                .values()
                .all(|open| open.rows < self.config.max_rows)
    }

    fn online(&self) -> bool {
        self.nats.client.connection_state() == State::Connected
    }

    fn wake_at(&self) -> Option<Instant> {
        let linger = Duration::from_millis(self.config.linger_ms);
        let can_send =
            self.flying.len() < self.config.in_flight && self.retry_at.is_none() && self.online();
        let flush = self
            .open
            .values()
            .map(|open| open.since + linger)
            .min()
            .filter(|_| can_send);
        let deadline = self
            .flying
            .values()
            .chain(&self.ready)
            .map(|sealed| sealed.deadline)
            .min();
        let gathering = self
            .open
            .values()
            .map(|open| open.since + Duration::from_secs(self.config.deadline_s))
            .min();
        // Without a connection a due repetition waits for the connected event; the pause is for the
        // case it was missed.
        let pause = if self.online() {
            Duration::ZERO
        } else {
            Duration::from_millis(100)
        };
        let retry = self.retry_at.map(|at| at.max(Instant::now() + pause));
        [flush, deadline, gathering, retry]
            .into_iter()
            .flatten()
            .min()
    }

    fn absorb(&mut self, job: Job, now: Instant) {
        let deadline = now + Duration::from_secs(self.config.deadline_s);
        let Body::Lines { text, rows } = &job.body else {
            let sealed = self.sealer.alone(job, deadline);
            self.ready.push_back(sealed);
            return;
        };
        let (text, rows) = (text.clone(), *rows);
        let full = self.open.get(&job.subject).is_some_and(|open| {
            open.rows > 0
                && (open.rows + rows > self.config.max_rows
                    || open.size() + text.len() + 1 > self.config.max_bytes)
        });
        if full {
            self.seal(&job.subject.clone(), deadline);
        }
        let open = match self.open.get_mut(&job.subject) {
            Some(open) => open,
            None => self
                .open
                .entry(job.subject)
                .or_insert_with(|| Open::new(now)),
        };
        open.add(&text, rows, job.reply, job.permit);
    }

    fn seal(&mut self, subject: &str, deadline: Instant) {
        if let Some((subject, open)) = self.open.remove_entry(subject) {
            let sealed = self.sealer.lines(subject, open, deadline);
            self.ready.push_back(sealed);
        }
    }

    /// Seals what is full or old; everything, when the line is free and nobody else is waiting to
    /// come in.
    fn close_due(&mut self, now: Instant, quiet: bool) {
        let linger = Duration::from_millis(self.config.linger_ms);
        let free = self.ready.is_empty() && self.retry_at.is_none() && self.online();
        let at_once = quiet && free && self.flying.is_empty();
        let window = self.flying.len() < self.config.in_flight && free;
        let due = |open: &Open| {
            at_once
                || open.rows >= self.config.max_rows
                || open.size() >= self.config.max_bytes
                || (window && open.since + linger <= now)
                || open.since + Duration::from_secs(self.config.deadline_s) <= now
        };
        let mut subjects: Vec<(Instant, String)> = self
            .open
            .iter()
            .filter(|(_, open)| due(open))
            .map(|(subject, open)| (open.since, subject.clone()))
            .collect();
        subjects.sort_unstable();
        for (since, subject) in subjects {
            self.seal(
                &subject,
                since + Duration::from_secs(self.config.deadline_s),
            );
        }
    }

    async fn send_ready(&mut self, now: Instant) {
        if self.flying.is_empty() {
            self.connects = self.nats.connects();
        }
        while self.retry_at.is_none() && self.flying.len() < self.config.in_flight && self.online()
        {
            let Some(mut sealed) = self.ready.pop_front() else {
                return;
            };
            sealed.first_sent = Some(now);
            let order = sealed.order;
            self.flying.insert(order, sealed);
            self.send(order).await;
        }
    }

    async fn send(&mut self, order: u64) {
        let Some(sealed) = self.flying.get_mut(&order) else {
            return;
        };
        sealed.attempt += 1;
        let attempt = sealed.attempt;
        let message = PublishMessage::build()
            .payload(sealed.payload.clone())
            .headers(sealed.headers.clone());
        let sent = self
            .nats
            .js
            .send_publish(sealed.subject.clone(), message)
            .await;
        match sent {
            Ok(ack) => self
                .acks
                .push(Box::pin(async move { (order, attempt, ack.await) })),
            Err(error) => self.settle(order, attempt, Err(error)),
        }
    }

    /// After a reconnect or a failure everything that flies is sent again, oldest first: the order
    /// of the rows of one producer stays, and JetStream drops what it has by the message id.
    async fn repeat(&mut self, now: Instant) {
        if !self.online() || self.flying.is_empty() {
            return;
        }
        let connects = self.nats.connects();
        if connects == self.connects && self.retry_at.is_none_or(|at| at > now) {
            return;
        }
        self.connects = connects;
        self.retry_at = None;
        let orders: Vec<u64> = self.flying.keys().copied().collect();
        metrics::counter!("headframe_publish_repeats_total", "stream" => self.stream)
            .increment(orders.len() as u64);
        for order in orders {
            self.send(order).await;
        }
    }

    fn settle(&mut self, order: u64, attempt: u32, result: Result<PublishAck, AckError>) {
        let Some(sealed) = self.flying.get_mut(&order) else {
            return;
        };
        let answer = match result {
            Ok(ack) => {
                self.confirmed();
                Ok(Receipt {
                    seq: ack.sequence,
                    duplicate: ack.duplicate,
                })
            }
            // A late failure of an attempt that has a successor says nothing.
            Err(_) if attempt < sealed.attempt => return,
            Err(error) => match judge(self.stream, &error) {
                Verdict::Final(error) => Err(error),
                Verdict::NoStream
                    if sealed
                        .first_sent
                        .is_some_and(|sent| sent.elapsed() >= NO_STREAM_PATIENCE) =>
                {
                    Err(PublishError::NoStream {
                        stream: self.stream,
                    })
                }
                Verdict::NoStream => return self.retry_later(order, "no stream answers"),
                Verdict::Open(reason) => match self
                    .nats
                    .take_denied()
                    .filter(|denied| denied.contains(sealed.subject.as_str()))
                {
                    Some(reason) => Err(PublishError::Denied {
                        stream: self.stream,
                        reason,
                    }),
                    None => return self.retry_later(order, &reason),
                },
            },
        };
        if let Some(sealed) = self.flying.remove(&order) {
            let kind = if answer.is_ok() { "ok" } else { "failed" };
            metrics::counter!("headframe_published_messages_total", "stream" => self.stream,
                "result" => kind)
            .increment(1);
            sealed.settle(&answer);
        }
    }

    fn retry_later(&mut self, order: u64, reason: &str) {
        let now = Instant::now();
        // What is not confirmed has been waited for since it was first sent.
        let mut since = now;
        if let Some(sealed) = self.flying.get_mut(&order) {
            reason.clone_into(&mut sealed.last_error);
            since = sealed.first_sent.unwrap_or(now).min(now);
        }
        let changes = [since, now].map(|at| self.unconfirmed.update(true, at.into_std()));
        if changes.iter().any(Option::is_some) {
            let stream = self.stream;
            tracing::warn!(stream, reason, "publish not acknowledged; repeating");
        }
        if self.retry_at.is_none() {
            self.retry_at = Some(now + self.backoff);
            self.backoff = (self.backoff * 2).min(MAX_BACKOFF);
        }
    }

    fn confirmed(&mut self) {
        self.backoff = MIN_BACKOFF;
        let now = Instant::now().into_std();
        if let Some(LastingChange::Ended(lasted)) = self.unconfirmed.update(false, now) {
            let (stream, lasted_s) = (self.stream, lasted.as_secs_f64());
            tracing::info!(stream, lasted_s, "publishes are acknowledged again");
        }
    }

    /// Gives up on what passed its deadline.
    fn expire(&mut self, now: Instant) {
        let late: Vec<u64> = self
            .flying
            .iter()
            .filter(|(_, sealed)| sealed.deadline <= now)
            .map(|(order, _)| *order)
            .collect();
        for order in late {
            if let Some(sealed) = self.flying.remove(&order) {
                let reason = if sealed.last_error.is_empty() {
                    "no answer".to_owned()
                } else {
                    sealed.last_error.clone()
                };
                let error = PublishError::Unconfirmed {
                    stream: self.stream,
                    seconds: self.config.deadline_s,
                    reason,
                };
                sealed.settle(&Err(error));
            }
        }
        while self
            .ready
            .front()
            .is_some_and(|sealed| sealed.deadline <= now)
        {
            if let Some(sealed) = self.ready.pop_front() {
                sealed.settle(&Err(PublishError::Busy {
                    stream: self.stream,
                }));
            }
        }
    }
}
