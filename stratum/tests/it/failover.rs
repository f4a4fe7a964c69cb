//! Several daemons as one chain, over scripted daemons.

use futures::FutureExt;
use futures::future::BoxFuture;
use headframe_stratum::chain::coinbase_tag::{Heights, TaggedBlock};
use headframe_stratum::chain::failover::{Daemon, DaemonSettings, FailoverChain, zmq_address};
use headframe_stratum::chain::{
    AddressError, Chain, ChainError, ChainPosition, FoundBlock, Hash, Submitted, Template, Tip,
    Unready,
};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::scripted::Scene;

mod health;

#[test]
fn zmq_addresses_are_read_strictly() {
    assert_eq!(
        zmq_address("tcp://127.0.0.1:18083"),
        Some("127.0.0.1:18083")
    );
    assert_eq!(zmq_address("tcp://[::1]:18083"), Some("[::1]:18083"));
    for bad in [
        "",
        "127.0.0.1:18083",
        "tcp://:1",
        "tcp://a",
        "tcp://a:",
        "tcp://a:0",
        "tcp://a:70000",
        "ipc:///tmp/x",
        "udp://a:1",
    ] {
        assert_eq!(zmq_address(bad), None, "{bad}");
    }
    let settings = DaemonSettings {
        zmq_urls: vec!["tcp://a:1".to_owned(), String::new()],
        ..DaemonSettings::default()
    };
    settings.validate(2).unwrap();
    assert_eq!(settings.validate(1).unwrap_err().key, "daemons.zmq_urls");
    assert_eq!(
        DaemonSettings {
            silent_s: 0,
            ..DaemonSettings::default()
        }
        .validate(1)
        .unwrap_err()
        .key,
        "daemons.silent_s"
    );
}

/// A daemon that says what the test wants.
#[derive(Default)]
struct Scripted {
    said: Mutex<Said>,
    submitted: Mutex<Vec<Hash>>,
    calls: AtomicU64,
    /// Submissions wait here until told to go on.
    gate: Option<Arc<Notify>>,
}

#[derive(Clone, Default)]
struct Said {
    dead: bool,
    prev: u8,
    /// The template's, when it is another one.
    template_prev: Option<u8>,
    height: u64,
    unready: Option<String>,
    verdict: Option<Submitted>,
}

impl Scripted {
    fn at(prev: u8, height: u64) -> Arc<Self> {
        let daemon = Self::default();
        daemon.change(|said| (said.prev, said.height) = (prev, height));
        Arc::new(daemon)
    }

    fn change(&self, change: impl FnOnce(&mut Said)) {
        change(&mut self.said.lock().unwrap());
    }

    fn say<T>(
        &self,
        method: &'static str,
        answer: impl FnOnce(&Said) -> T,
    ) -> Result<T, ChainError> {
        self.calls.fetch_add(1, SeqCst);
        let said = self.said.lock().unwrap();
        match said.dead {
            true => Err(ChainError::Unreachable {
                url: "x".to_owned(),
                method,
                reason: "dead".to_owned(),
            }),
            false => Ok(answer(&said)),
        }
    }
}

impl Chain for Scripted {
    fn tagged_blocks(&self, _: Heights) -> BoxFuture<'_, Result<Vec<TaggedBlock>, ChainError>> {
        async move { self.say("get_block", |_| Vec::new()) }.boxed()
    }
    fn algo(&self) -> &'static str {
        "rx/0"
    }
    fn check_address(&self, _: &str) -> Result<(), AddressError> {
        Err(AddressError::NetworkUnknown)
    }
    fn tip(&self) -> BoxFuture<'_, Result<Tip, ChainError>> {
        let said = |said: &Said| Tip {
            hash: [said.prev; 32],
            next_height: said.height,
            unready: said.unready.clone().map(Unready::from),
        };
        async move { self.say("get_info", said) }.boxed()
    }
    fn template(&self) -> BoxFuture<'_, Result<Arc<dyn Template>, ChainError>> {
        let said = |said: &Said| {
            let scene = Scene {
                prev: said.template_prev.unwrap_or(said.prev),
                height: said.height,
                ..Scene::default()
            };
            Arc::new(scene) as Arc<dyn Template>
        };
        async move { self.say("get_block_template", said) }.boxed()
    }
    fn submit<'a>(&'a self, block: &'a FoundBlock) -> BoxFuture<'a, Result<Submitted, ChainError>> {
        async move {
            if let Some(gate) = &self.gate {
                gate.notified().await;
            }
            self.submitted.lock().unwrap().push(block.id);
            self.say("submit_block", |said| {
                said.verdict.clone().unwrap_or(Submitted::Accepted)
            })
        }
        .boxed()
    }
    fn position(&self, _: Hash, _: u64) -> BoxFuture<'_, Result<ChainPosition, ChainError>> {
        async move {
            self.say("get_block_header_by_hash", |said| ChainPosition::Best {
                confirmations: said.height,
            })
        }
        .boxed()
    }
    fn maturity(&self) -> u64 {
        60
    }
}

