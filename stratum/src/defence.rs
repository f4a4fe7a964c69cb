//! Defence: what keeps a few from spoiling the pool for all, and what keeps that from hitting the
//! innocent.
//!
//! The rules are pure and each in its file: who may hold how many connections ([`limits`]), whose
//! reputation is bad ([`reputation`]), who is banned until when ([`bans`]), how many names there
//! may be ([`worker_names`]). [`Defence`] holds them behind one lock, with a clock, counters and
//! rows, and [`admission`] is one connection's way through them. Who is verified first is decided
//! by [`crate::randomx::fair_queue`].

pub mod addresses;
pub(crate) mod admission;
pub mod ban_file;
mod ban_row;
pub mod ban_store;
pub mod bans;
pub mod config;
pub mod descriptors;
pub mod limits;
pub(crate) mod login_attempt;
pub mod privacy;
pub mod refusal;
pub mod refusal_log;
pub mod reputation;
pub mod session_places;
pub mod worker_id;
pub mod worker_names;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use thiserror::Error;
use tokio::sync::Notify;

use self::addresses::{Cidr, ClientAddress};
use self::admission::{Admission, Peer};
use self::bans::{Ban, BanList, BanTarget};
use self::config::DefenceConfig;
use self::descriptors::DescriptorError;
use self::limits::Limits;
use self::privacy::Privacy;
use self::refusal::Refusal;
use self::refusal_log::RefusalLog;
use self::reputation::{Offence, ReputationTable};
use self::session_places::{PlaceRules, SessionPlaces};
use self::worker_names::WorkerNames;
use crate::best_effort::BestEffortQueue;
use crate::clock::unix_time_us;
use crate::config_error::ConfigError;

/// Why the defence cannot be put up.
#[derive(Debug, Error)]
pub enum DefenceError {
    /// A key's value.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The system's limit.
    #[error(transparent)]
    Descriptors(#[from] DescriptorError),
    /// A file that the configuration names.
    #[error(
        "cannot read stratum.defence.{key} = {path:?}: {reason}; correct it or leave the key out"
    )]
    File {
        key: &'static str,
        path: PathBuf,
        reason: std::io::Error,
    },
}

/// The rules and what they know.
struct State {
    limits: Limits,
    reputation: ReputationTable,
    bans: BanList,
    names: WorkerNames,
    refusals: RefusalLog,
    places: SessionPlaces,
}

/// The guard of one pool.
pub(crate) struct Defence {
    pool: String,
    bans_file: Option<PathBuf>,
    best_effort: BestEffortQueue,
    changed: Notify,
    dirty: AtomicBool,
    /// Held while the file is written, so that an old list never replaces a newer one.
    writing: tokio::sync::Mutex<()>,
    pub(crate) privacy: Privacy,
    allow: Vec<Cidr>,
    state: Mutex<State>,
    /// Rises with every ban, so that sessions look for theirs only then.
    bans_made: AtomicU64,
    started: Instant,
    started_ms: u64,
}

impl Defence {
    /// Puts the defence up: descriptors, the allow-list, the bans of the last run.
    pub(crate) fn new(
        pool: &str,
        max_sessions: usize,
        settings: &DefenceConfig,
        best_effort: BestEffortQueue,
    ) -> Result<Arc<Self>, DefenceError> {
        let limit = descriptors::raise(max_sessions)?;
        tracing::info!(?limit, max_sessions, "file descriptors suffice");
        let file = |key, path: &Option<PathBuf>, reason| DefenceError::File {
            key,
            path: path.clone().unwrap_or_default(),
            reason,
        };
        let privacy = Privacy::new(
            settings.addresses_in_rows,
            settings.address_key_file.as_deref(),
        )
        .map_err(|reason| file("address_key_file", &settings.address_key_file, reason))?;
        let started_ms = u64::try_from(unix_time_us() / 1000).unwrap_or(0);
        let mut bans = BanList::new(settings.bans.clone());
        if let Some(path) = &settings.bans_file {
            let (kept, bad) = ban_file::read(path)
                .map_err(|reason| file("bans_file", &settings.bans_file, reason))?;
            if !bad.is_empty() {
                tracing::warn!(path = %path.display(), lines = ?bad, "lines of the file of bans \
                                                                      are no bans and are left \
                                                                      out");
            }
            bans.restore(kept, started_ms);
        }
        metrics::gauge!("headframe_stratum_bans").set(bans.len() as f64);
        let state = State {
            limits: Limits::new(settings.limits.clone()),
            reputation: ReputationTable::new(settings.reputation.clone()),
            bans,
            names: WorkerNames::new(settings.names.clone()),
            refusals: RefusalLog::new(started_ms),
            places: SessionPlaces::new(PlaceRules::new(
                max_sessions,
                settings.limits.unproven_percent,
                settings.limits.unproven_grace_s,
            )),
        };
        Ok(Arc::new(Self {
            pool: pool.to_owned(),
            bans_file: settings.bans_file.clone(),
            best_effort,
            changed: Notify::new(),
            dirty: AtomicBool::new(false),
            writing: tokio::sync::Mutex::new(()),
            privacy,
            allow: settings.allowed()?,
            state: Mutex::new(state),
            bans_made: AtomicU64::new(0),
            started: Instant::now(),
            started_ms,
        }))
    }

    /// A place in the pool, for as long as it is held; `None` when the pool is full.
    pub(crate) fn take_place(self: &Arc<Self>) -> Option<Place> {
        let now_ms = self.now_ms();
        let number = self.state().places.enter(now_ms)?;
        Some(Place {
            defence: self.clone(),
            number,
        })
    }

