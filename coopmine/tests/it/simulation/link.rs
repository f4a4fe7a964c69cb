//! An hour of three machines behind bad lines, in virtual time: 80 ms each way and 2 % of the
//! packets lost, between the workers and the coordinator and between it and the pool.
//!
//! What the pool pays is held against what the workers themselves have counted. Shares are spread
//! evenly, one in each row of [`DIFFICULTY`] nonces, so that luck does not hide what is lost.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};

use headframe_coopmine::cluster::{
    Action, AssignedJob, Cluster, ClusterPolicy, Heartbeat, Registration, ShareClaim, Verdict,
};
use headframe_stratum::miner::pool_message::PoolJob;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::space_of;

const HOUR_MS: u64 = 3_600_000;
/// One way.
const DELAY_MS: u64 = 80;
const LOST_PERCENT: u32 = 2;
/// After which TCP sends a packet again; twice as long each further time.
const AGAIN_MS: u64 = 400;
/// Hashes that a share costs at the pool.
const DIFFICULTY: u64 = 4_096;
/// What the machines hash a second.
const RATES: [u64; 3] = [2_500, 5_000, 8_000];
/// Between two looks at what a machine has hashed, a check of a share here, and two heartbeats.
const STEP_MS: u64 = 100;
const CHECK_MS: u64 = 15;
const BEAT_MS: u64 = 30_000;
/// Between two looks of the coordinator at its clock.
const TICK_MS: u64 = 500;
/// The pool's connection.
const SESSION: u64 = 1;

/// One direction of a connection: what is sent comes late, and in its order.
struct Line {
    ready_ms: u64,
}

impl Line {
    /// When something that is sent now is there.
    fn arrival(&mut self, now: u64, random: &mut StdRng) -> u64 {
        let (mut sent, mut again) = (now, AGAIN_MS);
        while random.random_ratio(LOST_PERCENT, 100) {
            sent += again;
            again *= 2;
        }
        self.ready_ms = self.ready_ms.max(sent + DELAY_MS);
        self.ready_ms
    }
}

/// Where something arrives, or happens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A machine has hashed for a while.
    Step(usize),
    Beat(usize),
    /// At a machine: an assignment.
    Assigned(usize, u64),
    /// At the coordinator.
    Report(usize, Vec<(u64, u64)>),
    Share(usize, u64, u64, u32),
    Checked(u64),
    Job(u64),
    Leased(Vec<u64>),
    Answered(u64, bool),
    /// At the pool.
    Sent(u64),
    LeasesWanted(usize),
    Block,
    Refresh,
}

/// A machine.
#[derive(Default)]
struct Machine {
    job: Option<AssignedJob>,
    searched: BTreeMap<u64, u64>,
    /// Until when its hashes are counted, and what is left of one, thousandths.
    counted_ms: u64,
    part: u64,
    /// Its own count.
    hashes: u64,
}

struct Hour {
    random: StdRng,
    now: u64,
    order: u64,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    cluster: Cluster,
    machines: [Machine; 3],
    /// To and from each machine, and to and from the pool.
    to: [Line; 3],
    from: [Line; 3],
    to_pool: Line,
    from_pool: Line,
    assignments: HashMap<u64, Option<AssignedJob>>,
    checks: HashMap<u64, Vec<u8>>,
    /// Shares on their way to the pool: the height of their job.
    sent: HashMap<u64, u64>,
    /// The pool: whether it leases extranonces, the height it works on, and its blobs' number.
    leases: bool,
    height: u64,
    blobs: u64,
    jobs: HashMap<u64, PoolJob>,
    heights: HashMap<String, u64>,
    accepted: u64,
    refused: u64,
}

/// Which nonce of a row is the share.
fn place(space: u64, row: u64) -> u64 {
    let mixed = (row ^ space << 20).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 32) % DIFFICULTY
}

fn hash(space: u64, nonce: u32) -> [u8; 32] {
    let (row, at) = (u64::from(nonce) / DIFFICULTY, u64::from(nonce) % DIFFICULTY);
    let top = if at == place(space, row) { 1 } else { u64::MAX };
    let mut hash = [7; 32];
    hash[..4].copy_from_slice(&nonce.to_le_bytes());
    hash[24..].copy_from_slice(&top.to_le_bytes());
    hash
}

impl Hour {
    fn new(leases: bool) -> Self {
        let line = || Line { ready_ms: 0 };
        Self {
            random: StdRng::seed_from_u64(8),
            now: 1,
            order: 0,
            events: BinaryHeap::new(),
            cluster: Cluster::new(ClusterPolicy::default(), 0),
            machines: Default::default(),
            to: [line(), line(), line()],
            from: [line(), line(), line()],
            to_pool: line(),
            from_pool: line(),
            assignments: HashMap::new(),
            checks: HashMap::new(),
            sent: HashMap::new(),
            leases,
            height: 1,
            blobs: 0,
            jobs: HashMap::new(),
            heights: HashMap::new(),
            accepted: 0,
            refused: 0,
        }
    }

