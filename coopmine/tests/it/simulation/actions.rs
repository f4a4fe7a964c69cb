//! The simulation's other side: the upstream's events, and what the cluster wants done.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::collections::hash_map::Entry;

use headframe_coopmine::cluster::fact::ClusterFact;
use headframe_coopmine::cluster::{Action, Verdict};
use headframe_stratum::miner::pool_message::PoolJob;
use rand::Rng;

use super::{Event, World, cluster};

impl World {
    pub(super) fn new_job(&mut self) {
        if !self.upstream.is_up {
            return;
        }
        let job = self.upstream.next_job(&mut self.random);
        self.give(job);
        self.after(40_000, Event::NewJob);
        if self.chance(6) {
            self.after(30_000, Event::UpstreamEnds);
        }
    }

    pub(super) fn give(&mut self, job: PoolJob) {
        let actions = self
            .cluster
            .job(self.upstream.session, job.clone(), self.now);
        let number = self.cluster.current().unwrap().number;
        self.upstream.jobs_by_number.insert(number, job);
        self.act(actions);
    }

    pub(super) fn upstream_ends(&mut self) {
        if !self.upstream.is_up {
            return;
        }
        self.upstream.is_up = false;
        let unanswered: Vec<u64> = self.submissions.drain().map(|(ticket, _)| ticket).collect();
        // Some had arrived, and only their answers are lost.
        self.cluster.upstream_lost(&unanswered, self.now);
        self.after(25_000, Event::UpstreamBack);
    }

    pub(super) fn upstream_back(&mut self) {
        if self.upstream.is_up {
            return;
        }
        let keeps_blob = self.random.random_ratio(1, 2);
        let job = self.upstream.log_in(keeps_blob, &mut self.random);
        if self.upstream.leases {
            self.cluster.upstream_leases(self.upstream.session);
        }
        self.give(job);
        self.after(20_000, Event::NewJob);
    }

    /// Another coordinator starts, knows nothing, and logs in for itself.
    pub(super) fn coordinator_ends(&mut self) {
        self.cluster = cluster(self.random.random_range(0..1 << 40));
        self.upstream.is_up = false;
        self.upstream.jobs_by_number.clear();
        self.upstream.forget_blobs();
        self.owed.clear();
        self.checks.clear();
        self.submissions.clear();
        for worker in &mut self.workers {
            // Its session is known to nobody, which its next heartbeat tells it.
            worker.job = None;
        }
        self.after(5_000, Event::UpstreamBack);
    }

    pub(super) fn submitted(&mut self, ticket: u64) {
        let Some(share) = self.submissions.remove(&ticket) else {
            return;
        };
        if !self.upstream.is_up || share.session != self.upstream.session {
            let actions = self.cluster.unsent(ticket, self.now);
            return self.act(actions);
        }
        let refusal = self.upstream.judge(&share);
        if self.chance(15) {
            // It arrived, and its answer is lost with the connection.
            self.submissions.insert(ticket, share);
            return self.upstream_ends();
        }
        let actions = self.cluster.answered(ticket, refusal, self.now);
        self.act(actions);
    }

    pub(super) fn act(&mut self, actions: Vec<Action>) {
        let is_end = |one: &&Action| matches!(one, Action::Answer { .. });
        let ended = actions.iter().filter(is_end).count();
        let facts = self.cluster.take_facts();
        let is_share = |fact: &&ClusterFact| matches!(fact, ClusterFact::Share(_));
        let noted = facts.iter().filter(is_share).count();
        assert_eq!(noted, ended, "each share that ends is one fact");
        for action in actions {
            match action {
                Action::Assign(name) => self.assign(&name),
                Action::Check { ticket, blob, .. } => {
                    self.checks.insert(ticket, blob);
                    let fails = self.chance(50);
                    self.after(900, Event::Checked(ticket, fails));
                }
                Action::Submit(share) => {
                    self.upstream.must_be_right(&share);
                    let ticket = share.ticket;
                    self.submissions.insert(ticket, share);
                    self.after(2_000, Event::Submitted(ticket));
                }
                Action::Answer { ticket, verdict } => self.end(ticket, &verdict),
                Action::Refresh => self.after(500, Event::NewJob),
                Action::Lease { session, count } => {
                    self.after(1_000, Event::Leased(session, count));
                }
            }
        }
    }

    /// The upstream's answer to a request for leases; now and then it refuses.
    pub(super) fn leased(&mut self, session: u64, count: usize) {
        assert!(self.upstream.leases, "this pool leases nothing");
        if !self.upstream.is_up || session != self.upstream.session {
            return;
        }
        let jobs = if self.chance(6) {
            Err("Leases are for miners that have sent a good share".to_owned())
        } else {
            Ok(self.upstream.lease(count, &mut self.random))
        };
        let actions = self.cluster.leased(session, jobs, self.now);
        self.act(actions);
    }

    pub(super) fn end(&mut self, ticket: u64, verdict: &Verdict) {
        let Some(blob) = self.owed.remove(&ticket) else {
            return;
        };
        match verdict {
            Verdict::Accepted => self.paid += 1,
            Verdict::Dead => {
                let lives = self.upstream.is_up
                    && self.cluster.is_connected()
                    && self.upstream.jobs_of_session().any(|job| job.blob == blob);
                assert!(!lives, "a share was thrown away while its job lived");
            }
            other => panic!("a right share ended as {other:?}"),
        }
    }

    pub(super) fn assign(&mut self, name: &str) {
        let number: usize = name.trim_start_matches("worker-").parse().unwrap();
        let assignment = self.cluster.assignment(name, self.now);
        if let Some(job) = &assignment.job {
            let known = &mut self.upstream.jobs_by_number;
            if let Entry::Vacant(place) = known.entry(job.number) {
                place.insert(job.job.clone());
                self.leased_jobs += 1;
            }
        }
        self.order += 1;
        let id = self.order;
        self.assignments.insert(id, assignment.job);
        let session = self.workers[number].session;
        // A stream keeps its order: what is newer does not arrive earlier.
        self.events.push(Reverse((
            self.now + 100,
            id,
            Event::Assigned(number, session, id),
        )));
    }

    pub(super) fn check_leases(&self) {
        let mut spaces = HashSet::new();
        for job in self.cluster.jobs(self.now) {
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
