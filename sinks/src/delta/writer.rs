//! The writer of one table: rows and their offset become visible in one commit, once.
//!
//! The commit protocol: a batch is a closed range of sequences; its commit carries the offset (the
//! range's last sequence) and the writer's fence epoch. Before every attempt the newest log is
//! read: the offset must be where this writer left it and the fence must still be its own. Whatever
//! error a put returns is answered by reading the log again, because a put that failed may have
//! landed. A writer that lost the table to another learns it from the fence and stops. Why these
//! commits are not the Delta library's stands at `delta::log`.

use std::collections::BTreeMap;
use std::time::Duration;

use arrow::array::RecordBatch;
use futures::stream::{self, StreamExt, TryStreamExt};
use headframe_schemas::Table;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::delta::action::{LogLine, MetaData, schema_string};
use crate::delta::apps::writer_apps;
use crate::delta::blocking::blocking_result;
use crate::delta::data_file::{CompressionEffort, EncodedFile, encode};
use crate::delta::lake::{Lake, TableLocation};
use crate::delta::log::{self, ClockReading, LogState, PutOutcome, now_ms};
use crate::delta::retry::{HeldBatch, Retry};
use crate::delta::stream_binding::StreamBinding;
use crate::delta::table_check::check_table;
use crate::error::SinkError;

/// Data files that were put longer ago than this may have been vacuumed, which keeps files of no
/// version for 24 hours.
const UPLOADS_TRUSTED_FOR: Duration = Duration::from_secs(3_600);

/// A closed range of table sequences, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeqRange {
    /// The first sequence; one more than the table's offset.
    pub first: i64,
    /// The last sequence, which becomes the table's offset.
    pub last: i64,
}

/// The writer of one table.
#[derive(Debug)]
pub struct TableWriter {
    table: Table,
    location: TableLocation,
    apps: Vec<String>,
    state: LogState,
    epoch: i64,
    offset: Option<i64>,
    uploads_trusted_for: Duration,
    retry: Retry,
}

impl TableWriter {
    /// Opens or makes the table, checks it, and takes it over from whoever wrote it before.
    ///
    /// A new table is bound to `binding`. An existing one must be bound to the same stream, or
    /// [`SinkError::StreamRecreated`] says so.
    pub async fn open(
        lake: &Lake,
        table: Table,
        binding: StreamBinding,
        stop: CancellationToken,
    ) -> Result<Self, SinkError> {
        let location = lake.table(&table.name);
        let apps = writer_apps(&table.name);
        let retry = Retry::new(stop);
        let mut pause = retry.pause();
        let state = loop {
            match Self::load_or_create(&location, &table, binding, &apps).await {
                Ok(state) => break state,
                Err(error) if error.is_transient() => {
                    pause.after(&error, "opening a table").await?
                }
                Err(error) => return Err(error),
            }
        };
        drop(pause);
        let mut writer = Self::new(table, location, apps, state, retry);
        writer.check_table()?;
        let bound = writer.binding().unwrap_or(binding);
        if bound.created_ns != binding.created_ns {
            let table = writer.table.name.clone();
            return Err(SinkError::StreamRecreated {
                table,
                bound: bound.created_ns,
                found: binding.created_ns,
            });
        }
        writer.claim().await?;
        writer.evolve().await?;
        Ok(writer)
    }

    fn new(
        table: Table,
        location: TableLocation,
        apps: Vec<String>,
        state: LogState,
        retry: Retry,
    ) -> Self {
        let offset = state.txns.get(&apps[0]).copied();
        Self {
            table,
            location,
            apps,
            state,
            epoch: 0,
            offset,
            uploads_trusted_for: UPLOADS_TRUSTED_FOR,
            retry,
        }
    }

    /// The same writer, which puts data files again that were put longer ago than this when their
    /// commit is made.
    pub fn with_uploads_trusted_for(self, age: Duration) -> Self {
        Self {
            uploads_trusted_for: age,
            ..self
        }
    }

    /// Tells while a batch is held because the store is away or full, and why.
    pub fn held(&self) -> watch::Receiver<Option<HeldBatch>> {
        self.retry.held.subscribe()
    }

