//! Commands of a site to a real coordinator that cannot be carried out: each fails with a reason
//! that says what to do.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use headframe_coopmine::proto::messages::HeartbeatRequest;
use headframe_ingest::source::Exchange;
use headframe_site::actuate::Dispatcher;
use headframe_site::command::{Action, Command, Path, PowerMode, Progress, Target};
use headframe_site::moment::Moment;
use serde_json::json;
use tokio::task::JoinHandle;

use super::{TOKEN, token_file};
use crate::stand_in::{Running, StandIn, until};

const AT: Moment = Moment {
    elapsed_ms: 1,
    utc_us: 1,
};

/// An actuator for the workers `rig-1` and `rig-9`, with this token.
fn dispatcher(pages: &str, token: &std::path::Path) -> Dispatcher {
    let entry = json!({"kind": "coopmine", "name": "coop", "address": format!("http://{pages}"),
        "secret_file": token, "timeout_s": 60, "controls": [
            {"channel": "rig-1", "machine": "rig-1"}, {"channel": "rig-9", "machine": "rig-9"}]});
    let entry = serde_json::from_value(entry).unwrap();
    let clock = Arc::new(|| AT);
    Dispatcher::new(&[entry], Exchange::new().unwrap(), clock).unwrap()
}

async fn apply(dispatcher: &Dispatcher, id: u64, machine: &str, action: Action) -> Progress {
    let command = Command {
        id,
        decision: 1,
        target: Target::Machine(machine.to_owned()),
        action,
        path: Path::Device,
        at: AT,
    };
    dispatcher.apply(&command).await.progress
}

fn reason(progress: Progress) -> String {
    match progress {
        Progress::Failed(reason) => reason,
        other => panic!("{other:?}"),
    }
}

/// A worker of the test's own: it hashes nothing, reports all the time, and answers what it is told
/// to.
struct Puppet {
    answer: Arc<Mutex<(u64, &'static str)>>,
    task: JoinHandle<()>,
}

impl Puppet {
    async fn register(coordinator: &Running, threads: u32) -> Self {
        let (client, session) = coordinator.register("rig-1", threads).await;
        let answer = Arc::new(Mutex::new((0, "")));
        let shared = answer.clone();
        let task = tokio::spawn(async move {
            let mut beats = tokio::time::interval(Duration::from_millis(100));
            loop {
                beats.tick().await;
                let (command_id, refusal) = *shared.lock().unwrap();
                let report = HeartbeatRequest {
                    worker_id: "rig-1".to_owned(),
                    session,
                    hashrate_hs: 100.0,
                    threads_active: 1,
                    command_id,
                    command_refusal: refusal.to_owned(),
                    ..HeartbeatRequest::default()
                };
                client.heartbeat(report).await.unwrap();
            }
        });
        Self { answer, task }
    }

    fn answer(&self, command: u64, refusal: &'static str) {
        *self.answer.lock().unwrap() = (command, refusal);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_is_acknowledged_when_the_worker_has_and_fails_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let pool = StandIn::open().await;
    let coordinator = Running::start(&pool.address(), |config| {
        config.dashboard.token = TOKEN.to_owned();
        config.heartbeat_interval = "1s".parse().unwrap();
        config.worker_timeout = "10s".parse().ok();
    })
    .await;
    let pages = coordinator.pages.to_string();
    let token = token_file(folder.path());
    let workers = dispatcher(&pages, &token);
    let why = reason(apply(&workers, 1, "rig-9", Action::Off).await);
    assert!(why.contains("no worker \"rig-9\""), "{why}");
    let wrong = folder.path().join("wrong");
    std::fs::copy(&token, &wrong).unwrap();
    std::fs::write(&wrong, "another token of sixteen").unwrap();
    let why = reason(apply(&dispatcher(&pages, &wrong), 2, "rig-1", Action::Off).await);
    assert!(why.contains("dashboard.token"), "{why}");

    let puppet = Puppet::register(&coordinator, 1).await;
    let why = reason(apply(&workers, 3, "rig-1", Action::Mode(PowerMode::Low)).await);
    assert!(why.contains("1 thread"), "{why}");
    let (progress, ()) = tokio::join!(apply(&workers, 4, "rig-1", Action::LimitWatts(9)), async {
        let id = given(&coordinator, "throttle_watts").await;
        puppet.answer(id, "it does not know its watts");
        // It is tried once more, and refused once more.
        let again = until("the second try", async || {
            let next = command_id(&coordinator).await?;
            (next > id).then_some(next)
        });
        let again = again.await;
        puppet.answer(again, "it does not know its watts");
    });
    let why = reason(progress);
    assert!(why.contains("does not know its watts"), "{why}");
    let (progress, ()) = tokio::join!(apply(&workers, 5, "rig-1", Action::Off), async {
        let id = given(&coordinator, "pause").await;
        puppet.answer(id, "");
    });
    assert_eq!(progress, Progress::Acknowledged, "a yes of the worker");
    // It does not say a word any more: ten seconds later it is gone.
    puppet.task.abort();
    until("it is offline", async || {
        let worker = coordinator.get_as(TOKEN, "/api/workers/rig-1").await;
        (worker["online"] == false).then_some(())
    })
    .await;
    let why = reason(apply(&workers, 6, "rig-1", Action::On).await);
    assert!(why.contains("has not been heard of"), "{why}");
    coordinator.stop().await;
    let why = reason(apply(&workers, 7, "rig-1", Action::On).await);
    assert!(!why.is_empty(), "nobody listens there");
}

async fn command_id(coordinator: &Running) -> Option<u64> {
    let worker = coordinator.get_as(TOKEN, "/api/workers/rig-1").await;
    worker["command"]["id"].as_u64()
}

/// Waits for a command of this name; its number.
async fn given(coordinator: &Running, name: &str) -> u64 {
    until(name, async || {
        let worker = coordinator.get_as(TOKEN, "/api/workers/rig-1").await;
        let command = &worker["command"];
        (command["command"] == name).then(|| command["id"].as_u64())?
    })
    .await
}
