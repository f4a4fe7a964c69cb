//! Reputation: what connections, workers and addresses did lately, and when that is enough to close
//! or ban them.
//!
//! Miners have bugs and hardware fails, so nobody is judged by a single event: points for offences
//! fade with time, good shares weigh against them, and only a bad ratio is sentenced. First the
//! connection is closed and its wallet, worker and address together are banned. The address itself
//! is banned only when its workers did several times as much and none there is honest, so that one
//! bad rig never bans a LAN; and nobody can have a wallet banned by mining badly for it.

use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::Arc;

use super::addresses::ClientAddress;
use super::bans::BanTarget;
use super::worker_id::WorkerId;
use crate::lru_map::LruMap;
use crate::share::Rejection;

/// Honest workers remembered an address; more would not change any verdict.
const HONEST_KEPT: usize = 8;
/// Good shares, faded, that still prove a worker: one share counts for two half-lives.
const PROOF: f64 = 0.25;

/// When a reputation is bad.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReputationConfig {
    /// Points that are too many. A wrong result is 25, a share refused for nothing 5, a stale one
    /// 1. 0 never bans automatically.
    pub ban_points: u32,
    /// Points that a good share weighs up: with 10, two wrong results in seven shares are
    /// tolerated.
    pub good_share_points: u32,
    /// Seconds after which points and good shares count half.
    pub half_life_s: u64,
    /// How many workers' worth of points an address must collect to be banned itself, if no worker
    /// there is honest.
    pub bans_before_address: u32,
    /// Seconds that a good share protects its address.
    pub honest_s: u64,
    /// Workers and addresses remembered.
    pub remembered: usize,
}

impl Default for ReputationConfig {
    fn default() -> Self {
        Self {
            ban_points: 100,
            good_share_points: 10,
            half_life_s: 600,
            bans_before_address: 3,
            honest_s: 1800,
            remembered: 50_000,
        }
    }
}

/// Something a miner should not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Offence {
    /// The claimed hash was not the hash: it cost us a verification.
    WrongResult,
    /// A share that is no share: its nonce or result are not hex of the right length.
    MalformedShare,
    /// A line that is no request, or has no end.
    MalformedLine,
    /// A claimed hash that misses the target.
    LowDifficulty,
    /// The same nonce again.
    Duplicate,
    /// For an unknown job or an old block.
    Stale,
    /// Did not read what it was sent.
    SlowReader,
    /// Sent something else than a login first.
    PreLoginJunk,
    /// Did not log in in time.
    PreLoginSilence,
}

impl Offence {
    /// Every offence.
    pub const ALL: [Offence; 9] = [
        Offence::WrongResult,
        Offence::MalformedShare,
        Offence::MalformedLine,
        Offence::LowDifficulty,
        Offence::Duplicate,
        Offence::Stale,
        Offence::SlowReader,
        Offence::PreLoginJunk,
        Offence::PreLoginSilence,
    ];

    /// Its points: what it costs the pool, not how it looks.
    pub fn points(self) -> u32 {
        match self {
            Offence::WrongResult | Offence::MalformedLine => 25,
            Offence::SlowReader => 15,
            Offence::PreLoginJunk | Offence::PreLoginSilence => 10,
            Offence::MalformedShare | Offence::LowDifficulty | Offence::Duplicate => 5,
            Offence::Stale => 1,
        }
    }

    /// The word in rows and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Offence::WrongResult => "wrong_result",
            Offence::MalformedShare => "malformed_share",
            Offence::MalformedLine => "malformed_line",
            Offence::LowDifficulty => "low_difficulty",
            Offence::Duplicate => "duplicate",
            Offence::Stale => "stale",
            Offence::SlowReader => "slow_reader",
            Offence::PreLoginJunk => "pre_login_junk",
            Offence::PreLoginSilence => "pre_login_silence",
        }
    }

    /// The offence that a refused share is; none when the pool refused for its own reasons.
    pub fn from_rejection(rejection: Rejection) -> Option<Self> {
        match rejection {
            Rejection::WrongResult => Some(Offence::WrongResult),
            Rejection::MalformedNonce | Rejection::MalformedResult | Rejection::ForeignNonce => {
                Some(Offence::MalformedShare)
            }
            Rejection::LowDifficulty => Some(Offence::LowDifficulty),
            Rejection::Duplicate => Some(Offence::Duplicate),
            Rejection::Expired => Some(Offence::Stale),
            Rejection::Throttled | Rejection::Busy | Rejection::Spent => None,
        }
    }
}

/// Points and good shares, fading.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ReputationScore {
    points: f64,
    good: f64,
    at_ms: u64,
}

impl ReputationScore {
    fn settle(&mut self, settings: &ReputationConfig, now_ms: u64) {
        let half_lives = now_ms.saturating_sub(self.at_ms) as f64
            / (settings.half_life_s.max(1) as f64 * 1000.0);
        let left = 0.5f64.powf(half_lives);
        self.points *= left;
        self.good *= left;
        self.at_ms = self.at_ms.max(now_ms);
    }

    /// A good share.
    pub fn good(&mut self, settings: &ReputationConfig, now_ms: u64) {
        self.settle(settings, now_ms);
        self.good += 1.0;
    }

    /// An offence; says whether so many points are reached, and not outweighed.
    pub fn offence(
        &mut self,
        settings: &ReputationConfig,
        offence: Offence,
        most: u32,
        now_ms: u64,
    ) -> bool {
        self.settle(settings, now_ms);
        self.points += f64::from(offence.points());
        // Rounded, because what counts fades from the first millisecond.
        most > 0 && self.points() >= most && !self.is_weighed_up(settings)
    }

