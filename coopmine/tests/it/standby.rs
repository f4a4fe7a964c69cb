//! Two coordinators of one cluster at our own pool: the active one is stopped, the other takes over
//! under a higher token, and the first does nothing when it goes on.

use std::collections::BTreeSet;
use std::sync::Arc;

use headframe_ingest::{ManagedServer, ServerConfig, find_nats_server};
use headframe_stratum::Stratum;
use rustix::process::Signal;
use tokio_util::sync::CancellationToken;

use crate::own_pool::facts::Memory;
use crate::own_pool::{
    Process, assert_honest, coordinator_with, get, monerod, pool_config, worker,
};
use crate::stand_in::{soon, until};

/// One coordinator: its process, where workers connect, where its pages are.
struct Member {
    process: Process,
    grpc: String,
    pages: String,
    /// The pool's names of jobs it gave out.
    jobs: BTreeSet<String>,
}

impl Member {
    /// Its token; `None` while it is the standby or says nothing.
    async fn token(&self) -> Option<u64> {
        let stats = get(&self.pages, "/api/stats").await?;
        stats["fencing_token"].as_u64()
    }

    async fn record(&mut self) -> Option<()> {
        let jobs = get(&self.pages, "/api/jobs").await?;
        for job in jobs["jobs"].as_array()? {
            self.jobs.insert(job["pool_job_id"].as_str()?.to_owned());
        }
        Some(())
    }

    async fn is_standby(&self) -> Option<()> {
        let health = get(&self.pages, "/health").await?;
        (health["status"] == "standby").then_some(())
    }
}

fn member(nats: &ManagedServer, folder: &std::path::Path, pool: &str) -> Member {
    let client = nats.client_config();
    let key = client.nkey_file.unwrap();
    let more = format!(
        "[standby]\nenabled = true\ntakeover = \"20s\"\n[facts]\nfolder = {:?}\n\
         [facts.nats]\nurl = {:?}\nnkey_file = {key:?}\n",
        folder.join("facts"),
        client.url,
    );
    let (process, grpc, pages) = coordinator_with(folder, pool, &more);
    Member {
        process,
        grpc,
        pages,
        jobs: BTreeSet::new(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coordinator_that_was_stopped_gives_way_and_does_nothing_when_it_goes_on() {
    let (_monerod, daemon_url, _data) = monerod().await;
    let facts = Arc::new(Memory::default());
    let bound = Stratum::bind(pool_config(daemon_url), facts.clone());
    let bound = bound.await.unwrap();
    let address = bound.local_addr().to_string();
    let stop = CancellationToken::new();
    let pool = tokio::spawn(bound.run(stop.clone()));
    let folders = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let server = ServerConfig::new(find_nats_server().unwrap(), folders[0].path().to_owned());
    let nats = ManagedServer::start(server).await.unwrap();

    let mut first = member(&nats, folders[1].path(), &address);
    let token = until("the first is active", async || first.token().await).await;
    let mut second = member(&nats, folders[2].path(), &address);
    until("the second is the standby", async || {
        second.is_standby().await
    })
    .await;
    let worker = worker(&format!("{},{}", first.grpc, second.grpc), "rig-1");
    until("shares over the first", async || {
        first.record().await?;
        (facts.outcomes().len() >= 3).then_some(())
    })
    .await;

    first.process.signal(Signal::STOP);
    let higher = until("the second is active", async || second.token().await).await;
    assert!(higher > token, "{higher} after {token}");
    let credited = facts.outcomes().len();
    until("shares over the second", async || {
        second.record().await?;
        (facts.outcomes().len() >= credited + 3).then_some(())
    })
    .await;

    // It goes on, and finds that it is not the active one any more.
    first.process.signal(Signal::CONT);
    until("the first is the standby", async || {
        first.is_standby().await
    })
    .await;
    let credited = facts.outcomes().len();
    until("more shares over the second", async || {
        second.record().await?;
        (facts.outcomes().len() >= credited + 3).then_some(())
    })
    .await;
    let still = until("the second is active still", async || second.token().await).await;
    assert!(still >= higher, "{still} after {higher}");

    // The second says goodbye, and the first need not wait.
    second.process.signal(Signal::TERM);
    let again = until("the first is active again", async || first.token().await).await;
    assert!(again > still, "{again} after {still}");
    let credited = facts.outcomes().len();
    until("shares over the first again", async || {
        first.record().await?;
        (facts.outcomes().len() > credited).then_some(())
    })
    .await;
    drop(worker);

    // Each job has an extranonce of its own, and no job was given out by both.
    assert!(first.jobs.len() > 1 && second.jobs.len() > 1);
    assert!(first.jobs.is_disjoint(&second.jobs), "a job of both");
    drop((first, second));
    stop.cancel();
    soon("the pool's end", pool).await.unwrap();
    let outcomes = facts.outcomes();
    assert_honest(&outcomes);
    nats.shutdown().await;
}
