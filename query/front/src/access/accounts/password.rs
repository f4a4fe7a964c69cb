//! Passwords: how they are kept, and how one is checked without giving strangers the memory or the
//! processor of the pool beside us.
//!
//! Argon2id makes each guess at a stolen store dear. PostgreSQL's SCRAM needs its own salted
//! password, which is as good as the password itself to this server: the store is closed, and the
//! rows about accounts hold neither.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use pgwire::api::auth::sasl::scram::{SCRAM_ITERATIONS, gen_salted_password};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use crate::access::accounts::secret::random;
use crate::access::accounts::store::StoreError;

/// Memory of one hash, in KiB.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// The least and the most characters of a password.
const MIN_CHARS: usize = 12;
pub const MAX_BYTES: usize = 1_024;
/// How long a check waits for the ones before it.
const PATIENCE: Duration = Duration::from_secs(20);
/// Checks that may wait at once.
const MAX_WAITING: usize = 16;
/// After a check nobody checks for so many times as long as it took, which leaves three quarters
/// of a core to others whatever strangers do.
const REST: u32 = 3;

/// What a password is checked against.
#[derive(Clone, Serialize, Deserialize)]
pub struct PasswordRecord {
    argon2id: Argon2Record,
    scram_sha_256: ScramRecord,
}

#[derive(Clone, Serialize, Deserialize)]
struct Argon2Record {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    #[serde(with = "crate::access::accounts::hex_text")]
    salt: [u8; 16],
    #[serde(with = "crate::access::accounts::hex_text")]
    hash: [u8; 32],
}

/// What SCRAM-SHA-256 needs of a password.
#[derive(Clone, Serialize, Deserialize)]
pub struct ScramRecord {
    /// Random bytes.
    #[serde(with = "crate::access::accounts::hex_text")]
    pub salt: [u8; 16],
    /// Rounds of PBKDF2.
    pub iterations: u32,
    /// What PBKDF2 made of the password; whoever has it can log in.
    #[serde(with = "crate::access::accounts::hex_text")]
    pub salted_password: [u8; 32],
}

/// Why a password is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// It can be guessed.
    #[error("a password needs at least {MIN_CHARS} characters; a sentence is a good one")]
    Short,
    /// It is no password.
    #[error("a password has at most {MAX_BYTES} bytes and no control characters")]
    Malformed,
}

impl PasswordRecord {
    /// What to keep of a new password. It takes a while.
    pub fn new(password: &str) -> Result<Self, StoreError> {
        let mut argon2id = Argon2Record {
            memory_kib: MEMORY_KIB,
            passes: PASSES,
            lanes: LANES,
            salt: random()?,
            hash: [0; 32],
        };
        let failed = || StoreError::Unavailable("the password cannot be hashed".to_owned());
        argon2id.hash = argon2id.hash(password).ok_or_else(failed)?;
        let salt: [u8; 16] = random()?;
        let salted = gen_salted_password(password, &salt, SCRAM_ITERATIONS);
        let scram_sha_256 = ScramRecord {
            salt,
            iterations: SCRAM_ITERATIONS as u32,
            salted_password: salted.try_into().map_err(|_| failed())?,
        };
        Ok(Self {
            argon2id,
            scram_sha_256,
        })
    }

    /// What no password fits: checking against it takes as long as against a user's.
    pub fn of_nobody() -> Result<Self, StoreError> {
        Ok(Self {
            argon2id: Argon2Record {
                memory_kib: MEMORY_KIB,
                passes: PASSES,
                lanes: LANES,
                salt: random()?,
                hash: random()?,
            },
            scram_sha_256: ScramRecord {
                salt: random()?,
                iterations: SCRAM_ITERATIONS as u32,
                salted_password: random()?,
            },
        })
    }

    /// What SCRAM needs.
    pub fn scram(&self) -> &ScramRecord {
        &self.scram_sha_256
    }

    fn fits(&self, password: &str) -> bool {
        let hash = self.argon2id.hash(password);
        hash.is_some_and(|hash| verify_slices_are_equal(&hash, &self.argon2id.hash).is_ok())
    }
}

impl Argon2Record {
    fn hash(&self, password: &str) -> Option<[u8; 32]> {
        let params = Params::new(self.memory_kib, self.passes, self.lanes, Some(32)).ok()?;
        let mut hash = [0; 32];
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(password.as_bytes(), &self.salt, &mut hash)
            .ok()?;
        Some(hash)
    }
}