    /// Whether good shares were sent lately and outweigh the rest.
    pub fn is_proven(&mut self, settings: &ReputationConfig, now_ms: u64) -> bool {
        self.settle(settings, now_ms);
        self.good >= PROOF && self.is_weighed_up(settings)
    }

    /// The points now.
    pub fn points(&self) -> u32 {
        self.points.round() as u32
    }

    fn is_weighed_up(&self, settings: &ReputationConfig) -> bool {
        self.points <= self.good * f64::from(settings.good_share_points)
    }
}

/// What follows from an offence.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OffenceVerdict {
    /// The connection is to be closed.
    pub close: bool,
    /// Who is to be banned, with the points; first the worker, then its address.
    pub ban: Vec<(BanTarget, u32)>,
}

/// What an address did besides the shares of its workers.
#[derive(Debug, Default)]
struct AddressHistory {
    /// Before login, where nobody else can be blamed.
    junk: ReputationScore,
    /// Of all its workers, so that a new name for every few offences is no way out.
    workers: ReputationScore,
    /// Workers with good shares, and when the last one was.
    honest: HashMap<u64, u64>,
}

/// Everybody's reputation, as far back as memory goes.
#[derive(Debug)]
pub struct ReputationTable {
    settings: ReputationConfig,
    workers_seen: LruMap<Arc<WorkerId>, ReputationScore>,
    places: LruMap<IpAddr, AddressHistory>,
    hasher: RandomState,
}

impl ReputationTable {
    /// Nobody did anything yet.
    pub fn new(settings: ReputationConfig) -> Self {
        let (workers_seen, places) = (
            LruMap::new(settings.remembered),
            LruMap::new(settings.remembered),
        );
        Self {
            settings,
            workers_seen,
            places,
            hasher: RandomState::new(),
        }
    }

    /// A good share of a worker on a connection whose own record is `own`.
    pub fn good(&mut self, own: &mut ReputationScore, worker_id: &Arc<WorkerId>, now_ms: u64) {
        own.good(&self.settings, now_ms);
        self.workers_seen
            .entry(worker_id, ReputationScore::default)
            .good(&self.settings, now_ms);
        let name = self.hasher.hash_one(&**worker_id);
        let place = self
            .places
            .entry(&worker_id.origin.address(), AddressHistory::default);
        place.workers.good(&self.settings, now_ms);
        if !place.honest.contains_key(&name)
            && place.honest.len() >= HONEST_KEPT
            && let Some(oldest) = place
                .honest
                .iter()
                .min_by_key(|(_, at)| **at)
                .map(|(name, _)| *name)
        {
            place.honest.remove(&oldest);
        }
        place.honest.insert(name, now_ms);
    }

    /// An offence of a worker on a connection whose own record is `own`. `exempt_address` is for
    /// addresses that are never banned automatically.
    pub fn offence(
        &mut self,
        own: &mut ReputationScore,
        worker_id: &Arc<WorkerId>,
        offence: Offence,
        exempt_address: bool,
        now_ms: u64,
    ) -> OffenceVerdict {
        let settings = &self.settings;
        let mut verdict = OffenceVerdict {
            close: own.offence(settings, offence, settings.ban_points, now_ms),
            ban: Vec::new(),
        };
        let place = self
            .places
            .entry(&worker_id.origin.address(), AddressHistory::default);
        // Rigs that share a name share this record, too: the honest ones among them keep the name
        // from being banned.
        let record = self.workers_seen.entry(worker_id, ReputationScore::default);
        if record.offence(settings, offence, settings.ban_points, now_ms) {
            verdict.close = true;
            verdict
                .ban
                .push((BanTarget::Session((**worker_id).clone()), record.points()));
            *record = ReputationScore {
                at_ms: now_ms,
                ..ReputationScore::default()
            };
            place.honest.remove(&self.hasher.hash_one(&**worker_id));
        }
        let most = settings
            .ban_points
            .saturating_mul(settings.bans_before_address);
        if place.workers.offence(settings, offence, most, now_ms)
            && !exempt_address
            && !is_honest(place, settings, now_ms)
        {
            verdict.close = true;
            verdict
                .ban
                .push((BanTarget::Address(worker_id.origin), place.workers.points()));
            *place = AddressHistory::default();
        }
        verdict
    }

    /// An offence before login; says whether and with how many points the address is to be banned.
    pub fn before_login(
        &mut self,
        origin: ClientAddress,
        offence: Offence,
        now_ms: u64,
    ) -> Option<(BanTarget, u32)> {
        let place = self
            .places
            .entry(&origin.address(), AddressHistory::default);
        let enough = place
            .junk
            .offence(&self.settings, offence, self.settings.ban_points, now_ms);
        if !enough || is_honest(place, &self.settings, now_ms) {
            return None;
        }
        let points = place.junk.points();
        *place = AddressHistory::default();
        Some((BanTarget::Address(origin), points))
    }

    /// Whether this worker sent good shares from this address lately, so that a new connection of
    /// it need not prove itself.
    pub fn is_proven(&mut self, worker_id: &Arc<WorkerId>, now_ms: u64) -> bool {
        let settings = &self.settings;
        self.workers_seen
            .get(worker_id)
            .is_some_and(|record| record.is_proven(settings, now_ms))
    }

    /// The settings it judges by.
    pub fn settings(&self) -> &ReputationConfig {
        &self.settings
    }
}

fn is_honest(place: &AddressHistory, settings: &ReputationConfig, now_ms: u64) -> bool {
    let since = now_ms.saturating_sub(settings.honest_s.saturating_mul(1000));
    place.honest.values().any(|at| *at >= since)
}
