//! A share's way: refused for nothing where it can be, recomputed where it must be, then upstream.
//!
//! What goes upstream was always recomputed here: a pool bans for wrong shares, and it would ban
//! all. Shares that are only good enough for a worker's own target are a measure of its hashrate;
//! the first of each worker and then some are recomputed.

use std::sync::Arc;
use thiserror::Error;

use headframe_stratum::miner::client::ShareToSend;
use headframe_stratum::work::difficulty::{meets, miner_submits};
use headframe_stratum::work::template::with_nonce;

use super::fact::{ClusterFact, WorkerEvent};
use super::pending_share::{PendingShare, ShareClaim, Stage};
use super::verdict::Verdict;
use super::worker::UnknownSession;
use super::{Action, ActiveJob, Cluster, Hash, MAX_PENDING};

/// Results of a worker that are recomputed before it is believed in part.
const FIRST_CHECKED: u64 = 8;
/// Results of one worker that are being recomputed.
const MAX_CHECKS: u32 = 8;
/// Shares that are shown.
const SHOWN: usize = 256;
/// Nonces of one blob that are remembered as submitted.
const MAX_SUBMITTED: usize = 1 << 20;

/// Why a share is refused before it is recomputed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ShareRefusal {
    /// The session.
    #[error(transparent)]
    Session(#[from] UnknownSession),
    /// The worker.
    #[error("this worker is in quarantine: its results were wrong")]
    Quarantined,
    /// The job.
    #[error("the job is over")]
    Stale,
    /// The nonce.
    #[error("the nonce is not in a lease of this worker")]
    OutsideLease,
    /// The nonce again.
    #[error("this nonce was submitted before")]
    Duplicate,
    /// The hash.
    #[error("the hash does not meet the worker's target")]
    LowDifficulty,
    /// Too many.
    #[error("too many shares wait for their check; send them slower")]
    Busy,
}

/// A share that was seen to its end.
#[derive(Debug, Clone)]
pub struct ShareRecord {
    /// When.
    pub at_ms: u64,
    /// Whose.
    pub worker: Arc<str>,
    /// Of which job.
    pub job: u64,
    /// The nonce.
    pub nonce: u32,
    /// Hashes it is worth.
    pub difficulty: u64,
    /// Whether its hash was recomputed here.
    pub is_checked: bool,
    /// Its end.
    pub verdict: Verdict,
}

impl Cluster {
    /// A worker has a result. The ticket under which its end is told, and what to do.
    pub fn share(
        &mut self,
        name: &str,
        session: u64,
        claim: ShareClaim,
        now_ms: u64,
    ) -> Result<(u64, Vec<Action>), ShareRefusal> {
        let judged = self.judge(name, session, claim, now_ms);
        if let Err(refusal) = judged
            && let Some(worker) = self.workers.get_mut(name)
        {
            worker.totals.refused_here += 1;
            // What is late or too much is no fault of the hashing.
            let is_a_lie = matches!(
                refusal,
                ShareRefusal::OutsideLease | ShareRefusal::LowDifficulty
            );
            let is_too_much = is_a_lie && worker.reputation.bad(now_ms);
            self.totals.invalid += u64::from(is_a_lie || refusal == ShareRefusal::Duplicate);
            if is_too_much {
                self.note_worker(name, WorkerEvent::Quarantined, now_ms);
            }
        }
        let mut share = judged?;
        let ticket = self.number();
        let active = self.job_numbered(claim.job);
        let (seed, blob) = active.map_or_else(Default::default, |active| {
            let job = &active.job;
            let nonce = claim.nonce.to_le_bytes();
            (
                job.seed,
                with_nonce(job.blob.clone(), job.nonce_offset, nonce),
            )
        });
        share.is_checked = share.is_for_upstream || self.is_checked(name, claim.nonce);
        let is_checked = share.is_checked;
        self.pending.insert(ticket, share);
        if !is_checked {
            return Ok((ticket, self.count_local(ticket, now_ms)));
        }
        if let Some(worker) = self.workers.get_mut(name) {
            worker.checks_open += 1;
        }
        Ok((ticket, vec![Action::Check { ticket, seed, blob }]))
    }

