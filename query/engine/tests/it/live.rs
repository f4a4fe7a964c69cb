//! Live subscriptions over the product's own tail and engine: every row once, wherever it lies when
//! it is asked for, and whoever goes and comes back.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::{RecordBatch, UInt64Array};
use arrow::compute::take_record_batch;
use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, BodyDataStream};
use axum::http::{Request, StatusCode};
use futures::StreamExt;
use headframe_ingest::{DecodedRows, Tail};
use headframe_query_engine::{Engine, LastSeq, SourceError, SqlReports, Stored};
use headframe_query_engine::{Source, StreamSource, Tables};
use headframe_query_front::{At, BoundServer, Engines, OldestRow, QueryConfig, Server, Services};
use headframe_schemas::Rollup;
use headframe_schemas::stream::shares::Shares;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;
use tower::ServiceExt;

use crate::scripted::{DAY, Scripted, bad_row, raw_batch, raw_row, share, split, whole};
use crate::server::{config, send};

/// How long a subscriber waits for an event before the test gives up on it.
const PATIENCE: Duration = Duration::from_secs(120);

/// What the stream holds, and how much of it is stored.
pub struct World {
    rows: Mutex<RecordBatch>,
    pub last: Mutex<i64>,
    stored: Mutex<i64>,
    /// Rows up to here are dropped from the table.
    pub dropped: Mutex<i64>,
    tail: Arc<Tail>,
}

struct Lake(Arc<World>);

/// The same rows, the last one first: files of a table lie in no order.
fn backwards(rows: &RecordBatch) -> RecordBatch {
    let indices = UInt64Array::from_iter_values((0..rows.num_rows() as u64).rev());
    take_record_batch(rows, &indices).unwrap()
}

#[async_trait]
impl Tables for Lake {
    async fn raw(&self, at: At) -> Result<Stored, SourceError> {
        let rows = self.0.rows.lock().unwrap().clone();
        let (stored, last) = (*self.0.stored.lock().unwrap(), *self.0.last.lock().unwrap());
        let first = *self.0.dropped.lock().unwrap() + 1;
        let raw = Scripted::new(&Shares, split(&backwards(&rows), stored, last))
            .raw(at)
            .await?;
        let oldest = (first <= stored).then_some(OldestRow {
            seq: first,
            ingest_us: DAY + first * 1_000_000,
        });
        Ok(Stored { oldest, ..raw })
    }
    async fn rollup(&self, _: &'static dyn Rollup, _: At) -> Result<Stored, SourceError> {
        unreachable!("no statement of these tests reads a rollup")
    }
}

#[async_trait]
impl LastSeq for Lake {
    async fn last_seq(&self) -> Result<i64, String> {
        Ok(*self.0.last.lock().unwrap())
    }
}

impl World {
    /// Nothing happened yet.
    pub fn empty() -> Arc<Self> {
        Arc::new(Self {
            rows: Mutex::new(raw_batch(&Shares, &[])),
            last: Mutex::new(0),
            stored: Mutex::new(0),
            dropped: Mutex::new(0),
            tail: Arc::new(Tail::new(0, 1 << 30)),
        })
    }

    /// Messages with so many rows each; a row with the number 13 is refused. Their places.
    pub fn push(&self, messages: &[i64]) -> Vec<String> {
        let messages: Vec<Vec<&str>> = messages
            .iter()
            .map(|count| vec!["m1"; *count as usize])
            .collect();
        self.push_of(&messages)
    }

    /// Messages with a row of each of these miners, where a row of nobody is left out; the worker
    /// of a row is its place.
    pub fn push_of(&self, messages: &[Vec<&str>]) -> Vec<String> {
        let mut last = self.last.lock().unwrap();
        let (first, mut rows, mut ids) = (*last + 1, Vec::new(), Vec::new());
        for miners in messages {
            *last += 1;
            let time = DAY + *last * 1_000_000;
            for (row, miner) in (0..).zip(miners) {
                if miner.is_empty() {
                    continue;
                }
                if row == 13 {
                    rows.push(bad_row(*last, row, time, "bad"));
                    continue;
                }
                let outcome = if row % 2 == 0 { "accepted" } else { "stale" };
                let worker = match *miner {
                    "m1" => "w".to_owned(),
                    _ => format!("{last}.{row}"),
                };
                let mut share = share(time, &worker, outcome, *last);
                share["miner"] = (*miner).into();
                rows.push(raw_row(*last, row, time, share));
                ids.push(format!("{last}.{row}"));
            }
        }
        let batch = raw_batch(&Shares, &rows);
        let mut all = self.rows.lock().unwrap();
        *all = whole(&[all.clone(), batch.clone()]);
        drop(all);
        self.tail.push(&DecodedRows {
            first,
            last: *last,
            batch,
            duplicates: 0,
            rejected: 0,
        });
        ids
    }

