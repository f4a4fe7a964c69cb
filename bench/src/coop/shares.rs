//! How fast the coordinator verifies: shares whose hashes are known, all sent at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, ensure};
use headframe_coopmine::proto::client::CoopMineClient;
use headframe_coopmine::proto::messages::SubmitShareRequest;
use headframe_stratum::randomx::{Mode, SeedMemory, Vm};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::ms_since;
use super::pool::SEED;
use super::worker::Heard;
use crate::stratum::measurements::percentiles;

/// A share of a worker: whose, and the bytes to hash.
struct Share {
    client: CoopMineClient,
    request: SubmitShareRequest,
    blob: Vec<u8>,
}

/// Computes the hashes of so many shares on so many threads, sends all, and waits for all verdicts.
pub async fn verify(
    newest: &BTreeMap<usize, Heard>,
    count: usize,
    threads: usize,
) -> anyhow::Result<Value> {
    if count == 0 {
        return Ok(Value::Null);
    }
    let mut shares = Vec::with_capacity(count);
    for round in 0..count.div_ceil(newest.len()) {
        let left = count - shares.len();
        for heard in newest.values().take(left) {
            shares.push(share(heard, round as u64)?);
        }
    }
    let memory = tokio::task::spawn_blocking(|| SeedMemory::build(&SEED, Mode::Light));
    let memory = Arc::new(memory.await??);
    let began = Instant::now();
    let hashing = tokio::task::spawn_blocking(move || hash(shares, threads.max(1), &memory));
    let shares = hashing.await??;
    let bare_s = began.elapsed().as_secs_f64();
    let mut sent = JoinSet::new();
    let began = Instant::now();
    for share in shares {
        sent.spawn(async move {
            let sent = Instant::now();
            let answer = share.client.submit_share(share.request).await;
            (answer, sent.elapsed())
        });
    }
    let mut verdicts: BTreeMap<String, usize> = BTreeMap::new();
    let mut took = Vec::new();
    while let Some(ended) = sent.join_next().await {
        let (answer, elapsed) = ended?;
        let verdict = match answer {
            Ok(answer) => answer.verdict,
            Err(status) => format!("refused: {}", status.message()),
        };
        *verdicts.entry(verdict).or_default() += 1;
        took.push(elapsed);
    }
    let took_s = ms_since(began) / 1_000.0;
    let (rate, bare) = (count as f64 / took_s, count as f64 / bare_s);
    Ok(json!({
        "shares": count,
        "threads": threads,
        "verdicts": verdicts,
        "verified_per_s": rate,
        "bare_hashes_per_s": bare,
        "ratio": rate / bare,
        "submit_to_verdict_ms": percentiles(&took),
    }))
}

/// A worker's share of this round: the nonce at this place of its first lease.
fn share(heard: &Heard, round: u64) -> anyhow::Result<Share> {
    let lease = heard.job.leases.first();
    let lease = lease.with_context(|| format!("{} has no lease", heard.worker_id))?;
    ensure!(round < lease.len, "{} has too few nonces", heard.worker_id);
    let nonce = u32::try_from(lease.start + round)?;
    let mut blob = heard.job.blob.clone();
    let at = usize::try_from(heard.job.nonce_offset)?;
    let place = blob
        .get_mut(at..at + 4)
        .context("a nonce outside its blob")?;
    place.copy_from_slice(&nonce.to_le_bytes());
    Ok(Share {
        client: heard.client.clone(),
        request: SubmitShareRequest {
            worker_id: heard.worker_id.clone(),
            session: heard.session,
            job: heard.job.job,
            nonce,
            hash: Vec::new(),
        },
        blob,
    })
}

/// Fills in the hashes.
fn hash(
    mut shares: Vec<Share>,
    threads: usize,
    memory: &Arc<SeedMemory>,
) -> anyhow::Result<Vec<Share>> {
    let part = shares.len().div_ceil(threads);
    std::thread::scope(|scope| {
        let hashing: Vec<_> = shares
            .chunks_mut(part)
            .map(|shares| {
                scope.spawn(move || {
                    let machine = Vm::new(memory)?;
                    for share in shares {
                        share.request.hash = machine.hash(&share.blob)?.to_vec();
                    }
                    anyhow::Ok(())
                })
            })
            .collect();
        for thread in hashing {
            thread
                .join()
                .map_err(|_| anyhow::anyhow!("a thread panicked"))??;
        }
        anyhow::Ok(())
    })?;
    Ok(shares)
}
