//! What pools and sites used, from the tables: windows of energy by what the registry says of the
//! meters.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int64Type};
use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext, col};
use headframe_schemas::rollup::energy::EnergyRollup;
use headframe_schemas::rollup::{Rollup, View};
use headframe_schemas::sql_view::energy::{POOLS, SITES, Subject, energy_sql};
use headframe_schemas::stream::registry::RegistryChanges;
use headframe_schemas::{Stream, Table};
use headframe_sinks::{Lake, Snapshot, SnapshotReader, SnapshotTable};

use crate::energy::registry::{EnergyRegistry, RegistryRow, rows_of};
use crate::energy::usage::{Allocation, EnergyMeasurement, SubjectKind};
use crate::fault::PipelineFault;

const HOUR_US: i64 = 3_600_000_000;
const DEMAND_US: i64 = 900_000_000;

/// The tables that energy by subject is read from.
pub struct EnergyTables {
    session: SessionContext,
    windows: SnapshotReader,
    registry: SnapshotReader,
}

/// One state of the tables, and the registry that belongs to it.
pub struct EnergyMoment {
    session: SessionContext,
    /// The last sequence of `energy` that is counted.
    pub energy_seq: i64,
}

impl EnergyTables {
    /// Does no I/O.
    pub fn open(lake: &Lake) -> Self {
        let config = SessionConfig::new().with_target_partitions(1);
        let session = SessionContext::new_with_config(config);
        lake.register(session.runtime_env().as_ref());
        Self {
            session,
            windows: SnapshotReader::open(lake, Table::rollup(&EnergyRollup)),
            registry: SnapshotReader::open(lake, Table::raw(&RegistryChanges)),
        }
    }

    /// Takes the changes that the registry has seen since. True when there were any.
    pub async fn read_registry(&self, known: &mut EnergyRegistry) -> Result<bool, PipelineFault> {
        let (changes, through) = self.changes_after(known.through).await?;
        let is_new = through > known.through;
        changes.into_iter().for_each(|row| known.apply(row));
        known.through = through;
        Ok(is_new)
    }

    /// The changes of the registry after a sequence of its table, in their order, and the sequence
    /// through which they are known then.
    pub async fn changes_after(
        &self,
        after: i64,
    ) -> Result<(Vec<RegistryRow>, i64), PipelineFault> {
        let name = RegistryChanges.name();
        let error = || PipelineFault::query("reading changes", name);
        let snapshot = self.registry.refresh().await?;
        let Some(through) = snapshot.offset.filter(|offset| *offset > after) else {
            return Ok((Vec::new(), after));
        };
        let table = SnapshotTable::new(snapshot).with_range(Some(after), Some(through));
        let rows = self.session.read_table(Arc::new(table)).map_err(error())?;
        let rows = rows
            .filter(col("reject_reason").is_null())
            .map_err(error())?;
        let order = vec![col("seq").sort(true, true), col("row").sort(true, true)];
        let rows = rows.sort(order).map_err(error())?;
        let columns = ["seq", "event_time", "kind", "id", "after"];
        let rows = rows.select_columns(&columns).map_err(error())?;
        let batches = rows.collect().await.map_err(error())?;
        Ok((batches.iter().flat_map(rows_of).collect(), through))
    }

    /// The newest windows, by what is registered. `None` while there are none.
    pub async fn moment(
        &self,
        known: &EnergyRegistry,
    ) -> Result<Option<EnergyMoment>, PipelineFault> {
        let name = EnergyRollup.table();
        let error = || PipelineFault::query("reading windows", &name);
        let snapshot = self.windows.refresh().await?;
        let Some(energy_seq) = snapshot.offset else {
            return Ok(None);
        };
        let (config, runtime) = (self.session.copied_config(), self.session.runtime_env());
        let session = SessionContext::new_with_config_rt(config, runtime);
        let wanted = ["energy_1m", "energy_1h"];
        register_views(&session, &EnergyRollup, snapshot, &wanted).await?;
        let relations = known.relations().map_err(PipelineFault::plan(
            "reading the registry",
            RegistryChanges.name(),
        ))?;
        for (name, batch) in relations {
            let table = MemTable::try_new(batch.schema(), vec![vec![batch]]).map_err(error())?;
            session
                .register_table(name, Arc::new(table))
                .map_err(error())?;
        }
        Ok(Some(EnergyMoment {
            session,
            energy_seq,
        }))
    }
}

