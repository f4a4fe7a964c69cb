//! Who may join a cluster, whom a job suits, and when a worker has ended.

use headframe_coopmine::cluster::{
    Cluster, ClusterPolicy, CommandKind, Heartbeat, Registration, RegistrationRefusal,
};

use crate::pauses::{has_work, job, registration};

#[test]
fn a_worker_that_cannot_join_is_told_why() {
    let mut cluster = Cluster::new(
        ClusterPolicy {
            max_workers: 2,
            ..ClusterPolicy::default()
        },
        0,
    );
    let of_algo = |algo: &str| Registration {
        algos: vec![algo.to_owned()],
        ..registration()
    };
    let newer = Registration {
        protocol: 2,
        ..registration()
    };
    let refused = cluster.register("rig-1", 1, newer, 0).unwrap_err();
    assert_eq!(refused, RegistrationRefusal::Protocol(2));
    assert!(refused.to_string().contains("version 1"), "{refused}");

    // Nobody knows yet what there will be to hash.
    cluster.register("rig-1", 1, of_algo("rx/0"), 0).unwrap();
    cluster
        .register("rig-2", 2, of_algo("rx/opensy"), 0)
        .unwrap();
    cluster.job(1, job(1, false), 1_000);
    let refused = cluster.register("rig-3", 3, of_algo("rx/opensy"), 1_000);
    let refused = refused.unwrap_err();
    assert!(
        matches!(refused, RegistrationRefusal::Algo { .. }),
        "{refused}"
    );
    assert!(refused.to_string().contains("rx/0"), "{refused}");
    let refused = cluster.register("rig-3", 3, registration(), 1_000);
    let refused = refused.unwrap_err();
    assert_eq!(refused, RegistrationRefusal::Full(2));
    assert!(refused.to_string().contains("max_workers"), "{refused}");

    // Whom the job does not suit waits, with no part of it, for one that does.
    let leased = |cluster: &Cluster| {
        let jobs = cluster.jobs(0);
        let leases = jobs.first().map(|job| job.leases.clone());
        let workers = leases.unwrap_or_default().into_iter();
        workers.map(|lease| lease.worker).collect::<Vec<_>>()
    };
    assert!(has_work(&cluster, "rig-1", 1_000));
    let idle = cluster.assignment("rig-2", 1_000);
    assert_eq!(
        (idle.job, idle.idle_reason),
        (None, "this worker cannot hash the algorithm of the job")
    );
    assert_eq!(leased(&cluster), ["rig-1"]);
    let mut other = job(2, false);
    other.algo = "rx/opensy".to_owned();
    cluster.job(1, other, 2_000);
    assert!(has_work(&cluster, "rig-2", 2_000));
    assert!(!has_work(&cluster, "rig-1", 2_000));
    assert_eq!(leased(&cluster), ["rig-2"]);
}

#[test]
fn a_worker_that_said_it_would_end_and_is_silent_has_ended() {
    let mut cluster = Cluster::new(ClusterPolicy::default(), 0);
    let mut commands = Vec::new();
    for (session, name) in [(1, "rig-1"), (2, "rig-2")] {
        cluster.register(name, session, registration(), 0).unwrap();
        let (id, _) = cluster.command(name, CommandKind::Shutdown, 0).unwrap();
        commands.push(id);
    }
    let acknowledged = Heartbeat {
        command_id: commands[0],
        ..Heartbeat::default()
    };
    cluster.heartbeat("rig-1", 1, acknowledged, 0).unwrap();
    let state = |cluster: &Cluster, name: &str| {
        let worker = cluster.worker(name, 0).unwrap();
        (worker.online, worker.command.unwrap().state)
    };
    cluster.tick(89_999);
    assert_eq!(state(&cluster, "rig-1"), (true, "acknowledged"));
    cluster.tick(90_000);
    assert_eq!(state(&cluster, "rig-1"), (false, "verified"));
    // Of the other one nobody knows whether it heard the command.
    assert_eq!(state(&cluster, "rig-2"), (false, "sent"));
}
