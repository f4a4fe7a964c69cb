//! The pure cluster under a seeded simulation: workers that crash, stall, lie and come again,
//! messages that are late, lost or doubled, an upstream that goes and comes or sends its miners
//! elsewhere, a clock that jumps, and coordinators: one that is started anew, or two of which one
//! is active. The active one is stopped, the other takes over, and the first goes on with what it
//! had in hand, connected to the pool as before; or it says goodbye.
//!
//! For every seed: no nonce of a blob is leased or searched twice, nothing wrong goes upstream,
//! nothing right is lost while its job lives in a coordinator's term, what the pool was sent is
//! paid once, a coordinator does nothing after one with a newer token did something, and no honest
//! worker is taken for a liar by the coordinator that comes after. Of the 1,000 seeds 4 have 1,000
//! workers, 36 have 100 to 300, the others 1 to 23. `COOPMINE_SEEDS` runs more seeds,
//! `COOPMINE_SEED` one alone.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use headframe_coopmine::cluster::AssignedJob;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

mod actions;
mod coordinators;
mod link;
mod searched;
mod upstream;
mod workers;

use coordinators::{Coordinator, Key};
use searched::Searched;
use workers::{SentShare, SimulatedWorker};

/// Virtual milliseconds of one run, and after it until everything is answered.
const RUN_MS: u64 = 120_000;
const AFTER_MS: u64 = 60_000;
/// What the model calls a share of the upstream's, and one of a worker's own: one nonce in so many.
const UPSTREAM_ONE_IN: u64 = 64;
const LOCAL_ONE_IN: u64 = 16;

/// The model's RandomX: most hashes are worth nothing, some a local share, few one upstream.
fn model_hash(space: u64, nonce: u32) -> [u8; 32] {
    let mut mixed = u64::from(nonce) ^ space.wrapping_mul(0x9e37_79b9_7f4a_7c15);
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

/// The bytes that tell the model's blobs apart.
fn space_of(blob: &[u8]) -> u64 {
    u64::from_le_bytes(blob[..8].try_into().unwrap())
}

/// What the top 64 bits of a hash say.
fn top_of(hash: &[u8; 32]) -> u64 {
    u64::from_le_bytes(hash[24..].try_into().unwrap())
}

/// What happens at a moment. Numbers are those of workers and of coordinators.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A worker hashes for a while.
    Hash(usize),
    /// A worker says how it is.
    Heartbeat(usize),
    /// A worker asks to be taken.
    Register(usize),
    Crash(usize),
    /// An assignment arrives that was made for this session.
    Assigned(usize, u64, u64),
    /// Something reaches a coordinator, meant for this term of its.
    Arrives(usize, u64, Message),
    /// A share reaches the pool: coordinator, term, ticket, and the connection it was sent over.
    AtPool(usize, u64, u64, u64),
    /// A coordinator looks at the election.
    Look(usize),
    /// A write of a coordinator in one of its lives, which names this revision, reaches the key.
    KeyWrite(usize, u64, u64),
    /// The end of its write reaches a coordinator in that life: the revision, 0 for another's
    /// before, or nothing.
    KeyAnswer(usize, u64, Option<u64>),
    /// A coordinator sees the key: its revision, and whether it is held.
    KeyNews(usize, u64, bool),
}

/// What reaches a coordinator.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Message {
    Tick,
    /// Of a worker in a session.
    Heartbeat(usize, u64),
    Share(SentShare),
    /// A hash was recomputed, or could not be.
    Checked(u64, bool),
    /// The pool's answer in one of its sessions: whether the share was a duplicate.
    Answered(u64, u64, bool),
    /// A share could not be sent.
    Unsent(u64),
    NewJob,
    /// The answer to a request for leases: of which connection, and how many.
    Leased(u64, usize),
    UpstreamEnds,
    /// The pool sends its miners elsewhere: answers still come for a while.
    UpstreamLeft,
    /// That connection of the pool's is closed.
    Drained(u64),
    UpstreamBack,
    /// A coordinator that says goodbye has heard what it waited for.
    Stopped,
}

/// What became of a share that is right and good enough for the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// A coordinator has it, in this term.
    Held(u64),
    Paid,
    /// Its job was over, or nobody could check it.
    Dead,
    /// The term ended before it reached the pool.
    LostWithTerm,
    /// It reached a coordinator that had been stopped, and was not active any more.
    TooLate,
}

/// What happened, to see that the run was worth it.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    paid: u64,
    lies: u64,
    leased_jobs: u64,
    /// Terms that began after another coordinator's.
    takeovers: u64,
    /// Acts of a coordinator that was not the active one any more.
    fenced: u64,
    /// Right shares that were lost with a term, and that came after one.
    lost: u64,
    too_late: u64,
    /// Answers over connections that were left.
    drained: u64,
    /// Shares that were sent and whose answer never came.
    unanswered: u64,
}

