//! What a pool says, read as strictly as XMRig reads it.

use serde::Deserialize;
use serde_json::Value;

use super::Broken;
use crate::chain::Hash;
use crate::difficulty::target_from_hex;

/// Blobs XMRig accepts, bytes.
const BLOB_LEN: std::ops::RangeInclusive<usize> = 43..=407;

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
    pub(super) blob: Vec<u8>,
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
    seed_hash: String,
}

#[derive(Deserialize)]
struct Login {
    id: String,
    job: Job,
}

pub(super) fn parse(line: &[u8]) -> Result<Said, Broken> {
    let line: Line = serde_json::from_slice(line).map_err(|_| Broken::Protocol("a line is not a JSON object"))?;
    // An integer id makes a line an answer, whatever else it says.
    if let Some(id) = line.id.as_u64() {
        return answer(id, line);
    }
    if line.method.as_deref() == Some("job") {
        let job = serde_json::from_value(line.params).map_err(|_| Broken::Protocol("a job lacks a field"))?;
        return Ok(Said::Job(decode(job)?));
    }
    Err(Broken::Protocol("a line is neither an answer nor a job"))
}

fn answer(id: u64, line: Line) -> Result<Said, Broken> {
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
            Ok(Said::LoggedIn { session: login.id, job: decode(login.job)? })
        }
        (_, None) if !line.result.is_object() => Err(Broken::Protocol("a result is not an object")),
        (id, refusal) => Ok(Said::Answer { id, refusal }),
    }
}

fn decode(job: Job) -> Result<WireJob, Broken> {
    if job.algo.is_some_and(|algo| algo != "rx/0") {
        return Err(Broken::Protocol("a job's algorithm is not rx/0"));
    }
    let blob = hex::decode(&job.blob).ok().filter(|blob| BLOB_LEN.contains(&blob.len()));
    let mut seed = [0; 32];
    hex::decode_to_slice(&job.seed_hash, &mut seed).map_err(|_| Broken::Protocol("a seed_hash is not 64 hex digits"))?;
    Ok(WireJob {
        job_id: job.job_id,
        blob: blob.ok_or(Broken::Protocol("a blob is not hex of 43 to 407 bytes"))?,
        target: target_from_hex(&job.target).ok_or(Broken::Protocol("a target is not 8 or 16 hex digits, or is zero"))?,
        seed,
    })
}
