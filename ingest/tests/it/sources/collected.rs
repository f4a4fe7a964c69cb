//! What a poller finds, without JetStream.

use std::time::Duration;

use headframe_ingest::source::{
    Poller, Reading, ReadingSink, Readings, SourceConfig, SourcesConfig,
};
use headframe_schemas::stream::source_health::SourceHealth;
use serde_json::{Value, json};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio_util::sync::CancellationToken;

use crate::fixture::PATIENCE;

/// What a poller finds.
#[derive(Debug)]
pub enum Found {
    Readings(Vec<Reading>, i64),
    Health(Box<SourceHealth>),
}

#[derive(Clone)]
struct Sink(Sender<Found>);

impl ReadingSink for Sink {
    async fn take_readings(
        &self,
        _: &SourceConfig,
        readings: &Readings,
        at_us: i64,
    ) -> Vec<String> {
        // The test may have seen enough.
        self.0
            .send(Found::Readings(readings.values.clone(), at_us))
            .await
            .ok();
        Vec::new()
    }

    async fn take_health(&self, row: &SourceHealth) -> Result<(), String> {
        let found = Found::Health(Box::new(row.clone()));
        self.0.send(found).await.ok();
        Ok(())
    }
}

/// A poller of one device, which ends with this.
pub struct Polled {
    found: Receiver<Found>,
    health: Option<SourceHealth>,
    stop: CancellationToken,
}

impl Drop for Polled {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A source of this kind at this address, polled ten times a second.
pub fn entry(kind: &str, address: &str, keys: Value) -> SourceConfig {
    let mut entry = json!({"kind": kind, "name": "device", "site": "north", "address": address,
        "interval_s": 0.1, "timeout_s": 2.0, "stale_after_s": 3.0});
    for (key, value) in keys.as_object().unwrap() {
        entry[key] = value.clone();
    }
    serde_json::from_value(entry).unwrap()
}

impl Polled {
    pub fn start(entry: SourceConfig) -> Self {
        let (sender, found) = channel(1_000);
        let config = SourcesConfig {
            max_backoff_s: 1,
            ..SourcesConfig::default()
        };
        let poller = Poller::new(Sink(sender), &config, &[entry]).unwrap();
        let stop = CancellationToken::new();
        tokio::spawn(poller.run(stop.clone()));
        Self {
            found,
            health: None,
            stop,
        }
    }

    /// The next of what it finds that the closure wants.
    pub async fn wait_for<T>(&mut self, what: &str, wanted: impl Fn(&Found) -> Option<T>) -> T {
        let search = async {
            loop {
                let found = self.found.recv().await.expect("the poller runs");
                if let Found::Health(row) = &found {
                    self.health = Some((**row).clone());
                }
                if let Some(wanted) = wanted(&found) {
                    return wanted;
                }
            }
        };
        let found = tokio::time::timeout(PATIENCE, search).await;
        found.unwrap_or_else(|_| panic!("{what} did not come"))
    }

    /// The health with this state: the last one that came, or the next.
    pub async fn state(&mut self, state: &str) -> SourceHealth {
        if let Some(row) = self.health.as_ref().filter(|row| row.state == state) {
            return row.clone();
        }
        self.wait_for(state, |found| match found {
            Found::Health(row) if row.state == state => Some((**row).clone()),
            _ => None,
        })
        .await
    }

    pub async fn readings(&mut self) -> (Vec<Reading>, i64) {
        self.wait_for("a reading", |found| match found {
            Found::Readings(values, at_us) if !values.is_empty() => Some((values.clone(), *at_us)),
            _ => None,
        })
        .await
    }

    /// Whether nothing was stored for this long.
    pub async fn is_quiet(&mut self, how_long: Duration) -> bool {
        let any = self.wait_for("a reading", |found| {
            matches!(found, Found::Readings(..)).then_some(())
        });
        tokio::time::timeout(how_long, any).await.is_err()
    }
}

pub fn sensor(part: &str, quantity: &str, value: f64) -> Reading {
    Reading::Sensor {
        part: part.to_owned(),
        quantity: quantity.to_owned(),
        value,
    }
}

/// A file with a secret that only its owner can read.
pub fn secret(folder: &std::path::Path, text: &str) -> std::path::PathBuf {
    let path = folder.join("secret");
    std::fs::write(&path, text).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&path, mode).unwrap();
    path
}
