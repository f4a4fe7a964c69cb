//! Leases of search space: who may search which nonces of a job.
//!
//! A nonce is leased once. What a worker that went away had not searched is given up rather than
//! given again, because nobody knows how far it came; two that search the same are work for
//! nothing, and their shares are duplicates that cost the whole cluster its name at the pool.

use std::sync::Arc;

use headframe_stratum::miner::nonce_supply::{NICEHASH, WHOLE};

/// Leases of one space at most, so that a worker in a loop does not fill the memory.
const MAX_LEASES: usize = 65_536;
/// The shortest lease.
pub const SHORTEST: u64 = 256;
/// Between two leases of one worker in one space at least.
pub const LEASE_EVERY_MS: u64 = 5_000;

/// A part of a job's nonces, for one worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Counts the leases of this coordinator.
    pub epoch: u64,
    /// Whose it is.
    pub worker: Arc<str>,
    /// The first nonce.
    pub start: u64,
    /// How many nonces.
    pub len: u64,
    /// How many of them the worker says it has searched.
    pub searched: u64,
}

impl Lease {
    /// The nonce behind the last.
    pub fn end(&self) -> u64 {
        self.start + self.len
    }

    /// What is left to search.
    pub fn left(&self) -> u64 {
        self.len - self.searched
    }
}

/// The nonces of one blob.
#[derive(Debug, Clone)]
pub struct SearchSpace {
    size: u64,
    next: u64,
    /// The nonce behind the last that is leased in ranges; from here on they are leased by their
    /// last byte.
    end: u64,
    leases: Vec<Lease>,
    /// Leases of a last byte, the highest first.
    bytes: Vec<Lease>,
}

/// Nonces with one last byte.
const OF_A_BYTE: u64 = 1 << 24;

impl SearchSpace {
    /// So many nonces, of which none is leased.
    pub fn new(size: u64) -> Self {
        Self {
            size,
            next: 0,
            end: size,
            leases: Vec::new(),
            bytes: Vec::new(),
        }
    }

    /// The nonces of a job, which are fewer where the last byte is the pool's.
    pub fn of_job(nicehash: bool) -> Self {
        Self::new(if nicehash { NICEHASH } else { WHOLE })
    }

    /// Leases up to `wanted` nonces that were never leased; `None` when all were.
    pub fn grant(&mut self, epoch: u64, worker: &Arc<str>, wanted: u64) -> Option<Lease> {
        let len = wanted.min(self.left());
        if len == 0 || self.leases.len() >= MAX_LEASES {
            return None;
        }
        let lease = Lease {
            epoch,
            worker: worker.clone(),
            start: self.next,
            len,
            searched: 0,
        };
        self.next += len;
        self.leases.push(lease.clone());
        Some(lease)
    }

    /// Leases all nonces with a last byte that was never leased and is not zero, for a miner that
    /// knows no ranges; `None` when there is none.
    pub fn grant_byte(&mut self, epoch: u64, worker: &Arc<str>) -> Option<Lease> {
        let start = self.end.checked_sub(OF_A_BYTE)?;
        if start < self.next || start == 0 {
            return None;
        }
        let lease = Lease {
            epoch,
            worker: worker.clone(),
            start,
            len: OF_A_BYTE,
            searched: 0,
        };
        self.end = start;
        self.bytes.push(lease.clone());
        Some(lease)
    }

    /// Nonces that were never leased.
    pub fn left(&self) -> u64 {
        self.end - self.next
    }

    /// All nonces.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The leases in the order of their nonces.
    pub fn leases(&self) -> impl Iterator<Item = &Lease> {
        self.leases.iter().chain(self.bytes.iter().rev())
    }

    /// The lease with this number.
    pub fn lease(&self, epoch: u64) -> Option<&Lease> {
        // Epochs grow with the nonces of ranges.
        match self
            .leases
            .binary_search_by_key(&epoch, |lease| lease.epoch)
        {
            Ok(at) => self.leases.get(at),
            Err(_) => self.bytes.iter().find(|lease| lease.epoch == epoch),
        }
    }

