//! The simulation's workers: what they do, and what a coordinator hears of it.

use std::collections::BTreeMap;

use headframe_coopmine::cluster::{AssignedJob, Heartbeat, Registration, ShareClaim, ShareRefusal};
use rand::Rng;
use rand::rngs::StdRng;

use super::{Event, Fate, Message, RUN_MS, World, model_hash, space_of, top_of};

/// How long a worker waits for a coordinator that says nothing.
const PATIENCE_MS: u64 = 10_000;
/// Between two times that a worker hashes.
const HASH_EVERY_MS: u64 = 4_000;

/// A result on its way to a coordinator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SentShare {
    pub worker: usize,
    session: u64,
    job: u64,
    pub space: u64,
    pub nonce: u32,
    lie: bool,
}

impl SentShare {
    /// What the worker says it hashes to.
    fn hash(&self) -> [u8; 32] {
        let mut hash = model_hash(self.space, self.nonce);
        if self.lie {
            hash[24..].copy_from_slice(&0_u64.to_le_bytes());
            hash[0] ^= 1;
        }
        hash
    }

    /// Whether it is right, and the pool would pay it.
    pub fn is_owed(&self) -> bool {
        !self.lie && top_of(&model_hash(self.space, self.nonce)) == 1
    }
}

pub struct SimulatedWorker {
    pub name: String,
    pub session: u64,
    /// The coordinator it is registered with, and the term.
    pub at: (usize, u64),
    /// How many coordinators it has called in vain.
    calls: usize,
    is_calling: bool,
    rate: u64,
    pub liar: bool,
    pub running: bool,
    /// Until when it is stopped.
    stopped_ms: u64,
    /// The job in hand, and the term it is of.
    job: Option<(u64, AssignedJob)>,
    /// Nonces searched of each lease, by the term and the lease's number.
    searched: BTreeMap<(u64, u64), u64>,
    /// Results whose end it does not know.
    open: Vec<SentShare>,
}

impl SimulatedWorker {
    pub fn new(number: usize, random: &mut StdRng) -> Self {
        Self {
            name: format!("worker-{number}"),
            session: 0,
            at: (0, 0),
            calls: 0,
            is_calling: false,
            rate: random.random_range(1..8),
            liar: random.random_ratio(1, 12),
            running: false,
            stopped_ms: 0,
            job: None,
            searched: BTreeMap::new(),
            open: Vec::new(),
        }
    }

    /// An assignment of the term that it is registered in.
    pub fn take(&mut self, job: Option<AssignedJob>) {
        self.job = job.map(|job| (self.at.1, job));
    }

    /// It knows the end of a result.
    pub fn close(&mut self, space: u64, nonce: u32) {
        self.open
            .retain(|one| (one.space, one.nonce) != (space, nonce));
    }
}

impl World {
    /// A worker calls a coordinator soon, unless it is about to.
    pub fn call(&mut self, number: usize, within_ms: u64) {
        if !std::mem::replace(&mut self.workers[number].is_calling, true) {
            self.after(within_ms, Event::Register(number));
        }
    }

    pub fn crash(&mut self, number: usize) {
        let worker = &mut self.workers[number];
        worker.running = false;
        worker.session = 0;
        worker.job = None;
        worker.searched.clear();
        worker.open.clear();
        self.call(number, 60_000);
    }

    pub fn register(&mut self, number: usize) {
        let worker = &mut self.workers[number];
        worker.is_calling = false;
        worker.running = true;
        let called = worker.calls % self.coordinators.len();
        let coordinator = &mut self.coordinators[called];
        let clock = coordinator.clock(self.now);
        let is_there = self.now >= coordinator.stopped_ms;
        let Some(term) = coordinator.term.as_mut().filter(|_| is_there) else {
            // It does not answer, or turns workers away.
            worker.calls += 1;
            return self.call(number, 4_000);
        };
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
        let taken = term
            .cluster
            .register(&worker.name, session, registration, clock);
        worker.session = session;
        worker.at = (called, term.number);
        let open: Vec<SentShare> = std::mem::take(&mut worker.open);
        self.act(called, taken.unwrap());
        for share in open {
            self.deliver(SentShare { session, ..share });
        }
        if self.chance(3) {
            self.after(RUN_MS, Event::Crash(number));
        }
        // One that comes again at once.
        if self.chance(20) {
            self.after(500, Event::Crash(number));
        }
    }

    /// A worker searches the leases it has, in their order.
    pub fn hash(&mut self, number: usize) {
        if self.now > RUN_MS {
            return;
        }
        if self.workers[number].running && self.now >= self.workers[number].stopped_ms {
            self.search(number);
            if self.chance(200) {
                let stopped = self.random.random_range(0..200_000);
                self.workers[number].stopped_ms = self.now + stopped;
            }
        }
        self.at(self.now + HASH_EVERY_MS, Event::Hash(number));
    }

