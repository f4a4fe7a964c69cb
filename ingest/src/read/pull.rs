//! One ephemeral pull consumer and the messages it sends ahead.
//!
//! The server may send ahead only what was asked for, and more is asked for only when the caller
//! comes back for more: that is the whole of back-pressure.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::{StatusCode, Subscriber};
use futures::{FutureExt, StreamExt};
use tokio::sync::watch;
use tokio::task::coop::unconstrained;
use tokio::time::{Instant, timeout_at};

use super::{ReadFault, ReaderConfig};
use crate::nats::Nats;
use crate::read::message::Message;

/// How long one request for messages stands on the server.
const EXPIRES: Duration = Duration::from_secs(30);
/// The server forgets a consumer nobody asks for this long.
const INACTIVE: Duration = Duration::from_secs(120);

/// What came.
#[derive(Debug)]
pub enum Delivery {
    /// At least one message, in the order of arrival.
    Messages(Vec<Message>),
    /// Signs of life only, for longer than is believed.
    Silent,
    /// The consumer is gone or mute, and why.
    Stalled(&'static str),
}

/// The consumer.
#[derive(Debug)]
pub struct Pull {
    subscriber: Subscriber,
    inbox: String,
    subject: String,
    connects: u64,
    connected: watch::Receiver<u64>,
    /// Messages asked for and not come yet.
    outstanding: usize,
    /// The last thing the server sent.
    sign: Instant,
    /// The first sign of a consumer that is well.
    first_sign: Option<Instant>,
    /// The last message, or the last time silence was questioned.
    progress: Instant,
}

enum Sign {
    Message(Box<Message>),
    Alive,
    Stalled(&'static str),
}

impl Pull {
    /// Makes a consumer that starts at `start`.
    pub async fn create(
        nats: &Nats,
        stream: &'static str,
        start: u64,
        connects: u64,
        config: &ReaderConfig,
    ) -> Result<Self, ReadFault> {
        let failed = |attempt| {
            move |error: &dyn std::fmt::Display| ReadFault::Nats {
                stream,
                attempt,
                reason: error.to_string(),
            }
        };
        let connected = nats.connected();
        let inbox = nats.client.new_inbox();
        let subscriber = nats
            .client
            .subscribe(inbox.clone())
            .await
            .map_err(|error| failed("subscribe to")(&error))?;
        let name = format!("headframe-{:016x}", rand::random::<u64>());
        let wanted = pull::Config {
            name: Some(name.clone()),
            description: Some("reads in order for headframe; safe to delete".to_owned()),
            deliver_policy: DeliverPolicy::ByStartSequence {
                start_sequence: start,
            },
            ack_policy: AckPolicy::None,
            memory_storage: true,
            num_replicas: 1,
            inactive_threshold: INACTIVE.max(config.progress * 2),
            ..pull::Config::default()
        };
        let handle = nats
            .js
            .get_stream_no_info(stream)
            .await
            .map_err(|error| failed("open")(&error))?;
        handle
            .create_consumer(wanted)
            .await
            .map_err(|error| failed("create a consumer on")(&error))?;
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{name}");
        let now = Instant::now();
        Ok(Self {
            subscriber,
            inbox,
            subject,
            connects,
            connected,
            outstanding: 0,
            sign: now,
            first_sign: None,
            progress: now,
        })
    }

    /// The connection it was made on.
    pub fn connects(&self) -> u64 {
        self.connects
    }

    /// When the server first said something that a consumer which is well says.
    pub fn first_sign(&self) -> Option<Instant> {
        self.first_sign
    }

    /// Whatever is there, waiting for the first message. Its state stays sound when the future is
    /// dropped.
    pub async fn take(&mut self, nats: &Nats, config: &ReaderConfig) -> Delivery {
        loop {
            if let Some(delivery) = self.drain(config) {
                return delivery;
            }
            if self.progress.elapsed() >= config.progress {
                self.progress = Instant::now();
                return Delivery::Silent;
            }
            if self.outstanding <= config.pull_messages / 2 && self.ask(nats, config).await.is_err()
            {
                return Delivery::Stalled("cannot ask for messages");
            }
            if nats.connects() != self.connects {
                return Delivery::Stalled("reconnected");
            }
            let mute = self.sign + config.heartbeat * 2;
            let subscriber = &mut self.subscriber;
            let sign = tokio::select! {
                next = timeout_at(mute, subscriber.next()) => next,
                _ = self.connected.changed() => continue,
            };
            match sign {
                Err(_) => return Delivery::Stalled("no message and no heartbeat"),
                Ok(None) => return Delivery::Stalled("subscription ended"),
                Ok(Some(delivery)) => match self.read(delivery) {
                    Sign::Message(first) => return self.fill(vec![*first], config),
                    Sign::Alive => {}
                    Sign::Stalled(reason) => return Delivery::Stalled(reason),
                },
            }
        }
    }