    /// Whether the session has given way to another, because it had no good share and the pool is
    /// full.
    pub(crate) fn gave_way(&self, peer: &Peer) -> bool {
        self.state().places.must_leave(peer.session())
    }

    /// Lets a connection in, or says why not. The address must be the miner's, not that of a proxy
    /// before the pool.
    pub(crate) fn enter(self: &Arc<Self>, address: IpAddr) -> Result<Admission, Refusal> {
        let address = address.to_canonical();
        let exempt = self.is_allowed(address);
        let now_ms = self.now_ms();
        let mut state = self.state();
        if state.bans.covering_address(address, now_ms).is_some() {
            return Err(refused(Refusal::BannedAddress));
        }
        if !exempt {
            state.limits.arrive(address, now_ms).map_err(refused)?;
        }
        drop(state);
        Ok(Admission::new(self.clone(), address, exempt))
    }

    /// A good share.
    pub(crate) fn good(&self, peer: &Peer) {
        let now_ms = self.now_ms();
        let mut state = self.state();
        let mut record = peer.record();
        state.reputation.good(&mut record, &peer.worker_id, now_ms);
        let proven = record.is_proven(state.reputation.settings(), now_ms);
        peer.prove(proven, true);
        state.places.prove(peer.session());
    }

    /// An offence after login; says whether the connection is to be closed.
    pub(crate) fn offence(&self, peer: &Peer, offence: Offence) -> bool {
        count(offence);
        let now_ms = self.now_ms();
        let mut state = self.state();
        let verdict = {
            let mut record = peer.record();
            let verdict = state.reputation.offence(
                &mut record,
                &peer.worker_id,
                offence,
                peer.exempt,
                now_ms,
            );
            let proven = record.is_proven(state.reputation.settings(), now_ms);
            peer.prove(proven, false);
            verdict
        };
        for (subject, score) in verdict.ban {
            self.ban_automatically(&mut state, subject, offence, score, now_ms);
        }
        verdict.close
    }

    /// An offence before login.
    fn offence_before_login(&self, address: IpAddr, exempt: bool, offence: Offence) {
        count(offence);
        if exempt {
            return;
        }
        let now_ms = self.now_ms();
        let mut state = self.state();
        if let Some((subject, score)) =
            state
                .reputation
                .before_login(ClientAddress::new(address), offence, now_ms)
        {
            self.ban_automatically(&mut state, subject, offence, score, now_ms);
        }
    }

    /// Whether a ban that was made since the peer last asked is its own.
    pub(crate) fn is_banned(&self, peer: &Peer) -> bool {
        if !peer.bans_changed_since(self.bans_made.load(Relaxed)) {
            return false;
        }
        let now_ms = self.now_ms();
        let state = self.state();
        state.bans.covering_address(peer.address, now_ms).is_some()
            || state
                .bans
                .covering_worker(&peer.worker_id, now_ms)
                .is_some()
    }

    /// Every change is whole before the lock is let go, so a panic elsewhere does not spoil it.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Milliseconds since 1970 at the start, and onward by a clock that nobody sets.
    fn now_ms(&self) -> u64 {
        self.started_ms + self.started.elapsed().as_millis() as u64
    }

    fn bans_made(&self) -> u64 {
        self.bans_made.load(Relaxed)
    }

    /// A ban was made or lifted: sessions look for it and the file is written.
    fn note_change(&self, bans: usize) {
        metrics::gauge!("headframe_stratum_bans").set(bans as f64);
        self.bans_made.fetch_add(1, Relaxed);
        self.dirty.store(true, Relaxed);
        self.changed.notify_one();
    }

    fn ban_automatically(
        &self,
        state: &mut State,
        subject: BanTarget,
        offence: Offence,
        score: u32,
        now_ms: u64,
    ) {
        let Some(ban) = state
            .bans
            .ban_automatically(subject, offence.as_str(), score, now_ms)
        else {
            return;
        };
        self.note_change(state.bans.len());
        self.tell(&ban, "ban");
    }

    /// Counts and records a ban, or its end.
    fn tell(&self, ban: &Ban, action: &'static str) {
        let by = if ban.manual { "manual" } else { "automatic" };
        metrics::counter!("headframe_stratum_bans_total", "action" => action,
            "kind" => ban.subject.as_str(), "by" => by)
        .increment(1);
        tracing::debug!(action, by, kind = ban.subject.as_str(), reason = %ban.reason,
            score = ban.score, times = ban.times, "ban list changed");
        self.best_effort
            .push(ban_row::row(&self.pool, &self.privacy, ban, action));
    }

    fn is_allowed(&self, address: IpAddr) -> bool {
        self.allow.iter().any(|block| block.contains(address))
    }
}

/// A connection's place in the pool. Dropping it gives the place back.
pub(crate) struct Place {
    defence: Arc<Defence>,
    number: u64,
}

impl Place {
    /// Rises with every connection.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.defence.state().places.leave(self.number);
    }
}

/// Counts a refusal.
pub(crate) fn refused(refusal: Refusal) -> Refusal {
    metrics::counter!("headframe_stratum_connections_refused_total", "reason" => refusal.as_str())
        .increment(1);
    refusal
}

fn count(offence: Offence) {
    metrics::counter!("headframe_stratum_offences_total", "offence" => offence.as_str())
        .increment(1);
}
