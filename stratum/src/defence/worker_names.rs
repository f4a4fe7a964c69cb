//! Worker names: how many a wallet may have, and how many there may be at all.
//!
//! Whoever logs in may invent a name, and each name becomes values of rows and keys of statistics.
//! Beyond the caps a worker mines and is paid as ever, under one name for all such. A name that
//! never sent a good share is forgotten when it leaves, so that nobody can fill a stranger's list
//! by logging in for his wallet.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// The name of all workers beyond the caps.
pub const OTHERS: &str = "_others";

/// The caps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WorkerNamesConfig {
    /// Worker names of a wallet; more share the name `_others`.
    pub workers_per_wallet: usize,
    /// Worker names of all wallets together; those that left longest ago are forgotten first.
    pub workers: usize,
    /// Seconds that a name is kept for a worker that left, when its wallet has no other to spare.
    pub keep_s: u64,
}

impl Default for WorkerNamesConfig {
    fn default() -> Self {
        Self {
            workers_per_wallet: 1_000,
            workers: 100_000,
            keep_s: 86_400,
        }
    }
}

#[derive(Debug, Default)]
struct Name {
    /// Connections that use it.
    live: u32,
    /// Whether a good share was ever sent under it.
    proven: bool,
    /// Its place among the unused ones.
    idle: Option<(u64, u64)>,
}

/// The names known.
#[derive(Debug)]
pub struct WorkerNames {
    settings: WorkerNamesConfig,
    wallets: HashMap<Arc<str>, HashMap<Arc<str>, Name>>,
    /// Unused names by the time they were left.
    idle: BTreeMap<(u64, u64), (Arc<str>, Arc<str>)>,
    known: usize,
    numbers: u64,
}

impl WorkerNames {
    /// None yet.
    pub fn new(settings: WorkerNamesConfig) -> Self {
        Self {
            settings,
            wallets: HashMap::new(),
            idle: BTreeMap::new(),
            known: 0,
            numbers: 0,
        }
    }

    /// A worker logs in: the name it goes by.
    pub fn enter(&mut self, wallet: &str, worker: &str, now_ms: u64) -> String {
        if let Some(name) = self
            .wallets
            .get_mut(wallet)
            .and_then(|names| names.get_mut(worker))
        {
            name.live += 1;
            if let Some(place) = name.idle.take() {
                self.idle.remove(&place);
            }
            return worker.to_owned();
        }
        if !self.has_space(wallet, now_ms) {
            return OTHERS.to_owned();
        }
        let wallet = self
            .wallets
            .get_key_value(wallet)
            .map_or_else(|| Arc::from(wallet), |(known, _)| known.clone());
        self.wallets.entry(wallet).or_default().insert(
            Arc::from(worker),
            Name {
                live: 1,
                ..Name::default()
            },
        );
        self.known += 1;
        worker.to_owned()
    }

    /// A worker that went by this name leaves; `proven` when it sent a good share.
    pub fn leave(&mut self, wallet: &str, worker: &str, proven: bool, now_ms: u64) {
        let Some((wallet, names)) = self.wallets.get_key_value(wallet) else {
            return;
        };
        let Some((worker, _)) = names.get_key_value(worker) else {
            return;
        };
        let (wallet, worker) = (wallet.clone(), worker.clone());
        let Some(name) = self
            .wallets
            .get_mut(&wallet)
            .and_then(|names| names.get_mut(&worker))
        else {
            return;
        };
        name.live = name.live.saturating_sub(1);
        name.proven |= proven;
        if name.live > 0 {
            return;
        }
        if !name.proven {
            self.forget(&wallet, &worker);
            return;
        }
        self.numbers += 1;
        let place = (now_ms, self.numbers);
        name.idle = Some(place);
        self.idle.insert(place, (wallet, worker));
    }

    /// Names known.
    pub fn len(&self) -> usize {
        self.known
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.known == 0
    }

    fn has_space(&mut self, wallet: &str, now_ms: u64) -> bool {
        let names = self.wallets.get(wallet);
        if names.map_or(0, HashMap::len) >= self.settings.workers_per_wallet {
            let left_before = now_ms.saturating_sub(self.settings.keep_s.saturating_mul(1000));
            let oldest = names.and_then(|names| names.values().filter_map(|name| name.idle).min());
            let Some(place) = oldest.filter(|(left, _)| *left <= left_before) else {
                return false;
            };
            self.forget_idle(place);
        }
        if self.known >= self.settings.workers {
            let Some((&place, _)) = self.idle.first_key_value() else {
                return false;
            };
            self.forget_idle(place);
        }
        true
    }

    fn forget_idle(&mut self, place: (u64, u64)) {
        if let Some((wallet, worker)) = self.idle.remove(&place) {
            self.forget(&wallet, &worker);
        }
    }

    fn forget(&mut self, wallet: &str, worker: &str) {
        let Some(names) = self.wallets.get_mut(wallet) else {
            return;
        };
        if names.remove(worker).is_some() {
            self.known -= 1;
        }
        if names.is_empty() {
            self.wallets.remove(wallet);
        }
    }
}
