//! Live subscriptions: the rows of a stream as they come, after those that were there before.
//!
//! A subscriber names a place, and is sent every row after it exactly once: those of the tables a
//! page at a time, and then what the [`LiveTail`] of this process holds. Whoever comes back names
//! the last place that he was told. Rows are written once for all who subscribe to the same view,
//! and kept in a ring of so many bytes; whoever falls out of it is told, and comes back for what he
//! missed to the tables. Conditions are typed SQL, so that the processes that run such statements
//! say which rows they are true for: once for each new piece of a stream and distinct condition.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use headframe_schemas::Stream;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::access::{OngoingAccess, Principal, RowAccess};
use crate::config::QueryConfig;
use crate::error::{ErrorCode, QueryError};
use crate::live::pages::Pages;
use crate::live::place_ids::PlaceIds;
use crate::live::query::QueryParts;
use crate::live::statements::Statements;
use crate::live::subscribers::{Subscribers, full};
use crate::live::subscription::SubscriptionParts;
use crate::live::topic::{Judge, Topic};
use crate::sql::SqlEngine;

mod answer;
mod chunk;
mod event;
mod pages;
mod place_ids;
mod place_key;
mod position;
mod query;
mod ring;
mod statements;
mod stream_read;
mod subscribers;
mod subscription;
mod tail;
mod topic;
mod view;

pub(crate) use event::Event;
pub use place_key::{PlaceKey, PlaceKeyError};
pub(crate) use position::Position;
pub(crate) use query::LiveQuery;
pub(crate) use subscribers::Seat;
pub(crate) use subscription::Subscription;
pub use tail::{LiveTail, OldestRow, TailRows};
pub(crate) use view::View;

/// How long an answer waits to learn how far its streams have come.
const VERSION_PATIENCE: Duration = Duration::from_secs(1);

/// Where a subscription begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// With what comes.
    Now,
    /// With the oldest row there is.
    Oldest,
    /// With what follows this place.
    After(Position),
    /// With what JetStream stored at this time or later, in microseconds since 1970.
    From(i64),
}

/// What subscribes.
pub(crate) struct Subscriber {
    pub(crate) principal: Principal,
    pub(crate) address: IpAddr,
    pub(crate) access: Arc<OngoingAccess>,
}

/// All subscriptions of a server.
pub(crate) struct Subscriptions {
    tails: Vec<Arc<dyn LiveTail>>,
    pages: Arc<Pages>,
    statements: Arc<Statements>,
    topics: Mutex<HashMap<String, Weak<Topic>>>,
    max_conditions: usize,
    buffer_bytes: usize,
    subscribers: Subscribers,
    watchers: Subscribers,
    /// Connections whose token has not come yet.
    arrivals: Subscribers,
    place_key: PlaceKey,
    stop: CancellationToken,
}

impl Subscriptions {
    /// Subscriptions to these streams, with history out of this engine. Without a key one is made
    /// that lasts as long as the server.
    pub(crate) fn new(
        config: &QueryConfig,
        tails: Vec<Arc<dyn LiveTail>>,
        place_key: Option<PlaceKey>,
        engine: Arc<dyn SqlEngine>,
    ) -> Self {
        Self {
            tails,
            pages: Arc::new(Pages::new(config, engine.clone())),
            statements: Arc::new(Statements::new(config, engine, None)),
            topics: Mutex::default(),
            max_conditions: config.live_conditions,
            buffer_bytes: config.live_buffer_kib * 1024,
            subscribers: Subscribers::new(config),
            watchers: Subscribers::of_answers(config),
            arrivals: Subscribers::of_arrivals(config),
            place_key: place_key.unwrap_or_else(PlaceKey::ephemeral),
            stop: CancellationToken::new(),
        }
    }

