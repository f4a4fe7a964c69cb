//! What a coordinator's upstream tells it, and what its cluster wants done.

use std::collections::HashSet;

use headframe_coopmine::cluster::fact::ClusterFact;
use headframe_coopmine::cluster::{Action, Verdict};
use headframe_stratum::miner::pool_message::PoolJob;
use rand::Rng;

use super::coordinators::Term;
use super::{Event, Fate, Message, World, model_hash, space_of};

/// How long a pool that was left may still answer.
const DRAIN_MS: u64 = 5_000;

impl World {
    /// A coordinator's term, and the time on its clock.
    fn term(&mut self, number: usize) -> (&mut Term, u64) {
        let coordinator = &mut self.coordinators[number];
        let clock = coordinator.clock(self.now);
        (coordinator.term.as_mut().unwrap(), clock)
    }

    /// Something reaches a coordinator's present term within this time.
    fn tell(&mut self, number: usize, within_ms: u64, message: Message) {
        let term = self.coordinators[number].term_number().unwrap();
        self.after(within_ms, Event::Arrives(number, term, message));
    }

    pub fn new_job(&mut self, number: usize) {
        let coordinator = &mut self.coordinators[number];
        let Some(term) = &mut coordinator.term else {
            return;
        };
        if !term.upstream.is_up {
            return;
        }
        let job = term.upstream.next_job(&mut self.random);
        self.give(number, job);
        self.tell(number, 40_000, Message::NewJob);
        if self.chance(6) {
            self.tell(number, 30_000, Message::UpstreamEnds);
        }
        if self.chance(6) {
            self.tell(number, 30_000, Message::UpstreamLeft);
        }
    }

    fn give(&mut self, number: usize, job: PoolJob) {
        let (term, clock) = self.term(number);
        let actions = term.cluster.job(term.upstream.session, job, clock);
        self.act(number, actions);
    }

    pub fn upstream_ends(&mut self, number: usize) {
        let (term, clock) = self.term(number);
        if !term.upstream.is_up {
            return;
        }
        term.upstream.is_up = false;
        let unanswered = term.take_submissions(term.upstream.session);
        // Some had arrived, and only their answers are lost.
        term.cluster.upstream_lost(&unanswered, clock);
        self.tell(number, 25_000, Message::UpstreamBack);
    }

    /// The coordinator leaves its pool, which may answer what it was sent.
    pub fn leave_upstream(&mut self, number: usize) {
        let (term, clock) = self.term(number);
        if !term.upstream.is_up {
            return;
        }
        let session = term.upstream.leave();
        term.cluster.upstream_lost(&[], clock);
        let drained = Event::Arrives(number, term.number, Message::Drained(session));
        self.at(self.now + DRAIN_MS, drained);
        self.tell(number, 25_000, Message::UpstreamBack);
    }

    /// A connection that was left is closed.
    pub fn drained(&mut self, number: usize, session: u64) {
        let (term, clock) = self.term(number);
        if !term.upstream.close(session) {
            return;
        }
        let tickets = term.take_submissions(session);
        let actions = term.cluster.unanswered(&tickets, clock);
        self.act(number, actions);
    }

    pub fn upstream_back(&mut self, number: usize) {
        let keeps_blob = self.random.random_ratio(1, 2);
        let coordinator = &mut self.coordinators[number];
        let Some(term) = coordinator.term.as_mut() else {
            return;
        };
        if term.upstream.is_up || term.is_stopping {
            return;
        }
        let job = term.upstream.log_in(keeps_blob, &mut self.random);
        if term.upstream.leases {
            term.cluster.upstream_leases(term.upstream.session);
        }
        self.give(number, job);
        self.tell(number, 20_000, Message::NewJob);
    }

