//! The simulation's coordinators: processes that are stopped, die or say goodbye, the key that
//! decides which of two is active, and their terms.

use std::collections::{HashMap, HashSet};

use headframe_coopmine::cluster::{Cluster, ClusterPolicy};
use headframe_coopmine::election::{Election, ElectionTiming, WriteEnd};
use headframe_coopmine::lease::LeaseTerms;
use headframe_stratum::miner::client::ShareToSend;
use rand::Rng;

use super::upstream::Upstream;
use super::workers::SentShare;
use super::{Event, Fate, Message, World};

const TIMING: ElectionTiming = ElectionTiming {
    renew_ms: 2_000,
    hold_ms: 6_000,
    takeover_ms: 10_000,
};
/// Between two looks at the election.
const LOOK_MS: u64 = 500;
/// How long a write, an answer or news of the key are on their way.
const WAY_MS: u64 = 400;
/// How long a coordinator is stopped at most.
const STOP_MS: u64 = 40_000;
/// How long one that says goodbye waits for answers.
const STOP_DRAIN_MS: u64 = 2_000;

/// The key as JetStream has it.
#[derive(Default)]
pub struct Key {
    revision: u64,
    is_held: bool,
    /// The newest token under which somebody acted.
    newest_token: u64,
}

/// A process.
pub struct Coordinator {
    /// None where it is the only one.
    election: Option<Election>,
    /// Counts its starts.
    life: u64,
    /// How fast its clock runs, thousandths.
    rate: u64,
    /// Until when it is stopped.
    pub stopped_ms: u64,
    pub term: Option<Term>,
}

/// From when it coordinates until it does not any more: what it forgets at the end.
pub struct Term {
    pub number: u64,
    /// What it acts under; none where there is no other coordinator.
    token: Option<u64>,
    pub cluster: Cluster,
    pub upstream: Upstream,
    pub checks: HashMap<u64, Vec<u8>>,
    pub submissions: HashMap<u64, ShareToSend>,
    /// Shares that the pool answered, as far as it was heard.
    pub answered: HashSet<u64>,
    /// Whether it hears answers, and does nothing more.
    pub is_stopping: bool,
    /// Whose share a ticket is.
    pub tickets: HashMap<u64, SentShare>,
}

impl Coordinator {
    /// Its clock.
    pub fn clock(&self, now: u64) -> u64 {
        now * self.rate / 1_000
    }

    pub fn term_number(&self) -> Option<u64> {
        self.term.as_ref().map(|term| term.number)
    }
}

impl Term {
    /// Takes what was sent over a connection and not answered.
    pub fn take_submissions(&mut self, session: u64) -> Vec<u64> {
        let of_session = |(_, share): &(&u64, &ShareToSend)| share.session == session;
        let sent = self.submissions.iter().filter(of_session);
        let mut tickets: Vec<u64> = sent.map(|(ticket, _)| *ticket).collect();
        tickets.sort_unstable();
        for ticket in &tickets {
            self.submissions.remove(ticket);
        }
        tickets
    }
}

impl World {
    /// One that is active as long as it lives, or several of which one is.
    pub fn start_coordinators(&mut self, count: usize) {
        for number in 0..count {
            self.coordinators.push(Coordinator {
                election: (count > 1).then(|| Election::new(TIMING)),
                life: 0,
                // Clocks of cheap machines differ by far less.
                rate: self.random.random_range(950..1_050),
                stopped_ms: 0,
                term: None,
            });
            if count == 1 {
                self.begin_term(number, None);
            } else {
                self.after(WAY_MS, Event::KeyNews(number, 0, false));
                self.after(LOOK_MS, Event::Look(number));
            }
        }
    }

    /// A coordinator begins to coordinate: it knows nothing, and logs in for itself.
    fn begin_term(&mut self, number: usize, token: Option<u64>) {
        self.terms += 1;
        let term = self.terms;
        self.coordinators[number].term = Some(Term {
            number: term,
            token,
            cluster: cluster(self.random.random_range(0..1 << 40)),
            upstream: Upstream::new(self.seed, term),
            checks: HashMap::new(),
            submissions: HashMap::new(),
            answered: HashSet::new(),
            is_stopping: false,
            tickets: HashMap::new(),
        });
        self.after(5_000, Event::Arrives(number, term, Message::UpstreamBack));
        self.after(1, Event::Arrives(number, term, Message::Tick));
    }

    /// It forgets everything, and connections to it end.
    fn end_term(&mut self, number: usize) {
        let Some(term) = self.coordinators[number].term.take() else {
            return;
        };
        for share in term.tickets.values() {
            if let Some(fate) = self.fates.get_mut(&(share.space, share.nonce))
                && *fate == Fate::Held(term.number)
            {
                *fate = Fate::LostWithTerm;
                self.tally.lost += 1;
            }
        }
        for worker in 0..self.workers.len() {
            if self.workers[worker].running && self.workers[worker].at.1 == term.number {
                self.call(worker, 5_000);
            }
        }
    }