    /// Whether a share that is only a measure is recomputed. Which ones, the worker cannot choose.
    fn is_checked(&self, name: &str, nonce: u32) -> bool {
        let checked = self
            .workers
            .get(name)
            .map_or(0, |one| one.reputation.checked);
        let mixed = (u64::from(nonce) ^ self.numbers).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        checked < FIRST_CHECKED || mixed.is_multiple_of(self.policy.check_one_in.max(1))
    }

    fn judge(
        &mut self,
        name: &str,
        session: u64,
        claim: ShareClaim,
        now_ms: u64,
    ) -> Result<PendingShare, ShareRefusal> {
        let worker = self.worker_in(name, session)?;
        worker.heard_ms = now_ms;
        if worker.reputation.is_quarantined(now_ms) {
            return Err(ShareRefusal::Quarantined);
        }
        let is_busy = worker.checks_open >= MAX_CHECKS || self.pending.len() >= MAX_PENDING;
        let active = self.living(claim.job, now_ms).ok_or(ShareRefusal::Stale)?;
        if active.job.nicehash && claim.nonce.to_le_bytes()[3] != active.job.fixed_byte() {
            return Err(ShareRefusal::OutsideLease);
        }
        let (space_id, upstream_target) = (active.space, active.job.target);
        let (network_difficulty, height) = (active.job.network_difficulty, active.job.height);
        let Some((name, worker)) = self.workers.get_key_value(name) else {
            return Err(UnknownSession.into());
        };
        let (name, local_target) = (name.clone(), worker.local_target(active));
        let space = self.space_mut(space_id).ok_or(ShareRefusal::Stale)?;
        let mask = u32::try_from(space.nonces.size() - 1).unwrap_or(u32::MAX);
        let lease = space.nonces.lease_with(u64::from(claim.nonce & mask));
        if lease.is_none_or(|lease| lease.worker != name) {
            return Err(ShareRefusal::OutsideLease);
        }
        if !miner_submits(&claim.hash, local_target) {
            return Err(ShareRefusal::LowDifficulty);
        }
        if is_busy || space.submitted.len() >= MAX_SUBMITTED {
            return Err(ShareRefusal::Busy);
        }
        if !space.submitted.insert(claim.nonce) {
            return Err(ShareRefusal::Duplicate);
        }
        Ok(PendingShare {
            worker: name,
            claim,
            height,
            is_checked: false,
            space: space_id,
            local_difficulty: u64::MAX / local_target,
            upstream_difficulty: u64::MAX / upstream_target,
            network_difficulty,
            is_for_upstream: miner_submits(&claim.hash, upstream_target),
            stage: Stage::Checking,
        })
    }

    /// The job, if its shares still count: it is the newest, or was so a moment ago in the same
    /// connection.
    fn living(&self, number: u64, now_ms: u64) -> Option<&ActiveJob> {
        let active = self.job_numbered(number)?;
        let common = self.common_of(number);
        let at = self.jobs.iter().position(|one| one.number == common)?;
        let newest = self.jobs.back()?;
        let Some(next) = self.jobs.get(at + 1) else {
            return Some(active);
        };
        let is_late = now_ms.saturating_sub(next.since_ms) <= self.policy.late_ms;
        (active.session == newest.session && is_late || active.space == newest.space)
            .then_some(active)
    }

