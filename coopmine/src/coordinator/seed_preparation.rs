//! RandomX' memory is there before the first share needs it, also at the first job of an epoch.

use std::sync::Arc;

use headframe_stratum::miner::pool_message::PoolJob;
use headframe_stratum::randomx::Seeds;

/// Has the cache of a job's seed made, and then that of the next epoch's where the pool tells it.
pub(super) fn prepare(seeds: &Arc<Seeds>, job: &PoolJob) {
    let wanted = [Some(job.seed), job.next_seed];
    let wanted = wanted.into_iter().flatten();
    if wanted.clone().all(|seed| seeds.is_prepared(&seed)) {
        return;
    }
    let seeds = seeds.clone();
    tokio::spawn(async move {
        // The seed in use comes first, so that the other one takes the place of an older one.
        for seed in wanted {
            if let Err(error) = seeds.memory(seed).await {
                tracing::error!(%error, "shares of this seed cannot be checked");
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use headframe_stratum::randomx::Mode;

    use super::*;

    fn job(seed: u8, next_seed: Option<u8>) -> PoolJob {
        PoolJob {
            job_id: "a".to_owned(),
            algo: "rx/0".to_owned(),
            blob: vec![7; 76],
            nonce_offset: 39,
            target: u64::MAX,
            seed: [seed; 32],
            next_seed: next_seed.map(|seed| [seed; 32]),
            height: None,
            network_difficulty: None,
            nicehash: false,
        }
    }

    async fn until(what: &str, is_so: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(120);
        while !is_so() {
            assert!(Instant::now() < deadline, "{what}: did not happen");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn until_prepared(seeds: &Seeds, wanted: [u8; 2]) {
        let all = || wanted.iter().all(|seed| seeds.is_prepared(&[*seed; 32]));
        until(&format!("{wanted:?} are prepared"), all).await;
    }

    #[tokio::test]
    async fn the_next_epochs_cache_is_made_ahead_and_the_present_one_stays() {
        let seeds = Arc::new(Seeds::new(Mode::Light));
        prepare(&seeds, &job(1, Some(2)));
        until_prepared(&seeds, [1, 2]).await;
        // Another next one, after a reorganisation of the chain.
        prepare(&seeds, &job(1, Some(3)));
        until_prepared(&seeds, [1, 3]).await;
    }
}