/// Makes some views of a rollup known to a session.
pub(crate) async fn register_views(
    session: &SessionContext,
    rollup: &dyn Rollup,
    snapshot: Arc<Snapshot>,
    wanted: &[&str],
) -> Result<(), PipelineFault> {
    let name = rollup.table();
    let error = || PipelineFault::query("reading windows", &name);
    let partials = Arc::new(SnapshotTable::new(snapshot));
    session
        .register_table("partials", partials)
        .map_err(error())?;
    let is_wanted = |view: &View| wanted.contains(&view.name.as_str());
    for view in rollup.views().into_iter().filter(is_wanted) {
        // Whether a window is complete does not matter here.
        let sql = view
            .sql
            .replace("{complete_to}", "TIMESTAMP '1970-01-01T00:00:00Z'");
        let plan = session.sql(&sql).await.map_err(error())?;
        session
            .register_table(view.name.as_str(), plan.into_view())
            .map_err(error())?;
    }
    // The views have it; another rollup may have the name next.
    session.deregister_table("partials").map_err(error())?;
    Ok(())
}

/// Energy of a machine, a pool or a site in a window.
#[derive(Debug, Clone, PartialEq)]
pub struct EnergyWindow {
    /// Its id.
    pub name: String,
    /// The end of the window, microseconds since 1970.
    pub end_us: i64,
    /// Mean power over the time that is covered, watts.
    pub power_w: Option<f64>,
    /// Watt-hours.
    pub energy_wh: Option<f64>,
}

impl EnergyMoment {
    /// The windows of 60 or 3600 seconds that end after one moment and not after another,
    /// microseconds since 1970, by time.
    pub async fn windows(
        &self,
        subject: &Subject,
        seconds: i64,
        (after_us, through_us): (i64, i64),
    ) -> Result<Vec<EnergyWindow>, PipelineFault> {
        let windows = if seconds == 60 {
            "energy_1m"
        } else {
            "energy_1h"
        };
        let error = || PipelineFault::query("reading windows", windows);
        let before_us = seconds * 1_000_000 - 1;
        let sql = format!(
            "SELECT {name}, CAST(sum(power_mean_w) AS DOUBLE) AS power_w, \
             CAST(sum(energy_wh) AS DOUBLE) AS energy_wh, \
             CAST(window_start AS BIGINT) AS begins FROM (WITH {energy}) AS e WHERE {range} \
             GROUP BY {name}, window_start ORDER BY begins",
            name = subject.name,
            energy = energy_sql(subject, windows, seconds),
            range = windows_between(&[(after_us - before_us, through_us - before_us)]),
        );
        let rows = self.session.sql(&sql).await.map_err(error())?;
        let batches = rows.collect().await.map_err(error())?;
        let window = |batch: &RecordBatch| -> Vec<EnergyWindow> {
            let begins = batch.column(3).as_primitive_opt::<Int64Type>();
            let rows = named_values(batch).into_iter().enumerate();
            let row = |(row, (name, [power_w, energy_wh])): (usize, (String, [Option<f64>; 2]))| {
                Some(EnergyWindow {
                    name,
                    end_us: begins?.value(row) + before_us + 1,
                    power_w,
                    energy_wh,
                })
            };
            rows.filter_map(row).collect()
        };
        Ok(batches.iter().flat_map(window).collect())
    }

    /// The session that has the views `energy_1m` and `energy_1h`.
    pub(crate) fn session(&self) -> &SessionContext {
        &self.session
    }