    /// The lease that a nonce lies in.
    pub fn lease_with(&self, nonce: u64) -> Option<&Lease> {
        if nonce >= self.end {
            let of_byte = |lease: &&Lease| (lease.start..lease.end()).contains(&nonce);
            return self.bytes.iter().find(of_byte);
        }
        let behind = self.leases.partition_point(|lease| lease.start <= nonce);
        let lease = self.leases.get(behind.checked_sub(1)?)?;
        (nonce < lease.end()).then_some(lease)
    }

    /// Takes a worker's word for how far it came; it never comes back from where it was.
    pub fn report(&mut self, epoch: u64, worker: &str, searched: u64) {
        // Epochs grow with the nonces.
        if let Ok(at) = self
            .leases
            .binary_search_by_key(&epoch, |lease| lease.epoch)
            && let Some(lease) = self.leases.get_mut(at)
            && &*lease.worker == worker
        {
            lease.searched = lease.searched.max(searched.min(lease.len));
        }
    }
}

/// Nonces are many where there is the least lease for so many workers.
const MANY: u64 = 4_096;

/// Who lives on the nonces of one space together.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Demand {
    /// How many workers.
    pub workers: usize,
    /// What they hash a second together.
    pub hashrate_hs: f64,
}

impl Demand {
    /// A worker's part of what there is, 0 to 1: half of it is by hashrate, and half is the same
    /// for all, so that one that claims to be fast does not leave the others without work.
    fn share(self, hashrate_hs: f64) -> f64 {
        let by_number = 1.0 / self.workers.max(1) as f64;
        let by_hashrate = match self.hashrate_hs > 0.0 {
            true => (hashrate_hs / self.hashrate_hs).min(1.0),
            false => by_number,
        };
        by_number.midpoint(by_hashrate)
    }
}

/// What a lease is measured by.
#[derive(Debug, Clone, Copy)]
pub struct LeaseTerms {
    /// How long a worker should have enough.
    pub seconds: u64,
    /// Nonces that a slow worker gets where they are many.
    pub least: u64,
}

