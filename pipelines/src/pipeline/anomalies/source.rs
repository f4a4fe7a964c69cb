//! The streams whose signals are watched, and their rows as readings.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int64Type, TimestampMicrosecondType};
use datafusion::functions_aggregate::expr_fn::min;
use datafusion::prelude::{SessionConfig, SessionContext, col, lit};
use datafusion::scalar::ScalarValue;
use futures::StreamExt;
use headframe_schemas::stream::{energy::Energies, hashrate::Hashrates, sensors::Sensors};
use headframe_schemas::{Column, Stream, Table};
use headframe_sinks::{Lake, Snapshot, SnapshotReader, SnapshotTable};
use sha2::{Digest, Sha256};

use crate::anomaly::{Mode, Sample};
use crate::fault::PipelineFault;

/// Bytes of a hash that ends a name that was cut.
const HASH_BYTES: usize = 8;

/// A stream whose rows are readings.
pub(super) struct Source {
    /// It.
    pub(super) stream: &'static dyn Stream,
    /// The columns that name what is read, beside the site.
    names: &'static [&'static str],
    /// The column that names the meter, sensor or machine.
    subject: &'static str,
    /// Whether the values of a site's machines add up to those of its other meters.
    is_power: bool,
    /// The column of the value.
    value: &'static str,
    /// The column that says what is measured; otherwise the one of the value does.
    quantity: Option<&'static str>,
}

/// Every such stream.
pub(super) const ALL: &[Source] = &[
    Source {
        stream: &Energies,
        names: &["meter"],
        subject: "meter",
        is_power: true,
        value: "power_w",
        quantity: None,
    },
    Source {
        stream: &Sensors,
        names: &["sensor"],
        subject: "sensor",
        is_power: false,
        value: "value",
        quantity: Some("quantity"),
    },
    Source {
        stream: &Hashrates,
        names: &["miner", "worker", "source"],
        subject: "worker",
        is_power: false,
        value: "hashrate_hs",
        quantity: None,
    },
];

/// One reading of a signal, and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Reading {
    pub(super) seq: i64,
    pub(super) site: String,
    /// The meter, sensor or machine.
    pub(super) subject: String,
    /// Whether it is power, of one machine or of more.
    pub(super) is_power: bool,
    /// What is read and what is measured: `meter-1/power_w`.
    pub(super) signal: String,
    pub(super) quantity: String,
    pub(super) sample: Sample,
}

/// Reads the table of one source.
pub(super) struct SourceTable {
    pub(super) source: &'static Source,
    session: SessionContext,
    pub(super) table: SnapshotReader,
}

impl SourceTable {
    /// Does no I/O.
    pub(super) fn open(lake: &Lake, source: &'static Source) -> Self {
        let session =
            SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1));
        lake.register(session.runtime_env().as_ref());
        let table = SnapshotReader::open(lake, Table::raw(source.stream));
        Self {
            source,
            session,
            table,
        }
    }

    /// The good rows with `after < seq <= through`, in their order.
    pub(super) async fn readings(
        &self,
        snapshot: &Arc<Snapshot>,
        after: i64,
        through: i64,
    ) -> Result<Vec<Reading>, PipelineFault> {
        let source = self.source;
        let error = || PipelineFault::query("reading rows", source.stream.name());
        let mut columns = vec![
            "seq",
            "row",
            "event_time",
            "ingest_time",
            source.stream.key(),
        ];
        columns.extend(source.names);
        columns.push(source.value);
        columns.extend(source.quantity);
        let rows = SnapshotTable::new(snapshot.clone()).with_range(Some(after), Some(through));
        let order = vec![col("seq").sort(true, true), col("row").sort(true, true)];
        let rows = self
            .session
            .read_table(Arc::new(rows))
            .and_then(|rows| rows.filter(col("reject_reason").is_null()))
            .and_then(|rows| rows.select_columns(&columns))
            .and_then(|rows| rows.sort(order))
            .map_err(error())?;
        let mut batches = rows.execute_stream().await.map_err(error())?;
        let mut readings = Vec::new();
        while let Some(batch) = batches.next().await {
            let batch = batch.map_err(error())?;
            readings.extend((0..batch.num_rows()).filter_map(|row| source.reading(&batch, row)));
        }
        Ok(readings)
    }

    /// The sequence before the first row that was stored at or after a time, microseconds since
    /// 1970.
    pub(super) async fn seq_before(
        &self,
        snapshot: &Arc<Snapshot>,
        time: i64,
    ) -> Result<Option<i64>, PipelineFault> {
        let error = || PipelineFault::query("reading rows", self.source.stream.name());
        let since = lit(ScalarValue::TimestampMicrosecond(
            Some(time),
            Some("UTC".into()),
        ));
        let rows = self
            .session
            .read_table(Arc::new(SnapshotTable::new(snapshot.clone())))
            .and_then(|rows| rows.filter(col("ingest_time").gt_eq(since)))
            .and_then(|rows| rows.aggregate(Vec::new(), vec![min(col("seq")).alias("seq")]))
            .map_err(error())?;
        let found = rows.collect().await.map_err(error())?;
        let first = found.iter().find_map(|batch| {
            let column = batch
                .column_by_name("seq")?
                .as_primitive_opt::<Int64Type>()?;
            (batch.num_rows() > 0 && column.is_valid(0)).then(|| column.value(0))
        });
        Ok(first.map(|first| first - 1))
    }
}

/// Joules a terahash over what the maker rates.
const EFFICIENCY_RATIO: &str = "efficiency_rated_ratio";

