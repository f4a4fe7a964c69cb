//! Leases of the common job: how much of it a worker gets, and when the upstream is asked for
//! another.

use std::sync::Arc;

use super::pending_share::PendingShare;
use super::{Action, Cluster};
use crate::lease::{Demand, Lease};

/// Between two requests for another job at least: a worker that says it has searched everything
/// does not have the whole cluster log in again and again.
const REFRESH_EVERY_MS: u64 = 30_000;
/// Another job is asked for when what is left lasts no longer than this, s.
const REFRESH_AHEAD_S: f64 = 60.0;
/// How long it waits for the upstream's answers to shares.
const ANSWERS_MS: u64 = 5_000;
/// For how long the sum of the workers' hashrates is used.
const SUMMED_FOR_MS: u64 = 1_000;

impl Cluster {
    /// The leases of a worker in its present session that are not searched yet, the newest last.
    pub(super) fn leases_of(&self, space: u64, name: &str) -> Vec<Lease> {
        let epochs = self.workers.get(name).map(|worker| &worker.epochs);
        let (Some(epochs), Some(space)) = (epochs, self.space(space)) else {
            return Vec::new();
        };
        let find = |epoch: &u64| {
            let lease = space.nonces.lease(*epoch);
            lease.filter(|lease| lease.left() > 0).cloned()
        };
        epochs.iter().filter_map(find).collect()
    }

    /// Gives a worker another lease of the job in hand when it has less than half of what it
    /// should. True when it got one.
    pub(super) fn lease_if_short(
        &mut self,
        name: &Arc<str>,
        now_ms: u64,
        actions: &mut Vec<Action>,
    ) -> bool {
        if let Some(has_another) = self.go_on_with_own(name, now_ms, actions) {
            return has_another;
        }
        let demand = self.demand(now_ms);
        let Some(active) = self.jobs.back() else {
            return false;
        };
        let id = active.space;
        let have: u64 = self.leases_of(id, name).iter().map(Lease::left).sum();
        let Some(space) = self.spaces.iter_mut().find(|one| one.id == id) else {
            return false;
        };
        let Some(worker) = self.workers.get_mut(name) else {
            return false;
        };
        if !worker.online
            || worker.reputation.is_quarantined(now_ms)
            || !worker.can_hash(&active.job)
        {
            return false;
        }
        let (rate, left) = (worker.rate_hs(now_ms), space.nonces.left());
        let wanted = self.policy.lease.len(rate, demand, left, worker.wasted);
        let has_byte = worker.registration.leases_by_last_byte && have > 0;
        if have >= wanted / 2 && have > 0 || has_byte || worker.was_leased(id, now_ms) {
            return false;
        }
        self.numbers += 1;
        let granted = if worker.registration.leases_by_last_byte {
            space.nonces.grant_byte(self.numbers, name)
        } else {
            space.nonces.grant(self.numbers, name, wanted)
        };
        if let Some(lease) = &granted {
            worker.granted(lease.epoch, id, now_ms);
        }
        self.refresh_if_short(demand, now_ms, actions);
        granted.is_some()
    }

    /// Asks the upstream for another job when little is left of the one in hand.
    fn refresh_if_short(&mut self, demand: Demand, now_ms: u64, actions: &mut Vec<Action>) {
        let Some(active) = self.jobs.back() else {
            return;
        };
        let (number, space) = (active.number, self.space(active.space));
        let ahead = (demand.hashrate_hs * REFRESH_AHEAD_S) as u64;
        let is_short = space.is_some_and(|space| {
            let nonces = &space.nonces;
            nonces.left() <= ahead.min(nonces.size() / 8)
        });
        let is_recent = |at: u64| now_ms.saturating_sub(at) < REFRESH_EVERY_MS;
        if !is_short
            || self.refresh_wanted == Some(number)
            || self.refreshed_ms.is_some_and(is_recent)
        {
            return;
        }
        self.refresh_wanted = Some(number);
        self.refreshed_ms = Some(now_ms);
        self.refresh_due_ms = Some(now_ms);
        self.refresh_if_due(now_ms, actions);
    }

    /// Asks for the job that is due as soon as no share is on its way, whose answer would be lost
    /// with the connection.
    pub(super) fn refresh_if_due(&mut self, now_ms: u64, actions: &mut Vec<Action>) {
        let Some(due_ms) = self.refresh_due_ms else {
            return;
        };
        if self.upstream.is_none() {
            // The next login brings one.
            self.refresh_due_ms = None;
            return;
        }
        let is_over = now_ms.saturating_sub(due_ms) >= ANSWERS_MS;
        if is_over || !self.pending.values().any(PendingShare::is_sent) {
            self.refresh_due_ms = None;
            actions.push(Action::Refresh);
        }
    }

    /// Who lives on the ranges of the common job: not those who have a job or a last byte to
    /// themselves.
    fn demand(&mut self, now_ms: u64) -> Demand {
        let is_new = |at: u64| now_ms.saturating_sub(at) < SUMMED_FOR_MS;
        if let Some((_, demand)) = self.demand.filter(|(at, _)| is_new(*at)) {
            return demand;
        }
        let mut demand = Demand::default();
        let Some(newest) = self.jobs.back() else {
            return demand;
        };
        for worker in self.workers.values() {
            let job = self.job_of(worker);
            if worker.online
                && job.is_some_and(|job| job.number == newest.number)
                && worker.can_hash(&newest.job)
                && !worker.registration.leases_by_last_byte
                && !worker.reputation.is_quarantined(now_ms)
            {
                demand.workers += 1;
                demand.hashrate_hs += worker.rate_hs(now_ms);
            }
        }
        self.demand = Some((now_ms, demand));
        demand
    }
}