    fn at(&mut self, at: u64, event: Event) {
        self.order += 1;
        self.events.push(Reverse((at, self.order, event)));
    }

    /// What the pool has paid, and what the machines have counted, hashes; and the shares that the
    /// pool refused.
    fn run(mut self) -> (u64, u64, u64) {
        for number in 0..self.machines.len() {
            let registration = Registration {
                protocol: 1,
                algos: vec!["rx/0".to_owned()],
                threads: 1,
                ..Registration::default()
            };
            let session = number as u64 + 1;
            let taken = self
                .cluster
                .register(&name(number), session, registration, self.now);
            self.act(taken.unwrap());
            self.at(STEP_MS, Event::Step(number));
            self.at(BEAT_MS / 3 * session, Event::Beat(number));
        }
        if self.leases {
            self.cluster.upstream_leases(SESSION);
        }
        self.give_job();
        self.at(30_000, Event::Refresh);
        self.at(90_000, Event::Block);
        while let Some(Reverse((at, _, event))) = self.events.pop() {
            self.now = self.now.max(at);
            self.happen(event);
        }
        let counted = self.machines.iter().map(|machine| machine.hashes);
        (self.accepted * DIFFICULTY, counted.sum(), self.refused)
    }

    fn happen(&mut self, event: Event) {
        let is_over = self.now >= HOUR_MS;
        match event {
            // What is on its way at the end of the hour still arrives.
            Event::Step(_) | Event::Beat(_) | Event::Block | Event::Refresh if is_over => {}
            Event::Step(number) => {
                self.count(number);
                if number == 0 && self.now % TICK_MS < STEP_MS {
                    let actions = self.cluster.tick(self.now);
                    self.act(actions);
                }
                self.at(self.now + STEP_MS, Event::Step(number));
            }
            Event::Beat(number) => self.beat(number),
            Event::Assigned(number, id) => {
                self.count(number);
                let assigned = self.assignments.remove(&id).flatten();
                self.machines[number].job = assigned.filter(|_| !is_over);
            }
            Event::Report(number, searched) => {
                let report = Heartbeat {
                    hashrate_hs: RATES[number] as f64,
                    threads_active: 1,
                    searched,
                    ..Heartbeat::default()
                };
                let session = number as u64 + 1;
                let heard = self
                    .cluster
                    .heartbeat(&name(number), session, report, self.now);
                self.act(heard.unwrap());
            }
            Event::Share(number, job, space, nonce) => self.share(number, job, space, nonce),
            Event::Checked(ticket) => {
                let blob = self.checks.remove(&ticket).unwrap();
                let nonce = u32::from_le_bytes(blob[39..43].try_into().unwrap());
                let right = Ok(hash(space_of(&blob), nonce));
                let actions = self.cluster.checked(ticket, right, self.now);
                self.act(actions);
            }
            Event::Job(id) => {
                let job = self.jobs.remove(&id).unwrap();
                let actions = self.cluster.job(SESSION, job, self.now);
                self.act(actions);
            }
            Event::Leased(jobs) => {
                let jobs = jobs.iter().map(|id| self.jobs.remove(id).unwrap());
                let jobs = Ok(jobs.collect());
                let actions = self.cluster.leased(SESSION, jobs, self.now);
                self.act(actions);
            }
            Event::Answered(ticket, is_paid) => {
                let refusal = (!is_paid).then(|| "Block expired".to_owned());
                let actions = self.cluster.answered(ticket, refusal, self.now);
                self.act(actions);
            }
            at_pool => self.happen_at_pool(at_pool),
        }
    }

    fn happen_at_pool(&mut self, event: Event) {
        match event {
            Event::Sent(ticket) => {
                let is_paid = self.sent.remove(&ticket) == Some(self.height);
                self.accepted += u64::from(is_paid);
                self.refused += u64::from(!is_paid);
                let at = self.from_pool.arrival(self.now, &mut self.random);
                self.at(at, Event::Answered(ticket, is_paid));
            }
            Event::LeasesWanted(count) => {
                let jobs = (0..count).map(|_| self.make_job()).collect();
                let at = self.from_pool.arrival(self.now, &mut self.random);
                self.at(at, Event::Leased(jobs));
            }
            Event::Block => {
                // As blocks come: 120 s apart on average.
                self.height += 1;
                self.give_job();
                let next = -120_000.0 * self.random.random_range(0.01_f64..1.0).ln();
                self.at(self.now + next as u64 + 1, Event::Block);
            }
            Event::Refresh => {
                self.give_job();
                self.at(self.now + 30_000, Event::Refresh);
            }
            other => unreachable!("{other:?} is not at the pool"),
        }
    }

