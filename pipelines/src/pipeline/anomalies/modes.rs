//! What machines were commanded to do, from the table of a site controller's commands.
//!
//! The mode of a reading follows from the reading and the commands alone: of those that were stored
//! no later than [`GRACE_US`] after the reading and given no later than it was taken, the last one
//! counts. So a row is judged only when each such command was read, and then always the same,
//! however often the pipeline starts again.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use datafusion::prelude::{SessionConfig, SessionContext, col, lit};
use futures::StreamExt;
use headframe_ingest::inspect_stream;
use headframe_schemas::stream::site_commands::SiteCommands;
use headframe_schemas::{Stream, Table};
use headframe_sinks::{SnapshotReader, SnapshotTable};

use super::source::Reading;
use crate::anomaly::Mode;
use crate::fault::PipelineFault;
use crate::pipeline::Context;

/// How much later than a reading a command may be stored and still hold for it, in microseconds.
pub(super) const GRACE_US: i64 = 10_000_000;
/// Changes of one machine that are remembered.
const MAX_CHANGES: usize = 512;
/// Machines and feeders that are remembered.
const MAX_TARGETS: usize = 100_000;

/// The modes of every commanded machine over time.
pub(super) struct Modes {
    session: SessionContext,
    table: SnapshotReader,
    timeline: Timeline,
    /// The sequence of the table through which commands were read.
    through: i64,
}

/// The newest changes by site, and by the name of a machine or, after a line feed, of a feeder.
#[derive(Debug, Default)]
struct Timeline {
    sites: BTreeMap<String, BTreeMap<String, Vec<Change>>>,
    count: usize,
}

/// A command that began to hold.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Change {
    /// When it was sent, microseconds since 1970.
    at: i64,
    stored_at: i64,
    command: i64,
    mode: Mode,
}

/// A row of the table.
#[derive(Debug, Clone)]
struct CommandRow {
    at: i64,
    stored_at: i64,
    site: String,
    target: String,
    command: i64,
    action: String,
    is_failed: bool,
}

impl Modes {
    /// Does no I/O.
    pub(super) fn open(context: &Context) -> Self {
        let config = SessionConfig::new().with_target_partitions(1);
        let session = SessionContext::new_with_config(config);
        context.lake.register(session.runtime_env().as_ref());
        Self {
            session,
            table: SnapshotReader::open(&context.lake, Table::raw(&SiteCommands)),
            timeline: Timeline::default(),
            through: -1,
        }
    }

    /// The sequence of the table that the newest command has or will have; `None` where no command
    /// was ever given.
    pub(super) async fn newest(&self, context: &Context) -> Result<Option<i64>, PipelineFault> {
        let found = inspect_stream(&context.nats.js, &SiteCommands).await?;
        let last = found.map_or(0, |found| found.last_seq);
        if last == 0 {
            return Ok(None);
        }
        let snapshot = self.table.refresh().await?;
        let base = snapshot.binding.as_ref().map_or(0, |binding| binding.base);
        Ok(Some(
            base.saturating_add(i64::try_from(last).unwrap_or(i64::MAX)),
        ))
    }

    /// Reads what the table has by now. Answers the sequence through which commands are known.
    pub(super) async fn read(&mut self) -> Result<i64, PipelineFault> {
        let error = || PipelineFault::query("reading commands", SiteCommands.name());
        let snapshot = self.table.refresh().await?;
        let Some(offset) = snapshot.offset.filter(|offset| *offset > self.through) else {
            return Ok(self.through);
        };
        let range = (Some(self.through), Some(offset));
        let rows = SnapshotTable::new(snapshot.clone()).with_range(range.0, range.1);
        let columns = [
            "event_time",
            "ingest_time",
            "site",
            "target_kind",
            "target",
            "command",
            "action",
            "state",
        ];
        let order = vec![col("seq").sort(true, true), col("row").sort(true, true)];
        let is_change = col("state")
            .eq(lit("sent"))
            .or(col("state").eq(lit("failed")));
        let rows = self
            .session
            .read_table(Arc::new(rows))
            .and_then(|rows| rows.filter(col("reject_reason").is_null().and(is_change)))
            .and_then(|rows| rows.sort(order))
            .and_then(|rows| rows.select_columns(&columns))
            .map_err(error())?;
        let mut batches = rows.execute_stream().await.map_err(error())?;
        while let Some(batch) = batches.next().await {
            let batch = batch.map_err(error())?;
            for row in (0..batch.num_rows()).filter_map(|row| command_row(&batch, row)) {
                self.timeline.take(row);
            }
        }
        self.through = offset;
        Ok(offset)
    }