    /// What lies in the buffer already; `None` when that is no message.
    fn drain(&mut self, config: &ReaderConfig) -> Option<Delivery> {
        match self.fill(Vec::new(), config) {
            Delivery::Messages(messages) if messages.is_empty() => None,
            delivery => Some(delivery),
        }
    }

    fn fill(&mut self, mut messages: Vec<Message>, config: &ReaderConfig) -> Delivery {
        let mut bytes: usize = messages.iter().map(Message::size).sum();
        while messages.len() < config.answer_messages && bytes < config.answer_bytes {
            // Without `unconstrained` the runtime would pretend after 128 messages that there are
            // no more.
            let Some(Some(delivery)) = unconstrained(self.subscriber.next()).now_or_never() else {
                break;
            };
            match self.read(delivery) {
                Sign::Message(message) => {
                    bytes += message.size();
                    messages.push(*message);
                }
                Sign::Alive => {}
                // What came before is good; the stall shows again as silence.
                Sign::Stalled(_) if !messages.is_empty() => break,
                Sign::Stalled(reason) => return Delivery::Stalled(reason),
            }
        }
        Delivery::Messages(messages)
    }

    fn read(&mut self, delivery: async_nats::Message) -> Sign {
        let now = Instant::now();
        let sign = self.classify(delivery, now);
        if !matches!(sign, Sign::Stalled(_)) {
            self.first_sign.get_or_insert(now);
        }
        sign
    }

    fn classify(&mut self, delivery: async_nats::Message, now: Instant) -> Sign {
        self.sign = now;
        let Some(status) = delivery.status.filter(|status| *status != StatusCode::OK) else {
            self.outstanding = self.outstanding.saturating_sub(1);
            self.progress = now;
            return Message::from_delivery(delivery)
                .map_or(Sign::Alive, |message| Sign::Message(Box::new(message)));
        };
        if status == StatusCode::IDLE_HEARTBEAT {
            return Sign::Alive;
        }
        if status == StatusCode::NO_RESPONDERS {
            return Sign::Stalled("the consumer is gone");
        }
        let pending = delivery
            .headers
            .as_ref()
            .and_then(|headers| headers.get("Nats-Pending-Messages"));
        let pending = pending.and_then(|value| value.as_str().parse::<usize>().ok());
        self.outstanding = self
            .outstanding
            .saturating_sub(pending.unwrap_or(self.outstanding));
        let why = delivery
            .description
            .unwrap_or_default()
            .to_ascii_lowercase();
        let request_ended = status == StatusCode::TIMEOUT
            || status == StatusCode::NOT_FOUND
            || why.contains("maxbytes");
        if request_ended {
            Sign::Alive
        } else {
            Sign::Stalled("the server ended the request")
        }
    }

    async fn ask(&mut self, nats: &Nats, config: &ReaderConfig) -> Result<(), ()> {
        let count = config.pull_messages.saturating_sub(self.outstanding).max(1);
        // Whatever the limit, the largest possible message must fit, or the request could never be
        // met.
        let bytes = config
            .pull_bytes
            .max(nats.client.max_payload().saturating_mul(2));
        let body = serde_json::json!({
            "batch": count,
            "max_bytes": bytes,
            "expires": EXPIRES.as_nanos() as u64,
            "idle_heartbeat": config.heartbeat.as_nanos() as u64,
        });
        let request = nats.client.publish_with_reply(
            self.subject.clone(),
            self.inbox.clone(),
            body.to_string().into(),
        );
        request.await.map_err(|_| ())?;
        self.outstanding += count;
        Ok(())
    }
}
