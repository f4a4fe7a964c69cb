//! Attackers and honest miners before one queue, in simulated time.

use super::*;

/// Milliseconds of virtual time a hash takes.
const HASH_MS: u64 = 15;
const HONEST: u64 = 50;
pub const ATTACKERS: u64 = 1_000;
const LASTS_MS: u64 = 60_000;
/// After a refusal an attacker comes again this soon; what is answered with a verdict is followed
/// at once.
const RETRY_MS: u64 = 1_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Honest(u64),
    Attacker(u64),
    Newcomer(u64),
    Hashed(usize),
}

/// What the attackers are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Siege {
    None,
    /// Each with an address and its budget.
    Addresses,
    /// From addresses without a budget, so nothing but the order of the queue holds them.
    Spared,
    /// Each bought trust with a good share.
    Traitors,
}

pub struct World {
    siege: Siege,
    queue: FairQueue<u64>,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    numbers: u64,
    running: Vec<Option<(Ticket, u64)>>,
    random: StdRng,
    interval_ms: f64,
    waits_ms: Vec<u64>,
    pub first_shares: Vec<u64>,
    pub wrong: u64,
    pub wrong_as_proven: u64,
    caught: std::collections::HashSet<u64>,
}

impl World {
    /// Fifty honest miners that use half of the threads, and twenty that come anew in the middle.
    pub fn new(siege: Siege, threads: usize, seed: u64) -> Self {
        let mut world = Self {
            siege,
            queue: FairQueue::new(FairnessSettings::default(), threads),
            events: BinaryHeap::new(),
            numbers: 0,
            running: (0..threads).map(|_| None).collect(),
            random: StdRng::seed_from_u64(seed),
            interval_ms: HONEST as f64 * HASH_MS as f64 / threads as f64 / 0.5,
            waits_ms: Vec::new(),
            first_shares: Vec::new(),
            wrong: 0,
            wrong_as_proven: 0,
            caught: std::collections::HashSet::new(),
        };
        for miner in 0..HONEST {
            let first = world.pause();
            world.at(first, Event::Honest(miner));
        }
        let attackers = if siege == Siege::None { 0 } else { ATTACKERS };
        let window = if siege == Siege::Traitors { 8 } else { 2 };
        for attacker in 0..attackers * window {
            let first = world.random.random_range(0..1_000);
            world.at(first, Event::Attacker(1_000 + attacker % ATTACKERS));
        }
        for newcomer in 0..20 {
            world.at(LASTS_MS / 2, Event::Newcomer(10_000 + newcomer));
        }
        world
    }

    fn at(&mut self, when_ms: u64, event: Event) {
        self.numbers += 1;
        self.events.push(Reverse((when_ms, self.numbers, event)));
    }

    /// Until a miner's next share: exponential, so that shares come as they do in truth.
    fn pause(&mut self) -> u64 {
        (-self.random.random::<f64>().max(1e-12).ln() * self.interval_ms) as u64
    }

    pub fn run(mut self) -> Self {
        while let Some(Reverse((now_ms, _, event))) = self.events.pop() {
            if now_ms > LASTS_MS {
                break;
            }
            match event {
                Event::Honest(miner) => {
                    self.push(miner, proven(miner), now_ms);
                    let next = now_ms + self.pause();
                    self.at(next, event);
                }
                Event::Attacker(number) => {
                    let payer = (self.siege != Siege::Spared).then(|| host(number));
                    let trusted = self.siege == Siege::Traitors && !self.caught.contains(&number);
                    self.push(
                        number,
                        Caller {
                            session: number,
                            payer,
                            proven: trusted,
                        },
                        now_ms,
                    );
                }
                Event::Newcomer(number) => self.push(number, stranger(number), now_ms),
                Event::Hashed(thread) => self.hashed(thread, now_ms),
            }
            self.start(now_ms);
        }
        self
    }

    fn push(&mut self, who: u64, caller: Caller, now_ms: u64) {
        let refused = match self.queue.push(caller, who, now_ms) {
            Ok(gone) => gone,
            Err((_, who)) => vec![who],
        };
        self.turned_away(refused, now_ms);
    }

    fn turned_away(&mut self, refused: Vec<u64>, now_ms: u64) {
        for who in refused {
            assert!(who >= 1_000, "an honest, proven miner was turned away");
            // A newcomer that was turned away comes back as XMRig does, after five seconds.
            let (pause, event) = if who >= 10_000 {
                (5_000, Event::Newcomer(who))
            } else {
                (RETRY_MS, Event::Attacker(who))
            };
            self.at(now_ms + pause, event);
        }
    }

    fn start(&mut self, now_ms: u64) {
        for thread in 0..self.running.len() {
            if self.running[thread].is_some() {
                continue;
            }
            let Some((ticket, who)) = self.queue.pop(now_ms) else {
                return;
            };
            if who < HONEST {
                self.waits_ms.push(ticket.waited_ms);
            }
            self.wrong_as_proven +=
                u64::from((1_000..10_000).contains(&who) && !ticket.is_unproven());
            self.running[thread] = Some((ticket, who));
            self.at(now_ms + HASH_MS, Event::Hashed(thread));
        }
    }

    fn hashed(&mut self, thread: usize, now_ms: u64) {
        let (ticket, who) = self.running[thread].take().unwrap();
        let cost_ms = HASH_MS as f64;
        if (1_000..10_000).contains(&who) {
            self.wrong += 1;
            self.caught.insert(who);
            let gone = self
                .queue
                .done(ticket, HashOutcome::Bad { cost_ms }, now_ms);
            self.turned_away(gone, now_ms);
            self.at(now_ms, Event::Attacker(who));
        } else {
            if who >= 10_000 {
                self.first_shares.push(now_ms - LASTS_MS / 2);
            }
            let gone = self
                .queue
                .done(ticket, HashOutcome::Good { cost_ms }, now_ms);
            assert!(gone.is_empty());
        }
    }

    pub fn p99_wait_ms(&self) -> u64 {
        let mut waits = self.waits_ms.clone();
        waits.sort_unstable();
        assert!(waits.len() > 1_000);
        waits[waits.len() * 99 / 100]
    }
}
