//! A statement whose answer is pushed again whenever the streams that it reads have moved.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use futures::StreamExt;
use futures::future::{BoxFuture, FutureExt, select_all};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::access::{OngoingAccess, Principal, ReadScope, RowAccess};
use crate::error::QueryError;
use crate::live::answer::{Baseline, LiveAnswer};
use crate::live::statements::{Statements, may_come};
use crate::live::stream_read::{News, StreamRead};
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
    /// How far the answer is complete, for whom sequences are shown to.
    complete_through: Option<String>,
    /// Each stream that the answer reads.
    read: Vec<StreamRead>,
    /// How far each stream was held when the newest statement began.
    heads: Heads,
    running: Option<BoxFuture<'static, Result<Outcome, QueryError>>>,
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

/// Streams and a sequence of each.
type Heads = Vec<(&'static str, i64)>;

/// What came of looking again.
enum Outcome {
    Answer(LiveAnswer),
    /// No row that is meant came up to these sequences.
    NothingNew(Heads),
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
        let heads = heads(&parts.tails);
        let first = LiveAnswer::from_statement(&parts.statements, &principal, &sql).await?;
        let mut query = Self {
            baseline: first.baseline(&key)?,
            statements: parts.statements,
            tails: parts.tails,
            principal,
            sql,
            key,
            complete_through: None,
            read: Vec::new(),
            heads,
            running: None,
            said: VecDeque::new(),
            rest,
            due: Instant::now() + PROGRESS,
            ended: false,
            stop: parts.stop,
            access: parts.access,
            _seats: parts.seats,
        };
        query.follow(&first);
        query.say(
            "snapshot",
            &first.snapshot(query.complete_through.as_deref()),
        );
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
                    self.take(answered);
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
        let news: Vec<News> = self.read.iter_mut().map(StreamRead::news).collect();
        news.iter().any(|news| *news != News::Nothing)
    }

    fn run(&mut self) {
        self.rest = Instant::now() + EVERY;
        self.heads = heads(&self.tails);
        let (mut has_rows, mut uncertain) = (false, Vec::new());
        for read in &mut self.read {
            match read.news() {
                News::Rows => has_rows = true,
                News::InTables => uncertain.push((read.name(), read.through)),
                News::Nothing => {}
            }
        }
        let (statements, principal) = (self.statements.clone(), self.principal.clone());
        let sql = self.sql.clone();
        let answer = async move {
            if !has_rows {
                let looked = looked_through(&statements, &principal, &uncertain).await?;
                if let Some(looked) = looked {
                    return Ok(Outcome::NothingNew(looked));
                }
            }
            let answer = LiveAnswer::from_statement(&statements, &principal, &sql).await?;
            Ok(Outcome::Answer(answer))
        };
        self.running = Some(answer.boxed());
    }

    /// Says what an answer changes.
    fn take(&mut self, answered: Result<Outcome, QueryError>) {
        let answer = match answered {
            Ok(Outcome::Answer(answer)) => answer,
            Ok(Outcome::NothingNew(looked)) => {
                for read in &mut self.read {
                    read.through = read.through.max(seq_of(&looked, read.name()).unwrap_or(0));
                }
                return;
            }
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
            None => {
                let snapshot = answer.snapshot(self.complete_through.as_deref());
                self.say("snapshot", &snapshot);
            }
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
        let reads = self.principal.read_scope();
        let is_of_all = reads.miner().is_none();
        self.complete_through = is_of_all.then(|| answer.complete_through().to_string());
        let find = |name: &str| self.tails.iter().find(|tail| tail.stream().name() == name);
        let read = answer.coverage.iter().filter_map(|read| {
            let tail = find(read.stream)?;
            let own = match reads.of_stream(tail.stream()) {
                RowAccess::Own(own) => Some(own),
                RowAccess::All | RowAccess::Nothing => None,
            };
            let before = self.read.iter().find(|before| before.name() == read.stream);
            let through = match (&own, read.complete) {
                (None, _) => read.through,
                // A miner's answer does not tell how far it goes: as far as what was here before.
                (Some(_), Some(true)) => seq_of(&self.heads, read.stream),
                (Some(_), _) => before.map(|before| before.through),
            };
            Some(StreamRead {
                through: through.unwrap_or(0),
                changes: tail.changes(),
                tail: tail.clone(),
                own,
            })
        });
        self.read = read.collect();
    }

    fn progress(&mut self) {
        let through = self.complete_through.as_ref();
        let through = through.map(|through| format!("\"complete_through\":{through}"));
        self.say("progress", &format!("{{{}}}", through.unwrap_or_default()));
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

/// How far each stream is held in this process.
fn heads(tails: &[Arc<dyn LiveTail>]) -> Heads {
    let head = |tail: &Arc<dyn LiveTail>| {
        let held = tail.newer_than(i64::MAX).ok()?;
        Some((tail.stream().name(), held.through))
    };
    tails.iter().filter_map(head).collect()
}

fn seq_of(heads: &Heads, name: &str) -> Option<i64> {
    let mut heads = heads.iter();
    heads.find(|(stream, _)| *stream == name).map(|head| head.1)
}

/// Looks for rows of a miner behind sequences of streams: how far there are none, or nothing where
/// there are some.
async fn looked_through(
    statements: &Statements,
    principal: &Principal,
    after: &Heads,
) -> Result<Option<Heads>, QueryError> {
    let Some(address) = principal.read_scope().miner().map(str::to_owned) else {
        return Ok(None);
    };
    let mut looked = Heads::new();
    for (stream, seq) in after {
        let reads = ReadScope::MinerPlaces {
            address: address.clone(),
            condition: None,
        };
        let sql = format!("SELECT \"seq\" FROM \"{stream}\" WHERE \"seq\" > {seq} LIMIT 1");
        let (mut answer, _slot) = statements.ask(principal, reads, sql, None).await?;
        while let Some(batch) = answer.rows.next().await {
            if batch?.num_rows() > 0 {
                return Ok(None);
            }
        }
        let read = answer.coverage.iter().find(|read| read.stream == *stream);
        looked.push((*stream, read.and_then(|read| read.through).unwrap_or(*seq)));
    }
    Ok(Some(looked))
}
