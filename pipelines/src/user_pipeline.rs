//! Pipelines of the users' own: a SELECT over the committed rows of a stream, row by row or window
//! by window, whose answers are committed to a table together with the offset.
//!
//! A pipeline is planned and its output's columns are known before anything starts. What it makes
//! is a function of the input's messages in their order, so that a restart at any moment changes
//! nothing.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use headframe_schemas::user_table::interned;
use headframe_schemas::{ReadPermission, Stream, UserTable, stream};

use crate::pipeline;

mod bisect;
pub mod closing;
pub mod config;
mod onward;
mod output;
mod plan;
mod row_places;
mod rows;
mod run;
mod session;
mod step_end;
mod windows;

pub use closing::Windows;
pub use config::{Readers, UserPipelineConfig};
pub use run::{Runner, run};

/// More are not planned; each costs a look at its input with every commit.
const MAX_PIPELINES: usize = 64;

/// A pipeline that was planned.
#[derive(Clone)]
pub struct UserPipeline {
    /// Its name, in faults and metrics.
    pub name: &'static str,
    /// The stream that it reads.
    pub stream: &'static dyn Stream,
    /// Its windows; `None` when it works row by row.
    pub windows: Option<Windows>,
    /// The SELECT.
    pub sql: String,
    /// What it fills.
    pub table: UserTable,
    /// The stream whose rows the table's rows become as well.
    pub stream_of_rows: Option<&'static dyn Stream>,
    /// Memory of one evaluation.
    pub memory_bytes: usize,
    /// Time of one evaluation.
    pub timeout: Duration,
}

/// What a step has come to.
#[derive(Default)]
struct Step {
    /// The input is done with through this sequence.
    last: i64,
    /// Rows of the output table, good and refused.
    rows: Vec<RecordBatch>,
    /// How many of them are refused.
    refused: u64,
    /// Windows that were evaluated.
    windows: u64,
    /// Rows of the input that came after their window was closed.
    late: u64,
    /// Windows are closed up to here, in microseconds since 1970; `None` where nothing changed.
    closed_us: Option<i64>,
    /// Messages of the input that are committed and come after this step.
    behind: i64,
}

impl Step {
    /// A step to this sequence of which nothing came.
    fn through(last: i64) -> Self {
        Self {
            last,
            ..Self::default()
        }
    }
}

impl UserPipeline {
    /// Plans what a configuration says. The error names the key.
    pub fn plan(config: &UserPipelineConfig) -> Result<Self, String> {
        config.check()?;
        let Some(stream) = stream::find(&config.input) else {
            let names: Vec<&str> = stream::ALL.iter().map(|stream| stream.name()).collect();
            return Err(format!(
                "input is {:?}, which is no stream; there are {}",
                config.input,
                names.join(", ")
            ));
        };
        let windows = config.windows()?;
        let read = match (config.read, stream.read_permission()) {
            (None, permission) => permission,
            (Some(Readers::Operator), _) => ReadPermission::Personal,
            (Some(Readers::Reader), ReadPermission::Reader) => ReadPermission::Reader,
            (Some(Readers::Reader), ReadPermission::Personal) => {
                return Err(format!(
                    "read is \"reader\", but {} holds personal data, which readers may not read; \
                     take the key out",
                    config.input
                ));
            }
        };
        let columns = plan::columns(&config.sql, stream, windows.is_some())?;
        let stream_of_rows = match &config.stream {
            None => None,
            Some(name) => Some(onward::target(name, stream, &columns)?),
        };
        Ok(Self {
            stream_of_rows,
            name: interned(&config.name),
            stream,
            windows,
            sql: config.sql.clone(),
            table: UserTable {
                name: config.table_name().to_owned(),
                pipeline: config.name.clone(),
                input: stream.name().to_owned(),
                columns,
                read,
                retention_days: config.retention_days,
            },
            memory_bytes: config.memory_mib << 20,
            timeout: Duration::from_secs(config.timeout_s),
        })
    }

    /// Plans every pipeline of a configuration, or says all that is wrong. `taken` are the names of
    /// the tables and views that there are.
    pub fn plan_all(
        configs: &[UserPipelineConfig],
        taken: &BTreeSet<String>,
    ) -> Result<Vec<Arc<Self>>, Vec<String>> {
        let (mut planned, mut faults) = (Vec::new(), Vec::new());
        if configs.len() > MAX_PIPELINES {
            let count = configs.len();
            faults.push(format!(
                "pipeline: there are {count}; at most {MAX_PIPELINES} are run"
            ));
        }
        for (at, config) in configs.iter().take(MAX_PIPELINES).enumerate() {
            let name = &config.name;
            let mut fault = |why: String| faults.push(format!("pipeline {name:?}: {why}"));
            let before = &configs[..at];
            if before.iter().any(|other| other.name == *name) {
                fault("another pipeline has this name".to_owned());
                continue;
            }
            let table = config.table_name();
            if before.iter().any(|other| other.table_name() == table) {
                fault(format!("another pipeline fills the table {table}"));
            }
            if taken.contains(table) || is_reserved(table) {
                fault(format!(
                    "its table is called {table}, which is a name of Headframe's own; name \
                     another with the key table"
                ));
            }
            if pipeline::ALL
                .iter()
                .any(|built_in| built_in.name() == *name)
            {
                fault("a pipeline of Headframe's own has this name".to_owned());
            }
            match Self::plan(config) {
                Ok(pipeline) => planned.push(Arc::new(pipeline)),
                Err(why) => fault(why),
            }
        }
        faults.extend(circles(&planned));
        match faults.is_empty() {
            true => Ok(planned),
            false => Err(faults),
        }
    }

    /// The name of the stream that it reads.
    pub fn input(&self) -> &'static str {
        self.stream.name()
    }
}

/// Pipelines whose rows come back to them through streams: each is named with the way.
fn circles(pipelines: &[Arc<UserPipeline>]) -> Vec<String> {
    let next = |from: &str| -> Vec<&UserPipeline> {
        let of_stream = pipelines.iter().filter(|other| other.input() == from);
        of_stream.map(Arc::as_ref).collect()
    };
    let mut faults = Vec::new();
    for pipeline in pipelines {
        let Some(begin) = pipeline.stream_of_rows else {
            continue;
        };
        let (mut open, mut seen) = (vec![begin.name()], BTreeSet::new());
        while let Some(name) = open.pop() {
            if seen.insert(name) {
                let onward = next(name)
                    .into_iter()
                    .filter_map(|other| other.stream_of_rows);
                open.extend(onward.map(|stream| stream.name()));
            }
        }
        if seen.contains(pipeline.input()) {
            faults.push(format!(
                "pipeline {:?}: its rows come back to its input {} through other pipelines; take \
                 stream out of one of them",
                pipeline.name,
                pipeline.input()
            ));
        }
    }
    faults
}

/// Names that other relations have, or later versions may give to tables.
fn is_reserved(table: &str) -> bool {
    table == session::INPUT || table.starts_with("pg_") || table.contains("_rollups")
}