    /// The mode of what a reading is about.
    pub(super) fn mode(&self, reading: &Reading) -> Mode {
        self.timeline.mode(reading)
    }
}

impl Timeline {
    fn take(&mut self, row: CommandRow) {
        let targets = self.sites.entry(row.site).or_default();
        if !targets.contains_key(&row.target) {
            if self.count >= MAX_TARGETS {
                return;
            }
            self.count += 1;
        }
        let changes = targets.entry(row.target).or_default();
        let mode = match (row.is_failed, row.action.as_str()) {
            // What came to nothing leaves the machine as it was.
            (true, _) => match changes.as_slice() {
                [.., before, last] if last.command == row.command => before.mode,
                [last] if last.command == row.command => Mode::Unknown,
                _ => return,
            },
            (false, "off") => Mode::Standby,
            (false, "mode_low" | "limit_watts") => Mode::Curtailed,
            (false, _) => Mode::Unknown,
        };
        changes.push(Change {
            at: row.at,
            stored_at: row.stored_at,
            command: row.command,
            mode,
        });
        if changes.len() > MAX_CHANGES {
            changes.remove(0);
        }
    }

    fn mode(&self, reading: &Reading) -> Mode {
        let Some(targets) = self.sites.get(&reading.site) else {
            return Mode::Unknown;
        };
        // A sensor of a machine has its name before a slash.
        let machine = reading.subject.split('/').next().unwrap_or_default();
        let own = targets
            .get(&reading.subject)
            .or_else(|| targets.get(machine));
        if let Some(changes) = own {
            return mode_at(changes, reading);
        }
        let is_any_limited = || {
            let mut all = targets.values();
            all.any(|changes| mode_at(changes, reading) != Mode::Unknown)
        };
        match reading.is_power && is_any_limited() {
            true => Mode::Changing,
            false => Mode::Unknown,
        }
    }
}

fn mode_at(changes: &[Change], reading: &Reading) -> Mode {
    let (at, stored_at) = (reading.sample.event_time, reading.sample.ingest_time);
    let holds = |change: &&Change| {
        change.at <= at && change.stored_at <= stored_at.saturating_add(GRACE_US)
    };
    let last = changes.iter().rev().find(holds);
    last.map_or(Mode::Unknown, |change| change.mode)
}

