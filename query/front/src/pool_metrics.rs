//! The figures of pools, miners and the mine on the metrics page; those of pools and miners under
//! the names that dashboards of earlier systems ask for.
//!
//! They are made from the same facts as the REST answers, in the background at an interval, so that
//! a scrape costs nothing; and written by us instead of through the recorder, so that a miner who
//! is gone leaves no line behind. Only the hardest working miners have lines of their own.

use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::config::QueryConfig;
use crate::error::QueryError;
use crate::host_usage::{HostMonitor, HostUsage};
use crate::registry::Registry;
use crate::reports::{Reports, Row};

mod exposition;
mod mine;

use exposition::Exposition;

/// After so many failures in a row the figures are taken off the page: none are better than old
/// ones.
const MAX_FAILURES: u32 = 4;

/// The figures' part of the page.
pub(crate) struct PoolMetrics {
    text: RwLock<String>,
    started: Instant,
}

impl PoolMetrics {
    pub(crate) fn new() -> Self {
        Self {
            text: RwLock::default(),
            started: Instant::now(),
        }
    }

    /// As of the last round; empty before the first.
    pub(crate) fn text(&self) -> String {
        self.text
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn set(&self, text: String) {
        *self.text.write().unwrap_or_else(PoisonError::into_inner) = text;
    }

    /// Makes them at the configured interval for as long as it is polled.
    pub(crate) async fn run(
        &self,
        reports: &dyn Reports,
        registry: Option<&dyn Registry>,
        host_monitor: Option<&dyn HostMonitor>,
        config: &QueryConfig,
    ) {
        if config.figures_s == 0 || !config.metrics {
            return std::future::pending().await;
        }
        let mut tick = tokio::time::interval(Duration::from_secs(config.figures_s));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut failures = 0u32;
        loop {
            tick.tick().await;
            match self.collect(reports, registry, host_monitor, config).await {
                Ok(text) => {
                    failures = 0;
                    self.set(text);
                }
                Err(error) => {
                    failures += 1;
                    metrics::counter!("headframe_figures_failed_total").increment(1);
                    tracing::debug!(%error, "the figures of pools and miners could not be made");
                    if failures == MAX_FAILURES {
                        tracing::warn!(%error, "the figures of pools and miners are off the \
                                                metrics page");
                        self.set(String::new());
                    }
                }
            }
        }
    }

    async fn collect(
        &self,
        reports: &dyn Reports,
        registry: Option<&dyn Registry>,
        host_monitor: Option<&dyn HostMonitor>,
        config: &QueryConfig,
    ) -> Result<String, QueryError> {
        let usage = host_monitor.map(HostMonitor::usage).unwrap_or_default();
        let pools = reports.pools().await?;
        let miners = reports.top_miners(config.figures_miners).await?;
        let uptime_s = self.started.elapsed().as_secs();
        let mut page = render(&usage, uptime_s, &pools, &miners);
        if let Some(registry) = registry {
            mine::render(&mut page, &mine::collect(reports, registry).await?);
        }
        Ok(page.finish())
    }
}

/// A figure: its name, kind and meaning, and how it is read from a pool or a miner.
struct Metric<T: ?Sized> {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    read: fn(&T) -> f64,
}

const POOL_METRICS: [Metric<Value>; 4] = [
    Metric {
        name: "pool_active_miners",
        kind: "gauge",
        help: "Miners with an accepted share in the last ten minutes.",
        read: |pool| pool["miners"].as_f64().unwrap_or(0.0),
    },
    Metric {
        name: "pool_total_hashrate",
        kind: "gauge",
        help: "Hashes a second, from accepted difficulty of the last ten minutes.",
        read: |pool| pool["hashrate_hs"].as_f64().unwrap_or(0.0),
    },
    Metric {
        name: "pool_shares_per_second",
        kind: "gauge",
        help: "Accepted shares a second over the last ten minutes.",
        read: |pool| pool["shares_per_s"].as_f64().unwrap_or(0.0),
    },
    Metric {
        name: "pool_blocks_found_total",
        kind: "counter",
        help: "Blocks the daemon took, whatever became of them.",
        read: |pool| pool["blocks"]["found"].as_f64().unwrap_or(0.0),
    },
];

const MINER_METRICS: [Metric<Row>; 5] = [
    Metric {
        name: "miner_hashrate",
        kind: "gauge",
        help: "Hashes a second, from accepted difficulty of the last ten minutes.",
        read: |row| number(row, "hashrate_hs").unwrap_or(0.0),
    },
    Metric {
        name: "miner_shares_submitted_total",
        kind: "counter",
        help: "Shares sent, of all that are kept.",
        read: |row| number(row, "accepted").unwrap_or(0.0) + number(row, "refused").unwrap_or(0.0),
    },
    Metric {
        name: "miner_shares_accepted_total",
        kind: "counter",
        help: "Shares credited.",
        read: |row| number(row, "accepted").unwrap_or(0.0),
    },
    Metric {
        name: "miner_shares_rejected_total",
        kind: "counter",
        help: "Shares refused, stale ones included.",
        read: |row| number(row, "refused").unwrap_or(0.0),
    },
    Metric {
        name: "miner_online",
        kind: "gauge",
        help: "1 with an accepted share in the last ten minutes, else 0.",
        read: |row| f64::from(u8::from(number(row, "hashrate_hs").is_some())),
    },
];

/// The lines of the page.
fn render(usage: &HostUsage, uptime_s: u64, pools: &Value, miners: &[Row]) -> Exposition {
    let mut page = Exposition::default();
    let machine = [
        (
            "pool_cpu_usage",
            "CPU in use on the machine of this process, in percent.",
            usage.cpu,
        ),
        (
            "pool_memory_usage",
            "Memory in use on the machine of this process, in percent.",
            usage.memory,
        ),
        (
            "pool_disk_usage",
            "Space in use on the disk of the data folder, in percent.",
            usage.disk,
        ),
        (
            "pool_uptime_seconds",
            "Seconds since this process began.",
            Some(uptime_s as f64),
        ),
    ];
    for (name, help, value) in machine {
        page.family(name, "gauge", help);
        value
            .into_iter()
            .for_each(|value| page.line(name, &[], value));
    }
    for metric in POOL_METRICS {
        page.family(metric.name, metric.kind, metric.help);
        for pool in pools["pools"].as_array().into_iter().flatten() {
            page.line(
                metric.name,
                &[("pool", text(&pool["pool"]))],
                (metric.read)(pool),
            );
        }
    }
    for metric in MINER_METRICS {
        page.family(metric.name, metric.kind, metric.help);
        for row in miners {
            let label = |key: &str| row.get(key).map_or("", text);
            page.line(
                metric.name,
                &[("pool", label("pool")), ("miner", label("miner"))],
                (metric.read)(row),
            );
        }
    }
    page
}

fn number(row: &Row, name: &str) -> Option<f64> {
    row.get(name).and_then(Value::as_f64)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_promised_name_is_there_once_with_its_kind() {
        let pools = json!({"pools": [{"pool": "main", "miners": 2, "hashrate_hs": 1.5e6,
            "shares_per_s": 0.25, "blocks": {"found": 7}}]});
        let row = json!({"pool": "main", "miner": "4A\"\n\\", "accepted": 9, "refused": 1,
            "hashrate_hs": 120.5});
        let gone = json!({"pool": "main", "miner": "4B", "accepted": 3, "refused": 0,
            "hashrate_hs": null});
        let rows: Vec<Row> = [row, gone]
            .iter()
            .filter_map(|row| row.as_object().cloned())
            .collect();
        let usage = HostUsage {
            cpu: Some(12.5),
            memory: None,
            disk: Some(40.0),
        };
        let page = render(&usage, 61, &pools, &rows).finish();
        let kinds = [
            ("pool_cpu_usage", "gauge"),
            ("pool_memory_usage", "gauge"),
            ("pool_disk_usage", "gauge"),
            ("pool_active_miners", "gauge"),
            ("pool_total_hashrate", "gauge"),
            ("pool_shares_per_second", "gauge"),
            ("pool_blocks_found_total", "counter"),
            ("pool_uptime_seconds", "gauge"),
            ("miner_hashrate", "gauge"),
            ("miner_shares_submitted_total", "counter"),
            ("miner_shares_accepted_total", "counter"),
            ("miner_shares_rejected_total", "counter"),
            ("miner_online", "gauge"),
        ];
        for (name, kind) in kinds {
            assert_eq!(
                page.matches(&format!("# TYPE {name} {kind}\n")).count(),
                1,
                "{name}\n{page}"
            );
            assert_eq!(
                page.matches(&format!("# HELP {name} ")).count(),
                1,
                "{name}\n{page}"
            );
        }
        for line in [
            "pool_cpu_usage 12.5\n",
            "pool_uptime_seconds 61\n",
            "pool_total_hashrate{pool=\"main\"} 1500000\n",
            "pool_blocks_found_total{pool=\"main\"} 7\n",
            "miner_hashrate{pool=\"main\",miner=\"4A\\\"\\n\\\\\"} 120.5\n",
            "miner_shares_submitted_total{pool=\"main\",miner=\"4A\\\"\\n\\\\\"} 10\n",
            "miner_online{pool=\"main\",miner=\"4B\"} 0\n",
            "miner_hashrate{pool=\"main\",miner=\"4B\"} 0\n",
        ] {
            assert!(page.contains(line), "{line}{page}");
        }
        assert!(
            !page.contains("\npool_memory_usage "),
            "what is not known has no line: {page}"
        );
    }
}
