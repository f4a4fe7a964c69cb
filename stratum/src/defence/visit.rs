//! One connection's way through the defence: let in by its address, logged in as a worker, and let
//! go whatever happens.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::addresses::Origin;
use super::conduct::{Offence, Party, Record};
use super::guard::{Defence, refused};
use super::refusal::Refusal;
use crate::protocol::login::Login;
use crate::randomx::fair_queue::Caller;

/// Logins that being thrown out costs an address.
const THROWN_OUT_LOGINS: u32 = 16;

/// A connection that was let in. Dropping it lets its places go.
pub(crate) struct Visit {
    defence: Arc<Defence>,
    address: IpAddr,
    spared: bool,
    guest: Option<Arc<Guest>>,
}

/// A miner that logged in, as the defence knows it. Shares in flight keep it longer than the
/// connection lasts.
pub(crate) struct Guest {
    session: u64,
    pub(super) address: IpAddr,
    /// Whether limits by address do not apply.
    pub(super) spared: bool,
    pub(super) party: Arc<Party>,
    record: Mutex<Record>,
    proven: AtomicBool,
    ever_good: AtomicBool,
    asked: AtomicU64,
}

impl Visit {
    pub(super) fn new(defence: Arc<Defence>, address: IpAddr, spared: bool) -> Self {
        Self {
            defence,
            address,
            spared,
            guest: None,
        }
    }

    /// Something wrong before login.
    pub(crate) fn offence(&self, offence: Offence) {
        self.defence
            .offence_before_login(self.address, self.spared, offence);
    }

    /// The connection was thrown out, which makes coming back dearer.
    pub(crate) fn thrown_out(&self) {
        if !self.spared {
            let now_ms = self.defence.now_ms();
            self.defence
                .state()
                .limits
                .penalise(self.address, THROWN_OUT_LOGINS, now_ms);
        }
    }

    /// Logs in, possibly under another worker name, or says why not. `session` rises with every
    /// connection.
    pub(crate) fn login(&mut self, login: &mut Login, session: u64) -> Result<Arc<Guest>, Refusal> {
        let now_ms = self.defence.now_ms();
        let origin = Origin::of(self.address);
        let bans_made = self.defence.bans_made();
        let mut state = self.defence.state();
        // The ban names the worker as it was shown then, which is the name it would get now.
        let worker = state.names.enter(&login.address, &login.worker, now_ms);
        let party = Arc::new(Party {
            origin,
            wallet: login.address.clone(),
            worker: worker.clone(),
        });
        if state.bans.of_party(&party, now_ms).is_some() {
            state.names.leave(&login.address, &worker, false, now_ms);
            return Err(refused(Refusal::BannedSession));
        }
        let proven = state.conduct.is_proven(&party, now_ms);
        if !self.spared {
            state.limits.logged_in(self.address);
        }
        drop(state);
        login.worker = worker;
        let guest = Arc::new(Guest {
            session,
            address: self.address,
            spared: self.spared,
            party,
            record: Mutex::default(),
            proven: AtomicBool::new(proven),
            ever_good: AtomicBool::new(false),
            asked: AtomicU64::new(bans_made),
        });
        self.guest = Some(guest.clone());
        Ok(guest)
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let now_ms = self.defence.now_ms();
        let mut state = self.defence.state();
        if let Some(guest) = &self.guest {
            let good = guest.ever_good.load(Relaxed);
            state
                .names
                .leave(&guest.party.wallet, &guest.party.worker, good, now_ms);
        }
        if !self.spared {
            state.limits.leave(self.address, self.guest.is_some());
        }
    }
}

impl Guest {
    /// Whose shares these are, to the verifier.
    pub(crate) fn caller(&self) -> Caller {
        let payer = (!self.spared).then(|| self.party.origin.address());
        Caller {
            session: self.session,
            payer,
            proven: self.is_proven(),
        }
    }

    /// Whether its shares have been good.
    pub(crate) fn is_proven(&self) -> bool {
        self.proven.load(Relaxed)
    }

    /// Who mines.
    pub(crate) fn party(&self) -> &Arc<Party> {
        &self.party
    }

    /// Where it comes from.
    pub(crate) fn address(&self) -> IpAddr {
        self.address
    }

    pub(super) fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn prove(&self, proven: bool, good: bool) {
        self.proven.store(proven, Relaxed);
        self.ever_good.fetch_or(good, Relaxed);
    }

    /// Whether bans were made since it last asked.
    pub(super) fn asks_again(&self, bans_made: u64) -> bool {
        self.asked.swap(bans_made, Relaxed) != bans_made
    }
}