fn command_row(batch: &RecordBatch, row: usize) -> Option<CommandRow> {
    let text = |name: &str| {
        let column = batch.column_by_name(name)?.as_string_view_opt()?;
        column.is_valid(row).then(|| column.value(row))
    };
    let time = |name: &str| {
        let column = batch.column_by_name(name)?;
        let column = column.as_primitive_opt::<TimestampMicrosecondType>()?;
        column.is_valid(row).then(|| column.value(row))
    };
    let command = batch.column_by_name("command")?;
    let target = match text("target_kind")? {
        "machine" => text("target")?.to_owned(),
        "feeder" => format!("\n{}", text("target")?),
        _ => return None,
    };
    Some(CommandRow {
        at: time("event_time")?,
        stored_at: time("ingest_time")?,
        site: text("site")?.to_owned(),
        target,
        command: command.as_primitive_opt::<Int64Type>()?.value(row),
        action: text("action")?.to_owned(),
        is_failed: text("state")? == "failed",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anomaly::Sample;

    const SECOND_US: i64 = 1_000_000;

    fn reading(subject: &str, at_s: i64, is_power: bool) -> Reading {
        Reading {
            seq: 1,
            site: "north".to_owned(),
            subject: subject.to_owned(),
            signal: format!("{subject}/power_w"),
            quantity: "power_w".to_owned(),
            is_power,
            sample: Sample {
                event_time: at_s * SECOND_US,
                ingest_time: at_s * SECOND_US,
                value: Some(1.0),
                mode: Mode::Unknown,
                rated: None,
            },
        }
    }

    fn row(target: &str, command: i64, action: &str, at_s: i64) -> CommandRow {
        CommandRow {
            at: at_s * SECOND_US,
            stored_at: (at_s + 1) * SECOND_US,
            site: "north".to_owned(),
            target: target.to_owned(),
            command,
            action: action.to_owned(),
            is_failed: false,
        }
    }

    fn timeline() -> Timeline {
        let mut timeline = Timeline::default();
        timeline.take(row("rig-1", 1, "off", 100));
        timeline.take(row("rig-2", 2, "mode_low", 120));
        timeline.take(row("rig-1", 3, "on", 200));
        timeline.take(row("rig-2", 4, "mode_normal", 300));
        timeline
    }

    #[test]
    fn a_machine_has_the_mode_of_its_last_command_and_its_sensors_have_it_too() {
        let timeline = timeline();
        for (at_s, mode) in [
            (99, Mode::Unknown),
            (100, Mode::Standby),
            (199, Mode::Standby),
            (200, Mode::Unknown),
        ] {
            for subject in ["rig-1", "rig-1/board-2"] {
                assert_eq!(timeline.mode(&reading(subject, at_s, true)), mode, "{at_s}");
            }
        }
        assert_eq!(
            timeline.mode(&reading("rig-2", 150, false)),
            Mode::Curtailed
        );
        let elsewhere = Reading {
            site: "south".to_owned(),
            ..reading("rig-1", 150, true)
        };
        assert_eq!(timeline.mode(&elsewhere), Mode::Unknown);
    }

    #[test]
    fn a_meter_of_more_changes_while_any_machine_is_told_to_draw_less() {
        let timeline = timeline();
        for (at_s, mode) in [
            (99, Mode::Unknown),
            (100, Mode::Changing),
            (250, Mode::Changing),
            (300, Mode::Unknown),
        ] {
            assert_eq!(timeline.mode(&reading("main", at_s, true)), mode, "{at_s}");
            let other = timeline.mode(&reading("room", at_s, false));
            assert_eq!(other, Mode::Unknown, "a temperature is no sum of powers");
        }
    }

    #[test]
    fn what_was_stored_long_after_a_reading_does_not_change_what_it_was_judged_by() {
        let mut timeline = Timeline::default();
        timeline.take(CommandRow {
            stored_at: 500 * SECOND_US,
            ..row("rig-1", 1, "off", 100)
        });
        assert_eq!(timeline.mode(&reading("rig-1", 489, true)), Mode::Unknown);
        assert_eq!(timeline.mode(&reading("rig-1", 490, true)), Mode::Standby);
    }

    #[test]
    fn a_command_that_failed_leaves_the_machine_as_it_was() {
        let mut timeline = Timeline::default();
        let failed = |command, at_s| CommandRow {
            is_failed: true,
            ..row("rig-1", command, "off", at_s)
        };
        timeline.take(row("rig-1", 1, "off", 100));
        timeline.take(failed(1, 110));
        assert_eq!(timeline.mode(&reading("rig-1", 110, true)), Mode::Unknown);
        timeline.take(row("rig-1", 2, "limit_watts", 120));
        timeline.take(row("rig-1", 3, "off", 130));
        // The failure of one that another took the place of says nothing.
        timeline.take(failed(2, 140));
        assert_eq!(timeline.mode(&reading("rig-1", 140, true)), Mode::Standby);
        timeline.take(failed(3, 150));
        assert_eq!(timeline.mode(&reading("rig-1", 150, true)), Mode::Curtailed);
    }

    #[test]
    fn memory_is_bounded() {
        let mut timeline = Timeline::default();
        for command in 0..2 * MAX_CHANGES as i64 {
            timeline.take(row("rig-1", command, "off", command));
        }
        assert_eq!(timeline.sites["north"]["rig-1"].len(), MAX_CHANGES);
    }
}