    /// The pool judges a share whether its sender runs or not.
    pub fn at_pool(&mut self, number: usize, ticket: u64, session: u64) {
        // Some of what was to be sent was not when the miner went.
        let is_too_late = self.chance(4);
        let (term, _) = self.term(number);
        let sent = term.submissions.get(&ticket).cloned();
        let Some(share) = sent.filter(|share| share.session == session) else {
            return;
        };
        let is_open = term.upstream.is_up && session == term.upstream.session;
        let is_left = term.upstream.is_left(session);
        if !is_open && (is_too_late || !is_left) {
            term.submissions.remove(&ticket);
            return self.tell(number, 0, Message::Unsent(ticket));
        }
        let is_duplicate = term.upstream.judge(&share).is_some();
        let taken = term.tickets[&ticket];
        let fate = self.fates.get_mut(&(taken.space, taken.nonce)).unwrap();
        assert_eq!(is_duplicate, *fate == Fate::Paid, "it is paid once");
        if !is_duplicate {
            *fate = Fate::Paid;
            self.tally.paid += 1;
        }
        if self.chance(15) {
            // It arrived, and its answer is lost with the connection.
            let ended = match is_left {
                true => Message::Drained(session),
                false => Message::UpstreamEnds,
            };
            return self.tell(number, 0, ended);
        }
        let answer = Message::Answered(ticket, session, is_duplicate);
        self.tell(number, 500, answer);
    }

    pub fn answered(&mut self, number: usize, ticket: u64, session: u64, is_duplicate: bool) {
        let (term, clock) = self.term(number);
        let sent = term.submissions.get(&ticket);
        if sent.is_none_or(|share| share.session != session) {
            // The connection that it came over is gone.
            return;
        }
        term.submissions.remove(&ticket);
        term.answered.insert(ticket);
        let is_left = term.upstream.is_left(session);
        let refusal = is_duplicate.then(|| "Duplicate share".to_owned());
        let actions = term.cluster.answered(ticket, refusal, clock);
        self.tally.drained += u64::from(is_left);
        self.act(number, actions);
    }

    pub fn unsent(&mut self, number: usize, ticket: u64) {
        let (term, clock) = self.term(number);
        let actions = term.cluster.unsent(ticket, clock);
        self.act(number, actions);
    }

    /// A hash was recomputed, or could not be.
    pub fn checked(&mut self, number: usize, ticket: u64, fails: bool) {
        let (term, clock) = self.term(number);
        let Some(blob) = term.checks.remove(&ticket) else {
            return;
        };
        let nonce = u32::from_le_bytes(blob[39..43].try_into().unwrap());
        let space = space_of(&blob);
        let result = if fails {
            Err("no memory".to_owned())
        } else {
            Ok(model_hash(space, nonce))
        };
        let actions = term.cluster.checked(ticket, result, clock);
        if fails {
            // Nobody knows whether it is right, so it must not go upstream.
            let is_sent = |one: &Action| matches!(one, Action::Submit(_));
            assert!(!actions.iter().any(is_sent), "an unchecked share was sent");
            if let Some(fate) = self.fates.get_mut(&(space, nonce)) {
                *fate = Fate::Dead;
            }
        }
        self.act(number, actions);
    }

    pub fn act(&mut self, number: usize, actions: Vec<Action>) {
        let is_end = |one: &&Action| matches!(one, Action::Answer { .. });
        let ended = actions.iter().filter(is_end).count();
        let (term, _) = self.term(number);
        let facts = term.cluster.take_facts();
        let is_share = |fact: &&ClusterFact| matches!(fact, ClusterFact::Share(_));
        let noted = facts.iter().filter(is_share).count();
        assert_eq!(noted, ended, "each share that ends is one fact");
        if actions.is_empty() {
            return;
        }
        if !self.may_act(number) {
            self.tally.fenced += 1;
            return;
        }
        for action in actions {
            match action {
                Action::Assign(name) => self.assign(number, &name),
                Action::Check { ticket, blob, .. } => {
                    let (term, _) = self.term(number);
                    term.checks.insert(ticket, blob);
                    let fails = self.chance(50);
                    self.tell(number, 900, Message::Checked(ticket, fails));
                }
                Action::Submit(share) => {
                    let (term, _) = self.term(number);
                    term.upstream.must_be_right(&share);
                    let sent = Event::AtPool(number, term.number, share.ticket, share.session);
                    term.submissions.insert(share.ticket, share);
                    self.after(2_000, sent);
                }
                Action::Answer { ticket, verdict } => self.end(number, ticket, &verdict),
                Action::Refresh => self.tell(number, 500, Message::NewJob),
                Action::Lease { session, count } => {
                    self.tell(number, 1_000, Message::Leased(session, count));
                }
            }
        }
    }

