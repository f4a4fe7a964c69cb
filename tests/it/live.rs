//! A subscriber of a stream under load that goes and comes back again and again, while the server
//! is killed: it has each row once.
//!
//! `HEADFRAME_LIVE_RETURNS` sets how often it comes back; the server is killed at every third time.

use std::collections::HashMap;
use std::sync::Arc;

use headframe_ingest::{
    ManagedServer, Nats, Publisher, PublisherConfig, ServerConfig, find_nats_server,
};
use headframe_schemas::stream::sensors::Reading;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::server::{Headframe, PATIENCE, free_port, http, until};

/// Sensors that are read at the same time.
const SENSORS: usize = 3;
/// Readings of each between two returns.
const BETWEEN: usize = 100;
/// Events that a subscriber takes at most before it goes.
const EVENTS: usize = 150;

/// Numbered readings, each sent when the one before was acknowledged; how many there were.
fn read_sensors(publisher: &Publisher, permits: &Arc<Semaphore>) -> JoinSet<usize> {
    let mut tasks = JoinSet::new();
    for sensor in 0..SENSORS {
        let (publisher, permits) = (publisher.clone(), permits.clone());
        tasks.spawn(async move {
            let mut number = 0;
            while let Ok(permit) = permits.acquire().await {
                permit.forget();
                let reading = Reading {
                    event_time: 1_772_362_800_000_000,
                    site: "north".to_owned(),
                    sensor: sensor.to_string(),
                    quantity: "fan_rpm".to_owned(),
                    value: number as f64,
                };
                publisher.record(&reading).await.unwrap();
                number += 1;
            }
            number
        });
    }
    tasks
}

/// What a subscriber was told, over all its connections.
#[derive(Default)]
struct Subscriber {
    last_id: String,
    /// The numbers of each sensor's readings in the order they came.
    readings: HashMap<String, Vec<u64>>,
    rows: usize,
}

impl Subscriber {
    /// Takes so many events and goes, or goes earlier when the server does.
    async fn read_events(&mut self, url: &str, condition: &str, events: usize) {
        let address = format!("{url}/api/v1/streams/sensors/rows?from=oldest{condition}");
        let mut answer = until("a subscription", async || {
            let mut request = http().get(&address);
            if !self.last_id.is_empty() {
                request = request.header("last-event-id", &self.last_id);
            }
            let answer = request.send().await.map_err(|error| error.to_string())?;
            match answer.status().as_u16() {
                200 => Ok(answer),
                status => Err(format!(
                    "{status}: {}",
                    answer.text().await.unwrap_or_default()
                )),
            }
        })
        .await;
        let (mut text, mut taken) = (String::new(), 0);
        while taken < events {
            let chunk = timeout(PATIENCE, answer.chunk()).await;
            let Ok(Some(bytes)) = chunk.expect("something comes in time") else {
                return;
            };
            text.push_str(std::str::from_utf8(&bytes).unwrap());
            while let Some((event, rest)) = text.split_once("\n\n") {
                taken += usize::from(self.take(event));
                text = rest.to_owned();
                if taken == events {
                    return;
                }
            }
        }
    }

    /// Takes one event; whether it was a row.
    fn take(&mut self, event: &str) -> bool {
        let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
        if let Some(id) = field("id: ") {
            self.last_id = id.to_owned();
        }
        if field("event: ") != Some("row") {
            return false;
        }
        let row: Value = serde_json::from_str(field("data: ").unwrap()).unwrap();
        let sensor = row["sensor"].as_str().unwrap().to_owned();
        let number = row["value"].as_f64().unwrap() as u64;
        self.readings.entry(sensor).or_default().push(number);
        self.rows += 1;
        true
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscriber_that_returns_over_kills_has_each_row_once() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let returns = number("HEADFRAME_LIVE_RETURNS").unwrap_or(7);
    let seed = number("HEADFRAME_SEED").unwrap_or(20_261_122);
    let mut random = StdRng::seed_from_u64(seed);
    let folder = tempfile::tempdir().unwrap();
    let config = ServerConfig::new(find_nats_server().unwrap(), folder.path().join("nats"));
    let nats = ManagedServer::start(config).await.unwrap();
    let start = || Headframe::start(folder.path(), nats.url(), free_port(), "pipelines,query");
    let mut running = start();
    let connection = Nats::connect(&nats.client_config()).await.unwrap();
    let publisher = Publisher::new(connection, "live-test", PublisherConfig::default());
    running.row("SELECT count(*) AS n FROM sensors").await;
    let permits = Arc::new(Semaphore::new(0));
    let mut sensors = read_sensors(&publisher, &permits);
    let mut subscriber = Subscriber::default();
    let mut kills = 0;
    for round in 1..=returns {
        permits.add_permits(SENSORS * BETWEEN);
        // A condition's rows have the same ids.
        let condition = ["", "&where=quantity = 'fan_rpm'"][round as usize % 2];
        let due = random.random_range(1..EVENTS);
        if round % 3 == 0 {
            // It falls while the subscriber reads.
            let url = running.url.clone();
            let after = random.random_range(1..due + 1);
            subscriber.read_events(&url, condition, after).await;
            let (mut reads, kill) = (
                Box::pin(subscriber.read_events(&url, condition, usize::MAX)),
                async {
                    tokio::task::spawn_blocking(move || running.kill())
                        .await
                        .unwrap();
                },
            );
            tokio::select! {
                () = &mut reads => {}
                () = kill => {}
            }
            drop(reads);
            kills += 1;
            running = start();
        } else {
            subscriber.read_events(&running.url, condition, due).await;
        }
    }
    permits.close();
    let mut sent = 0;
    while let Some(count) = sensors.join_next().await {
        sent += count.unwrap();
    }
    while subscriber.rows < sent {
        let left = sent - subscriber.rows;
        subscriber.read_events(&running.url, "", left).await;
    }
    assert_eq!(
        subscriber.rows, sent,
        "{returns} returns, {kills} kills, seed {seed}"
    );
    for (sensor, readings) in &subscriber.readings {
        let in_order = readings.iter().copied().eq(0..readings.len() as u64);
        assert!(in_order, "sensor {sensor}: {readings:?}");
    }
    println!("{sent} rows, each once, over {returns} returns and {kills} kills");
    running.kill();
    nats.shutdown().await;
}
