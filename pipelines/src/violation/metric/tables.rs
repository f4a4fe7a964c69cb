//! The tables that metrics are read from, at one moment.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::prelude::{Expr, SessionConfig, SessionContext, col, lit};
use datafusion::scalar::ScalarValue;
use headframe_schemas::resource::Values;
use headframe_schemas::rollup::Rollup;
use headframe_schemas::rollup::hashrate::HashrateRollup;
use headframe_schemas::stream::allocation_usage::AllocationUsages;
use headframe_schemas::stream::anomalies::Anomalies;
use headframe_schemas::stream::curtailment_events::CurtailmentEvents;
use headframe_schemas::stream::sensors::Sensors;
use headframe_schemas::{Stream, Table};
use headframe_sinks::{Lake, SnapshotReader, SnapshotTable};

use crate::energy::measurement::{EnergyMoment, EnergyTables, register_views};
use crate::energy::registry::EnergyRegistry;
use crate::fault::PipelineFault;
use crate::violation::metric::Span;

/// The tables.
pub struct MetricTables {
    session: SessionContext,
    raw: Vec<(&'static str, SnapshotReader)>,
    hashrate: SnapshotReader,
    energy: EnergyTables,
    registry: EnergyRegistry,
    newest: BTreeMap<String, BTreeMap<String, Registered>>,
    moment: Option<EnergyMoment>,
}

/// A resource as it is registered.
#[derive(Debug, Clone, PartialEq)]
pub struct Registered {
    /// Its fields.
    pub values: Values,
    /// When it became so, microseconds since 1970.
    pub at_us: i64,
}

impl MetricTables {
    /// Does no I/O.
    pub fn open(lake: &Lake) -> Self {
        let config = SessionConfig::new().with_target_partitions(1);
        let session = SessionContext::new_with_config(config);
        lake.register(session.runtime_env().as_ref());
        let raw = |stream: &'static dyn Stream| {
            (
                stream.name(),
                SnapshotReader::open(lake, Table::raw(stream)),
            )
        };
        Self {
            session,
            raw: vec![
                raw(&AllocationUsages),
                raw(&Sensors),
                raw(&Anomalies),
                raw(&CurtailmentEvents),
            ],
            hashrate: SnapshotReader::open(lake, Table::rollup(&HashrateRollup)),
            energy: EnergyTables::open(lake),
            registry: EnergyRegistry::default(),
            newest: BTreeMap::new(),
            moment: None,
        }
    }

    /// Looks at the newest state of the registry and of the windows of energy.
    pub async fn refresh(&mut self) -> Result<(), PipelineFault> {
        let (changes, through) = self.energy.changes_after(self.registry.through).await?;
        for change in changes {
            let kind = self.newest.entry(change.kind.clone()).or_default();
            match &change.after {
                Some(values) => kind.insert(
                    change.id.clone(),
                    Registered {
                        values: values.clone(),
                        at_us: change.at_us,
                    },
                ),
                None => kind.remove(&change.id),
            };
            self.registry.apply(change);
        }
        self.registry.through = through;
        self.moment = self.energy.moment(&self.registry).await?;
        Ok(())
    }

    /// What is registered of a kind, by id.
    pub fn registered(&self, kind: &str) -> impl Iterator<Item = (&String, &Registered)> {
        self.newest.get(kind).into_iter().flatten()
    }

    /// The resource of this id.
    pub fn find(&self, kind: &str, id: &str) -> Option<&Registered> {
        self.newest.get(kind)?.get(id)
    }

    /// The windows of energy; `None` while there are none.
    pub(super) fn moment(&self) -> Option<&EnergyMoment> {
        self.moment.as_ref()
    }

    /// The good rows of a raw table in a span of time, by time.
    pub(super) async fn raw_rows(
        &self,
        stream: &dyn Stream,
        columns: &[&str],
        span: Span,
        wanted: Option<Expr>,
    ) -> Result<Vec<RecordBatch>, PipelineFault> {
        let name = stream.name();
        let error = || PipelineFault::query("reading rows", name);
        let Some((_, reader)) = self.raw.iter().find(|(raw, _)| *raw == name) else {
            return Ok(Vec::new());
        };
        let snapshot = reader.refresh().await?;
        if snapshot.offset.is_none() {
            return Ok(Vec::new());
        }
        let time = |us| {
            let zone = Some("UTC".into());
            lit(ScalarValue::TimestampMicrosecond(Some(us), zone))
        };
        let within = col("event_time")
            .gt(time(span.after_us))
            .and(col("event_time").lt_eq(time(span.through_us)))
            .and(col("reject_reason").is_null());
        let condition = match wanted {
            Some(wanted) => within.and(wanted),
            None => within,
        };
        let order = ["event_time", "seq", "row"].map(|name| col(name).sort(true, true));
        let mut columns = columns.to_vec();
        columns.extend(["event_time", "seq", "row"]);
        let rows = self
            .session
            .read_table(Arc::new(SnapshotTable::new(snapshot)))
            .and_then(|rows| rows.filter(condition))
            .and_then(|rows| rows.select_columns(&columns))
            .and_then(|rows| rows.sort(order.to_vec()))
            .map_err(error())?;
        rows.collect().await.map_err(error())
    }

    /// A session with views of windows of hashrate; `None` while there are none.
    pub(super) async fn hashrate_views(
        &self,
        wanted: &[&str],
    ) -> Result<Option<SessionContext>, PipelineFault> {
        let snapshot = self.hashrate.refresh().await?;
        if snapshot.offset.is_none() {
            return Ok(None);
        }
        let (config, runtime) = (self.session.copied_config(), self.session.runtime_env());
        let session = SessionContext::new_with_config_rt(config, runtime);
        register_views(&session, &HashrateRollup, snapshot, wanted).await?;
        Ok(Some(session))
    }
}

/// The answer of a statement over windows of a rollup.
pub(super) async fn ask(
    session: &SessionContext,
    sql: &str,
    rollup: &dyn Rollup,
) -> Result<Vec<RecordBatch>, PipelineFault> {
    let name = rollup.table();
    let error = || PipelineFault::query("reading windows", &name);
    let rows = session.sql(sql).await.map_err(error())?;
    rows.collect().await.map_err(error())
}

/// A moment as SQL has it.
pub(super) fn time_sql(us: i64) -> String {
    format!("arrow_cast({us}, 'Timestamp(Microsecond, Some(\"UTC\"))')")
}