impl LeaseTerms {
    /// How many nonces a worker of this hashrate gets. Where they are few, it is half of the
    /// worker's share of what is left, so that as much stays for the next leases, or more as far as
    /// it needs that until it may have another one. No worker gets more than an eighth of what is
    /// left, and each time it registered again without having searched anything makes its leases
    /// half as long, so that one that comes and goes does not use up what all live on.
    pub fn len(self, hashrate_hs: f64, demand: Demand, left: u64, wasted: u32) -> u64 {
        let rate = hashrate_hs.max(0.0);
        let share = (left as f64 * demand.share(rate)) as u64;
        let wanted = (rate * self.seconds as f64) as u64;
        let until_next = (rate * LEASE_EVERY_MS as f64 / 1_000.0) as u64;
        let fair = wanted.max(self.least.min(left / MANY)).min(share / 2);
        let len = fair.max(until_next.min(share)).min(left / 8);
        len.checked_shr(wasted).unwrap_or(0).max(SHORTEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_nonce_is_leased_twice_and_the_last_lease_is_what_is_left() {
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let mut space = SearchSpace::new(1_000);
        let first = space.grant(1, &a, 600).unwrap();
        let second = space.grant(2, &b, 600).unwrap();
        assert_eq!((first.start, first.end()), (0, 600));
        assert_eq!((second.start, second.end()), (600, 1_000));
        assert_eq!(space.grant(3, &a, 1), None);
        let whose = |nonce| space.lease_with(nonce).map(|lease| lease.worker.clone());
        assert_eq!(whose(599), Some(a.clone()));
        assert_eq!(whose(600), Some(b));
        assert_eq!(whose(1_000), None);
        space.report(1, "a", 700);
        space.report(1, "a", 5);
        space.report(1, "b", 9);
        assert_eq!(space.lease(1).map(Lease::left), Some(0));
    }

    #[test]
    fn a_last_byte_is_leased_once_and_never_in_ranges() {
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let mut space = SearchSpace::new(4 * OF_A_BYTE);
        let range = space.grant(1, &a, OF_A_BYTE + 1).unwrap();
        let byte = space.grant_byte(2, &b).unwrap();
        assert_eq!((byte.start, byte.len), (3 * OF_A_BYTE, OF_A_BYTE));
        assert_eq!(space.grant_byte(3, &a).unwrap().start, 2 * OF_A_BYTE);
        // The next byte has a nonce that is leased already.
        assert_eq!(space.grant_byte(4, &a), None);
        let rest = space.grant(5, &a, u64::MAX).unwrap();
        assert_eq!((rest.start, rest.end()), (range.end(), 2 * OF_A_BYTE));
        assert_eq!(space.left(), 0);
        let whose = |nonce| space.lease_with(nonce).map(|lease| lease.epoch);
        assert_eq!(whose(2 * OF_A_BYTE - 1), Some(5));
        assert_eq!(whose(2 * OF_A_BYTE), Some(3));
        assert_eq!(whose(4 * OF_A_BYTE - 1), Some(2));
        assert_eq!(whose(4 * OF_A_BYTE), None);
        let order: Vec<u64> = space.leases().map(|lease| lease.epoch).collect();
        assert_eq!(order, [1, 5, 3, 2]);
        assert_eq!(
            SearchSpace::new(OF_A_BYTE).grant_byte(1, &a),
            None,
            "byte zero is nobody's"
        );
    }

    const TERMS: LeaseTerms = LeaseTerms {
        seconds: 120,
        least: 1 << 20,
    };

    #[test]
    fn a_lease_is_by_hashrate_and_shrinks_for_whoever_wastes_it() {
        let alone = |hashrate_hs: f64, left, wasted| {
            let demand = Demand {
                workers: 1,
                hashrate_hs,
            };
            TERMS.len(hashrate_hs, demand, left, wasted)
        };
        assert_eq!(alone(100_000.0, 1 << 32, 0), 12_000_000);
        assert_eq!(alone(30.0, 1 << 32, 0), 1 << 20);
        assert_eq!(alone(f64::MAX, 1 << 32, 0), 1 << 29);
        assert_eq!(alone(30.0, 1 << 32, 3), 1 << 17);
        assert_eq!(alone(30.0, 1 << 32, 200), SHORTEST);
        assert_eq!(alone(f64::NAN, 100, 0), SHORTEST);
    }

    #[test]
    fn many_workers_share_what_is_left() {
        let demand = Demand {
            workers: 100,
            hashrate_hs: 100_000.0,
        };
        let all = 1 << 24;
        assert_eq!(TERMS.len(1_000.0, demand, all, 0), all / 200);
        // A slow one gets less, a fast one more.
        assert_eq!(TERMS.len(10.0, demand, all, 0), all / MANY);
        assert_eq!(TERMS.len(50.0, demand, all, 0), 6_000);
        assert_eq!(TERMS.len(9_000.0, demand, all, 0), all / 40);
        // What is nearly used up still lasts each worker until its next lease.
        assert_eq!(TERMS.len(1_000.0, demand, 600_000, 0), 5_000);
        assert_eq!(TERMS.len(1_000.0, demand, 100_000, 0), 1_000);
        // Whoever claims more than all hash gets no more than an eighth, and the others theirs.
        assert_eq!(TERMS.len(1e12, demand, all, 0), all / 8);
        let claimed = Demand {
            hashrate_hs: 1e12,
            ..demand
        };
        assert_eq!(TERMS.len(1_000.0, claimed, all, 0), all / 400);
        let nobody = Demand::default();
        assert_eq!(TERMS.len(1_000.0, nobody, all, 0), 120_000);
    }
}