    /// What every member of these allocations was measured to have used at a moment, microseconds
    /// since 1970, in the order of the allocations.
    pub async fn measure(
        &self,
        allocations: &[Allocation],
        at_us: i64,
    ) -> Result<Vec<Vec<EnergyMeasurement>>, PipelineFault> {
        let mut by_period: BTreeMap<(&'static str, i64), BTreeMap<String, EnergyMeasurement>> =
            BTreeMap::new();
        let mut measured = Vec::with_capacity(allocations.len());
        for allocation in allocations {
            let subject = subject_of(allocation.kind);
            let period = allocation.period.around(at_us, allocation.zone);
            let since_us = period.map_or(at_us, |(start, _)| start);
            let key = (subject.name, since_us);
            let found = match by_period.entry(key) {
                Entry::Occupied(found) => found.into_mut(),
                Entry::Vacant(place) => place.insert(self.by_name(subject, since_us, at_us).await?),
            };
            let members = allocation.members.iter();
            measured.push(
                members
                    .filter_map(|name| found.get(name).copied())
                    .collect(),
            );
        }
        Ok(measured)
    }

    /// What each pool or site was measured to have used since the beginning of a period.
    async fn by_name(
        &self,
        subject: &Subject,
        since_us: i64,
        at_us: i64,
    ) -> Result<BTreeMap<String, EnergyMeasurement>, PipelineFault> {
        let mut found: BTreeMap<String, EnergyMeasurement> = BTreeMap::new();
        let recent = windows_between(&[(at_us - DEMAND_US, at_us)]);
        for (name, [energy, seconds]) in self.ask(subject, "energy_1m", SUMS, &recent).await? {
            let one = found.entry(name).or_default();
            (one.recent_wh, one.recent_s) = (energy.unwrap_or(0.0), seconds.unwrap_or(0.0));
        }
        let (from_hour, to_hour) = (next_hour(since_us), at_us - at_us.rem_euclid(HOUR_US));
        let parts = match from_hour < to_hour {
            true => vec![
                ("energy_1h", windows_between(&[(from_hour, to_hour)])),
                (
                    "energy_1m",
                    windows_between(&[(since_us, from_hour), (to_hour, at_us)]),
                ),
            ],
            false => vec![("energy_1m", windows_between(&[(since_us, at_us)]))],
        };
        for (windows, range) in parts {
            for (name, [energy, seconds]) in self.ask(subject, windows, SUMS, &range).await? {
                let one = found.entry(name).or_default();
                one.used_wh += energy.unwrap_or(0.0);
                one.used_s += seconds.unwrap_or(0.0);
            }
        }
        let day = windows_between(&[(to_hour - 24 * HOUR_US, to_hour)]);
        for (name, [median, _]) in self.ask(subject, "energy_1h", MEDIAN, &day).await? {
            found.entry(name).or_default().usual_w = median;
        }
        Ok(found)
    }

    async fn ask(
        &self,
        subject: &Subject,
        windows: &str,
        values: &str,
        range: &str,
    ) -> Result<Vec<(String, [Option<f64>; 2])>, PipelineFault> {
        let error = || PipelineFault::query("adding up energy", windows);
        let seconds = if windows == "energy_1m" { 60 } else { 3_600 };
        let sql = format!(
            "SELECT {name}, {values} FROM (WITH {energy}) AS e WHERE {range} GROUP BY {name}",
            name = subject.name,
            energy = energy_sql(subject, windows, seconds),
        );
        let rows = self.session.sql(&sql).await.map_err(error())?;
        let batches = rows.collect().await.map_err(error())?;
        Ok(batches.iter().flat_map(named_values).collect())
    }
}

const SUMS: &str = "sum(energy_wh) AS a, sum(covered_s) AS b";
const MEDIAN: &str = "median(power_mean_w) AS a, CAST(NULL AS DOUBLE) AS b";

/// An operator's energy is that of its pools.
fn subject_of(kind: SubjectKind) -> &'static Subject {
    match kind {
        SubjectKind::Pool | SubjectKind::Operator => &POOLS,
        SubjectKind::Site => &SITES,
    }
}

/// The first whole hour at or after a moment.
fn next_hour(at_us: i64) -> i64 {
    at_us + (HOUR_US - at_us.rem_euclid(HOUR_US)) % HOUR_US
}

/// A condition for windows that begin in one of these ranges, the ends excluded.
fn windows_between(ranges: &[(i64, i64)]) -> String {
    let range = |(from, to): &(i64, i64)| {
        let time = |us: i64| format!("arrow_cast({us}, 'Timestamp(Microsecond, Some(\"UTC\"))')");
        format!(
            "(window_start >= {} AND window_start < {})",
            time(*from),
            time(*to)
        )
    };
    ranges.iter().map(range).collect::<Vec<_>>().join(" OR ")
}

/// The first column as a name, the next two as numbers.
fn named_values(batch: &RecordBatch) -> Vec<(String, [Option<f64>; 2])> {
    let Some(names) = batch.column(0).as_string_view_opt() else {
        return Vec::new();
    };
    let value = |column: usize, row: usize| {
        let column = batch.column(column).as_primitive_opt::<Float64Type>()?;
        column.is_valid(row).then(|| column.value(row))
    };
    let rows = (0..batch.num_rows()).filter(|row| names.is_valid(*row));
    rows.map(|row| (names.value(row).to_owned(), [value(1, row), value(2, row)]))
        .collect()
}