    fn search(&mut self, number: usize) {
        let worker = &mut self.workers[number];
        let Some((term, assigned)) = worker.job.clone() else {
            return;
        };
        let (is_liar, session) = (worker.liar, worker.session);
        let space = space_of(&assigned.job.blob);
        let mut budget = worker.rate * HASH_EVERY_MS / 1_000;
        let mut nonces = Vec::new();
        for lease in &assigned.leases {
            let searched = worker.searched.entry((term, lease.epoch)).or_default();
            let count = (lease.len - (*searched).min(lease.len)).min(budget);
            budget -= count;
            let from = lease.start + *searched;
            *searched += count;
            self.searched.add(space, from, from + count);
            nonces.extend(from..from + count);
        }
        for nonce in nonces {
            let nonce = u32::try_from(nonce).unwrap();
            let top = top_of(&model_hash(space, nonce));
            let lie = is_liar && self.random.random_ratio(1, 30);
            if top < assigned.local_target || lie {
                self.deliver(SentShare {
                    worker: number,
                    session,
                    job: assigned.number,
                    space,
                    nonce,
                    lie,
                });
            }
        }
    }

    /// A worker sends a result to the coordinator it is registered with, and remembers it until it
    /// knows its end.
    fn deliver(&mut self, share: SentShare) {
        self.workers[share.worker].open.push(share);
        let (to, term) = self.workers[share.worker].at;
        let share = Event::Arrives(to, term, Message::Share(share));
        if self.chance(20) {
            // It comes twice.
            self.after(3_000, share.clone());
        }
        self.after(800, share);
    }

    pub fn heartbeat(&mut self, number: usize) {
        self.after(20_000, Event::Heartbeat(number));
        let worker = &self.workers[number];
        if !worker.running || worker.session == 0 || self.now < worker.stopped_ms {
            return;
        }
        let ((to, term), session) = (worker.at, worker.session);
        let beat = Message::Heartbeat(number, session);
        if !self.chance(10) {
            self.after(200, Event::Arrives(to, term, beat));
        }
        if self.now + PATIENCE_MS < self.coordinators[to].stopped_ms {
            self.workers[number].calls += 1;
            self.call(number, PATIENCE_MS);
        }
    }

    pub fn hear_heartbeat(&mut self, at: usize, number: usize, session: u64) {
        let worker = &self.workers[number];
        let (coordinator, now) = (&mut self.coordinators[at], self.now);
        let clock = coordinator.clock(now);
        let Some(term) = &mut coordinator.term else {
            return;
        };
        let of_term = worker
            .searched
            .range((term.number, 0)..=(term.number, u64::MAX));
        let report = Heartbeat {
            hashrate_hs: worker.rate as f64,
            threads_active: 1,
            searched: of_term.map(|((_, epoch), done)| (*epoch, *done)).collect(),
            ..Heartbeat::default()
        };
        let heard = term.cluster.heartbeat(&worker.name, session, report, clock);
        match heard {
            Ok(actions) => self.act(at, actions),
            Err(_) if worker.session == session => self.call(number, 5_000),
            Err(_) => {}
        }
    }

    pub fn hear_share(&mut self, at: usize, share: SentShare) {
        let (number, claim) = (
            share.worker,
            ShareClaim {
                job: share.job,
                nonce: share.nonce,
                hash: share.hash(),
            },
        );
        let coordinator = &mut self.coordinators[at];
        let clock = coordinator.clock(self.now);
        let Some(term) = &mut coordinator.term else {
            return;
        };
        self.tally.lies += u64::from(share.lie);
        let worker = &mut self.workers[number];
        let taken = term
            .cluster
            .share(&worker.name, share.session, claim, clock);
        let refusal = match taken {
            Ok((ticket, actions)) => {
                term.tickets.insert(ticket, share);
                let mut fate = Fate::Held(term.number);
                if !self.may_act(at) {
                    // It was found for a coordinator that was stopped, and is not active any more.
                    fate = Fate::TooLate;
                    self.tally.too_late += 1;
                }
                if share.is_owed() {
                    let known = self.fates.insert((share.space, share.nonce), fate);
                    assert_eq!(known, None, "{} was taken twice", share.nonce);
                }
                return self.act(at, actions);
            }
            Err(refusal) => refusal,
        };
        match refusal {
            ShareRefusal::Busy => {
                let again = Event::Arrives(at, term.number, Message::Share(share));
                return self.after(500, again);
            }
            // It is offered again in the next session.
            ShareRefusal::Session(_) if worker.session == share.session => {
                return self.call(number, 5_000);
            }
            ShareRefusal::Session(_) => return,
            ShareRefusal::Duplicate => {}
            ShareRefusal::Quarantined => assert!(worker.liar, "{} is honest", worker.name),
            ShareRefusal::Stale => {
                let jobs = term.cluster.jobs(clock);
                let is_current = jobs.iter().any(|one| one.id == share.job && one.current);
                assert!(!is_current, "{} lost a share", worker.name);
            }
            refusal => panic!("{}: {refusal}", worker.name),
        }
        worker.close(share.space, share.nonce);
    }
}
