//! Many workers at a pool that keeps the last byte of the nonce: 2^24 nonces are shared so that
//! nobody waits, and the pool is asked for another job only when they are nearly used up.

use headframe_coopmine::cluster::{
    Action, Cluster, ClusterPolicy, Heartbeat, Registration, ShareClaim,
};
use headframe_stratum::miner::pool_message::PoolJob;

/// How long it goes on.
const RUN_S: u64 = 900;
/// Between two reports of a worker that has enough.
const HEARTBEAT_S: u64 = 30;

/// A worker that hashes what it has, and says how far it is.
struct Rig {
    name: String,
    session: u64,
    rate: u64,
    /// What it says it hashes.
    claimed: f64,
    job: u64,
    /// Nonces searched of each lease, by epoch.
    searched: Vec<(u64, u64)>,
    /// Seconds until its next report.
    report_in: u64,
    hashes: u64,
}

impl Rig {
    fn new(number: u64, rate: u64) -> Self {
        Self {
            name: format!("rig-{number}"),
            session: number + 1,
            rate,
            claimed: rate as f64,
            job: 0,
            searched: Vec::new(),
            report_in: number % HEARTBEAT_S,
            hashes: 0,
        }
    }

    /// Hashes for a second, in the order of its leases; how many nonces it has left.
    fn hash(&mut self, cluster: &Cluster, now_ms: u64) -> u64 {
        let Some(assigned) = cluster.assignment(&self.name, now_ms).job else {
            return 0;
        };
        if self.job != assigned.number {
            self.job = assigned.number;
            self.searched.clear();
        }
        let (mut budget, mut left) = (self.rate, 0);
        for lease in &assigned.leases {
            if self.searched.iter().all(|(epoch, _)| *epoch != lease.epoch) {
                self.searched.push((lease.epoch, 0));
            }
            let known = self
                .searched
                .iter_mut()
                .find(|(epoch, _)| *epoch == lease.epoch);
            let (_, done) = known.unwrap();
            let count = budget.min(lease.len - *done);
            *done += count;
            budget -= count;
            left += lease.len - *done;
        }
        self.hashes += self.rate - budget;
        left
    }

    /// Reports as a worker does: now and then, and each second while it has little left.
    fn report(&mut self, cluster: &mut Cluster, left: u64, now_ms: u64) -> Vec<Action> {
        self.report_in = self.report_in.saturating_sub(1);
        if self.report_in > 0 && left > self.rate * HEARTBEAT_S {
            return Vec::new();
        }
        self.report_in = HEARTBEAT_S;
        let report = Heartbeat {
            hashrate_hs: self.claimed,
            threads_active: 1,
            searched: self.searched.clone(),
            ..Heartbeat::default()
        };
        let heard = cluster.heartbeat(&self.name, self.session, report, now_ms);
        heard.unwrap()
    }
}

fn job(number: u64) -> PoolJob {
    let mut blob = vec![7; 76];
    blob[..8].copy_from_slice(&number.to_le_bytes());
    PoolJob {
        job_id: number.to_string(),
        algo: "rx/0".to_owned(),
        blob,
        nonce_offset: 39,
        target: u64::MAX / 1_000_000,
        seed: [7; 32],
        next_seed: None,
        height: Some(1),
        network_difficulty: None,
        nicehash: true,
    }
}

fn registration(name: &str) -> Registration {
    Registration {
        name: name.to_owned(),
        protocol: 1,
        algos: vec!["rx/0".to_owned()],
        threads: 1,
        agent: "test".to_owned(),
        leases_by_last_byte: false,
    }
}

/// Lets them mine; the seconds at which the pool was asked for another job.
fn mine(rigs: &mut [Rig], job_every_s: u64) -> Vec<u64> {
    let mut cluster = Cluster::new(ClusterPolicy::default(), 0);
    let (mut jobs, mut refreshed_s) = (1, Vec::new());
    cluster.job(1, job(jobs), 0);
    for rig in rigs.iter() {
        let registration = registration(&rig.name);
        let taken = cluster.register(&rig.name, rig.session, registration, 0);
        taken.unwrap();
    }
    for second in 1..=RUN_S {
        let now_ms = second * 1_000;
        let mut actions = cluster.tick(now_ms);
        if second.is_multiple_of(job_every_s) || refreshed_s.last() == Some(&(second - 1)) {
            jobs += 1;
            actions.extend(cluster.job(1, job(jobs), now_ms));
        }
        for rig in rigs.iter_mut() {
            let left = rig.hash(&cluster, now_ms);
            actions.extend(rig.report(&mut cluster, left, now_ms));
        }
        if actions.iter().any(|one| matches!(one, Action::Refresh)) {
            refreshed_s.push(second);
        }
    }
    refreshed_s
}

