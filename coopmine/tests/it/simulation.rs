//! The pure cluster under a seeded simulation: workers that crash, stall, lie and come again,
//! messages that are late, lost or doubled, an upstream that goes and comes, a clock that jumps, a
//! coordinator that is started anew.
//!
//! Three things must hold for every seed: no nonce of a blob is leased or searched twice, nothing
//! wrong goes upstream, and nothing right is lost while its job lives. Of the 1,000 seeds, the four
//! that 250 divides have 1,000 workers, the others 1 to 23. `COOPMINE_SEEDS` runs more seeds,
//! `COOPMINE_SEED` one alone.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet};

use headframe_coopmine::cluster::{
    Action, AssignedJob, Cluster, ClusterPolicy, Heartbeat, Registration, ShareClaim, ShareRefusal,
};
use headframe_coopmine::lease::LeaseTerms;
use headframe_stratum::miner::client::ShareToSend;
use headframe_stratum::miner::pool_message::PoolJob;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

mod actions;
mod upstream;

use upstream::Upstream;

/// Virtual milliseconds of one run, and after it until everything is answered.
const RUN_MS: u64 = 120_000;
const AFTER_MS: u64 = 60_000;
/// What the model calls a share of the upstream's, and one of a worker's own: one nonce in so many.
const UPSTREAM_ONE_IN: u64 = 64;
const LOCAL_ONE_IN: u64 = 16;