    /// The stream of this name, for whoever may read rows of it.
    fn stream(&self, name: &str, principal: &Principal) -> Result<&'static dyn Stream, QueryError> {
        let reads = principal.read_scope();
        let is_shown = |stream: &&'static dyn Stream| reads.of_stream(*stream).is_some();
        let streams = self.tails.iter().map(|tail| tail.stream());
        let mut streams = streams.filter(is_shown);
        streams.find(|stream| stream.name() == name).ok_or_else(|| {
            let names = self.tails.iter().map(|tail| tail.stream());
            let names: Vec<&str> = names.filter(is_shown).map(|stream| stream.name()).collect();
            QueryError::new(
                ErrorCode::NotFound,
                format!("there is no stream {name:?} here"),
                format!("streams are {}", names.join(", ")),
            )
        })
    }

    /// What somebody is shown of a stream: the rows that he may read, and of them what he asks for.
    pub(crate) fn view(
        &self,
        name: &str,
        principal: &Principal,
        columns: Option<&str>,
        condition: Option<&str>,
    ) -> Result<View, QueryError> {
        let stream = self.stream(name, principal)?;
        let access = principal.read_scope().of_stream(stream);
        let ids = match &access {
            RowAccess::Own(own) => PlaceIds::sealed(&self.place_key, name, &own.address)?,
            RowAccess::All | RowAccess::Nothing => PlaceIds::Sequences,
        };
        View::new(stream, access, ids, columns, condition)
    }

    /// Counts a connection whose token has not come yet.
    pub(crate) fn admit_arrival(&self, address: IpAddr) -> Result<Seat, QueryError> {
        self.check_open()?;
        self.arrivals.admit(&Principal::anonymous(), address)
    }

    /// How far these streams have come, where all that JetStream has acknowledged is known here: as
    /// long as this is the same, no statement over them has another answer.
    pub(crate) async fn versions(&self, streams: &[&str]) -> Option<String> {
        let mut versions = String::new();
        for name in streams {
            let mut tails = self.tails.iter();
            let tail = tails.find(|tail| tail.stream().name() == *name)?;
            let last = timeout(VERSION_PATIENCE, tail.last_seq())
                .await
                .ok()?
                .ok()?;
            let held = tail.newer_than(i64::MAX).ok()?;
            if held.through < last {
                return None;
            }
            versions.push_str(&format!("{name} {} {last}\n", held.generation));
        }
        Some(versions)
    }

    /// Ends every subscription with a word about it.
    pub(crate) fn drain(&self) {
        self.stop.cancel();
        self.pages.cancel_all();
        self.statements.cancel_all();
    }

    /// Runs a statement, and again whenever the streams that it reads have moved.
    pub(crate) async fn watch(
        &self,
        sql: String,
        key: Vec<String>,
        subscriber: Subscriber,
    ) -> Result<LiveQuery, QueryError> {
        let Subscriber {
            principal,
            address,
            access,
        } = subscriber;
        self.check_open()?;
        let seats = [
            self.subscribers.admit(&principal, address)?,
            self.watchers.admit(&principal, address)?,
        ];
        let parts = QueryParts {
            statements: self.statements.clone(),
            tails: self.tails.clone(),
            stop: self.stop.clone(),
            access,
            seats,
        };
        LiveQuery::begin(parts, principal, sql, key).await
    }

    /// Refuses new subscriptions of a server that stops.
    fn check_open(&self) -> Result<(), QueryError> {
        match self.stop.is_cancelled() {
            true => Err(QueryError::storage("the server stops")),
            false => Ok(()),
        }
    }

    /// Begins a subscription.
    pub(crate) async fn subscribe(
        &self,
        view: View,
        start: Start,
        subscriber: Subscriber,
    ) -> Result<Subscription, QueryError> {
        let Subscriber {
            principal,
            address,
            access,
        } = subscriber;
        self.check_open()?;
        let seat = self.subscribers.admit(&principal, address)?;
        if view.has_condition() {
            self.pages.check(&view, &principal).await?;
        }
        let tail = self.tail(view.stream)?;
        let topic = self.topic(&view, tail, &principal)?;
        let position = self
            .position(&view, &topic, tail, &principal, start)
            .await?;
        let parts = SubscriptionParts {
            pages: self.pages.clone(),
            principal,
            stop: self.stop.clone(),
            access,
            seat,
        };
        Ok(Subscription::new(topic, position, parts))
    }

    fn tail(&self, stream: &'static dyn Stream) -> Result<&Arc<dyn LiveTail>, QueryError> {
        let mut tails = self.tails.iter();
        let tail = tails.find(|tail| tail.stream().name() == stream.name());
        tail.ok_or_else(|| QueryError::internal("a stream has no tail"))
    }

    /// The topic of a view, which begins with its first subscriber.
    fn topic(
        &self,
        view: &View,
        tail: &Arc<dyn LiveTail>,
        principal: &Principal,
    ) -> Result<Arc<Topic>, QueryError> {
        // A condition may read other tables, and sees of them what its subscriber sees.
        let key = match view.has_condition() {
            true => format!("{:?}\n{}", principal.read_scope(), view.key()),
            false => view.key(),
        };
        // A map of handles is never half changed.
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(topic) = topics.get(&key).and_then(Weak::upgrade)
            && !topic.has_ended()
        {
            return Ok(topic);
        }
        topics.retain(|_, topic| topic.strong_count() > 0);
        let judge = match view.has_condition() {
            true => {
                let alive = topics.values().filter_map(Weak::upgrade);
                let alive: Vec<_> = alive.filter(|topic| topic.view.has_condition()).collect();
                self.check_conditions(view, alive.iter().map(|topic| &topic.view))?;
                Some(Judge {
                    pages: self.pages.clone(),
                    principal: principal.clone(),
                })
            }
            false => None,
        };
        let topic = Topic::start(view.clone(), tail.clone(), judge, self.buffer_bytes)?;
        topics.insert(key, Arc::downgrade(&topic));
        Ok(topic)
    }

    /// Refuses a condition too many. All miners together have half of them and one has a quarter,
    /// so that they leave some to others.
    fn check_conditions<'a>(
        &self,
        view: &View,
        alive: impl Iterator<Item = &'a View> + Clone,
    ) -> Result<(), QueryError> {
        let max = self.max_conditions;
        let of_miners = alive.clone().filter(|other| other.is_own());
        let of_miner = alive.clone().filter(|other| other.miner() == view.miner());
        let limits = match view.is_own() {
            true => vec![
                (of_miners.count(), (max / 2).max(1)),
                (of_miner.count(), (max / 4).max(1)),
            ],
            false => Vec::new(),
        };
        let mut limits = limits.into_iter().chain([(alive.count(), max)]);
        match limits.find(|(count, max)| count >= max) {
            Some((_, max)) => Err(full(max, "live_conditions")),
            None => Ok(()),
        }
    }

    /// The place that a subscription begins after.
    async fn position(
        &self,
        view: &View,
        topic: &Topic,
        tail: &Arc<dyn LiveTail>,
        principal: &Principal,
        start: Start,
    ) -> Result<Position, QueryError> {
        if start == Start::Now {
            return Ok(topic.through());
        }
        let oldest = tail.oldest().await;
        let oldest = oldest.map_err(|why| QueryError::storage(&why))?;
        match start {
            Start::Now => Ok(topic.through()),
            Start::Oldest => {
                let first = oldest.map_or(1, |oldest| oldest.seq);
                Ok(Position::after_message(first - 1))
            }
            Start::After(position) => {
                if let Some(oldest) = oldest.filter(|oldest| position.seq < oldest.seq - 1) {
                    return Err(past_retention(view, &oldest));
                }
                match tail.last_seq().await {
                    Ok(last) if position.seq > last => Err(ahead(view, position, last)),
                    // When JetStream cannot be asked, the tables still can.
                    _ => Ok(position),
                }
            }
            Start::From(time_us) => {
                let is_lost = |oldest: &OldestRow| oldest.seq > 1 && time_us < oldest.ingest_us;
                match oldest.filter(is_lost) {
                    // What others have lost is not a miner's to know.
                    Some(oldest) if !view.is_own() => return Err(past_retention(view, &oldest)),
                    _ => {}
                }
                self.pages.place_of(view, principal, time_us).await
            }
        }
    }
}

/// The error of a start whose rows are gone.
fn past_retention(view: &View, oldest: &OldestRow) -> QueryError {
    if view.is_own() {
        return gone_for_miner(view);
    }
    QueryError::new(
        ErrorCode::Gone,
        format!(
            "rows of {} between the start and sequence {} are not kept any more",
            view.stream.name(),
            oldest.seq
        ),
        format!(
            "from=oldest begins with what there is; after={} is the same",
            oldest.seq - 1
        ),
    )
}

/// The error of a start that the stream has never reached.
fn ahead(view: &View, position: Position, last: i64) -> QueryError {
    if view.is_own() {
        return gone_for_miner(view);
    }
    QueryError::new(
        ErrorCode::Gone,
        format!(
            "{} ends at sequence {last}, before {position}: it is not the stream that this place \
             is of",
            view.stream.name()
        ),
        "the stream was restored or made anew; begin with from= or without a place",
    )
}

/// The error of a miner's start that is gone: no sequence, and not why.
fn gone_for_miner(view: &View) -> QueryError {
    let name = view.stream.name();
    QueryError::new(
        ErrorCode::Gone,
        format!("rows of {name} after this id are not kept any more, or it is of another stream"),
        "from=oldest begins with what there is",
    )
}
