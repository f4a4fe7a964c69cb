//! The list of bans: who is kept out, why, until when, and how much longer the next time.
//!
//! Pure. A ban names a worker at an address, an address, or a network; a wallet alone cannot be
//! named at all, because anybody can mine for anybody's wallet. Automatic bans always end; each one
//! after another lasts longer.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use super::addresses::{Cidr, ClientAddress};
use super::worker_id::WorkerId;
use crate::lru_map::LruMap;

/// Bans of whole networks, which only an operator makes; each is looked at for every connection.
const MOST_NETWORKS: usize = 1_000;

/// How long bans last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BanConfig {
    /// Seconds of the first automatic ban.
    pub first_s: u64,
    /// How many times longer each one after it lasts.
    pub factor: u32,
    /// Seconds of the longest automatic ban.
    pub longest_s: u64,
    /// Seconds after the end of a ban until it no longer makes the next one longer.
    pub forget_s: u64,
    /// Bans at once. When there are more, the automatic one that ends first ends at once.
    pub most: usize,
}

impl Default for BanConfig {
    fn default() -> Self {
        Self {
            first_s: 600,
            factor: 4,
            longest_s: 86_400,
            forget_s: 604_800,
            most: 50_000,
        }
    }
}

/// Who is banned.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BanTarget {
    /// A worker of a wallet, coming from an address.
    Session(WorkerId),
    /// An address, or the /64 of an IPv6 one.
    Address(ClientAddress),
    /// A block of addresses; only by hand.
    Network(Cidr),
}

impl BanTarget {
    /// The word in rows and metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            BanTarget::Session(_) => "session",
            BanTarget::Address(_) => "address",
            BanTarget::Network(_) => "network",
        }
    }
}

/// A ban.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ban {
    /// Who.
    pub subject: BanTarget,
    /// Why: an offence's word, or what the operator said.
    pub reason: String,
    /// Points when the ban was made; 0 by hand.
    pub score: u32,
    /// Milliseconds since 1970.
    pub since_ms: u64,
    /// Milliseconds since 1970; never, by hand, when absent.
    pub until_ms: Option<u64>,
    /// By an operator.
    pub manual: bool,
    /// The how many-th of this subject in a row, from 1.
    pub times: u32,
}

/// Why a ban by hand cannot be entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "there are {0} bans that no rule ends already; lift some, or raise stratum.defence.bans.most"
)]
pub struct BanListFull(pub usize);

/// The bans in force and those that ended lately.
#[derive(Debug)]
pub struct BanList {
    settings: BanConfig,
    bans: HashMap<BanTarget, (Ban, u64)>,
    /// By end and number, those that end.
    ends: BTreeMap<(u64, u64), BanTarget>,
    networks: Vec<Cidr>,
    numbers: u64,
    /// How often and until when, of those whose ban ended.
    priors: LruMap<BanTarget, (u32, u64)>,
}

impl BanList {
    /// An empty list.
    pub fn new(settings: BanConfig) -> Self {
        let priors = LruMap::new(settings.most);
        Self {
            settings,
            bans: HashMap::new(),
            ends: BTreeMap::new(),
            networks: Vec::new(),
            numbers: 0,
            priors,
        }
    }

    /// Bans automatically. `None` when the subject is banned already; what was in flight then
    /// changes nothing.
    pub fn ban_automatically(
        &mut self,
        subject: BanTarget,
        reason: &str,
        score: u32,
        now_ms: u64,
    ) -> Option<Ban> {
        if self.find(&subject, now_ms).is_some() || matches!(subject, BanTarget::Network(_)) {
            return None;
        }
        if let Some(ended) = self.take(&subject) {
            *self.priors.entry(&subject, || (0, 0)) =
                (ended.times, ended.until_ms.unwrap_or(now_ms));
        }
        let forget_ms = self.settings.forget_s.saturating_mul(1000);
        let prior = self
            .priors
            .remove(&subject)
            .filter(|(_, ended)| now_ms < ended.saturating_add(forget_ms));
        let times = prior.map_or(0, |(times, _)| times).saturating_add(1);
        let lasts_s = self.lasts_s(times);
        if self.bans.len() >= self.settings.most {
            let first = self
                .ends
                .iter()
                .find(|(_, subject)| self.bans.get(*subject).is_some_and(|(ban, _)| !ban.manual));
            // Nothing but bans by hand: manual bans fill the list.
            let first = first.map(|(_, subject)| subject.clone())?;
            self.take(&first);
        }
        let until_ms = Some(now_ms.saturating_add(lasts_s.saturating_mul(1000)));
        let ban = Ban {
            subject,
            reason: reason.to_owned(),
            score,
            since_ms: now_ms,
            until_ms,
            manual: false,
            times,
        };
        self.enter(ban.clone());
        Some(ban)
    }

