//! The guard: the pure rules behind one lock, with a clock, counters and rows.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use thiserror::Error;
use tokio::sync::Notify;

use super::addresses::{Block, Origin};
use super::bans::{Ban, Book, Subject};
use super::conduct::{Conduct, Offence};
use super::descriptors::{self, DescriptorError};
use super::ledger;
use super::limits::Limits;
use super::names::Names;
use super::privacy::Privacy;
use super::refusal::Refusal;
use super::visit::{Guest, Visit};
use crate::config::{ConfigError, StratumConfig};
use crate::pool::wall_us;
use crate::recorder::Recorder;

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
pub(super) struct State {
    pub(super) limits: Limits,
    pub(super) conduct: Conduct,
    pub(super) bans: Book,
    pub(super) names: Names,
}

/// The guard of one pool.
pub(crate) struct Defence {
    pub(super) pool: String,
    pub(super) bans_file: Option<PathBuf>,
    pub(super) recorder: Recorder,
    pub(super) changed: Notify,
    pub(super) dirty: AtomicBool,
    /// Held while the file is written, so that an old list never replaces a newer one.
    pub(super) writing: tokio::sync::Mutex<()>,
    pub(crate) privacy: Privacy,
    allow: Vec<Block>,
    state: Mutex<State>,
    /// Rises with every ban, so that sessions look for theirs only then.
    bans_made: AtomicU64,
    started: Instant,
    started_ms: u64,
}

impl Defence {
    /// Puts the defence up: descriptors, the allow-list, the bans of the last run.
    pub(crate) fn new(
        config: &StratumConfig,
        recorder: Recorder,
    ) -> Result<Arc<Self>, DefenceError> {
        let limit = descriptors::raise(config.max_sessions)?;
        tracing::info!(
            ?limit,
            max_sessions = config.max_sessions,
            "file descriptors suffice"
        );
        let settings = &config.defence;
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
        let started_ms = u64::try_from(wall_us() / 1000).unwrap_or(0);
        let mut bans = Book::new(settings.bans.clone());
        if let Some(path) = &settings.bans_file {
            let (kept, bad) = ledger::read(path)
                .map_err(|reason| file("bans_file", &settings.bans_file, reason))?;
            if !bad.is_empty() {
                tracing::warn!(path = %path.display(), lines = ?bad, "lines of the file of bans are no bans and are left out");
            }
            bans.restore(kept, started_ms);
        }
        metrics::gauge!("headframe_stratum_bans").set(bans.len() as f64);
        let state = State {
            limits: Limits::new(settings.limits.clone()),
            conduct: Conduct::new(settings.conduct.clone()),
            bans,
            names: Names::new(settings.names.clone()),
        };
        Ok(Arc::new(Self {
            pool: config.pool.clone(),
            bans_file: settings.bans_file.clone(),
            recorder,
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

    /// Lets a connection in, or says why not. The address must be the miner's, not that of a proxy
    /// before the pool.
    pub(crate) fn enter(self: &Arc<Self>, address: IpAddr) -> Result<Visit, Refusal> {
        let address = address.to_canonical();
        let spared = self.is_allowed(address);
        let now_ms = self.now_ms();
        let mut state = self.state();
        if state.bans.of_address(address, now_ms).is_some() {
            return Err(refused(Refusal::BannedAddress));
        }
        if !spared {
            state.limits.arrive(address, now_ms).map_err(refused)?;
        }
        drop(state);
        Ok(Visit::new(self.clone(), address, spared))
    }

    /// A good share.
    pub(crate) fn good(&self, guest: &Guest) {
        let now_ms = self.now_ms();
        let mut state = self.state();
        let mut record = guest.record();
        state.conduct.good(&mut record, &guest.party, now_ms);
        let proven = record.is_proven(state.conduct.settings(), now_ms);
        guest.prove(proven, true);
    }

    /// An offence after login; says whether the connection is to be closed.
    pub(crate) fn offence(&self, guest: &Guest, offence: Offence) -> bool {
        count(offence);
        let now_ms = self.now_ms();
        let mut state = self.state();
        let verdict = {
            let mut record = guest.record();
            let verdict =
                state
                    .conduct
                    .offence(&mut record, &guest.party, offence, guest.spared, now_ms);
            let proven = record.is_proven(state.conduct.settings(), now_ms);
            guest.prove(proven, false);
            verdict
        };
        for (subject, score) in verdict.ban {
            self.sentence(&mut state, subject, offence, score, now_ms);
        }
        verdict.close
    }

    /// An offence before login.
    pub(super) fn offence_before_login(&self, address: IpAddr, spared: bool, offence: Offence) {
        count(offence);
        if spared {
            return;
        }
        let now_ms = self.now_ms();
        let mut state = self.state();
        if let Some((subject, score)) =
            state
                .conduct
                .before_login(Origin::of(address), offence, now_ms)
        {
            self.sentence(&mut state, subject, offence, score, now_ms);
        }
    }

    /// Whether a ban that was made since the guest last asked is its own.
    pub(crate) fn is_banned(&self, guest: &Guest) -> bool {
        if !guest.asks_again(self.bans_made.load(Relaxed)) {
            return false;
        }
        let now_ms = self.now_ms();
        let state = self.state();
        state.bans.of_address(guest.address, now_ms).is_some()
            || state.bans.of_party(&guest.party, now_ms).is_some()
    }

    /// Every change is whole before the lock is let go, so a panic elsewhere does not spoil it.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Milliseconds since 1970 at the start, and onward by a clock that nobody sets.
    pub(super) fn now_ms(&self) -> u64 {
        self.started_ms + self.started.elapsed().as_millis() as u64
    }

    pub(super) fn bans_made(&self) -> u64 {
        self.bans_made.load(Relaxed)
    }

    /// A ban was made or lifted: sessions look for it and the file is written.
    pub(super) fn note_change(&self, bans: usize) {
        metrics::gauge!("headframe_stratum_bans").set(bans as f64);
        self.bans_made.fetch_add(1, Relaxed);
        self.dirty.store(true, Relaxed);
        self.changed.notify_one();
    }

    fn sentence(
        &self,
        state: &mut State,
        subject: Subject,
        offence: Offence,
        score: u32,
        now_ms: u64,
    ) {
        let Some(ban) = state.bans.sentence(subject, offence.word(), score, now_ms) else {
            return;
        };
        self.note_change(state.bans.len());
        self.tell(&ban, "ban");
    }

    /// Counts and records a ban, or its end.
    pub(super) fn tell(&self, ban: &Ban, action: &'static str) {
        let by = if ban.manual { "manual" } else { "automatic" };
        metrics::counter!("headframe_stratum_bans_total", "action" => action, "kind" => ban.subject.word(), "by" => by).increment(1);
        tracing::debug!(action, by, kind = ban.subject.word(), reason = %ban.reason, score = ban.score, times = ban.times, "ban book changed");
        self.recorder
            .later(super::keeper::row(&self.pool, &self.privacy, ban, action));
    }

    fn is_allowed(&self, address: IpAddr) -> bool {
        self.allow.iter().any(|block| block.contains(address))
    }
}

/// Counts a refusal.
pub(crate) fn refused(refusal: Refusal) -> Refusal {
    metrics::counter!("headframe_stratum_connections_refused_total", "reason" => refusal.word())
        .increment(1);
    refusal
}

fn count(offence: Offence) {
    metrics::counter!("headframe_stratum_offences_total", "offence" => offence.word()).increment(1);
}
