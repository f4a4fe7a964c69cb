//! What one worker alone cannot use up: leases come with a pause between them, new jobs with a
//! longer one, and one certificate is one worker.

use headframe_coopmine::certs::{Certs, CertsError};
use headframe_coopmine::cluster::{
    Action, Cluster, ClusterPolicy, Heartbeat, Registration, RegistrationRefusal, is_worker_name,
};
use headframe_coopmine::config::WorkerConfig;
use headframe_stratum::miner::pool_message::PoolJob;

fn registration() -> Registration {
    Registration {
        name: "rig".to_owned(),
        protocol: 1,
        algos: vec!["rx/0".to_owned()],
        threads: 1,
        agent: "test".to_owned(),
        leases_by_last_byte: false,
    }
}

fn job(mark: u8, nicehash: bool) -> PoolJob {
    PoolJob {
        job_id: format!("job-{mark}"),
        algo: "rx/0".to_owned(),
        blob: vec![mark; 76],
        nonce_offset: 39,
        target: u64::MAX / 1_000,
        seed: [7; 32],
        next_seed: None,
        height: Some(1),
        network_difficulty: None,
        nicehash,
    }
}

/// What a worker says that has searched all of its leases.
fn all_searched(cluster: &Cluster, name: &str, now_ms: u64) -> Heartbeat {
    let leases = cluster.assignment(name, now_ms).job.map(|job| job.leases);
    Heartbeat {
        hashrate_hs: 1e9,
        threads_active: 1,
        searched: leases
            .unwrap_or_default()
            .iter()
            .map(|lease| (lease.epoch, lease.len))
            .collect(),
        ..Heartbeat::default()
    }
}

fn has_work(cluster: &Cluster, name: &str, now_ms: u64) -> bool {
    cluster.assignment(name, now_ms).job.is_some()
}

#[test]
fn a_worker_that_says_it_has_searched_all_waits_for_more() {
    let mut cluster = Cluster::new(ClusterPolicy::default(), 0);
    cluster.job(1, job(1, false), 0);
    cluster.register("rig-1", 1, registration(), 1_000).unwrap();
    assert!(has_work(&cluster, "rig-1", 1_000));
    for now_ms in [1_001, 3_000, 5_999] {
        let report = all_searched(&cluster, "rig-1", now_ms);
        cluster.heartbeat("rig-1", 1, report, now_ms).unwrap();
        assert!(!has_work(&cluster, "rig-1", now_ms), "at {now_ms}");
    }
    // Neither does it help to come again.
    cluster.register("rig-1", 2, registration(), 5_999).unwrap();
    assert!(!has_work(&cluster, "rig-1", 5_999));
    cluster
        .heartbeat("rig-1", 2, Heartbeat::default(), 6_000)
        .unwrap();
    assert!(has_work(&cluster, "rig-1", 6_000), "five seconds are over");
}

#[test]
fn the_pool_is_not_called_for_another_job_again_and_again() {
    let mut cluster = Cluster::new(ClusterPolicy::default(), 0);
    let refreshes = |actions: &[Action]| {
        let is_refresh = |one: &&Action| matches!(one, Action::Refresh);
        actions.iter().filter(is_refresh).count()
    };
    let names: Vec<String> = (0..40).map(|number| format!("rig-{number}")).collect();
    for (session, name) in names.iter().enumerate() {
        let session = u64::try_from(session).unwrap() + 1;
        cluster.register(name, session, registration(), 0).unwrap();
        let report = all_searched(&cluster, name, 0);
        cluster.heartbeat(name, session, report, 0).unwrap();
    }
    // A pool that keeps the last byte leaves few nonces, and forty workers lease most at once.
    assert_eq!(refreshes(&cluster.job(1, job(1, true), 1_000)), 1);
    // Each further job is used up as fast.
    assert_eq!(refreshes(&cluster.job(2, job(2, true), 10_000)), 0);
    assert_eq!(refreshes(&cluster.job(3, job(3, true), 30_999)), 0);
    assert_eq!(refreshes(&cluster.job(4, job(4, true), 31_000)), 1);
}

#[test]
fn an_id_in_capitals_is_nobodys() {
    let mut cluster = Cluster::new(ClusterPolicy::default(), 0);
    let folder = tempfile::tempdir().unwrap();
    let certs = Certs::new(folder.path());
    certs.authority().unwrap();
    for id in ["RIG-1", "Rig-1", "rig-1.", "r\u{131}g"] {
        assert!(!is_worker_name(id), "{id}");
        let taken = cluster.register(id, 1, registration(), 0);
        assert!(matches!(taken, Err(RegistrationRefusal::Name(_))), "{id}");
        assert!(
            matches!(certs.worker(id, 30), Err(CertsError::Name(_))),
            "{id}"
        );
        let mut config = WorkerConfig::default();
        config.worker.id = id.to_owned();
        assert_eq!(
            config.completed().err().map(|error| error.key),
            Some("worker.id")
        );
    }
    assert!(cluster.register("rig-1", 1, registration(), 0).is_ok());
}