    /// The last sequence committed; `None` when nothing was.
    pub fn offset(&self) -> Option<i64> {
        self.offset
    }

    /// The time up to which windows are closed, in microseconds since 1970, as the newest commit
    /// that named one says it; `None` when none did.
    pub fn watermark(&self) -> Option<i64> {
        self.state.txns.get(&self.apps[3]).copied()
    }

    /// Which stream the table is bound to.
    pub fn binding(&self) -> Option<StreamBinding> {
        StreamBinding::from_properties(&self.state.meta_data.configuration)
    }

    /// Where the table lies.
    pub fn location(&self) -> &TableLocation {
        &self.location
    }

    /// The table's identity.
    pub fn table_id(&self) -> &str {
        &self.state.meta_data.id
    }

    /// Commits the rows of a closed range, exactly once, waiting out a store that is away until
    /// shutdown.
    ///
    /// The range must begin right after the offset. Batches have the table's schema; there may be
    /// none.
    pub async fn commit(
        &mut self,
        range: SeqRange,
        batches: &[RecordBatch],
    ) -> Result<(), SinkError> {
        self.commit_closing(range, batches, None).await
    }

    /// The same, with the time up to which windows are closed by this commit, in microseconds since
    /// 1970.
    pub async fn commit_closing(
        &mut self,
        range: SeqRange,
        batches: &[RecordBatch],
        watermark: Option<i64>,
    ) -> Result<(), SinkError> {
        let tag = format!("{:020}-{:020}", range.first, range.last);
        let files = self.encode(batches, tag).await?;
        let mut uploaded = self.upload(&files).await?;
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        let info = json!({
            "outputMode": "Append",
            "queryId": self.table.name,
            "epochId": range.last.to_string(),
            "rows": rows.to_string(),
        });
        let mut lines = vec![
            LogLine::commit_info("STREAMING UPDATE", now_ms(), info),
            LogLine::txn(&self.apps[0], range.last),
            LogLine::txn(&self.apps[1], self.epoch),
        ];
        lines.extend(watermark.map(|us| LogLine::txn(&self.apps[3], us)));
        lines.extend(files.iter().map(|file| LogLine::add(file.add.clone())));
        let mut pause = self.retry.pause();
        let mut attempted = false;
        loop {
            match self.try_commit(range, &lines, attempted).await {
                Ok(true) => {
                    self.offset = Some(range.last);
                    self.tell_commit();
                    // Before and after: whether this process slept before the commit or in the
                    // middle of it, the files are there.
                    return self.upload_again(&files, &mut uploaded).await;
                }
                Ok(false) => self.upload_again(&files, &mut uploaded).await?,
                Err(error) if error.is_transient() => {
                    pause.after(&error, "committing").await?;
                    self.upload_again(&files, &mut uploaded).await?;
                }
                Err(error) => return Err(error),
            }
            attempted = true;
        }
    }

    fn tell_commit(&self) {
        let (table, seconds) = (self.table.name.clone(), now_ms() as f64 / 1_000.0);
        metrics::gauge!("headframe_commit_time_seconds", "table" => table).set(seconds);
    }

    /// The data files of a batch. A large one is computed for longer than the other work of a
    /// runtime may wait, so that a thread for blocking work does it.
    async fn encode(
        &self,
        batches: &[RecordBatch],
        tag: String,
    ) -> Result<Vec<EncodedFile>, SinkError> {
        let (table, batches) = (self.table.clone(), batches.to_vec());
        let effort = CompressionEffort::Fresh;
        let encoding = tokio::task::spawn_blocking(move || {
            encode(&table, &batches, &tag, effort, now_ms(), true)
        });
        blocking_result(encoding, "encoding a batch").await
    }

    async fn upload(&self, files: &[EncodedFile]) -> Result<ClockReading, SinkError> {
        let begun = ClockReading::now();
        let mut pause = self.retry.pause();
        while let Err(error) = put_files(&self.location, files).await {
            pause.after(&error, "putting data files").await?;
        }
        Ok(begun)
    }