/// What the one that waited longest hashed of what it could have.
fn least_part(rigs: &[Rig]) -> f64 {
    let part = |rig: &Rig| rig.hashes as f64 / (rig.rate * RUN_S) as f64;
    rigs.iter().map(part).fold(1.0, f64::min)
}

#[test]
fn a_hundred_workers_share_the_nonces_of_three_bytes() {
    for (what, rates, job_every_s, refreshes) in [
        ("alike", [1_000, 1_000], 120, 0),
        // What lasts 168 s is asked for anew after 147 s.
        ("alike, without another job", [1_000, 1_000], RUN_S, 6),
        ("slow", [30, 30], RUN_S, 0),
        ("unequal", [20, 1_500], 120, 0),
    ] {
        let rate = |number: u64| rates[usize::from(number.is_multiple_of(3))];
        let mut rigs: Vec<Rig> = (0..100)
            .map(|number| Rig::new(number, rate(number)))
            .collect();
        let refreshed_s = mine(&mut rigs, job_every_s);
        assert!(
            refreshed_s.len() <= refreshes,
            "{what}: the pool is asked at {refreshed_s:?}"
        );
        let least = least_part(&rigs);
        assert!(least > 0.99, "{what}: one hashes {least} of its time");
    }
}

#[test]
fn one_that_claims_to_be_fast_leaves_work_for_the_others() {
    let mut rigs: Vec<Rig> = (0..100).map(|number| Rig::new(number, 200)).collect();
    rigs[99].claimed = 1e9;
    let refreshed_s = mine(&mut rigs, 120);
    assert!(refreshed_s.len() <= 8, "{refreshed_s:?}");
    let least = least_part(&rigs);
    assert!(least > 0.99, "one hashes {least} of its time");
}

/// A cluster with one worker, and its share on the way to the pool; the share's ticket.
fn with_a_sent_share() -> (Cluster, Rig, u64) {
    let mut cluster = Cluster::new(ClusterPolicy::default(), 0);
    let rig = Rig::new(0, 1_000_000);
    cluster.job(1, job(1), 0);
    let registration = registration(&rig.name);
    let taken = cluster.register(&rig.name, rig.session, registration, 0);
    taken.unwrap();
    let claim = ShareClaim {
        job: cluster.current().unwrap().number,
        nonce: 7 << 24,
        hash: [0; 32],
    };
    let taken = cluster.share(&rig.name, rig.session, claim, 0);
    let (ticket, _) = taken.unwrap();
    let sent = cluster.checked(ticket, Ok(claim.hash), 0);
    let is_sent = |one: &Action| matches!(one, Action::Submit(_));
    assert!(sent.iter().any(is_sent), "{sent:?}");
    (cluster, rig, ticket)
}

#[test]
fn another_job_is_asked_for_when_no_answer_would_be_lost() {
    let is_refresh = |one: &Action| matches!(one, Action::Refresh);
    let (mut cluster, mut rig, ticket) = with_a_sent_share();
    let mut short_s = 0;
    // It hashes a million a second, and searches all there is.
    for second in 1..150 {
        let now_ms = second * 1_000;
        let left = rig.hash(&cluster, now_ms);
        let actions = rig.report(&mut cluster, left, now_ms);
        assert!(!actions.iter().any(is_refresh), "after {second} s");
        short_s = second;
        let unleased = cluster.jobs(now_ms)[0].unleased;
        if unleased <= 1 << 21 {
            break;
        }
    }
    assert!((2..149).contains(&short_s), "{short_s}");
    let answered = cluster.answered(ticket, None, short_s * 1_000);
    assert!(answered.iter().any(is_refresh), "{answered:?}");

    // An upstream that does not answer is not waited for.
    let (mut cluster, mut rig, _) = with_a_sent_share();
    let mut refreshed_s = None;
    for second in 1..150 {
        let now_ms = second * 1_000;
        let left = rig.hash(&cluster, now_ms);
        let mut actions = rig.report(&mut cluster, left, now_ms);
        actions.extend(cluster.tick(now_ms));
        if actions.iter().any(is_refresh) {
            refreshed_s = Some(second);
            break;
        }
    }
    assert_eq!(refreshed_s, Some(short_s + 5));
}