    pub fn commit(&self, through: i64) {
        let mut stored = self.stored.lock().unwrap();
        *stored = through.clamp(*stored, *self.last.lock().unwrap());
        self.tail.committed(*stored);
    }
}

pub async fn server(config: QueryConfig) -> (Router, Arc<World>) {
    let (bound, world) = bind(config).await;
    (bound.router(), world)
}

/// A server that does not answer its socket yet, and what it is about.
pub async fn bind(config: QueryConfig) -> (BoundServer, Arc<World>) {
    let world = World::empty();
    let bound = bind_over(&world, config, Services::default()).await;
    (bound, world)
}

/// The same about this world, with what else there is.
pub async fn bind_over(world: &Arc<World>, config: QueryConfig, others: Services) -> BoundServer {
    let lake = Arc::new(Lake(world.clone()));
    let source = || StreamSource::new(&Shares, world.tail.clone(), lake.clone(), lake.clone());
    let engine = Engine::new(config.clone(), vec![Arc::new(source())], vec![]).unwrap();
    let engine = Arc::new(engine);
    let services = Services {
        engines: Some(Engines {
            sql: engine.clone(),
            reports: Arc::new(SqlReports::new(&config, engine)),
        }),
        live_tails: vec![Arc::new(source())],
        ..others
    };
    Server::bind(config, services).await.unwrap()
}

#[derive(Debug, Default, Clone, PartialEq)]
pub struct SseEvent {
    pub id: Option<String>,
    pub name: String,
    pub data: Value,
}

pub struct Client {
    body: BodyDataStream,
    text: String,
}

impl Client {
    async fn open(router: &Router, query: &str, last_id: Option<&str>) -> Self {
        Self::open_path(
            router,
            &format!("/api/v1/streams/shares/rows{query}"),
            last_id,
        )
        .await
    }

    pub async fn open_path(router: &Router, path: &str, last_id: Option<&str>) -> Self {
        Self::open_as(router, None, path, last_id).await
    }

    pub async fn open_as(
        router: &Router,
        token: Option<&str>,
        path: &str,
        last_id: Option<&str>,
    ) -> Self {
        let mut request = Request::get(path).header("host", "127.0.0.1");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if let Some(id) = last_id {
            request = request.header("last-event-id", id);
        }
        let request = request.body(Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(header("content-type"), "text/event-stream");
        assert_eq!(header("cache-control"), "no-store");
        assert_eq!(header("x-accel-buffering"), "no");
        Self {
            body: response.into_body().into_data_stream(),
            text: String::new(),
        }
    }

    /// The next event that is one; `None` when the connection has ended.
    pub async fn event(&mut self) -> Option<SseEvent> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                let field = |name: &str| {
                    let mut lines = block.lines();
                    let value = lines.find_map(|line| line.strip_prefix(name));
                    value.map(str::to_owned)
                };
                if let Some(name) = field("event: ") {
                    return Some(SseEvent {
                        id: field("id: "),
                        name,
                        data: serde_json::from_str(&field("data: ").unwrap()).unwrap(),
                    });
                }
                continue;
            }
            let piece = tokio::time::timeout(PATIENCE, self.body.next()).await;
            let piece = piece.expect("an event comes in time")?;
            self.text
                .push_str(std::str::from_utf8(&piece.unwrap()).unwrap());
        }
    }

    /// The ids of the rows up to an event of this name, and that event.
    async fn rows_until(&mut self, name: &str) -> (Vec<String>, SseEvent) {
        let mut ids = Vec::new();
        loop {
            let event = self.event().await.expect("the connection goes on");
            match event.name.as_str() {
                "row" => ids.push(event.id.unwrap()),
                found if found == name => return (ids, event),
                "progress" | "ready" => {}
                _ => panic!("{event:?}"),
            }
        }
    }

    async fn rows(&mut self, count: usize) -> Vec<String> {
        let mut ids = Vec::new();
        while ids.len() < count {
            let event = self.event().await.expect("the connection goes on");
            match event.name.as_str() {
                "row" => ids.push(event.id.unwrap()),
                "progress" | "ready" => {}
                _ => panic!("{event:?}"),
            }
        }
        ids
    }
}