    /// Files of a batch that waited for long look like orphans to a vacuum; the same bytes under
    /// the same names mend that.
    async fn upload_again(
        &self,
        files: &[EncodedFile],
        uploaded: &mut ClockReading,
    ) -> Result<(), SinkError> {
        if uploaded.age() >= self.uploads_trusted_for {
            *uploaded = self.upload(files).await?;
        }
        Ok(())
    }

    /// One attempt. `false` means that another writer took the version.
    async fn try_commit(
        &mut self,
        range: SeqRange,
        lines: &[LogLine],
        attempted: bool,
    ) -> Result<bool, SinkError> {
        if attempted || self.state.is_stale() {
            self.state.advance(&self.location, &self.apps).await?;
        }
        self.check_table()?;
        self.check_fence()?;
        let found = self.state.txns.get(&self.apps[0]).copied();
        if attempted && found == Some(range.last) {
            return Ok(true);
        }
        let expected = range.first - 1;
        if found.is_some_and(|found| found != expected)
            || (found.is_none() && self.offset.is_some())
        {
            return Err(SinkError::OffsetMismatch {
                table: self.table.name.clone(),
                expected,
                found,
            });
        }
        Ok(self.state.put(&self.location, lines).await? == PutOutcome::Done)
    }

    fn check_fence(&self) -> Result<(), SinkError> {
        match self.state.txns.get(&self.apps[1]).copied() {
            Some(epoch) if epoch == self.epoch => Ok(()),
            found => Err(SinkError::Fenced {
                table: self.table.name.clone(),
                ours: self.epoch,
                theirs: found.unwrap_or_default(),
            }),
        }
    }

    /// Takes the table over: the next epoch, alone in a commit. After any doubt a higher one is
    /// taken.
    async fn claim(&mut self) -> Result<(), SinkError> {
        let mut pause = self.retry.pause();
        loop {
            let epoch = self
                .state
                .txns
                .get(&self.apps[1])
                .copied()
                .unwrap_or_default()
                + 1;
            let info = json!({"table": self.table.name, "epoch": epoch.to_string()});
            let lines = [
                LogLine::commit_info("CLAIM", now_ms(), info),
                LogLine::txn(&self.apps[1], epoch),
            ];
            match self.state.put(&self.location, &lines).await {
                Ok(PutOutcome::Done) => {
                    self.epoch = epoch;
                    self.offset = self.state.txns.get(&self.apps[0]).copied();
                    return Ok(());
                }
                Ok(PutOutcome::LostRace) => {}
                Err(error) => pause.after(&error, "claiming a table").await?,
            }
            while let Err(error) = self.state.advance(&self.location, &self.apps).await {
                if !error.is_transient() {
                    return Err(error);
                }
                pause.after(&error, "reading the log").await?;
            }
        }
    }

    /// Adds columns this program has and the table lacks.
    async fn evolve(&mut self) -> Result<(), SinkError> {
        if self.state.meta_data.schema_string == schema_string(&self.table) {
            return Ok(());
        }
        let mut pause = self.retry.pause();
        loop {
            let meta_data = MetaData {
                schema_string: schema_string(&self.table),
                ..self.state.meta_data.clone()
            };
            let info = json!({"table": self.table.name});
            let lines = [
                LogLine::commit_info("ADD COLUMNS", now_ms(), info),
                LogLine::txn(&self.apps[1], self.epoch),
                LogLine::meta_data(meta_data),
            ];
            match self.state.put(&self.location, &lines).await {
                Ok(PutOutcome::Done) => return Ok(()),
                Ok(PutOutcome::LostRace) => {}
                Err(error) => pause.after(&error, "adding columns").await?,
            }
            self.state.advance(&self.location, &self.apps).await?;
            self.check_table()?;
            self.check_fence()?;
        }
    }

