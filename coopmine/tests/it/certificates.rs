//! Mutual TLS: who has no certificate, one of another authority, one that has expired, or one of
//! another worker is refused, and told why.

use std::path::Path;

use headframe_coopmine::certs::Certs;
use headframe_coopmine::config::WorkerConfig;
use headframe_coopmine::tls::TlsSection;
use headframe_coopmine::worker::{Worker, WorkerError};
use headframe_stratum::randomx::plan::ModeSetting;
use tokio_util::sync::CancellationToken;

use crate::stand_in::{Running, soon, until};

fn tls(folder: &Path, name: &str) -> TlsSection {
    TlsSection {
        enabled: true,
        cert: folder.join(format!("{name}.crt")),
        key: folder.join(format!("{name}.key")),
        ca: folder.join("ca.crt"),
        crl: "".into(),
    }
}

fn worker(coordinator: &Running, id: &str, tls: TlsSection) -> Worker {
    let mut config = WorkerConfig::default();
    config.worker.id = id.to_owned();
    config.coordinator.address = format!("localhost:{}", coordinator.workers.port());
    config.coordinator.tls = tls;
    config.mining.threads = 1;
    config.mining.mode = ModeSetting::Light;
    Worker::new(config).unwrap()
}

async fn refusal(worker: Worker) -> String {
    match soon("a refusal", worker.run(CancellationToken::new())).await {
        Err(WorkerError::Refused(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_certificate_of_the_cluster_with_the_workers_own_name_is_taken() {
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (own, foreign) = (Certs::new(ours.path()), Certs::new(theirs.path()));
    own.authority().unwrap();
    foreign.authority().unwrap();
    own.server(&[], 30).unwrap();
    own.worker("rig-1", 30).unwrap();
    own.worker("late", -2).unwrap();
    foreign.worker("rig-1", 30).unwrap();
    // There is no pool; nobody gets that far.
    let coordinator = Running::start("127.0.0.1:9", |config| {
        config.grpc.tls = tls(ours.path(), "server");
    })
    .await;

    let none = TlsSection {
        cert: "".into(),
        key: "".into(),
        ..tls(ours.path(), "")
    };
    let said = refusal(worker(&coordinator, "rig-1", none)).await;
    assert!(
        said.contains("takes only workers with a certificate"),
        "{said}"
    );

    let other = TlsSection {
        ca: ours.path().join("ca.crt"),
        ..tls(theirs.path(), "rig-1")
    };
    let said = refusal(worker(&coordinator, "rig-1", other)).await;
    assert!(said.contains("of another authority"), "{said}");

    let said = refusal(worker(&coordinator, "late", tls(ours.path(), "late"))).await;
    assert!(
        said.contains("this worker's certificate has expired"),
        "{said}"
    );

    let said = refusal(worker(&coordinator, "rig-2", tls(ours.path(), "rig-1"))).await;
    assert!(said.contains("not that of the worker \"rig-2\""), "{said}");

    // A coordinator that is not ours is not told who we are.
    let stranger = TlsSection {
        ca: theirs.path().join("ca.crt"),
        ..tls(ours.path(), "rig-1")
    };
    let said = refusal(worker(&coordinator, "rig-1", stranger)).await;
    assert!(
        said.contains("not of the authority in coordinator.tls.ca"),
        "{said}"
    );
    assert_eq!(
        coordinator.get("/api/workers").await["workers"]
            .as_array()
            .unwrap()
            .len(),
        0
    );

    let stop = CancellationToken::new();
    let good = worker(&coordinator, "rig-1", tls(ours.path(), "rig-1"));
    let running = tokio::spawn(good.run(stop.clone()));
    until("the worker is online", async || {
        (coordinator.get("/health").await["workers"] == 1).then_some(())
    })
    .await;
    stop.cancel();
    soon("the worker's end", running).await.unwrap().unwrap();
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_worker_is_cut_off_and_comes_back_with_another_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let certs = Certs::new(folder.path());
    certs.authority().unwrap();
    certs.server(&[], 30).unwrap();
    certs.worker("rig-1", 30).unwrap();
    certs.worker("rig-2", 30).unwrap();
    let server = TlsSection {
        crl: folder.path().join("ca.crl"),
        ..tls(folder.path(), "server")
    };
    let coordinator = Running::start("127.0.0.1:9", |config| config.grpc.tls = server).await;
    let stop = CancellationToken::new();
    let start = |id: &str| {
        let worker = worker(&coordinator, id, tls(folder.path(), id));
        // A worker that ends cancels its token.
        tokio::spawn(worker.run(stop.child_token()))
    };
    let online = async |count: u64| {
        until("the workers are online", async || {
            (coordinator.get("/health").await["workers"] == count).then_some(())
        })
        .await;
    };
    let (revoked, other) = (start("rig-1"), start("rig-2"));
    online(2).await;
    certs.revoke("rig-1").unwrap();
    match soon("its end", revoked).await.unwrap() {
        Err(WorkerError::Refused(said)) => assert!(said.contains("was revoked"), "{said}"),
        other => panic!("{other:?}"),
    }
    // A list that cannot be read changes nothing.
    std::fs::write(folder.path().join("ca.crl"), "nonsense").unwrap();
    certs.worker("rig-1", 30).unwrap();
    let again = start("rig-1");
    online(2).await;
    certs.worker("rig-3", 30).unwrap();
    certs.revoke("rig-3").unwrap();
    online(2).await;
    stop.cancel();
    for worker in [again, other] {
        soon("a worker's end", worker).await.unwrap().unwrap();
    }
    coordinator.stop().await;
}