#[tokio::test]
async fn history_and_what_comes_are_one_pass() {
    let (router, world) = server(config()).await;
    let mut all = world.push(&[1, 20, 3]);
    world.commit(2);
    let mut client = Client::open(&router, "?after=0", None).await;
    let (rows, ready) = client.rows_until("ready").await;
    assert_eq!(rows, all);
    assert_eq!(ready.id.as_deref(), Some("3"));
    assert_eq!(ready.data["complete_through"], 3);
    let more = world.push(&[0, 2]);
    assert_eq!(client.rows(2).await, more);
    all.extend(more);
    // From the middle of a message, from a time, from the beginning, and from now.
    let mut client = Client::open(&router, "?after=1", Some("2.12")).await;
    assert_eq!(client.rows_until("ready").await.0, all[14..]);
    let mut client = Client::open(&router, "?from=2026-01-05T00:00:03Z", None).await;
    assert_eq!(client.rows_until("ready").await.0, all[20..]);
    let mut client = Client::open(&router, "?from=oldest&columns=worker,seq", None).await;
    let first = client.event().await.unwrap();
    assert_eq!(first.data, serde_json::json!({"worker": "w", "seq": 1}));
    let mut client = Client::open(&router, "", None).await;
    assert_eq!(client.rows_until("ready").await.0, [""; 0]);
    assert_eq!(world.push(&[1]), client.rows(1).await);
}

#[tokio::test]
async fn a_condition_chooses_rows_of_history_and_of_what_comes() {
    let (router, world) = server(config()).await;
    world.push(&[4, 4]);
    world.commit(1);
    let query =
        "?after=0&where=outcome%20=%20'stale'%20AND%20seq%20IN%20(SELECT%20seq%20FROM%20shares)";
    let mut client = Client::open(&router, query, None).await;
    let (rows, ready) = client.rows_until("ready").await;
    assert_eq!(rows, ["1.1", "1.3", "2.1", "2.3"]);
    assert_eq!(ready.id.as_deref(), Some("2"));
    world.push(&[1, 2]);
    assert_eq!(client.rows(1).await, ["4.1"]);
    // What is no condition brings no row that it was not given.
    for wrong in [
        "nothing%20=%201",
        "true)%20UNION%20ALL%20SELECT%20*%20FROM%20shares%20WHERE%20(true",
        "true;DROP%20TABLE%20shares",
        "%20",
    ] {
        let answer = send(&router, request(&format!("?where={wrong}"))).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{wrong}");
    }
}

#[tokio::test]
async fn progress_tells_how_far_no_row_is_meant() {
    let (router, world) = server(config()).await;
    let query = "?where=outcome%20=%20'nothing'";
    let mut client = Client::open(&router, query, None).await;
    client.rows_until("ready").await;
    world.push(&[2]);
    let mut last = client.event().await.unwrap();
    while last.id.as_deref() != Some("1") {
        assert_eq!(last.name, "progress", "{last:?}");
        last = client.event().await.unwrap();
    }
    assert_eq!(last.data, serde_json::json!({"complete_through": 1}));
}

fn request(query: &str) -> Request<Body> {
    crate::server::get(&format!("/api/v1/streams/shares/rows{query}"))
}

#[tokio::test]
async fn a_start_that_is_gone_and_a_request_that_is_not_understood_are_refused() {
    let (router, world) = server(config()).await;
    world.push(&[1; 10]);
    world.commit(10);
    *world.dropped.lock().unwrap() = 4;
    for (query, status, code) in [
        ("?after=3", 410, "gone"),
        ("?after=3.9", 410, "gone"),
        ("?after=11", 410, "gone"),
        ("?from=2026-01-05T00:00:04Z", 410, "gone"),
        ("?from=yesterday", 400, "bad_request"),
        ("?after=x", 400, "bad_request"),
        ("?after=1&from=oldest", 400, "bad_request"),
        ("?columns=nothing", 400, "bad_request"),
        ("?colums=seq", 400, "bad_request"),
    ] {
        let answer = send(&router, request(query)).await;
        let found = (answer.status.as_u16(), answer.code());
        assert_eq!(
            found,
            (status, code.to_owned()),
            "{query}: {}",
            answer.text()
        );
    }
    let path = "/api/v1/streams/nothing/rows";
    let answer = send(&router, crate::server::get(path)).await;
    assert_eq!(
        (answer.status.as_u16(), answer.code().as_str()),
        (404, "not_found")
    );
    for query in ["?after=4", "?from=2026-01-05T00:00:05Z"] {
        let mut client = Client::open(&router, query, None).await;
        assert_eq!(client.rows(1).await, ["5.0"], "{query}");
    }
}