    /// A machine counts what it has hashed since it last did, and sends what it found.
    fn count(&mut self, number: usize) {
        let machine = &mut self.machines[number];
        let until = self.now.min(HOUR_MS);
        let elapsed = until.saturating_sub(machine.counted_ms);
        machine.counted_ms = until.max(machine.counted_ms);
        let Some(assigned) = &machine.job else {
            machine.part = 0;
            return;
        };
        let space = space_of(&assigned.job.blob);
        let hashed = RATES[number] * elapsed + machine.part;
        machine.part = hashed % 1_000;
        let mut budget = hashed / 1_000;
        let mut found = Vec::new();
        for lease in &assigned.leases {
            let searched = machine.searched.entry(lease.epoch).or_default();
            let count = (lease.len - (*searched).min(lease.len)).min(budget);
            let from = lease.start + *searched;
            *searched += count;
            budget -= count;
            machine.hashes += count;
            for row in from / DIFFICULTY..=(from + count) / DIFFICULTY {
                let nonce = row * DIFFICULTY + place(space, row);
                if (from..from + count).contains(&nonce) {
                    found.push((assigned.number, u32::try_from(nonce).unwrap()));
                }
            }
        }
        for (job, nonce) in found {
            let at = self.from[number].arrival(self.now, &mut self.random);
            self.at(at, Event::Share(number, job, space, nonce));
        }
    }

    fn beat(&mut self, number: usize) {
        let machine = &self.machines[number];
        let searched = machine.searched.iter().rev().take(4);
        let searched = searched.map(|(epoch, count)| (*epoch, *count)).collect();
        let at = self.from[number].arrival(self.now, &mut self.random);
        self.at(at, Event::Report(number, searched));
        self.at(self.now + BEAT_MS, Event::Beat(number));
    }

    fn share(&mut self, number: usize, job: u64, space: u64, nonce: u32) {
        let claim = ShareClaim {
            job,
            nonce,
            hash: hash(space, nonce),
        };
        let session = number as u64 + 1;
        // What is for a job that was replaced long ago is refused here.
        if let Ok((_, actions)) = self.cluster.share(&name(number), session, claim, self.now) {
            self.act(actions);
        }
    }

    fn act(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Assign(name) => {
                    let number = name.trim_start_matches("rig-").parse::<usize>().unwrap();
                    let assignment = self.cluster.assignment(&name, self.now);
                    let at = self.to[number].arrival(self.now, &mut self.random);
                    let id = self.order + 1;
                    self.assignments.insert(id, assignment.job);
                    self.at(at, Event::Assigned(number, id));
                }
                Action::Check { ticket, blob, .. } => {
                    self.checks.insert(ticket, blob);
                    self.at(self.now + CHECK_MS, Event::Checked(ticket));
                }
                Action::Submit(share) => {
                    self.sent.insert(share.ticket, self.heights[&share.job_id]);
                    let at = self.to_pool.arrival(self.now, &mut self.random);
                    self.at(at, Event::Sent(share.ticket));
                }
                Action::Lease { count, .. } => {
                    let at = self.to_pool.arrival(self.now, &mut self.random);
                    self.at(at, Event::LeasesWanted(count));
                }
                Action::Answer { verdict, .. } => {
                    let ended = matches!(verdict, Verdict::Accepted | Verdict::RefusedUpstream(_));
                    assert!(ended || verdict == Verdict::Dead, "{verdict:?}");
                }
                Action::Refresh => panic!("an hour's nonces are enough"),
            }
        }
        self.cluster.take_facts();
    }

    /// The pool gives its newest job.
    fn give_job(&mut self) {
        let id = self.make_job();
        let at = self.from_pool.arrival(self.now, &mut self.random);
        self.at(at, Event::Job(id));
    }

    /// A job of the pool's, by its number.
    fn make_job(&mut self) -> u64 {
        self.blobs += 1;
        let mut blob = vec![0; 76];
        blob[..8].copy_from_slice(&self.blobs.to_le_bytes());
        let job_id = self.blobs.to_string();
        self.heights.insert(job_id.clone(), self.height);
        let job = PoolJob {
            job_id,
            algo: "rx/0".to_owned(),
            blob,
            nonce_offset: 39,
            target: u64::MAX / DIFFICULTY,
            seed: [7; 32],
            next_seed: None,
            height: Some(self.height),
            network_difficulty: None,
            nicehash: false,
        };
        self.jobs.insert(self.blobs, job);
        self.blobs
    }
}

fn name(number: usize) -> String {
    format!("rig-{number}")
}

#[test]
fn three_machines_behind_bad_lines_are_paid_for_99_percent_of_an_hour() {
    for leases in [true, false] {
        let (paid, counted, refused) = Hour::new(leases).run();
        let part = paid as f64 / counted as f64;
        println!(
            "extranonces leased: {leases}; paid {paid} of {counted} hashes, {:.3} %; {refused} \
             shares came too late for their block",
            part * 100.0
        );
        let expected: u64 = RATES.iter().map(|rate| rate * HOUR_MS / 1_000).sum();
        assert!(
            counted > expected / 1_000 * 999,
            "they hash most of the hour"
        );
        assert!((0.99..1.001).contains(&part), "{part} of it is paid");
        assert!(refused > 0, "a bad line costs something");
    }
}