/// Whether a signal may say nothing without a fault: only a machine that hashes has an efficiency.
pub(super) fn may_be_silent(signal: &str) -> bool {
    let quantity = signal.rsplit('/').next().unwrap_or_default();
    matches!(quantity, EFFICIENCY_RATIO | "efficiency_jth")
}

impl Source {
    fn reading(&self, batch: &RecordBatch, row: usize) -> Option<Reading> {
        let quantity = match self.quantity {
            Some(column) => text(batch, column, row)?,
            None => self.value,
        };
        let mut names = Vec::with_capacity(self.names.len() + 1);
        for column in self.names {
            names.push(text(batch, column, row)?);
        }
        names.push(quantity);
        let values = batch.column_by_name(self.value)?;
        let values = values.as_primitive_opt::<Float64Type>()?;
        Some(Reading {
            seq: batch
                .column_by_name("seq")?
                .as_primitive_opt::<Int64Type>()?
                .value(row),
            site: text(batch, self.stream.key(), row)?.to_owned(),
            subject: text(batch, self.subject, row)?.to_owned(),
            is_power: self.is_power,
            signal: bounded(names.join("/")),
            quantity: quantity.to_owned(),
            sample: Sample {
                event_time: time(batch, "event_time", row)?,
                ingest_time: time(batch, "ingest_time", row)?,
                value: values.is_valid(row).then(|| values.value(row)),
                // Commands say it, which are read beside the rows.
                mode: Mode::Unknown,
                // The source divided by the maker's rating; as rated is one.
                rated: (quantity == EFFICIENCY_RATIO).then_some(1.0),
            },
        })
    }
}

fn text<'a>(batch: &'a RecordBatch, column: &str, row: usize) -> Option<&'a str> {
    let column = batch.column_by_name(column)?;
    let texts = column.as_string_view_opt()?;
    texts.is_valid(row).then(|| texts.value(row))
}

fn time(batch: &RecordBatch, column: &str, row: usize) -> Option<i64> {
    let column = batch.column_by_name(column)?;
    let times = column.as_primitive_opt::<TimestampMicrosecondType>()?;
    times.is_valid(row).then(|| times.value(row))
}

/// A name that a column takes: one that is too long is cut, and ends in its own hash.
fn bounded(name: String) -> String {
    if name.len() <= Column::MAX_TEXT_BYTES {
        return name;
    }
    let hash = hex::encode(&Sha256::digest(name.as_bytes())[..HASH_BYTES]);
    let mut end = Column::MAX_TEXT_BYTES - hash.len() - 1;
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}~{hash}", &name[..end])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_long_name_is_cut_and_stays_its_own() {
        let long = |end: &str| bounded(format!("{}{end}", "ä".repeat(200)));
        for end in ["a", "b", "ab"] {
            assert!(long(end).len() <= Column::MAX_TEXT_BYTES);
        }
        assert_ne!(long("a"), long("b"));
        assert_eq!(bounded("meter/power_w".to_owned()), "meter/power_w");
    }

    #[test]
    fn only_a_ratio_to_the_rating_is_rated_and_only_efficiency_may_be_silent() {
        use headframe_schemas::codec;
        use headframe_schemas::stream::sensors::Sensors;
        let line = |quantity: &str| {
            format!(
                "{{\"event_time\":1700000000000000,\"site\":\"n\",\"sensor\":\"m/1\",\
                 \"quantity\":\"{quantity}\",\"value\":1.5}}"
            )
        };
        let source = ALL
            .iter()
            .find(|source| source.stream.name() == "sensors")
            .unwrap();
        for (quantity, rated, is_silent) in [
            ("efficiency_rated_ratio", Some(1.0), true),
            ("efficiency_jth", None, true),
            ("temperature_c", None, false),
        ] {
            let text = line(quantity);
            let rows = codec::decode_ndjson(&Sensors, &[text.as_bytes()]);
            assert!(rows.rejects.is_empty(), "{:?}", rows.rejects);
            let whole = with_places(&rows.batch);
            let reading = source.reading(&whole, 0).unwrap();
            assert_eq!(reading.sample.rated, rated, "{quantity}");
            assert_eq!(may_be_silent(&reading.signal), is_silent, "{quantity}");
        }
    }

    /// Rows of a stream with the columns that its table has more.
    fn with_places(rows: &RecordBatch) -> RecordBatch {
        use std::sync::Arc;

        use arrow::array::{ArrayRef, Int64Array};
        let count = rows.num_rows();
        let times = rows.column_by_name("event_time").unwrap().clone();
        let seqs: ArrayRef = Arc::new(Int64Array::from(vec![1; count]));
        let mut columns: Vec<(String, ArrayRef)> = rows
            .schema()
            .fields()
            .iter()
            .zip(rows.columns())
            .map(|(field, column)| (field.name().clone(), column.clone()))
            .collect();
        columns.extend([("ingest_time".to_owned(), times), ("seq".to_owned(), seqs)]);
        RecordBatch::try_from_iter(columns).unwrap()
    }

    #[test]
    fn the_columns_of_every_source_are_those_of_its_stream() {
        let names: Vec<&str> = ALL.iter().map(|source| source.stream.name()).collect();
        assert_eq!(names, headframe_schemas::stream::anomalies::SOURCES);
        for source in ALL {
            let columns: Vec<&str> = source.stream.columns().iter().map(|c| c.name).collect();
            let used = source
                .names
                .iter()
                .chain([&source.value])
                .chain(&source.quantity);
            for name in used {
                assert!(columns.contains(name), "{}: {name}", source.stream.name());
            }
        }
    }
}
