//! What `/metrics` says of a table and of its upkeep.

use super::{Maintenance, MaintenanceRound};

impl Maintenance {
    /// What the table holds after a round at this time, milliseconds since 1970.
    pub(super) fn tell(&self, round: MaintenanceRound, now: i64) {
        let files = self.state.files.values();
        let bytes: i64 = files.map(|file| file.add.size).sum();
        let seconds = now as f64 / 1_000.0;
        self.gauge("headframe_table_files", self.state.files.len() as f64);
        self.gauge("headframe_table_bytes", bytes as f64);
        self.gauge("headframe_table_upkeep_time_seconds", seconds);
        self.gauge("headframe_table_upkeep_failing", 0.0);
        if round.rewritten > 0 {
            self.gauge("headframe_table_rewrite_time_seconds", seconds);
        }
    }

    /// That a round failed, which is tried again.
    pub(super) fn tell_failure(&self) {
        self.gauge("headframe_table_upkeep_failing", 1.0);
    }

    fn gauge(&self, name: &'static str, value: f64) {
        metrics::gauge!(name, "table" => self.table.name.clone()).set(value);
    }
}
