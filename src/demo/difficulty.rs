//! The difficulty of the demo's private chain: what this machine can hash, busy as it is now.
//!
//! A coin can be spent when sixty blocks are on it. A difficulty that suits an idle machine makes
//! that minutes on a busy one, so it is measured at the start.

use std::time::{Duration, Instant};

use headframe_stratum::randomx::{Mode, Seeds, Vm};

/// How long hashes are counted.
const MEASURED: Duration = Duration::from_millis(1_500);
/// A block in this time, by one thread; sixty of them and a payment are then done within a minute.
const BLOCK_S: f64 = 0.6;
/// Above this, blocks would come faster than their rows can be followed.
const MOST: u64 = 30;

/// Hashes that a block may cost here.
pub async fn measure() -> anyhow::Result<u64> {
    let memory = Seeds::new(Mode::Light).memory([0; 32]).await?;
    let rate = tokio::task::spawn_blocking(move || -> anyhow::Result<f64> {
        let vm = Vm::new(&memory)?;
        let (began, mut hashes) = (Instant::now(), 0_u32);
        while began.elapsed() < MEASURED {
            vm.hash(&hashes.to_le_bytes())?;
            hashes += 1;
        }
        Ok(f64::from(hashes) / began.elapsed().as_secs_f64())
    });
    Ok(suited(rate.await??))
}

/// The difficulty for so many hashes a second.
fn suited(rate: f64) -> u64 {
    ((rate * BLOCK_S) as u64).clamp(1, MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_machine_gets_an_easy_chain_and_a_fast_one_no_flood() {
        assert_eq!([0.5, 8.0, 48.0, 5_000.0].map(suited), [1, 4, 28, 30]);
    }
}