struct World {
    seed: u64,
    random: StdRng,
    now: u64,
    order: u64,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    coordinators: Vec<Coordinator>,
    key: Key,
    workers: Vec<SimulatedWorker>,
    /// Assignments on their way.
    assignments: HashMap<u64, Option<AssignedJob>>,
    /// Who searched which nonce of which blob: nobody else may.
    searched: Searched,
    /// By blob and nonce.
    fates: HashMap<(u64, u32), Fate>,
    /// The last number that was given to a session, and to a term.
    sessions: u64,
    terms: u64,
    tally: Tally,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let count = match seed {
            _ if seed.is_multiple_of(250) => 1_000,
            _ if seed.is_multiple_of(25) => random.random_range(100..300),
            _ => random.random_range(1..24),
        };
        let workers = (0..count).map(|number| SimulatedWorker::new(number, &mut random));
        let workers = workers.collect();
        let mut world = Self {
            seed,
            random,
            now: 1_000,
            order: 0,
            events: BinaryHeap::new(),
            coordinators: Vec::new(),
            key: Key::default(),
            workers,
            assignments: HashMap::new(),
            searched: Searched::default(),
            fates: HashMap::new(),
            sessions: 0,
            terms: 0,
            tally: Tally::default(),
        };
        world.start_coordinators(if seed.is_multiple_of(3) { 1 } else { 2 });
        for number in 0..world.workers.len() {
            world.call(number, 10_000);
            world.after(4_000, Event::Hash(number));
            world.after(20_000, Event::Heartbeat(number));
        }
        world
    }

    /// Something happens within this time.
    fn after(&mut self, within_ms: u64, event: Event) {
        let at = self.now + self.random.random_range(0..=within_ms);
        self.at(at, event);
    }

    fn at(&mut self, at: u64, event: Event) {
        self.order += 1;
        self.events.push(Reverse((at, self.order, event)));
    }

    fn chance(&mut self, one_in: u32) -> bool {
        self.now < RUN_MS && self.random.random_ratio(1, one_in)
    }

    fn run(mut self) -> Tally {
        while let Some(Reverse((at, _, event))) = self.events.pop() {
            self.now = self.now.max(at);
            if self.now > RUN_MS + AFTER_MS {
                break;
            }
            let is_for = event.coordinator();
            match is_for.map(|number| self.coordinators[number].stopped_ms) {
                // What reaches a stopped process is there when it goes on.
                Some(until) if self.now < until => self.at(until, event),
                Some(_) | None => self.happen(event),
            }
        }
        let live: Vec<u64> = self
            .coordinators
            .iter()
            .filter_map(Coordinator::term_number)
            .collect();
        for (share, fate) in &self.fates {
            let is_open = matches!(fate, Fate::Held(term) if live.contains(term));
            assert!(!is_open, "a share without an end: {share:?}");
        }
        self.check_leases();
        self.tally
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Hash(number) => self.hash(number),
            Event::Heartbeat(number) => self.heartbeat(number),
            Event::Register(number) => self.register(number),
            Event::Crash(number) => self.crash(number),
            Event::Assigned(number, session, id) => {
                let assigned = self.assignments.remove(&id);
                let worker = &mut self.workers[number];
                if worker.running && worker.session == session {
                    worker.take(assigned.flatten());
                }
            }
            Event::Arrives(number, term, message) => {
                if self.coordinators[number].term_number() == Some(term) {
                    self.hear(number, message);
                }
            }
            Event::AtPool(number, term, ticket, session) => {
                // Its connection ended with the term.
                if self.coordinators[number].term_number() == Some(term) {
                    self.at_pool(number, ticket, session);
                }
            }
            Event::Look(number) => self.poll_election(number),
            Event::KeyWrite(number, life, seen) => self.key_write(number, life, seen),
            Event::KeyAnswer(number, life, end) => self.key_answer(number, life, end),
            Event::KeyNews(number, revision, is_held) => self.key_news(number, revision, is_held),
        }
    }

    fn hear(&mut self, number: usize, message: Message) {
        match message {
            Message::Tick => self.tick(number),
            Message::Heartbeat(worker, session) => self.hear_heartbeat(number, worker, session),
            Message::Share(share) => self.hear_share(number, share),
            Message::Checked(ticket, fails) => self.checked(number, ticket, fails),
            Message::Answered(ticket, session, is_duplicate) => {
                self.answered(number, ticket, session, is_duplicate);
            }
            Message::Unsent(ticket) => self.unsent(number, ticket),
            Message::NewJob => self.new_job(number),
            Message::Leased(session, count) => self.leased(number, session, count),
            Message::UpstreamEnds => self.upstream_ends(number),
            Message::UpstreamLeft => self.leave_upstream(number),
            Message::Drained(session) => self.drained(number, session),
            Message::UpstreamBack => self.upstream_back(number),
            Message::Stopped => self.stopped(number),
        }
    }
}

impl Event {
    /// The process that it happens in, and that must run for it.
    fn coordinator(&self) -> Option<usize> {
        match self {
            Self::Arrives(number, ..)
            | Self::Look(number)
            | Self::KeyAnswer(number, ..)
            | Self::KeyNews(number, ..) => Some(*number),
            _ => None,
        }
    }
}

impl Tally {
    fn add(&mut self, more: Self) {
        self.paid += more.paid;
        self.lies += more.lies;
        self.leased_jobs += more.leased_jobs;
        self.takeovers += more.takeovers;
        self.fenced += more.fenced;
        self.lost += more.lost;
        self.too_late += more.too_late;
        self.drained += more.drained;
        self.unanswered += more.unanswered;
    }
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
    let count = seeds.end - seeds.start;
    let mut tally = Tally::default();
    for seed in seeds {
        let ran = std::panic::catch_unwind(|| World::new(seed).run());
        match ran {
            Ok(more) => tally.add(more),
            Err(_) => panic!("COOPMINE_SEED={seed} shows it"),
        }
    }
    println!("{count} seeds: {tally:?}");
    if count >= 100 {
        let Tally {
            paid,
            lies,
            leased_jobs,
            takeovers,
            fenced,
            lost,
            too_late,
            drained,
            unanswered,
        } = tally;
        let happened = [paid, lies, leased_jobs, takeovers, fenced, lost, too_late];
        assert!(!happened.contains(&0), "too little happened: {tally:?}");
        assert!(![drained, unanswered].contains(&0), "{tally:?}");
        assert!(lost < paid / 2, "too much is lost with terms: {tally:?}");
    }
}
