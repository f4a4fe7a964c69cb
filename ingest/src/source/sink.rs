//! Where what was polled goes: to JetStream, or to a program that decides by it.

use std::future::Future;

use headframe_schemas::stream::source_health::SourceHealth;

use super::config::SourceConfig;
use super::readings::{Readings, Row};
use crate::publish::Publisher;

/// Takes what was polled. A device waits with its next poll until its readings were taken.
pub trait ReadingSink: Clone + Send + Sync + 'static {
    /// Takes the readings of one poll of a device, at this time in microseconds since 1970: an
    /// error for each that could not be kept.
    fn take_readings(
        &self,
        source: &SourceConfig,
        readings: &Readings,
        at_us: i64,
    ) -> impl Future<Output = Vec<String>> + Send;

    /// Takes what is said of a device's health. The error says why it could not be kept.
    fn take_health(&self, row: &SourceHealth) -> impl Future<Output = Result<(), String>> + Send;
}

impl ReadingSink for Publisher {
    async fn take_readings(
        &self,
        source: &SourceConfig,
        readings: &Readings,
        at_us: i64,
    ) -> Vec<String> {
        let rows: Vec<Row> = readings.rows(source, at_us);
        let sends = rows
            .into_iter()
            .map(|row| async move { self.line(row.stream, &row.key, row.line).await });
        let receipts = futures::future::join_all(sends).await;
        let errors = receipts.into_iter().filter_map(Result::err);
        errors.map(|error| error.to_string()).collect()
    }

    async fn take_health(&self, row: &SourceHealth) -> Result<(), String> {
        let sent = self.record(row).await;
        sent.map(|_| ()).map_err(|error| error.to_string())
    }
}
