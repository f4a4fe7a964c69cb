//! A fact as rows of the streams.

use headframe_schemas::Record;
use headframe_schemas::column::Column;
use headframe_schemas::stream::commands::Command;
use headframe_schemas::stream::hashrate::Hashrate;
use headframe_schemas::stream::worker_shares::WorkerShare;
use headframe_schemas::stream::workers::Worker;

use crate::cluster::CommandKind;
use crate::cluster::fact::{ClusterFact, CommandFact, ShareFact, WorkerEvent};
use crate::cluster::worker_view::WorkerView;

/// A row of one of the cluster's streams.
#[derive(Debug, Clone, PartialEq)]
pub enum FactRow {
    Worker(Box<Worker>),
    Hashrate(Hashrate),
    Share(Box<WorkerShare>),
    Command(Box<Command>),
}

impl FactRow {
    /// The rows of a fact: a worker's report is one of `hashrate`, too.
    pub fn rows(fact: ClusterFact, cluster: &str, miner: &str, now_us: i64) -> Vec<Self> {
        match fact {
            ClusterFact::Worker(event, view) => {
                let hashrate = (event == WorkerEvent::Report).then(|| Hashrate {
                    event_time: now_us,
                    pool: cluster.to_owned(),
                    miner: miner.to_owned(),
                    worker: view.id.clone(),
                    hashrate_hs: view.hashrate_hs,
                    source: "miner".to_owned(),
                });
                let worker = Self::Worker(Box::new(worker_row(event, *view, cluster, now_us)));
                let hashrate = hashrate.map(Self::Hashrate);
                std::iter::once(worker).chain(hashrate).collect()
            }
            ClusterFact::Share(share) => {
                vec![Self::Share(Box::new(share_row(share, cluster, now_us)))]
            }
            ClusterFact::Command(command) => {
                vec![Self::Command(Box::new(command_row(
                    command, cluster, now_us,
                )))]
            }
        }
    }

    /// The stream's name and the row as one line of JSON.
    pub fn line(&self) -> (&'static str, serde_json::Result<Vec<u8>>) {
        match self {
            Self::Worker(row) => line(&**row),
            Self::Hashrate(row) => line(row),
            Self::Share(row) => line(&**row),
            Self::Command(row) => line(&**row),
        }
    }
}

fn line<R: Record>(row: &R) -> (&'static str, serde_json::Result<Vec<u8>>) {
    (R::STREAM.name(), serde_json::to_vec(row))
}

fn worker_row(event: WorkerEvent, view: WorkerView, cluster: &str, now_us: i64) -> Worker {
    let within = |value: Option<f64>, most: f64| value.map(|value| value.clamp(-300.0, most));
    Worker {
        event_time: now_us,
        cluster: cluster.to_owned(),
        worker: view.id,
        name: within_column(&view.name),
        event: event.as_str().to_owned(),
        agent: within_column(&view.agent),
        threads: i64::from(view.threads),
        threads_active: i64::from(view.threads_active),
        hashrate_hs: view.hashrate_hs,
        hashrate_shown_hs: view.hashrate_shown_hs,
        temperature_c: within(view.temperature_c, 1e4),
        cpu_pct: view.cpu_pct.map(|value| value.clamp(0.0, 1e4)),
    }
}

fn share_row(share: ShareFact, cluster: &str, now_us: i64) -> WorkerShare {
    WorkerShare {
        event_time: now_us,
        cluster: cluster.to_owned(),
        worker: share.worker.to_string(),
        job: signed(share.job),
        nonce: hex::encode(share.nonce.to_le_bytes()),
        height: share.height.map(signed),
        difficulty: signed(share.difficulty),
        local_verdict: share.local_verdict.to_owned(),
        upstream_verdict: share.upstream_verdict.map(str::to_owned),
        reason: share.reason.as_deref().map(within_column),
        is_block: share.is_block,
    }
}

fn command_row(command: CommandFact, cluster: &str, now_us: i64) -> Command {
    let value = match command.kind {
        CommandKind::Threads(value) | CommandKind::Watts(value) => Some(i64::from(value)),
        CommandKind::Pause | CommandKind::Resume | CommandKind::Shutdown => None,
    };
    Command {
        event_time: now_us,
        cluster: cluster.to_owned(),
        command: signed(command.id),
        worker: command.worker.to_string(),
        kind: command.kind.as_str().to_owned(),
        value,
        state: command.state.to_owned(),
        refusal: Some(within_column(&command.refusal)).filter(|text| !text.is_empty()),
        hashrate_hs: command.hashrate_hs,
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// As much of a text as its column takes.
fn within_column(text: &str) -> String {
    text[..text.floor_char_boundary(Column::MAX_TEXT_BYTES)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use headframe_schemas::stream::{self, commands, worker_shares, workers};

    #[test]
    fn every_word_of_a_fact_is_one_of_its_stream() {
        for event in [
            WorkerEvent::Registered,
            WorkerEvent::Unregistered,
            WorkerEvent::Silent,
            WorkerEvent::Returned,
            WorkerEvent::Quarantined,
            WorkerEvent::Released,
            WorkerEvent::Report,
        ] {
            assert!(workers::EVENTS.contains(&event.as_str()), "{event:?}");
        }
        for kind in [
            CommandKind::Pause,
            CommandKind::Resume,
            CommandKind::Threads(1),
            CommandKind::Watts(1),
            CommandKind::Shutdown,
        ] {
            assert!(commands::KINDS.contains(&kind.as_str()), "{kind:?}");
        }
        assert_eq!(worker_shares::LOCAL_VERDICTS.len(), 4);
        let names = ["workers", "worker_shares", "commands", "hashrate"];
        assert!(names.iter().all(|name| stream::find(name).is_some()));
    }

    #[test]
    fn words_of_workers_and_pools_fit_their_columns() {
        let share = ShareFact {
            worker: "rig-1".into(),
            job: u64::MAX,
            nonce: 0x0403_0201,
            height: Some(9),
            difficulty: 7,
            local_verdict: "right",
            upstream_verdict: Some("refused"),
            reason: Some("ä".repeat(200)),
            is_block: false,
        };
        let row = share_row(share, "farm", 1);
        assert_eq!((&*row.nonce, row.job), ("01020304", i64::MAX));
        assert_eq!(row.reason.map(|reason| reason.len()), Some(256));
    }
}