    /// The upstream's answer to a request for leases; now and then it refuses.
    pub fn leased(&mut self, number: usize, session: u64, count: usize) {
        let refuses = self.chance(6);
        let coordinator = &mut self.coordinators[number];
        let clock = coordinator.clock(self.now);
        let Some(term) = coordinator.term.as_mut() else {
            return;
        };
        assert!(term.upstream.leases, "this pool leases nothing");
        if !term.upstream.is_up || session != term.upstream.session {
            return;
        }
        let jobs = if refuses {
            Err("Leases are for miners that have sent a good share".to_owned())
        } else {
            self.tally.leased_jobs += count as u64;
            Ok(term.upstream.lease(count, &mut self.random))
        };
        let actions = term.cluster.leased(session, jobs, clock);
        self.act(number, actions);
    }

    /// A share's end is told to its worker.
    fn end(&mut self, number: usize, ticket: u64, verdict: &Verdict) {
        let (term, _) = self.term(number);
        let share = term.tickets.remove(&ticket).unwrap();
        let is_its = |job: &PoolJob| space_of(&job.blob) == share.space;
        let lives = term.upstream.is_up
            && term.cluster.is_connected()
            && term.upstream.jobs_of_session().any(is_its);
        let of_term = term.number;
        let worker = &mut self.workers[share.worker];
        if worker.at.1 == of_term {
            worker.close(share.space, share.nonce);
        }
        if !share.is_owed() {
            return;
        }
        let fate = self.fates.get_mut(&(share.space, share.nonce)).unwrap();
        match (verdict, *fate) {
            (Verdict::Accepted, Fate::Paid) | (Verdict::Unchecked(_), Fate::Dead) => {}
            (Verdict::Dead | Verdict::Unanswered, Fate::Held(_)) => {
                assert!(!lives, "a share was thrown away while its job lived");
                *fate = Fate::Dead;
            }
            // The pool paid, and its answer was lost.
            (Verdict::Unanswered, Fate::Paid) => self.tally.unanswered += 1,
            other => panic!("a right share ended as {other:?}"),
        }
    }

    /// What a coordinator that ends says of the shares that are open.
    pub fn stopped(&mut self, number: usize) {
        let (term, clock) = self.term(number);
        let mut ended = Vec::new();
        for action in term.cluster.stop(clock) {
            let Action::Answer { ticket, verdict } = &action else {
                panic!("{action:?}: it does nothing more");
            };
            let is_answered = term.answered.contains(ticket);
            ended.push((term.tickets[ticket], verdict.clone(), is_answered));
        }
        let facts = term.cluster.take_facts();
        let is_share = |fact: &&ClusterFact| matches!(fact, ClusterFact::Share(_));
        let noted = facts.iter().filter(is_share).count();
        assert_eq!(noted, ended.len(), "each share that ends is one fact");
        assert!(term.cluster.stop(clock).is_empty(), "all have ended");
        for (share, verdict, is_answered) in ended {
            let fate = self.fates.get(&(share.space, share.nonce));
            if let Some(Fate::Paid) = fate.filter(|_| share.is_owed()) {
                let is_lost = verdict == Verdict::Unanswered && !is_answered;
                assert!(is_lost, "a share that was paid ended as {verdict:?}");
                self.tally.unanswered += 1;
            }
        }
        self.ends(number);
    }

    fn assign(&mut self, number: usize, name: &str) {
        let worker: usize = name.trim_start_matches("worker-").parse().unwrap();
        let (term, clock) = self.term(number);
        let (of_term, assignment) = (term.number, term.cluster.assignment(name, clock));
        if self.workers[worker].at.1 != of_term {
            // It listens to another coordinator by now.
            return;
        }
        self.order += 1;
        let id = self.order;
        self.assignments.insert(id, assignment.job);
        let session = self.workers[worker].session;
        // A stream keeps its order: what is newer does not arrive earlier.
        self.at(self.now + 100, Event::Assigned(worker, session, id));
    }

    pub fn check_leases(&self) {
        for coordinator in &self.coordinators {
            let Some(term) = &coordinator.term else {
                continue;
            };
            let mut spaces = HashSet::new();
            for job in term.cluster.jobs(coordinator.clock(self.now)) {
                if !spaces.insert(job.space) {
                    continue;
                }
                let mut end = 0;
                for lease in &job.leases {
                    assert!(lease.start >= end, "leases overlap: {:?}", job.leases);
                    end = lease.start + lease.len;
                }
            }
        }
    }
}