    pub fn tick(&mut self, number: usize) {
        let coordinator = &mut self.coordinators[number];
        let clock = coordinator.clock(self.now);
        let Some(term) = &mut coordinator.term else {
            return;
        };
        let next = Event::Arrives(number, term.number, Message::Tick);
        let actions = term.cluster.tick(clock);
        self.act(number, actions);
        self.after(1_000, next);
        if self.chance(400) {
            // The clock jumps.
            self.now += self.random.random_range(0..30_000);
        }
        let is_alone = self.coordinators.len() == 1;
        if self.chance(300) {
            self.ends(number);
        } else if !is_alone && self.chance(60) {
            let stopped = self.random.random_range(1_000..STOP_MS);
            self.coordinators[number].stopped_ms = self.now + stopped;
        } else if self.chance(300) {
            self.says_goodbye(number);
        }
    }

    /// A coordinator dies, and is started again.
    pub fn ends(&mut self, number: usize) {
        self.end_term(number);
        if self.coordinators.len() == 1 {
            return self.begin_term(number, None);
        }
        self.coordinators[number].election = Some(Election::new(TIMING));
        self.coordinators[number].life += 1;
        let (revision, is_held) = (self.key.revision, self.key.is_held);
        self.after(WAY_MS, Event::KeyNews(number, revision, is_held));
    }

    /// A coordinator is stopped in order: it lets the key go, hears answers for a while, and is
    /// started again.
    fn says_goodbye(&mut self, number: usize) {
        self.leave_upstream(number);
        let coordinator = &mut self.coordinators[number];
        let clock = coordinator.clock(self.now);
        let term = coordinator.term.as_mut();
        let Some(term) = term.filter(|term| !term.is_stopping) else {
            return;
        };
        term.is_stopping = true;
        let stopped = Event::Arrives(number, term.number, Message::Stopped);
        let election = coordinator.election.as_mut();
        let let_go = election.and_then(|election| election.resign(clock));
        if let_go == Some(self.key.revision) {
            self.key.revision += 1;
            self.key.is_held = false;
            self.tell_of_key();
        }
        self.at(self.now + STOP_DRAIN_MS, stopped);
    }

    /// Whether a coordinator is the active one by its own clock, under the token of its term. What
    /// it does then it does after everything that was done under older tokens.
    pub fn may_act(&mut self, number: usize) -> bool {
        let coordinator = &self.coordinators[number];
        let Some(election) = &coordinator.election else {
            return true;
        };
        let token = election.holds(coordinator.clock(self.now));
        let of_term = coordinator.term.as_ref().and_then(|term| term.token);
        let Some(token) = token.filter(|token| Some(*token) == of_term) else {
            return false;
        };
        let newest = self.key.newest_token;
        assert!(
            token >= newest,
            "{number} acts under {token} after {newest}"
        );
        self.key.newest_token = token;
        true
    }

    pub fn poll_election(&mut self, number: usize) {
        let now = self.now;
        let coordinator = &mut self.coordinators[number];
        let clock = coordinator.clock(now);
        let Some(election) = &mut coordinator.election else {
            return;
        };
        if coordinator
            .term
            .as_ref()
            .is_some_and(|term| term.is_stopping)
        {
            // It stands for no election any more.
            return self.at(now + LOOK_MS, Event::Look(number));
        }
        let write = election.step(clock);
        let token = election.holds(clock);
        let of_term = coordinator.term.as_ref().map(|term| term.token);
        let life = coordinator.life;
        if let Some(write) = write {
            self.after(WAY_MS, Event::KeyWrite(number, life, write.seen));
        }
        match of_term {
            None if token.is_some() => {
                self.tally.takeovers += u64::from(self.terms > 0);
                self.begin_term(number, token);
            }
            Some(began) if began != token => self.end_term(number),
            None | Some(_) => {}
        }
        self.at(now + LOOK_MS, Event::Look(number));
    }

    pub fn key_write(&mut self, number: usize, life: u64, seen: u64) {
        let is_lost = self.chance(20);
        let is_newest = seen == self.key.revision;
        if is_newest && (!is_lost || self.random.random_ratio(1, 2)) {
            self.key.revision += 1;
            self.key.is_held = true;
            self.tell_of_key();
        }
        let end = match (is_lost, is_newest) {
            (true, _) => None,
            (false, true) => Some(self.key.revision),
            (false, false) => Some(0),
        };
        self.after(WAY_MS, Event::KeyAnswer(number, life, end));
    }

    fn tell_of_key(&mut self) {
        let (revision, is_held) = (self.key.revision, self.key.is_held);
        for number in 0..self.coordinators.len() {
            self.after(WAY_MS, Event::KeyNews(number, revision, is_held));
        }
    }

    pub fn key_answer(&mut self, number: usize, life: u64, end: Option<u64>) {
        let coordinator = &mut self.coordinators[number];
        let clock = coordinator.clock(self.now);
        let end = match end {
            Some(0) => WriteEnd::Lost,
            Some(revision) => WriteEnd::Written(revision),
            None => WriteEnd::Unknown,
        };
        if let Some(election) = &mut coordinator.election
            && coordinator.life == life
        {
            election.wrote(end, clock);
        }
    }

    pub fn key_news(&mut self, number: usize, revision: u64, is_held: bool) {
        let coordinator = &mut self.coordinators[number];
        let clock = coordinator.clock(self.now);
        if let Some(election) = &mut coordinator.election {
            election.saw(revision, is_held, clock);
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