fn fleet(daemons: &[Arc<Scripted>], settings: DaemonSettings) -> Arc<FailoverChain> {
    polled(daemons, settings, Duration::from_millis(5))
}

fn polled(
    daemons: &[Arc<Scripted>],
    settings: DaemonSettings,
    poll: Duration,
) -> Arc<FailoverChain> {
    let named = |(number, chain): (usize, &Arc<Scripted>)| Daemon {
        name: format!("d{number}"),
        chain: chain.clone(),
    };
    Arc::new(
        FailoverChain::new(
            daemons.iter().enumerate().map(named).collect(),
            settings,
            poll,
        )
        .unwrap(),
    )
}

fn quick() -> DaemonSettings {
    DaemonSettings {
        return_s: 0,
        lag_s: 0,
        breaker_wait_ms: 20,
        breaker_longest_wait_ms: 40,
        ..DaemonSettings::default()
    }
}

async fn until<F: Future<Output = bool>>(what: &str, wanted: impl Fn() -> F) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(240);
    while !wanted().await {
        assert!(
            tokio::time::Instant::now() < deadline,
            "{what}: did not happen"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_comes_from_the_first_healthy_daemon() {
    let daemons = [Scripted::at(1, 10), Scripted::at(1, 10)];
    let fleet = fleet(&daemons, quick());
    let (wakeup, stop) = (Arc::new(Notify::new()), CancellationToken::new());
    let attending = tokio::spawn({
        let (fleet, wakeup, stop) = (fleet.clone(), wakeup.clone(), stop.clone());
        async move { fleet.run_background(wakeup, stop).await }
    });
    assert_eq!(fleet.tip().await.unwrap().next_height, 10);
    // A new block at the preferred daemon wakes the watcher, and its template is the one that is
    // served.
    daemons[0].change(|said| (said.prev, said.height) = (2, 11));
    until("the new tip", async || {
        fleet.tip().await.unwrap().hash == [2; 32]
    })
    .await;
    tokio::time::timeout(Duration::from_secs(240), wakeup.notified())
        .await
        .expect("the watcher was not woken");
    assert_eq!(fleet.template().await.unwrap().prev(), [2; 32]);
    // It dies: the second one takes over. It is back: it is used again.
    daemons[1].change(|said| (said.prev, said.height) = (3, 11));
    daemons[0].change(|said| said.dead = true);
    until("the second daemon's tip", async || {
        fleet.tip().await.is_ok_and(|tip| tip.hash == [3; 32])
    })
    .await;
    assert_eq!(fleet.template().await.unwrap().prev(), [3; 32]);
    assert_eq!(
        fleet.position([1; 32], 1).await,
        Ok(ChainPosition::Best { confirmations: 11 })
    );
    daemons[0].change(|said| said.dead = false);
    until("the preferred daemon's tip", async || {
        fleet.tip().await.is_ok_and(|tip| tip.hash == [2; 32])
    })
    .await;
    // It falls behind: its work is dead, whatever it says of itself.
    daemons[1].change(|said| (said.prev, said.height) = (4, 12));
    until("the higher daemon's tip", async || {
        fleet.tip().await.is_ok_and(|tip| tip.hash == [4; 32])
    })
    .await;
    // The higher one is not synchronised after all: back to the first; neither is: no work, at
    // once.
    daemons[1].change(|said| said.unready = Some("syncing".to_owned()));
    until("the first daemon's tip", async || {
        fleet.tip().await.is_ok_and(|tip| tip.hash == [2; 32])
    })
    .await;
    daemons[0].change(|said| said.unready = Some("syncing, too".to_owned()));
    until("no work", async || {
        fleet.tip().await.is_ok_and(|tip| tip.unready.is_some())
    })
    .await;
    let unready = fleet.tip().await.unwrap().unready.unwrap().reason;
    assert!(
        unready.contains("d0: syncing, too") && unready.contains("d1: syncing"),
        "{unready}"
    );
    assert!(fleet.template().await.is_err() && fleet.position([1; 32], 1).await.is_err());
    stop.cancel();
    attending.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tip_above_an_own_block_is_known_without_waiting_for_the_next_poll() {
    let daemon = Scripted::at(1, 10);
    let fleet = polled(
        std::slice::from_ref(&daemon),
        quick(),
        Duration::from_secs(3_600),
    );
    let (wakeup, stop) = (Arc::new(Notify::new()), CancellationToken::new());
    let watching = tokio::spawn({
        let (fleet, wakeup, stop) = (fleet.clone(), wakeup.clone(), stop.clone());
        async move { fleet.run_background(wakeup, stop).await }
    });
    let woken = async || {
        tokio::time::timeout(Duration::from_secs(60), wakeup.notified())
            .await
            .expect("nobody was woken");
    };
    woken().await;
    // Another pool's block came first the second time, which moves the tip as well.
    for (id, verdict) in [(2, Submitted::Accepted), (3, Submitted::Orphaned)] {
        daemon.change(|said| {
            (said.prev, said.height) = (id, 9 + u64::from(id));
            said.verdict = Some(verdict.clone());
        });
        let block = FoundBlock {
            id: [id; 32],
            bytes: vec![id],
        };
        assert_eq!(fleet.submit(&block).await, Ok(verdict));
        woken().await;
        assert_eq!(fleet.tip().await.unwrap().hash, [id; 32]);
    }
    stop.cancel();
    watching.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_template_on_another_block_than_the_tip_is_not_served() {
    let daemons = [Scripted::at(1, 10), Scripted::at(1, 10)];
    let fleet = fleet(&daemons, quick());
    fleet.tip().await.unwrap();
    daemons[0].change(|said| said.template_prev = Some(9));
    daemons[1].change(|said| said.prev = 5);
    // The preferred daemon contradicts itself, so the next one is asked; its tip has changed, which
    // is found out.
    assert_eq!(fleet.template().await.unwrap().prev(), [5; 32]);
    daemons[1].change(|said| said.template_prev = Some(9));
    let error = fleet.template().await.unwrap_err();
    assert!(
        matches!(&error, ChainError::Template(reason) if reason.contains(&"09".repeat(32))),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_daemon_is_left_alone() {
    let daemons = [Scripted::at(1, 10), Scripted::at(1, 10)];
    daemons[1].change(|said| said.dead = true);
    let fleet = fleet(
        &daemons,
        DaemonSettings {
            breaker_wait_ms: 3_600_000,
            breaker_longest_wait_ms: 3_600_000,
            ..quick()
        },
    );
    let stop = CancellationToken::new();
    let attending = tokio::spawn({
        let (fleet, stop) = (fleet.clone(), stop.clone());
        async move { fleet.run_background(Arc::new(Notify::new()), stop).await }
    });
    until("many questions to the living", async || {
        daemons[0].calls.load(SeqCst) > 20
    })
    .await;
    assert_eq!(
        daemons[1].calls.load(SeqCst),
        3,
        "three failures, then silence"
    );
    stop.cancel();
    attending.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_block_goes_to_every_daemon_and_the_first_to_take_it_decides() {
    let gate = Arc::new(Notify::new());
    let slow = Arc::new(Scripted {
        gate: Some(gate.clone()),
        ..Scripted::default()
    });
    let daemons = [slow.clone(), Scripted::at(1, 10), Scripted::at(1, 10)];
    daemons[2].change(|said| said.verdict = Some(Submitted::Refused("no".to_owned())));
    let fleet = fleet(&daemons, quick());
    let block = |id: u8| FoundBlock {
        id: [id; 32],
        bytes: vec![id],
    };
    assert_eq!(
        fleet.submit(&block(1)).await,
        Ok(Submitted::Accepted),
        "the slow daemon is not waited for"
    );
    gate.notify_one();
    until("the slow daemon's copy", async || {
        *slow.submitted.lock().unwrap() == [[1; 32]]
    })
    .await;
    // Nobody takes it: an orphan is more than a refusal, and a refusal more than silence.
    daemons[1].change(|said| said.verdict = Some(Submitted::Orphaned));
    daemons[0].change(|said| said.dead = true);
    gate.notify_one();
    assert_eq!(fleet.submit(&block(2)).await, Ok(Submitted::Orphaned));
    daemons[1].change(|said| said.dead = true);
    gate.notify_one();
    assert_eq!(
        fleet.submit(&block(3)).await,
        Ok(Submitted::Refused("no".to_owned()))
    );
    daemons[2].change(|said| said.dead = true);
    gate.notify_one();
    assert!(matches!(
        fleet.submit(&block(4)).await,
        Err(ChainError::Unreachable { .. })
    ));
    assert_eq!(daemons[2].submitted.lock().unwrap().len(), 4);
}
