//! What a pool says, read as strictly as XMRig reads it.

use serde::Deserialize;
use serde_json::Value;

use super::Broken;
use crate::chain::{Hash, USUAL_NONCE_OFFSET};
use crate::difficulty::target_from_hex;

/// Blobs XMRig accepts, bytes.
const BLOB_LEN: std::ops::RangeInclusive<usize> = 43..=407;

/// What a job that names no algorithm is for.
const USUAL_ALGO: &str = "rx/0";
const NONCE_LEN: usize = 4;

/// A line from the pool.
#[derive(Debug)]
pub(super) enum Said {
    LoggedIn { session: String, job: WireJob },
    LoginRefused(String),
    Job(WireJob),
    Answer { id: u64, refusal: Option<String> },
}

/// A job, decoded.
#[derive(Debug)]
pub(super) struct WireJob {
    pub(super) job_id: String,
    pub(super) algo: String,
    pub(super) blob: Vec<u8>,
    /// Where the nonce goes; always inside the blob.
    pub(super) nonce_offset: usize,
    pub(super) target: u64,
    pub(super) seed: Hash,
}

#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    id: Value,
    #[serde(default)]
    method: Option<String>,
    #[serde(default)]
    params: Value,
    #[serde(default)]
    result: Value,
    #[serde(default)]
    error: Value,
}

#[derive(Deserialize)]
struct Job {
    job_id: String,
    blob: String,
    target: String,
    algo: Option<String>,
    /// Our own pools say it for headers whose nonce is elsewhere; XMRig knows it by the algorithm.
    nonce_offset: Option<usize>,
    seed_hash: String,
}

#[derive(Deserialize)]
struct Login {
    id: String,
    job: Job,
}

/// Reads a line; jobs must be for one of `algos`.
pub(super) fn parse(line: &[u8], algos: &[String]) -> Result<Said, Broken> {
    let line: Line = serde_json::from_slice(line).map_err(|_| Broken::Protocol("a line is not a JSON object"))?;
    // An integer id makes a line an answer, whatever else it says.
    if let Some(id) = line.id.as_u64() {
        return answer(id, line, algos);
    }
    if line.method.as_deref() == Some("job") {
        let job = serde_json::from_value(line.params).map_err(|_| Broken::Protocol("a job lacks a field"))?;
        return Ok(Said::Job(decode(job, algos)?));
    }
    Err(Broken::Protocol("a line is neither an answer nor a job"))
}

fn answer(id: u64, line: Line, algos: &[String]) -> Result<Said, Broken> {
    let refusal = match &line.error {
        Value::Null => None,
        error => {
            let message = error["message"].as_str().ok_or(Broken::Protocol("an error has no message"))?;
            Some(message.to_owned())
        }
    };
    match (id, refusal) {
        (1, Some(reason)) => Ok(Said::LoginRefused(reason)),
        (1, None) => {
            let login: Login = serde_json::from_value(line.result).map_err(|_| Broken::Protocol("a login answer lacks its id or job"))?;
            Ok(Said::LoggedIn { session: login.id, job: decode(login.job, algos)? })
        }
        (_, None) if !line.result.is_object() => Err(Broken::Protocol("a result is not an object")),
        (id, refusal) => Ok(Said::Answer { id, refusal }),
    }
}

fn decode(job: Job, algos: &[String]) -> Result<WireJob, Broken> {
    let algo = job.algo.unwrap_or_else(|| USUAL_ALGO.to_owned());
    if !algos.contains(&algo) {
        return Err(Broken::Protocol("a job's algorithm was not offered"));
    }
    let blob = hex::decode(&job.blob).ok().filter(|blob| BLOB_LEN.contains(&blob.len()));
    let blob = blob.ok_or(Broken::Protocol("a blob is not hex of 43 to 407 bytes"))?;
    let nonce_offset = job.nonce_offset.unwrap_or(USUAL_NONCE_OFFSET);
    if nonce_offset.checked_add(NONCE_LEN).is_none_or(|end| end > blob.len()) {
        return Err(Broken::Protocol("a nonce_offset lies outside the blob"));
    }
    let mut seed = [0; 32];
    hex::decode_to_slice(&job.seed_hash, &mut seed).map_err(|_| Broken::Protocol("a seed_hash is not 64 hex digits"))?;
    Ok(WireJob {
        job_id: job.job_id,
        algo,
        blob,
        nonce_offset,
        target: target_from_hex(&job.target).ok_or(Broken::Protocol("a target is not 8 or 16 hex digits, or is zero"))?,
        seed,
    })
}
