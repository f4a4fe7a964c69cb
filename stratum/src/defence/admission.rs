//! One connection's way through the defence: let in by its address, logged in as a worker, and let
//! go whatever happens.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::addresses::ClientAddress;
use super::refusal::Refusal;
use super::reputation::{Offence, ReputationScore};
use super::worker_id::WorkerId;
use super::{Defence, refused};
use crate::protocol::login::Login;
use crate::randomx::fair_queue::Caller;

/// Logins that being thrown out costs an address.
const THROWN_OUT_LOGINS: u32 = 16;

/// A connection that was let in. Dropping it lets its places go.
pub(crate) struct Admission {
    defence: Arc<Defence>,
    address: IpAddr,
    exempt: bool,
    peer: Option<Arc<Peer>>,
}

/// A miner that logged in, as the defence knows it. Shares in flight keep it longer than the
/// connection lasts.
pub(crate) struct Peer {
    session: u64,
    pub(super) address: IpAddr,
    /// Whether limits by address do not apply.
    pub(super) exempt: bool,
    pub(super) worker_id: Arc<WorkerId>,
    record: Mutex<ReputationScore>,
    proven: AtomicBool,
    ever_good: AtomicBool,
    bans_seen: AtomicU64,
}

impl Admission {
    pub(super) fn new(defence: Arc<Defence>, address: IpAddr, exempt: bool) -> Self {
        Self {
            defence,
            address,
            exempt,
            peer: None,
        }
    }

    /// Something wrong before login.
    pub(crate) fn offence(&self, offence: Offence) {
        self.defence
            .offence_before_login(self.address, self.exempt, offence);
    }

    /// The connection was thrown out, which makes coming back dearer.
    pub(crate) fn thrown_out(&self) {
        if !self.exempt {
            let now_ms = self.defence.now_ms();
            self.defence
                .state()
                .limits
                .penalise(self.address, THROWN_OUT_LOGINS, now_ms);
        }
    }

    /// Logs in, possibly under another worker name, or says why not. `session` rises with every
    /// connection.
    pub(crate) fn login(&mut self, login: &mut Login, session: u64) -> Result<Arc<Peer>, Refusal> {
        let now_ms = self.defence.now_ms();
        let origin = ClientAddress::new(self.address);
        let bans_made = self.defence.bans_made();
        let mut state = self.defence.state();
        // The ban names the worker as it was shown then, which is the name it would get now.
        let worker = state.names.enter(&login.address, &login.worker, now_ms);
        let worker_id = Arc::new(WorkerId {
            origin,
            wallet: login.address.clone(),
            worker: worker.clone(),
        });
        if state.bans.covering_worker(&worker_id, now_ms).is_some() {
            state.names.leave(&login.address, &worker, false, now_ms);
            return Err(refused(Refusal::BannedSession));
        }
        let proven = state.reputation.is_proven(&worker_id, now_ms);
        if !self.exempt {
            state.limits.logged_in(self.address);
        }
        drop(state);
        login.worker = worker;
        let peer = Arc::new(Peer {
            session,
            address: self.address,
            exempt: self.exempt,
            worker_id,
            record: Mutex::default(),
            proven: AtomicBool::new(proven),
            ever_good: AtomicBool::new(false),
            bans_seen: AtomicU64::new(bans_made),
        });
        self.peer = Some(peer.clone());
        Ok(peer)
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let now_ms = self.defence.now_ms();
        let mut state = self.defence.state();
        if let Some(peer) = &self.peer {
            let good = peer.ever_good.load(Relaxed);
            state
                .names
                .leave(&peer.worker_id.wallet, &peer.worker_id.worker, good, now_ms);
        }
        if !self.exempt {
            state.limits.leave(self.address, self.peer.is_some());
        }
    }
}

impl Peer {
    /// Whose shares these are, to the verifier.
    pub(crate) fn caller(&self) -> Caller {
        let payer = (!self.exempt).then(|| self.worker_id.origin.address());
        Caller {
            session: self.session,
            payer,
            proven: self.is_proven(),
        }
    }

    /// The number of its place in the pool.
    pub(crate) fn session(&self) -> u64 {
        self.session
    }

    /// Whether its shares have been good.
    pub(crate) fn is_proven(&self) -> bool {
        self.proven.load(Relaxed)
    }

    /// Who mines.
    pub(crate) fn worker_id(&self) -> &Arc<WorkerId> {
        &self.worker_id
    }

    /// Where it comes from.
    pub(crate) fn address(&self) -> IpAddr {
        self.address
    }

    pub(super) fn record(&self) -> MutexGuard<'_, ReputationScore> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn prove(&self, proven: bool, good: bool) {
        self.proven.store(proven, Relaxed);
        self.ever_good.fetch_or(good, Relaxed);
    }

    /// Whether bans were made since this was last asked.
    pub(super) fn bans_changed_since(&self, bans_made: u64) -> bool {
        self.bans_seen.swap(bans_made, Relaxed) != bans_made
    }
}