    /// A hash was recomputed, or could not be.
    pub fn checked(&mut self, ticket: u64, hash: Result<Hash, String>, now_ms: u64) -> Vec<Action> {
        let Some(share) = self.pending.get(&ticket).cloned() else {
            return Vec::new();
        };
        let Some(worker) = self.workers.get_mut(&share.worker) else {
            self.pending.remove(&ticket);
            return Vec::new();
        };
        worker.checks_open = worker.checks_open.saturating_sub(1);
        let hash = match hash {
            Ok(hash) => hash,
            Err(reason) => return self.end(ticket, Verdict::Unchecked(reason), now_ms),
        };
        if hash != share.claim.hash {
            let is_too_much = worker.reputation.bad(now_ms);
            let mut actions = self.end(ticket, Verdict::Wrong, now_ms);
            if is_too_much {
                tracing::warn!(worker = %share.worker, "a worker's results are wrong; quarantined");
                self.note_worker(&share.worker, WorkerEvent::Quarantined, now_ms);
                actions.push(Action::Assign(share.worker));
            }
            return actions;
        }
        worker.reputation.good();
        if !share.is_for_upstream {
            return self.count_local(ticket, now_ms);
        }
        worker.credit(share.local_difficulty, now_ms);
        worker.totals.valid += 1;
        worker.totals.hashes += u128::from(share.local_difficulty);
        self.totals.valid += 1;
        if let Some(share) = self.pending.get_mut(&ticket) {
            share.stage = Stage::Queued { was_sent: false };
        }
        self.send(ticket, now_ms)
    }

    fn count_local(&mut self, ticket: u64, now_ms: u64) -> Vec<Action> {
        if let Some(share) = self.pending.get(&ticket)
            && let Some(worker) = self.workers.get_mut(&share.worker)
        {
            worker.credit(share.local_difficulty, now_ms);
            worker.totals.valid += 1;
            worker.totals.hashes += u128::from(share.local_difficulty);
            self.totals.valid += 1;
        }
        self.end(ticket, Verdict::Local, now_ms)
    }

    /// Sends a share that is right, if its job lives and the upstream is there.
    fn send(&mut self, ticket: u64, now_ms: u64) -> Vec<Action> {
        let Some(share) = self.pending.get(&ticket) else {
            return Vec::new();
        };
        let Stage::Queued { was_sent } = share.stage else {
            return Vec::new();
        };
        let Some(upstream) = self.upstream else {
            return Vec::new();
        };
        // The newest job on the same blob, whatever it is called.
        let space = share.space;
        let fits = |one: &&ActiveJob| one.session == upstream;
        let is_enough = |one: &&ActiveJob| miner_submits(&share.claim.hash, one.job.target);
        let found = self.jobs_of_space(space).filter(fits).find(is_enough);
        let Some(active) = found else {
            let verdict = share.lost();
            return self.end(ticket, verdict, now_ms);
        };
        let submission = ShareToSend {
            session: upstream,
            ticket,
            job_id: active.job.job_id.clone(),
            algo: active.job.algo.clone(),
            nonce: share.claim.nonce.to_le_bytes(),
            hash: share.claim.hash,
        };
        if let Some(share) = self.pending.get_mut(&ticket) {
            share.stage = Stage::Sent { before: was_sent };
        }
        vec![Action::Submit(submission)]
    }

    /// The upstream's answer to a share.
    pub fn answered(&mut self, ticket: u64, refusal: Option<String>, now_ms: u64) -> Vec<Action> {
        let Some(share) = self.pending.get(&ticket) else {
            return Vec::new();
        };
        // What was sent twice because its first answer was lost is known there.
        let was_known = matches!(share.stage, Stage::Sent { before: true })
            && refusal
                .as_ref()
                .is_some_and(|reason| reason.to_lowercase().contains("duplicate"));
        let verdict = match refusal {
            Some(reason) if !was_known => Verdict::RefusedUpstream(reason),
            _ => Verdict::Accepted,
        };
        let is_accepted = verdict == Verdict::Accepted;
        let mut actions = self.end(ticket, verdict, now_ms);
        if is_accepted {
            self.ask_again(&mut actions);
        }
        self.refresh_if_due(now_ms, &mut actions);
        actions
    }

    /// A share was not sent, because its connection was gone by then.
    pub fn unsent(&mut self, ticket: u64, now_ms: u64) -> Vec<Action> {
        if let Some(share) = self.pending.get_mut(&ticket)
            && let Stage::Sent { before } = share.stage
        {
            share.stage = Stage::Queued { was_sent: before };
        }
        self.send(ticket, now_ms)
    }