/// Refuses a new password that is easily guessed.
pub fn check_new(password: &str) -> Result<(), PasswordError> {
    if password.len() > MAX_BYTES || password.chars().any(char::is_control) {
        return Err(PasswordError::Malformed);
    }
    match password.chars().count() >= MIN_CHARS {
        true => Ok(()),
        false => Err(PasswordError::Short),
    }
}

/// Checks passwords one at a time, and rests between two.
pub struct PasswordChecker {
    turn: Arc<Semaphore>,
    waiting: AtomicUsize,
}

/// Too many passwords wait to be checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckerBusy;

impl Default for PasswordChecker {
    fn default() -> Self {
        Self {
            turn: Arc::new(Semaphore::new(1)),
            waiting: AtomicUsize::new(0),
        }
    }
}

impl PasswordChecker {
    /// Whether the password fits the record.
    pub async fn check(
        &self,
        record: PasswordRecord,
        password: String,
    ) -> Result<bool, CheckerBusy> {
        let turn = {
            let _place = Place::take(&self.waiting).ok_or(CheckerBusy)?;
            let turn = tokio::time::timeout(PATIENCE, self.turn.clone().acquire_owned()).await;
            turn.ok().and_then(Result::ok).ok_or(CheckerBusy)?
        };
        let check = tokio::task::spawn_blocking(move || {
            let started = Instant::now();
            let fits = record.fits(&password);
            (fits, started.elapsed())
        });
        // A client that hangs up does not end the hash, so the turn is given back by a task.
        let done = tokio::spawn(async move {
            let (fits, took) = check.await.map_err(|_| CheckerBusy)?;
            tokio::spawn(async move {
                tokio::time::sleep(took * REST).await;
                drop(turn);
            });
            Ok(fits)
        });
        done.await.map_err(|_| CheckerBusy)?
    }
}

/// A place among those that wait.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicUsize) -> Option<Self> {
        let place = Self(waiting);
        (waiting.fetch_add(1, Ordering::Relaxed) < MAX_WAITING).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_password_fits_its_own_record_only_and_the_store_keeps_no_password() {
        let password = "correct horse battery";
        let record = PasswordRecord::new(password).unwrap();
        assert!(record.fits(password));
        assert!(!record.fits("correct horse batterz") && !record.fits(""));
        let kept = serde_json::to_string(&record).unwrap();
        assert!(!kept.contains("horse"), "{kept}");
        let read: PasswordRecord = serde_json::from_str(&kept).unwrap();
        assert!(read.fits(password));
        let scram = read.scram();
        let salted = gen_salted_password(password, &scram.salt, scram.iterations as usize);
        assert_eq!(salted, scram.salted_password);
        assert!(scram.iterations >= 4_096);
        assert!(!PasswordRecord::of_nobody().unwrap().fits(password));
        let again = PasswordRecord::new(password).unwrap();
        assert_ne!(again.argon2id.hash, record.argon2id.hash, "salts differ");
    }

    #[test]
    fn weak_and_malformed_passwords_are_refused() {
        assert_eq!(check_new("eleven char"), Err(PasswordError::Short));
        assert_eq!(check_new("twelve chars"), Ok(()));
        assert_eq!(check_new(&"é".repeat(12)), Ok(()));
        assert_eq!(check_new("twelve\nchars"), Err(PasswordError::Malformed));
        let long = "a".repeat(MAX_BYTES + 1);
        assert_eq!(check_new(&long), Err(PasswordError::Malformed));
    }

    #[tokio::test]
    async fn few_wait_for_a_check_and_the_rest_are_told_at_once() {
        let checker = Arc::new(PasswordChecker::default());
        let held = checker.turn.clone().acquire_owned().await.unwrap();
        let record = PasswordRecord::of_nobody().unwrap();
        let mut waiting = tokio::task::JoinSet::new();
        for _ in 0..MAX_WAITING {
            let (checker, record) = (checker.clone(), record.clone());
            waiting.spawn(async move { checker.check(record, "a".to_owned()).await });
        }
        while checker.waiting.load(Ordering::Relaxed) < MAX_WAITING {
            tokio::task::yield_now().await;
        }
        let one_more = checker.check(record, "a".to_owned()).await;
        assert_eq!(one_more, Err(CheckerBusy));
        waiting.abort_all();
        while waiting.join_next().await.is_some() {}
        assert_eq!(checker.waiting.load(Ordering::Relaxed), 0);
        drop(held);
        let record = PasswordRecord::new("twelve chars").unwrap();
        let fits = checker.check(record, "twelve chars".to_owned()).await;
        assert_eq!(fits, Ok(true));
    }
}