    /// Bans by hand, for so many seconds or until lifted. Replaces what there was.
    pub fn ban_manually(
        &mut self,
        subject: BanTarget,
        reason: &str,
        lasts_s: Option<u64>,
        now_ms: u64,
    ) -> Result<Ban, BanListFull> {
        let by_hand = self.bans.values().filter(|(ban, _)| ban.manual).count();
        let is_network = matches!(subject, BanTarget::Network(_));
        if !self.bans.contains_key(&subject)
            && (by_hand >= self.settings.most
                || (is_network && self.networks.len() >= MOST_NETWORKS))
        {
            return Err(BanListFull(if is_network {
                self.networks.len()
            } else {
                by_hand
            }));
        }
        let times = self.take(&subject).map_or(1, |old| old.times);
        let until_ms = lasts_s.map(|lasts_s| now_ms.saturating_add(lasts_s.saturating_mul(1000)));
        let ban = Ban {
            subject,
            reason: reason.to_owned(),
            score: 0,
            since_ms: now_ms,
            until_ms,
            manual: true,
            times,
        };
        self.enter(ban.clone());
        Ok(ban)
    }

    /// Lifts a ban, and forgets that there was one.
    pub fn unban(&mut self, subject: &BanTarget) -> Option<Ban> {
        self.priors.remove(subject);
        self.take(subject)
    }

    /// The ban that keeps an address out.
    pub fn covering_address(&self, address: IpAddr, now_ms: u64) -> Option<&Ban> {
        let network = self
            .networks
            .iter()
            .find(|network| network.contains(address))
            .map(|network| BanTarget::Network(*network));
        let subjects = [
            Some(BanTarget::Address(ClientAddress::new(address))),
            network,
        ];
        subjects
            .into_iter()
            .flatten()
            .find_map(|subject| self.find(&subject, now_ms))
    }

    /// The ban that keeps a worker out; not that of its address.
    pub fn covering_worker(&self, worker_id: &WorkerId, now_ms: u64) -> Option<&Ban> {
        self.find(&BanTarget::Session(worker_id.clone()), now_ms)
    }

    /// Takes out the bans that have ended.
    pub fn expire(&mut self, now_ms: u64) -> Vec<Ban> {
        let mut ended = Vec::new();
        while let Some((&(until_ms, _), subject)) = self.ends.first_key_value() {
            if until_ms > now_ms {
                break;
            }
            let subject = subject.clone();
            if let Some(ban) = self.take(&subject) {
                *self.priors.entry(&subject, || (0, 0)) = (ban.times, until_ms);
                ended.push(ban);
            }
        }
        ended
    }

    /// Every ban, those that end first in front.
    pub fn all(&self) -> Vec<Ban> {
        let mut all: Vec<Ban> = self.bans.values().map(|(ban, _)| ban.clone()).collect();
        all.sort_by_key(|ban| (ban.until_ms.unwrap_or(u64::MAX), ban.since_ms));
        all
    }

    /// Bans in force.
    pub fn len(&self) -> usize {
        self.bans.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.bans.is_empty()
    }

    /// Enters bans of an earlier run; those that ended since only make the next one longer.
    pub fn restore(&mut self, bans: Vec<Ban>, now_ms: u64) {
        for ban in bans {
            if self.bans.len() < self.settings.most {
                self.take(&ban.subject);
                self.enter(ban);
            }
        }
        self.expire(now_ms);
    }

    /// Seconds that the how many-th ban lasts.
    fn lasts_s(&self, times: u32) -> u64 {
        let factor = u64::from(self.settings.factor.max(1)).saturating_pow(times.saturating_sub(1));
        self.settings
            .first_s
            .saturating_mul(factor)
            .min(self.settings.longest_s)
    }

    fn find(&self, subject: &BanTarget, now_ms: u64) -> Option<&Ban> {
        let (ban, _) = self.bans.get(subject)?;
        ban.until_ms
            .is_none_or(|until_ms| until_ms > now_ms)
            .then_some(ban)
    }

    fn enter(&mut self, ban: Ban) {
        self.numbers += 1;
        if let Some(until_ms) = ban.until_ms {
            self.ends
                .insert((until_ms, self.numbers), ban.subject.clone());
        }
        if let BanTarget::Network(network) = ban.subject {
            self.networks.push(network);
        }
        self.bans.insert(ban.subject.clone(), (ban, self.numbers));
    }

    fn take(&mut self, subject: &BanTarget) -> Option<Ban> {
        let (ban, number) = self.bans.remove(subject)?;
        if let Some(until_ms) = ban.until_ms {
            self.ends.remove(&(until_ms, number));
        }
        if let BanTarget::Network(network) = ban.subject {
            self.networks.retain(|other| *other != network);
        }
        Some(ban)
    }
}
