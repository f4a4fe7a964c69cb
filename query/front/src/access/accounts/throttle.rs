//! How often somebody may try to log in: over HTTP, PostgreSQL and Flight together.
//!
//! Pure. After five failures within a quarter of an hour an address, and an account, has to wait
//! before each further attempt: 12 seconds, then twice as long each time, up to five minutes. An
//! account is never locked: an address from which its owner logged in of late is counted apart
//! from all strangers.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Failures that cost nothing.
const FREE: u32 = 5;
const FIRST_WAIT: Duration = Duration::from_secs(12);
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// Failures older than this are forgotten.
const MEMORY: Duration = Duration::from_secs(900);
/// Addresses and accounts that are remembered.
const MAX_KEYS: usize = 8_192;

/// Whose attempts are counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Address(IpAddr),
    Account(String),
    /// The owner of an account at an address that he used before.
    Known(String, IpAddr),
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    last: Instant,
}

/// The attempts of late.
#[derive(Debug, Default)]
pub struct LoginThrottle {
    failures: HashMap<Key, Failures>,
    known: HashSet<(String, IpAddr)>,
}

impl LoginThrottle {
    /// Begins an attempt, which counts as failed until it succeeds; or says how long to wait.
    /// Without an account it counts for the address alone.
    pub fn begin(
        &mut self,
        account: Option<&str>,
        peer: IpAddr,
        now: Instant,
    ) -> Result<(), Duration> {
        let keys = self.keys(account, peer);
        let waits = keys.iter().filter_map(|key| self.wait(key, now));
        if let Some(wait) = waits.max() {
            return Err(wait);
        }
        if self.failures.len() + keys.len() > MAX_KEYS {
            self.failures
                .retain(|_, failures| now.duration_since(failures.last) < MEMORY);
            if self.failures.len() + keys.len() > MAX_KEYS {
                return Err(FIRST_WAIT);
            }
        }
        for key in keys {
            let failures = self.failures.entry(key).or_insert(Failures {
                count: 0,
                last: now,
            });
            if now.duration_since(failures.last) >= MEMORY {
                failures.count = 0;
            }
            failures.count = failures.count.saturating_add(1);
            failures.last = now;
        }
        Ok(())
    }

    /// The attempt was the owner's.
    pub fn succeed(&mut self, account: Option<&str>, peer: IpAddr) {
        for key in self.keys(account, peer) {
            match key {
                // Others may try from the same address: only this attempt did not fail.
                Key::Address(_) => {
                    if let Some(failures) = self.failures.get_mut(&key) {
                        failures.count = failures.count.saturating_sub(1);
                    }
                }
                _ => {
                    self.failures.remove(&key);
                }
            }
        }
        if let Some(account) = account
            && self.known.len() < MAX_KEYS
        {
            self.known.insert((account.to_owned(), peer));
        }
    }

    fn keys(&self, account: Option<&str>, peer: IpAddr) -> Vec<Key> {
        let Some(account) = account.map(str::to_owned) else {
            return vec![Key::Address(peer)];
        };
        match self.known.contains(&(account.clone(), peer)) {
            true => vec![Key::Known(account, peer)],
            false => vec![Key::Address(peer), Key::Account(account)],
        }
    }

    fn wait(&self, key: &Key, now: Instant) -> Option<Duration> {
        let failures = self.failures.get(key)?;
        let beyond = failures.count.checked_sub(FREE)?;
        let since = now.saturating_duration_since(failures.last);
        let wait = FIRST_WAIT * 2_u32.saturating_pow(beyond.min(8));
        (since < MEMORY)
            .then(|| wait.min(LONGEST_WAIT).checked_sub(since))
            .flatten()
            .filter(|wait| !wait.is_zero())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn address(n: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, n])
    }

    #[test]
    fn attempts_wait_longer_and_longer_and_are_forgotten() {
        let mut throttle = LoginThrottle::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        for n in 0..5 {
            let account = format!("user{n}");
            assert_eq!(throttle.begin(Some(&account), address(1), at(0)), Ok(()));
        }
        let wait = Duration::from_secs(12);
        assert_eq!(throttle.begin(Some("user9"), address(1), at(0)), Err(wait));
        assert_eq!(throttle.begin(Some("user9"), address(2), at(0)), Ok(()));
        assert_eq!(throttle.begin(Some("user9"), address(1), at(12)), Ok(()));
        let wait = Duration::from_secs(24);
        assert_eq!(throttle.begin(Some("user9"), address(1), at(12)), Err(wait));
        // However often it is tried, it is five minutes at most, and a minute has few attempts.
        let (mut now, mut attempts) = (12, 0);
        for second in 13..3_000 {
            if throttle
                .begin(Some("user8"), address(1), at(second))
                .is_ok()
            {
                (now, attempts) = (second, attempts + 1);
            }
        }
        assert!((8..=16).contains(&attempts), "{attempts}");
        assert_eq!(
            throttle.begin(Some("user7"), address(1), at(now + 900)),
            Ok(())
        );
        assert_eq!(
            throttle.begin(Some("user7"), address(1), at(now + 900)),
            Ok(())
        );
    }

    #[test]
    fn strangers_slow_an_account_down_and_never_lock_out_its_owner() {
        let mut throttle = LoginThrottle::default();
        let now = Instant::now();
        let home = address(200);
        assert_eq!(throttle.begin(Some("ann"), home, now), Ok(()));
        throttle.succeed(Some("ann"), home);
        let begun = (0..100).filter(|n| throttle.begin(Some("ann"), address(*n), now).is_ok());
        assert_eq!(begun.count(), 5);
        for _ in 0..50 {
            assert_eq!(throttle.begin(Some("ann"), home, now), Ok(()));
            throttle.succeed(Some("ann"), home);
        }
        for _ in 0..5 {
            assert_eq!(throttle.begin(Some("ann"), home, now), Ok(()));
        }
        assert!(throttle.begin(Some("ann"), home, now).is_err());
    }

    #[test]
    fn wrong_tokens_count_for_their_address_alone() {
        let mut throttle = LoginThrottle::default();
        let now = Instant::now();
        for _ in 0..5 {
            assert_eq!(throttle.begin(None, address(1), now), Ok(()));
        }
        assert!(throttle.begin(None, address(1), now).is_err());
        assert!(throttle.begin(Some("ann"), address(1), now).is_err());
        for _ in 0..50 {
            assert_eq!(throttle.begin(None, address(2), now), Ok(()));
            throttle.succeed(None, address(2));
        }
        assert_eq!(throttle.begin(Some("ann"), address(3), now), Ok(()));
    }

    #[test]
    fn memory_is_bounded() {
        let mut throttle = LoginThrottle::default();
        let now = Instant::now();
        for n in 0..20_000_u32 {
            let peer = IpAddr::from(n.to_be_bytes());
            let _ = throttle.begin(Some(&format!("user{n}")), peer, now);
        }
        assert!(throttle.failures.len() <= MAX_KEYS);
        let later = now + MEMORY;
        assert_eq!(throttle.begin(Some("ann"), address(1), later), Ok(()));
        assert!(throttle.failures.len() <= 2);
    }
}