#[tokio::test]
async fn a_subscriber_that_is_slow_is_told_and_finds_the_rest_in_the_tables() {
    let small = QueryConfig {
        live_buffer_kib: 64,
        ..config()
    };
    let (router, world) = server(small).await;
    let mut slow = Client::open(&router, "", None).await;
    slow.rows_until("ready").await;
    let mut quick = Client::open(&router, "", None).await;
    quick.rows_until("ready").await;
    let mut all = world.push(&[1]);
    assert_eq!(slow.rows(1).await, all);
    for round in 0..20 {
        let rows = world.push(&[10; 10]);
        all.extend(rows.clone());
        world.commit(round * 10);
        // The other one keeps up meanwhile.
        let due = if round == 0 {
            rows.len() + 1
        } else {
            rows.len()
        };
        let had = quick.rows(due).await;
        assert_eq!(had.last(), all.last());
    }
    let (mut rows, gap) = slow.rows_until("gap").await;
    assert_eq!(gap.data["reason"], "slow");
    assert_eq!(slow.event().await, None, "it is closed");
    let mut again = Client::open(&router, "", gap.id.as_deref()).await;
    rows.extend(again.rows_until("ready").await.0);
    assert_eq!(rows, all[1..]);
}

#[tokio::test]
async fn so_many_subscribe_and_no_more() {
    let (router, world) = server(QueryConfig {
        live_subscribers_per_address: 2,
        live_conditions: 1,
        ..config()
    })
    .await;
    world.push(&[1]);
    let first = Client::open(&router, "?where=seq%3E0", None).await;
    let answer = send(&router, request("?where=seq%3E1")).await;
    assert_eq!(answer.code(), "concurrency_limit", "{}", answer.text());
    let _second = Client::open(&router, "", None).await;
    let answer = send(&router, request("")).await;
    assert_eq!(answer.status.as_u16(), 429);
    assert!(answer.text().contains("live_subscribers_per_address"));
    assert_eq!(answer.header("retry-after"), "1");
    drop(first);
    let mut third = Client::open(&router, "?after=0&where=seq%3E0", None).await;
    assert_eq!(third.rows(1).await, ["1.0"]);
}

/// A subscriber goes at any moment and comes back with the last id that it was told, while messages
/// come and commits move them, half of the time further than the subscribers of this process have
/// read.
#[tokio::test]
async fn who_goes_and_comes_back_has_each_row_once() {
    for seed in 0..4 {
        let mut random = StdRng::seed_from_u64(seed);
        let small = QueryConfig {
            live_buffer_kib: 8,
            ..config()
        };
        let (router, world) = server(small).await;
        let condition = match seed % 2 {
            0 => "",
            _ => "&where=outcome%20%3C%3E%20'nothing'",
        };
        let (mut all, mut had): (Vec<String>, Vec<String>) = (world.push(&[2]), Vec::new());
        let mut at = "0".to_owned();
        for _ in 0..12 {
            let query = format!("?after=0{condition}");
            let mut client = Client::open(&router, &query, Some(&at)).await;
            for _ in 0..random.random_range(0..4) {
                let messages: Vec<i64> = (0..random.random_range(1..30))
                    .map(|_| random.random_range(0..16))
                    .collect();
                all.extend(world.push(&messages));
                let last = *world.last.lock().unwrap();
                if random.random_bool(0.5) {
                    world.commit(last - random.random_range(0..5));
                }
                let due = all.len() - had.len();
                for _ in 0..random.random_range(0..=due.min(40)) {
                    let Some(event) = client.event().await else {
                        break;
                    };
                    if event.name == "row" {
                        had.extend(event.id.clone());
                    }
                    at = event.id.unwrap();
                }
            }
        }
        let query = format!("?after=0{condition}");
        let mut client = Client::open(&router, &query, Some(&at)).await;
        had.extend(client.rows(all.len() - had.len()).await);
        assert_eq!(had, all, "seed {seed}");
    }
}
