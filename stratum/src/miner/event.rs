//! What happens to a miner, told to whoever watches it: logins, work, refusals and lost
//! connections.
//!
//! A pool's words in it are anybody's words; who shows them must see that they cannot do more than
//! be read.

use crate::work::template::Hash;

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MinerEvent {
    /// The pool took the login and gave the first work.
    LoggedIn {
        /// The pool's address.
        pool: String,
        /// The first work.
        job: MinerJob,
    },
    /// It gave other work.
    Job(MinerJob),
    /// It did not take the login, or gives work that this miner cannot do. The miner comes again
    /// all the same.
    Refused {
        /// The pool's address.
        pool: String,
        /// The pool's words, or ours about its work.
        reason: String,
        /// Whether it would be so tomorrow, too, unless somebody changes something.
        for_good: bool,
    },
    /// The connection ended or did not come about.
    Lost {
        /// The pool's address.
        pool: String,
        /// Why.
        reason: String,
    },
}

/// Work, as far as somebody outside is interested in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MinerJob {
    /// The algorithm's name; `rx/0` when the pool does not say.
    pub algo: String,
    /// The block to be found, if the pool says.
    pub height: Option<u64>,
    /// Hashes that a share costs.
    pub difficulty: u64,
    /// What RandomX needs a memory for.
    pub seed: Hash,
    /// The same of the next epoch, if the pool says.
    pub next_seed: Option<Hash>,
}

/// Words about what passes by itself. They count first: "too many logins from your address" is not
/// about the address.
const PASSING: [&str; 9] = [
    "try again",
    "later",
    "for now",
    "nothing to mine",
    "busy",
    "is full",
    "too many",
    "not synch",
    "syncing",
];
/// Words about what the miner's owner must change.
const LASTING: [&str; 6] = [
    "address",
    "wallet",
    "algo",
    "invalid login",
    "invalid user",
    "incompatible",
];

/// Whether a login that is refused in these words would be refused tomorrow, too. Pools have no
/// codes in common, only words; what says neither is taken for something that passes, because a
/// miner that waits for nothing costs less than one that is found switched off.
pub(super) fn is_for_good(reason: &str) -> bool {
    let reason = reason.to_lowercase();
    let speaks = |words: &[&str]| words.iter().any(|word| reason.contains(word));
    !speaks(&PASSING) && speaks(&LASTING)
}

#[cfg(all(test, feature = "pool"))]
mod tests {
    use super::*;
    use crate::chain::AddressError as ChainAddressError;
    use crate::chain::monero::address::AddressError;
    use crate::defence::refusal::Refusal;

    #[test]
    fn only_what_somebody_must_change_is_for_good() {
        let mistyped = [
            AddressError::Encoding,
            AddressError::Checksum,
            AddressError::Prefix(7),
            AddressError::Length(9),
        ];
        let ours = mistyped.map(|error| format!("Invalid wallet address: {error}"));
        let theirs = [
            "Invalid payment address provided: x",
            "This pool needs the algorithm rx/0",
            "Incompatible algorithm",
            "Invalid login",
        ];
        for reason in ours.iter().map(String::as_str).chain(theirs) {
            assert!(is_for_good(reason), "{reason}");
        }
        let full = [
            Refusal::Full,
            Refusal::ConnectionsOfAddress,
            Refusal::PaceOfNetwork,
            Refusal::BannedAddress,
            Refusal::BannedSession,
        ];
        let ours = full.map(|refusal| refusal.to_string());
        let unknown = format!(
            "Invalid wallet address: {}",
            ChainAddressError::NetworkUnknown
        );
        let theirs = [
            "The pool has nothing to mine yet: it waits for its daemon; try again later",
            "Proxy is full",
            "Forbidden",
            "",
            &unknown,
        ];
        for reason in ours.iter().map(String::as_str).chain(theirs) {
            assert!(!is_for_good(reason), "{reason}");
        }
    }
}
