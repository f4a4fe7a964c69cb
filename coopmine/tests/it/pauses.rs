//! What one worker alone cannot use up: leases come with a pause between them and leave something
//! for the others, new jobs come with a longer one, and one certificate is one worker.

use headframe_coopmine::certs::{Certs, CertsError};
use headframe_coopmine::cluster::{
    Action, Cluster, ClusterPolicy, Heartbeat, Registration, RegistrationRefusal, is_worker_name,
};
use headframe_coopmine::config::WorkerConfig;
use headframe_stratum::miner::pool_message::PoolJob;

pub fn registration() -> Registration {
    Registration {
        name: "rig".to_owned(),
        protocol: 1,
        algos: vec!["rx/0".to_owned()],
        threads: 1,
        agent: "test".to_owned(),
        leases_by_last_byte: false,
    }
}

pub fn job(mark: u8, nicehash: bool) -> PoolJob {
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

pub fn has_work(cluster: &Cluster, name: &str, now_ms: u64) -> bool {
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

fn count_refreshes(actions: &[Action]) -> usize {
    let is_refresh = |one: &&Action| matches!(one, Action::Refresh);
    actions.iter().filter(is_refresh).count()
}

#[test]
fn the_pool_is_not_called_for_another_job_again_and_again() {
    let mut cluster = Cluster::new(ClusterPolicy::default(), 0);
    let names: Vec<String> = (0..40).map(|number| format!("rig-{number}")).collect();
    for (session, name) in (1..).zip(&names) {
        cluster.register(name, session, registration(), 0).unwrap();
    }
    // A pool that keeps the last byte leaves few nonces, and forty workers say that they have
    // searched theirs at once, of each job anew.
    let mut refreshed_s = Vec::new();
    let mut note = |actions: &[Action], second: u64| {
        let refreshes = count_refreshes(actions);
        refreshed_s.extend(std::iter::repeat_n(second, refreshes));
        refreshes > 0
    };
    let mut mark = 1;
    let mut wants_job = note(&cluster.job(1, job(mark, true), 0), 0);
    for second in 1..180 {
        let now_ms = second * 1_000;
        if std::mem::take(&mut wants_job) {
            mark += 1;
            wants_job = note(&cluster.job(1, job(mark, true), now_ms), second);
        }
        for (session, name) in (1..).zip(&names) {
            let report = all_searched(&cluster, name, now_ms);
            let actions = cluster.heartbeat(name, session, report, now_ms);
            wants_job |= note(&actions.unwrap(), second);
        }
    }
    assert!(refreshed_s.len() >= 3, "{refreshed_s:?}");
    for pair in refreshed_s.windows(2) {
        assert!(pair[1] - pair[0] >= 30, "{refreshed_s:?}");
    }
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
