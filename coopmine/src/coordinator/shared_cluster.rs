//! The cluster's value shared by the sockets: one lock, the clock, and what its changes cause.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use headframe_stratum::miner::client::{LeaseRequest, ShareToSend};
use headframe_stratum::randomx::Verifier;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio_util::task::TaskTracker;

use super::fence::FencedTerm;
use crate::cluster::{Action, Assignment, Cluster, Hash, Verdict};
use crate::facts::FactQueue;

/// How long a worker waits for the upstream's answer to its share.
pub(super) const VERDICT_TIMEOUT: Duration = Duration::from_secs(30);

/// What goes to the upstream.
pub struct UpstreamRequests {
    /// Shares.
    pub submit: mpsc::Sender<ShareToSend>,
    /// Notified when the job's nonces are nearly used up.
    pub refresh: Arc<Notify>,
    /// Requests for jobs beside the newest one.
    pub lease: mpsc::Sender<LeaseRequest>,
}

/// The cluster and its surroundings.
pub struct SharedCluster {
    state: Mutex<State>,
    started: Instant,
    verifier: Arc<Verifier>,
    upstream: UpstreamRequests,
    checks: TaskTracker,
    /// Counts changes, for those who show them.
    version: watch::Sender<u64>,
    facts: FactQueue,
    /// What keeps a coordinator that is not the active one from acting.
    fence: Option<FencedTerm>,
}

struct State {
    cluster: Cluster,
    /// What each worker that listens should do; the latest alone.
    assignments: HashMap<Arc<str>, watch::Sender<Assignment>>,
    /// Who waits for the end of which share.
    waiting: HashMap<u64, oneshot::Sender<Verdict>>,
    pool: String,
}

impl SharedCluster {
    /// Around this value.
    pub fn new(
        cluster: Cluster,
        verifier: Arc<Verifier>,
        upstream: UpstreamRequests,
        facts: FactQueue,
        fence: Option<FencedTerm>,
    ) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                cluster,
                assignments: HashMap::new(),
                waiting: HashMap::new(),
                pool: String::new(),
            }),
            started: Instant::now(),
            verifier,
            upstream,
            checks: TaskTracker::new(),
            version: watch::Sender::new(0),
            facts,
            fence,
        })
    }

    /// Changes the cluster and does what follows; the lock is held meanwhile, so that nobody is
    /// told things in another order than they happened.
    pub fn change<R>(
        self: &Arc<Self>,
        change: impl FnOnce(&mut Cluster, u64) -> (R, Vec<Action>),
    ) -> R {
        let now = self.now_ms();
        let mut state = self.lock();
        let (result, actions) = change(&mut state.cluster, now);
        // Figures change without any action, too: a heartbeat's hashrate, a worker that goes.
        self.version.send_modify(|version| *version += 1);
        self.facts.push(state.cluster.take_facts());
        for action in actions {
            self.act(&mut state, action, now);
        }
        result
    }

    /// Rows of facts that were lost since the start.
    pub fn facts_lost(&self) -> u64 {
        self.facts.lost()
    }

    /// Looks at the cluster.
    pub fn read<R>(&self, read: impl FnOnce(&Cluster, u64) -> R) -> R {
        let now = self.now_ms();
        read(&self.lock().cluster, now)
    }

    /// What a worker should do, now and whenever it changes. The listener before is let go.
    pub fn listen(&self, name: &str) -> watch::Receiver<Assignment> {
        let now = self.now_ms();
        let mut state = self.lock();
        let assignment = match self.may_act() {
            true => state.cluster.assignment(name, now),
            false => Assignment::idle("another coordinator is active"),
        };
        let (sender, listener) = watch::channel(assignment);
        state.assignments.insert(name.into(), sender);
        listener
    }

    /// Tells nobody anything any more.
    pub fn close(&self) {
        let mut state = self.lock();
        state.assignments.clear();
        state.waiting.clear();
    }

    /// Takes a worker's result; its end comes later.
    pub fn submit_share<E>(
        self: &Arc<Self>,
        share: impl FnOnce(&mut Cluster, u64) -> Result<(u64, Vec<Action>), E>,
    ) -> Result<oneshot::Receiver<Verdict>, E> {
        let now = self.now_ms();
        let mut state = self.lock();
        let taken = share(&mut state.cluster, now);
        // A refused share is counted, too.
        self.version.send_modify(|version| *version += 1);
        self.facts.push(state.cluster.take_facts());
        let (ticket, actions) = taken?;
        let (sender, end) = oneshot::channel();
        state.waiting.insert(ticket, sender);
        for action in actions {
            self.act(&mut state, action, now);
        }
        Ok(end)
    }

    /// Remembers which pool the upstream is.
    pub fn set_pool(&self, pool: &str) {
        pool.clone_into(&mut self.lock().pool);
    }

    /// The pool that was logged in at last.
    pub fn pool(&self) -> String {
        self.lock().pool.clone()
    }

    /// Counts the changes.
    pub fn versions(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// Whether this coordinator is the active one at this moment.
    fn may_act(&self) -> bool {
        self.fence
            .as_ref()
            .is_none_or(|fence| fence.token().is_some())
    }

    /// The token under which this coordinator is the active one of several.
    pub fn fencing_token(&self) -> Option<u64> {
        self.fence.as_ref().and_then(|fence| fence.token())
    }

    fn act(self: &Arc<Self>, state: &mut State, action: Action, now: u64) {
        // One that was stopped, and goes on, has decided on what is no longer its own.
        if !self.may_act() {
            return;
        }
        match action {
            Action::Assign(name) => {
                let assignment = state.cluster.assignment(&name, now);
                if let Some(listener) = state.assignments.get(&name)
                    && listener.send(assignment).is_err()
                {
                    state.assignments.remove(&name);
                }
            }
            Action::Check { ticket, seed, blob } => self.check(ticket, seed, blob),
            Action::Submit(share) => {
                // There is a place for each share that the cluster lets be pending.
                if self.upstream.submit.try_send(share).is_err() {
                    tracing::error!("a share could not be queued for the pool");
                }
            }
            Action::Answer { ticket, verdict } => {
                if let Some(waiting) = state.waiting.remove(&ticket) {
                    // Whoever sent it may be gone by now.
                    let _ = waiting.send(verdict);
                }
            }
            Action::Refresh => self.upstream.refresh.notify_one(),
            Action::Lease { session, count } => {
                let wanted = LeaseRequest { session, count };
                if self.upstream.lease.try_send(wanted).is_err() {
                    tracing::warn!("a request for extranonces could not be queued");
                }
            }
        }
    }

    fn check(self: &Arc<Self>, ticket: u64, seed: Hash, blob: Vec<u8>) {
        let this = self.clone();
        self.checks.spawn(async move {
            let hash = this.verifier.verify(seed, blob).await;
            let hash = hash.map_err(|error| error.to_string());
            this.change(|cluster, now| ((), cluster.checked(ticket, hash, now)));
        });
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A change that panicked is a defect of the pure core, which its simulation is for; the
        // others go on.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