/// The model's RandomX: most hashes are worth nothing, some a local share, few one upstream.
fn model_hash(blob: &[u8], nonce: u32) -> [u8; 32] {
    let mut mixed = u64::from(nonce) ^ 0x9e37_79b9_7f4a_7c15;
    // The first bytes tell the model's blobs apart.
    for byte in &blob[..8] {
        mixed = (mixed ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    mixed ^= mixed >> 29;
    mixed = mixed.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed ^= mixed >> 32;
    let top = if mixed.is_multiple_of(UPSTREAM_ONE_IN) {
        1
    } else if mixed.is_multiple_of(LOCAL_ONE_IN) {
        upstream::TARGET + 1
    } else {
        u64::MAX
    };
    let mut hash = [0; 32];
    hash[..8].copy_from_slice(&mixed.to_le_bytes());
    hash[24..].copy_from_slice(&top.to_le_bytes());
    hash
}

fn blob_with(job: &PoolJob, nonce: u32) -> Vec<u8> {
    let mut blob = job.blob.clone();
    blob[39..43].copy_from_slice(&nonce.to_le_bytes());
    blob
}

/// What happens at a moment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A worker hashes for a while.
    Hash(usize),
    Heartbeat(usize),
    /// A worker asks to be taken.
    Register(usize),
    /// An assignment arrives that was made for this session.
    Assigned(usize, u64, u64),
    /// A result arrives at the coordinator: worker, session, job, nonce, whether it is a lie.
    Share(usize, u64, u64, u32, bool),
    /// A hash was recomputed, or could not be.
    Checked(u64, bool),
    Submitted(u64),
    NewJob,
    /// The upstream answers a request for leases: its connection, and how many.
    Leased(u64, usize),
    UpstreamEnds,
    UpstreamBack,
    Crash(usize),
    CoordinatorEnds,
    Tick,
}

struct SimulatedWorker {
    name: String,
    session: u64,
    rate: u64,
    liar: bool,
    running: bool,
    /// Until when it is stopped.
    stopped_ms: u64,
    job: Option<AssignedJob>,
    /// Nonces searched of each lease.
    searched: BTreeMap<u64, u64>,
}

struct World {
    random: StdRng,
    now: u64,
    order: u64,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    cluster: Cluster,
    workers: Vec<SimulatedWorker>,
    upstream: Upstream,
    /// Assignments on their way.
    assignments: HashMap<u64, Option<AssignedJob>>,
    checks: HashMap<u64, Vec<u8>>,
    submissions: HashMap<u64, ShareToSend>,
    /// Who searched which nonce of which blob: nobody else may.
    searched: HashSet<(u64, u32)>,
    /// Right shares for the upstream that the coordinator took: their blob.
    owed: HashMap<u64, Vec<u8>>,
    sessions: u64,
    paid: u64,
    /// What happened, to see that the run was worth it.
    lies: u64,
    leased_jobs: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let count = if seed.is_multiple_of(250) {
            1_000
        } else {
            random.random_range(1..24)
        };
        let workers = (0..count)
            .map(|number| SimulatedWorker {
                name: format!("worker-{number}"),
                session: 0,
                rate: random.random_range(1..8),
                liar: random.random_ratio(1, 12),
                running: false,
                stopped_ms: 0,
                job: None,
                searched: BTreeMap::new(),
            })
            .collect();
        let mut world = Self {
            random,
            now: 1_000,
            order: 0,
            events: BinaryHeap::new(),
            cluster: cluster(1_000),
            workers,
            upstream: Upstream::new(seed),
            assignments: HashMap::new(),
            checks: HashMap::new(),
            submissions: HashMap::new(),
            searched: HashSet::new(),
            owed: HashMap::new(),
            sessions: 0,
            paid: 0,
            lies: 0,
            leased_jobs: 0,
        };
        for number in 0..world.workers.len() {
            world.after(10_000, Event::Register(number));
        }
        world.after(100, Event::UpstreamBack);
        world.after(1, Event::Tick);
        world
    }

    /// Something happens within this time.
    fn after(&mut self, within_ms: u64, event: Event) {
        let at = self.now + self.random.random_range(0..=within_ms);
        self.order += 1;
        self.events.push(Reverse((at, self.order, event)));
    }

    fn chance(&mut self, one_in: u32) -> bool {
        self.now < RUN_MS && self.random.random_ratio(1, one_in)
    }

    fn run(mut self) -> [u64; 3] {
        while let Some(Reverse((at, _, event))) = self.events.pop() {
            self.now = self.now.max(at);
            if self.now > RUN_MS + AFTER_MS {
                break;
            }
            self.happen(event);
        }
        assert!(
            self.owed.is_empty(),
            "shares without an end: {:?}",
            self.owed.keys()
        );
        self.check_leases();
        [self.paid, self.lies, self.leased_jobs]
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Hash(number) => self.hash(number),
            Event::Heartbeat(number) => self.heartbeat(number),
            Event::Register(number) => self.register(number),
            Event::Assigned(number, session, id) => {
                let assigned = self.assignments.remove(&id);
                let worker = &mut self.workers[number];
                if worker.running && worker.session == session {
                    worker.job = assigned.flatten();
                }
            }
            Event::Share(number, session, job, nonce, lie) => {
                self.share(number, session, job, nonce, lie);
            }
            Event::Checked(ticket, fails) => {
                let blob = self.checks.remove(&ticket);
                let Some(blob) = blob else { return };
                let nonce = u32::from_le_bytes(blob[39..43].try_into().unwrap());
                let mut bare = blob;
                bare[39..43].fill(0);
                let hash = model_hash(&bare, nonce);
                let result = if fails {
                    Err("no memory".to_owned())
                } else {
                    Ok(hash)
                };
                let actions = self.cluster.checked(ticket, result, self.now);
                if fails {
                    // Nobody knows whether it is right, so it must not go upstream.
                    let is_sent = |one: &Action| matches!(one, Action::Submit(_));
                    assert!(!actions.iter().any(is_sent), "an unchecked share was sent");
                    self.owed.remove(&ticket);
                }
                self.act(actions);
            }
            Event::Submitted(ticket) => self.submitted(ticket),
            Event::NewJob => self.new_job(),
            Event::Leased(session, count) => self.leased(session, count),
            Event::UpstreamEnds => self.upstream_ends(),
            Event::UpstreamBack => self.upstream_back(),
            Event::Crash(number) => {
                self.workers[number].running = false;
                self.workers[number].job = None;
                self.workers[number].searched.clear();
                self.after(60_000, Event::Register(number));
            }
            Event::CoordinatorEnds => self.coordinator_ends(),
            Event::Tick => self.tick(),
        }
    }

    fn tick(&mut self) {
        let actions = self.cluster.tick(self.now);
        self.act(actions);
        if self.chance(400) {
            // The clock jumps.
            self.now += self.random.random_range(0..30_000);
        }
        if self.chance(300) {
            self.after(0, Event::CoordinatorEnds);
        }
        self.after(1_000, Event::Tick);
    }

    fn register(&mut self, number: usize) {
        self.sessions += 1;
        let session = self.sessions;
        let registration = Registration {
            name: "simulated".to_owned(),
            protocol: 1,
            algos: vec!["rx/0".to_owned()],
            threads: 1,
            agent: "simulation".to_owned(),
            // Some know no ranges, as stock miners.
            leases_by_last_byte: number.is_multiple_of(5),
        };
        let worker = &mut self.workers[number];
        worker.running = true;
        worker.session = session;
        worker.job = None;
        worker.searched.clear();
        let name = worker.name.clone();
        let taken = self
            .cluster
            .register(&name, session, registration, self.now);
        self.act(taken.unwrap());
        self.after(2_000, Event::Hash(number));
        self.after(10_000, Event::Heartbeat(number));
        if self.chance(3) {
            self.after(RUN_MS, Event::Crash(number));
        }
        // One that comes again at once.
        if self.chance(20) {
            self.after(500, Event::Crash(number));
        }
    }

    /// A worker searches the leases it has, in their order.
    fn hash(&mut self, number: usize) {
        let session = self.workers[number].session;
        if !self.workers[number].running || self.now > RUN_MS {
            return;
        }
        if self.now >= self.workers[number].stopped_ms {
            self.search(number, session);
            if self.chance(200) {
                let stopped = self.random.random_range(0..200_000);
                self.workers[number].stopped_ms = self.now + stopped;
            }
        }
        let again = Event::Hash(number);
        self.order += 1;
        self.events
            .push(Reverse((self.now + 4_000, self.order, again)));
    }

    fn search(&mut self, number: usize, session: u64) {
        let worker = &self.workers[number];
        let (rate, is_liar) = (worker.rate, worker.liar);
        let Some(assigned) = worker.job.clone() else {
            return;
        };
        let mut budget = rate * 4;
        for lease in &assigned.leases {
            let searched = &mut self.workers[number].searched;
            let done = searched.entry(lease.epoch).or_default();
            let count = (lease.len - (*done).min(lease.len)).min(budget);
            budget -= count;
            let from = lease.start + *done;
            *done += count;
            for nonce in from..from + count {
                let nonce = u32::try_from(nonce).unwrap();
                let space = u64::from_le_bytes(assigned.job.blob[..8].try_into().unwrap());
                assert!(
                    self.searched.insert((space, nonce)),
                    "{nonce} was searched before"
                );
                let hash = model_hash(&assigned.job.blob, nonce);
                let top = u64::from_le_bytes(hash[24..].try_into().unwrap());
                let liar = is_liar && self.random.random_ratio(1, 30);
                if top < assigned.local_target || liar {
                    self.deliver(number, session, assigned.number, nonce, liar);
                }
            }
            if budget == 0 {
                break;
            }
        }
    }

    fn deliver(&mut self, number: usize, session: u64, job: u64, nonce: u32, lie: bool) {
        let share = Event::Share(number, session, job, nonce, lie);
        if self.chance(20) {
            // It comes twice.
            self.after(3_000, share.clone());
        }
        self.after(800, share);
    }

    fn heartbeat(&mut self, number: usize) {
        let worker = &self.workers[number];
        if !worker.running {
            return;
        }
        let is_lost = self.now < worker.stopped_ms;
        let report = Heartbeat {
            hashrate_hs: worker.rate as f64,
            threads_active: 1,
            searched: worker
                .searched
                .iter()
                .map(|(epoch, done)| (*epoch, *done))
                .collect(),
            ..Heartbeat::default()
        };
        let (name, session) = (worker.name.clone(), worker.session);
        if !is_lost && !self.chance(10) {
            match self.cluster.heartbeat(&name, session, report, self.now) {
                Ok(actions) => self.act(actions),
                Err(_) => return self.after(5_000, Event::Register(number)),
            }
        }
        self.after(20_000, Event::Heartbeat(number));
    }

    fn share(&mut self, number: usize, session: u64, job: u64, nonce: u32, lie: bool) {
        let name = self.workers[number].name.clone();
        let jobs = &self.upstream.jobs_by_number;
        let Some(blob) = jobs.get(&job).map(|known| known.blob.clone()) else {
            return;
        };
        let mut hash = model_hash(&blob, nonce);
        if lie {
            hash[24..].copy_from_slice(&0_u64.to_le_bytes());
            hash[0] ^= 1;
            self.lies += 1;
        }
        let is_upstream = hash[24..] == 1_u64.to_le_bytes();
        let claim = ShareClaim { job, nonce, hash };
        match self.cluster.share(&name, session, claim, self.now) {
            Ok((ticket, actions)) => {
                if is_upstream && !lie {
                    self.owed.insert(ticket, blob);
                }
                self.act(actions);
            }
            Err(ShareRefusal::Busy) => {
                self.after(500, Event::Share(number, session, job, nonce, lie))
            }
            Err(ShareRefusal::Duplicate | ShareRefusal::Session(_)) => {}
            Err(ShareRefusal::Quarantined) => assert!(self.workers[number].liar),
            Err(ShareRefusal::Stale) => {
                let jobs = self.cluster.jobs(self.now);
                let is_current = jobs.iter().any(|one| one.id == job && one.current);
                assert!(!is_current, "{name} lost a share");
            }
            Err(refusal) => panic!("{name}: {refusal}"),
        }
    }
}

fn cluster(first: u64) -> Cluster {
    let policy = ClusterPolicy {
        lease: LeaseTerms {
            seconds: 40,
            least: 32,
        },
        local_share_s: 1.0,
        ..ClusterPolicy::default()
    };
    Cluster::new(policy, first)
}

fn number_from(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn no_overlap_nothing_wrong_upstream_and_nothing_right_is_lost() {
    let seeds = match number_from("COOPMINE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number_from("COOPMINE_SEEDS").unwrap_or(1_000),
    };
    let mut sums = [0; 3];
    for seed in seeds {
        let world = std::panic::AssertUnwindSafe(World::new(seed));
        let ran = std::panic::catch_unwind(|| {
            let world = world;
            world.0.run()
        });
        match ran {
            Ok(more) => sums.iter_mut().zip(more).for_each(|(sum, one)| *sum += one),
            Err(_) => panic!("COOPMINE_SEED={seed} shows it"),
        }
    }
    assert!(
        sums.iter().all(|sum| *sum > 0),
        "the simulation did nothing: {sums:?} paid, lies and leased jobs"
    );
}