    /// Continues the table from another stream or after a loss: sequences go on after the offset.
    ///
    /// `next` is the stream sequence that will be read first. An operator's decision; nothing else
    /// calls this.
    pub async fn rebind(&mut self, created_ns: i64, next: u64) -> Result<StreamBinding, SinkError> {
        let next = i64::try_from(next).map_err(SinkError::encode("rebinding", &self.table.name))?;
        let binding = StreamBinding {
            created_ns,
            base: self.offset.map_or(0, |offset| offset + 1 - next),
        };
        let through = binding.base + next - 1;
        let mut meta_data = self.state.meta_data.clone();
        binding.write(&mut meta_data.configuration);
        let info = json!({
            "table": self.table.name,
            "created": created_ns.to_string(),
            "base": binding.base.to_string(),
        });
        // A table that holds nothing yet is complete through what vanished before its first row.
        let lines = [
            LogLine::commit_info("ADOPT", now_ms(), info),
            LogLine::txn(&self.apps[0], through),
            LogLine::txn(&self.apps[1], self.epoch),
            LogLine::meta_data(meta_data),
        ];
        match self.state.put(&self.location, &lines).await? {
            PutOutcome::Done => {
                self.offset = Some(through);
                Ok(binding)
            }
            PutOutcome::LostRace => Err(SinkError::Fenced {
                table: self.table.name.clone(),
                ours: self.epoch,
                theirs: self.epoch + 1,
            }),
        }
    }

    /// The same as [`TableWriter::open`] for a table whose stream was made anew: does not compare
    /// the stream.
    pub async fn open_to_rebind(
        lake: &Lake,
        table: Table,
        stop: CancellationToken,
    ) -> Result<Self, SinkError> {
        let location = lake.table(&table.name);
        let apps = writer_apps(&table.name);
        let Some(state) = LogState::load(&location, &apps).await? else {
            return Err(SinkError::Unsupported {
                table: table.name,
                what: "there is no such table yet, so nothing to adopt".to_owned(),
            });
        };
        let mut writer = Self::new(table, location, apps, state, Retry::new(stop));
        writer.check_table()?;
        writer.claim().await?;
        Ok(writer)
    }

    async fn load_or_create(
        location: &TableLocation,
        table: &Table,
        binding: StreamBinding,
        apps: &[String],
    ) -> Result<LogState, SinkError> {
        if let Some(state) = LogState::load(location, apps).await? {
            return Ok(state);
        }
        let mut configuration = BTreeMap::from([
            ("delta.checkpointInterval".to_owned(), "1000000".to_owned()),
            (
                "delta.enableExpiredLogCleanup".to_owned(),
                "false".to_owned(),
            ),
            (
                "delta.logRetentionDuration".to_owned(),
                "interval 7 days".to_owned(),
            ),
        ]);
        binding.write(&mut configuration);
        let meta_data = MetaData {
            id: uuid::Uuid::new_v4().to_string(),
            name: Some(table.name.clone()),
            description: Some(table.doc.clone()),
            format: json!({"provider": "parquet", "options": {}}),
            schema_string: schema_string(table),
            partition_columns: table
                .partition_columns()
                .iter()
                .map(|column| column.name.to_owned())
                .collect(),
            configuration,
            created_time: Some(now_ms()),
        };
        let lines = [
            LogLine::commit_info("CREATE TABLE", now_ms(), json!({"name": table.name})),
            LogLine::protocol(),
            LogLine::meta_data(meta_data),
        ];
        log::create(location, &lines).await?;
        match LogState::load(location, apps).await? {
            Some(state) => Ok(state),
            None => Err(SinkError::Unsupported {
                table: table.name.clone(),
                what: "it vanished right after it was made".to_owned(),
            }),
        }
    }

    /// Identity, protocol, properties and columns are what the guarantees need.
    fn check_table(&self) -> Result<(), SinkError> {
        check_table(&self.table, &self.state)
    }
}

/// Puts the bytes of files that a commit will name.
pub(crate) async fn put_files(
    location: &TableLocation,
    files: &[EncodedFile],
) -> Result<(), SinkError> {
    let put = |file: &EncodedFile| {
        let (path, bytes) = (Path::from(file.add.path.as_str()), file.bytes.clone());
        async move { location.store.put(&path, bytes.into()).await }
    };
    let puts: Vec<_> = files.iter().map(put).collect();
    let done: Result<Vec<_>, _> = stream::iter(puts).buffer_unordered(4).try_collect().await;
    done.map(|_| ())
        .map_err(SinkError::store("putting data files", &location.name))
}
