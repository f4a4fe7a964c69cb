//! The signatures that miners send with a threshold, before the wallet is asked about them.
//!
//! Anybody may send one, and the wallet that checks it is the one that pays. So only what looks
//! like a signature goes there, few at once, and seldom from one address or for one miner.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{ErrorCode, QueryError};
use crate::peer::LimitedAddress;
use crate::rate_limit::RateLimit;

/// Checks that the wallet may have before it at once.
const MAX_IN_FLIGHT: usize = 4;
/// Checks from one address: so many at once, then one each [`CLIENT_REFILL`].
const CLIENT_BURST: u32 = 10;
const CLIENT_REFILL: Duration = Duration::from_secs(6);
/// Checks for one miner: so many at once, then one each [`MINER_REFILL`].
const MINER_BURST: u32 = 5;
const MINER_REFILL: Duration = Duration::from_secs(20);
/// The longest signature that a row keeps whole.
const MAX_SIGNATURE_BYTES: usize = 250;

/// Limits what reaches the wallet.
pub(crate) struct SignatureChecks {
    in_flight: Arc<Semaphore>,
    by_client: RateLimit<IpAddr>,
    by_miner: RateLimit<String>,
}

impl Default for SignatureChecks {
    fn default() -> Self {
        Self {
            in_flight: Arc::new(Semaphore::new(MAX_IN_FLIGHT)),
            by_client: RateLimit::new(CLIENT_BURST, CLIENT_REFILL),
            by_miner: RateLimit::new(MINER_BURST, MINER_REFILL),
        }
    }
}

impl SignatureChecks {
    /// Lets a check go to the wallet; it is in flight until the permit is dropped.
    pub(crate) fn begin(
        &self,
        client: LimitedAddress,
        miner: &str,
    ) -> Result<OwnedSemaphorePermit, QueryError> {
        let now = Instant::now();
        if !self.by_client.allow(client.0, now) {
            return Err(too_often("from this address"));
        }
        if !self.by_miner.allow(miner.to_owned(), now) {
            return Err(too_often("for this miner"));
        }
        self.in_flight.clone().try_acquire_owned().map_err(|_| {
            QueryError::new(
                ErrorCode::ConcurrencyLimit,
                format!("{MAX_IN_FLIGHT} signatures are being checked, which is the limit"),
                "try again in a second",
            )
        })
    }
}

fn too_often(by: &str) -> QueryError {
    QueryError::new(
        ErrorCode::RateLimit,
        format!("too many signatures were sent {by}"),
        "try again in a minute",
    )
}

/// Whether a text has the form of a signature that a wallet writes: Monero's `SigV1` or `SigV2`
/// with base58, or the base64 of Bitcoin's `signmessage`.
pub(crate) fn is_well_formed(signature: &str) -> bool {
    if signature.len() > MAX_SIGNATURE_BYTES {
        return false;
    }
    let base58 =
        |byte: u8| byte.is_ascii_alphanumeric() && !matches!(byte, b'0' | b'O' | b'I' | b'l');
    for version in ["SigV1", "SigV2"] {
        if let Some(rest) = signature.strip_prefix(version) {
            // 64 bytes in blocks of 8, each of 11 digits.
            return rest.len() == 88 && rest.bytes().all(base58);
        }
    }
    let digits = signature.trim_end_matches('=');
    let base64 = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    signature.len() >= 88
        && signature.len().is_multiple_of(4)
        && signature.len() - digits.len() <= 2
        && digits.bytes().all(base64)
}

#[cfg(test)]
mod tests {
    use super::is_well_formed;

    #[test]
    fn only_what_a_wallet_writes_is_well_formed() {
        let monero = format!("SigV2{}", "a1".repeat(44));
        let bitcoin = format!("H{}=", "aB3+".repeat(21) + "/A");
        assert_eq!(bitcoin.len(), 88);
        for good in [&monero, &monero.replace("V2", "V1"), &bitcoin] {
            assert!(is_well_formed(good), "{good}");
        }
        for bad in [
            String::new(),
            "s".to_owned(),
            "SigV2".to_owned(),
            format!("{monero}a"),
            monero.replace('a', "0"),
            monero.replace("V2", "V3"),
            format!("{bitcoin} "),
            bitcoin.replace('+', "\n"),
            "A".repeat(252),
            "A".repeat(1 << 20),
        ] {
            assert!(!is_well_formed(&bad), "{}", bad.len());
        }
    }
}
