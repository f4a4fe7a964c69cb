//! A statement whose answer is pushed again whenever the streams that it reads have moved.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use futures::future::{BoxFuture, FutureExt, select_all};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::access::{OngoingAccess, Principal};
use crate::error::QueryError;
use crate::live::answer::{Baseline, LiveAnswer};
use crate::live::statements::{Statements, may_come};
use crate::live::subscribers::Seat;
use crate::live::tail::LiveTail;

/// Between two answers at least.
const EVERY: Duration = Duration::from_secs(1);
/// Between two words about how far the answer is complete.
const PROGRESS: Duration = Duration::from_secs(5);

/// A statement that somebody watches.
pub(crate) struct LiveQuery {
    statements: Arc<Statements>,
    tails: Vec<Arc<dyn LiveTail>>,
    principal: Principal,
    sql: String,
    key: Vec<String>,
    baseline: Baseline,
    complete_through: String,
    /// Each stream that the answer reads: how far it is in the answer, and who tells of more.
    read: Vec<StreamRead>,
    running: Option<BoxFuture<'static, Result<LiveAnswer, QueryError>>>,
    /// What is to be said before anything else.
    said: VecDeque<Bytes>,
    /// No answer begins before this.
    rest: Instant,
    /// When something must be said next.
    due: Instant,
    ended: bool,
    stop: CancellationToken,
    access: Arc<OngoingAccess>,
    _seats: [Seat; 2],
}

struct StreamRead {
    tail: Arc<dyn LiveTail>,
    through: i64,
    changes: watch::Receiver<u64>,
}

/// What a live query needs of its server.
pub(super) struct QueryParts {
    pub(super) statements: Arc<Statements>,
    pub(super) tails: Vec<Arc<dyn LiveTail>>,
    pub(super) stop: CancellationToken,
    pub(super) access: Arc<OngoingAccess>,
    pub(super) seats: [Seat; 2],
}

impl LiveQuery {
    /// Runs the statement for the first time, so that its errors have a status.
    pub(super) async fn begin(
        parts: QueryParts,
        principal: Principal,
        sql: String,
        key: Vec<String>,
    ) -> Result<Self, QueryError> {
        let rest = Instant::now() + EVERY;
        let first = LiveAnswer::from_statement(&parts.statements, &principal, &sql).await?;
        let mut query = Self {
            baseline: first.baseline(&key)?,
            statements: parts.statements,
            tails: parts.tails,
            principal,
            sql,
            key,
            complete_through: String::new(),
            read: Vec::new(),
            running: None,
            said: VecDeque::new(),
            rest,
            due: Instant::now() + PROGRESS,
            ended: false,
            stop: parts.stop,
            access: parts.access,
            _seats: parts.seats,
        };
        query.say("snapshot", &first.snapshot());
        query.follow(&first);
        Ok(query)
    }

    /// The next event; `None` after the last one.
    pub(crate) async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(event) = self.said.pop_front() {
                return Some(event);
            }
            if self.ended {
                return None;
            }
            self.step().await;
        }
    }

    async fn step(&mut self) {
        if self.stop.is_cancelled() {
            self.say(
                "draining",
                "{\"hint\":\"the server stops; ask again when it is back\"}",
            );
            self.ended = true;
            return;
        }
        if Instant::now() >= self.due {
            match self.access.check() {
                Ok(()) => self.progress(),
                Err(refusal) => self.fail(&refusal),
            }
            return;
        }
        let due = sleep_until(self.due);
        let stopped = self.stop.clone().cancelled_owned();
        if let Some(running) = &mut self.running {
            tokio::select! {
                answered = running => {
                    self.running = None;
                    self.compare(answered);
                }
                () = due => {}
                () = stopped => {}
            }
            return;
        }
        if !self.has_moved() {
            let changed = self
                .read
                .iter_mut()
                .map(|read| read.changes.changed().boxed());
            let changed: Vec<_> = changed.collect();
            let changed = async {
                match changed.is_empty() {
                    true => std::future::pending().await,
                    false => drop(select_all(changed).await),
                }
            };
            tokio::select! {
                () = changed => {}
                () = due => {}
                () = stopped => {}
            }
            return;
        }
        tokio::select! {
            () = sleep_until(self.rest) => self.run(),
            () = due => {}
            () = stopped => {}
        }
    }

    /// Whether a stream holds more than the answer has read.
    fn has_moved(&mut self) -> bool {
        self.read.iter_mut().any(|read| {
            read.changes.borrow_and_update();
            let held = read.tail.newer_than(i64::MAX);
            held.is_ok_and(|held| held.through > read.through)
        })
    }

    fn run(&mut self) {
        self.rest = Instant::now() + EVERY;
        let (statements, principal) = (self.statements.clone(), self.principal.clone());
        let sql = self.sql.clone();
        let answer = async move { LiveAnswer::from_statement(&statements, &principal, &sql).await };
        self.running = Some(answer.boxed());
    }

    /// Says what an answer changes.
    fn compare(&mut self, answered: Result<LiveAnswer, QueryError>) {
        let answer = match answered {
            Ok(answer) => answer,
            // The streams have still moved, so that it is asked again after a rest.
            Err(error) if may_come(error.code) => return,
            Err(error) => return self.fail(&error),
        };
        let baseline = match answer.baseline(&self.key) {
            Ok(baseline) => baseline,
            Err(error) => return self.fail(&error),
        };
        self.follow(&answer);
        match self.baseline.changes_to(&baseline) {
            None => self.say("snapshot", &answer.snapshot()),
            Some(changes) if changes.is_empty() => {}
            Some(changes) => {
                for (name, data) in changes {
                    self.say(name, &data);
                }
                self.progress();
            }
        }
        self.baseline = baseline;
    }

    /// Waits from now on for what the answer has not read.
    fn follow(&mut self, answer: &LiveAnswer) {
        self.complete_through = answer.complete_through().to_string();
        let find = |name: &str| self.tails.iter().find(|tail| tail.stream().name() == name);
        let read = answer.coverage.iter().filter_map(|read| {
            let tail = find(read.stream)?;
            Some(StreamRead {
                through: read.through.unwrap_or(0),
                changes: tail.changes(),
                tail: tail.clone(),
            })
        });
        self.read = read.collect();
    }

    fn progress(&mut self) {
        let data = format!("{{\"complete_through\":{}}}", self.complete_through);
        self.say("progress", &data);
    }

    fn fail(&mut self, error: &QueryError) {
        self.say("failed", &error.to_json()["error"].to_string());
        self.ended = true;
    }

    fn say(&mut self, name: &str, data: &str) {
        let event = format!("event: {name}\ndata: {data}\n\n");
        self.said.push_back(event.into());
        self.due = Instant::now() + PROGRESS;
    }
}