    /// A connection that was left has ended, and these shares were not answered over it: they are
    /// sent again where their blob is mined now.
    pub fn unanswered(&mut self, tickets: &[u64], now_ms: u64) -> Vec<Action> {
        let mut actions = Vec::new();
        for ticket in tickets {
            if let Some(share) = self.pending.get_mut(ticket) {
                share.requeue();
                actions.extend(self.send(*ticket, now_ms));
            }
        }
        actions
    }

    /// The coordinator ends: each share that is open has the end that it has by then.
    pub fn stop(&mut self, now_ms: u64) -> Vec<Action> {
        let mut actions = Vec::new();
        self.end_pending(|_| true, &mut actions, now_ms);
        actions
    }

    /// After a new login: shares whose blob is mined again are sent under its new name, the others
    /// are dead.
    pub(super) fn rebind_pending(&mut self, now_ms: u64, actions: &mut Vec<Action>) {
        let queued = |share: &&PendingShare| matches!(share.stage, Stage::Queued { .. });
        let tickets: Vec<u64> = self
            .pending
            .iter()
            .filter(|(_, share)| queued(share))
            .map(|(ticket, _)| *ticket)
            .collect();
        for ticket in tickets {
            actions.extend(self.send(ticket, now_ms));
        }
    }

    /// The job is over for good, and with it what waits for the upstream.
    pub(super) fn drop_pending(&mut self, actions: &mut Vec<Action>, now_ms: u64) {
        let waits = |share: &PendingShare| share.stage != Stage::Checking;
        self.end_pending(waits, actions, now_ms);
    }

    fn end_pending(
        &mut self,
        which: impl Fn(&PendingShare) -> bool,
        actions: &mut Vec<Action>,
        now_ms: u64,
    ) {
        let pending = self.pending.iter().filter(|(_, share)| which(share));
        let ended: Vec<(u64, Verdict)> = pending
            .map(|(ticket, share)| (*ticket, share.lost()))
            .collect();
        for (ticket, verdict) in ended {
            actions.extend(self.end(ticket, verdict, now_ms));
        }
    }

    fn end(&mut self, ticket: u64, verdict: Verdict, now_ms: u64) -> Vec<Action> {
        let Some(share) = self.pending.remove(&ticket) else {
            return Vec::new();
        };
        if let Some(worker) = self.workers.get_mut(&share.worker) {
            match &verdict {
                Verdict::Accepted => worker.totals.accepted += 1,
                Verdict::RefusedUpstream(_) => worker.totals.refused_upstream += 1,
                Verdict::Wrong => worker.totals.wrong += 1,
                Verdict::Dead | Verdict::Unanswered | Verdict::Local | Verdict::Unchecked(_) => {}
            }
        }
        let network = share.network_difficulty.map(u128::from);
        let is_block = verdict == Verdict::Accepted
            && network.is_some_and(|network| meets(&share.claim.hash, network));
        self.totals.blocks += u64::from(is_block);
        self.note(ClusterFact::Share(share.fact(&verdict, is_block)));
        match &verdict {
            Verdict::Accepted => {
                self.totals.accepted += 1;
                self.credit.add(share.difficulty(), now_ms);
            }
            Verdict::RefusedUpstream(_) => self.totals.refused_upstream += 1,
            Verdict::Wrong => self.totals.invalid += 1,
            Verdict::Dead => self.totals.dead += 1,
            Verdict::Unanswered => self.totals.unanswered += 1,
            Verdict::Local | Verdict::Unchecked(_) => {}
        }
        self.recent_shares.push_back(ShareRecord {
            at_ms: now_ms,
            difficulty: share.difficulty(),
            worker: share.worker,
            job: share.claim.job,
            nonce: share.claim.nonce,
            is_checked: share.is_checked,
            verdict: verdict.clone(),
        });
        while self.recent_shares.len() > SHOWN {
            self.recent_shares.pop_front();
        }
        vec![Action::Answer { ticket, verdict }]
    }
}
