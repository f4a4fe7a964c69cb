//! What a pool says, read as strictly as XMRig reads it.

use serde::Deserialize;
use serde_json::Value;

use super::{Broken, MinerJob};
use crate::work::difficulty::target_from_hex;
use crate::work::template::{Hash, USUAL_NONCE_OFFSET};

/// Blobs XMRig accepts, bytes.
const BLOB_LEN: std::ops::RangeInclusive<usize> = 43..=407;

/// What a job that names no algorithm is for.
const USUAL_ALGO: &str = "rx/0";
const NONCE_LEN: usize = 4;

/// A line from the pool.
#[derive(Debug)]
pub(super) enum PoolMessage {
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
    /// The seed of the next epoch, if the pool says.
    next_seed: Option<Hash>,
    height: Option<u64>,
}

impl WireJob {
    /// What is told of it.
    pub(super) fn summary(&self) -> MinerJob {
        MinerJob {
            algo: self.algo.clone(),
            height: self.height,
            difficulty: u64::MAX / self.target,
            seed: self.seed,
            next_seed: self.next_seed,
        }
    }
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
    /// These two are only told on, so that odd ones are no reason to stop mining.
    #[serde(default)]
    next_seed_hash: Value,
    #[serde(default)]
    height: Value,
}

#[derive(Deserialize)]
struct Login {
    id: String,
    job: Job,
}

/// Reads a line; jobs must be for one of `algos`.
pub(super) fn parse(line: &[u8], algos: &[String]) -> Result<PoolMessage, Broken> {
    let line: Line = serde_json::from_slice(line)
        .map_err(|_| Broken::Protocol("a line is not a JSON object"))?;
    // An integer id makes a line an answer, whatever else it says.
    if let Some(id) = line.id.as_u64() {
        return answer(id, line, algos);
    }
    if line.method.as_deref() == Some("job") {
        let job = serde_json::from_value(line.params)
            .map_err(|_| Broken::Protocol("a job lacks a field"))?;
        return Ok(PoolMessage::Job(decode(job, algos)?));
    }
    Err(Broken::Protocol("a line is neither an answer nor a job"))
}

fn answer(id: u64, line: Line, algos: &[String]) -> Result<PoolMessage, Broken> {
    let refusal = match &line.error {
        Value::Null => None,
        error => {
            let message = error["message"]
                .as_str()
                .ok_or(Broken::Protocol("an error has no message"))?;
            Some(message.to_owned())
        }
    };
    match (id, refusal) {
        (1, Some(reason)) => Ok(PoolMessage::LoginRefused(reason)),
        (1, None) => {
            let login: Login = serde_json::from_value(line.result)
                .map_err(|_| Broken::Protocol("a login answer lacks its id or job"))?;
            Ok(PoolMessage::LoggedIn {
                session: login.id,
                job: decode(login.job, algos)?,
            })
        }
        (_, None) if !line.result.is_object() => Err(Broken::Protocol("a result is not an object")),
        (id, refusal) => Ok(PoolMessage::Answer { id, refusal }),
    }
}

fn decode(job: Job, algos: &[String]) -> Result<WireJob, Broken> {
    let algo = job.algo.unwrap_or_else(|| USUAL_ALGO.to_owned());
    if !algos.contains(&algo) {
        return Err(Broken::Algo(algo));
    }
    let blob = hex::decode(&job.blob)
        .ok()
        .filter(|blob| BLOB_LEN.contains(&blob.len()));
    let blob = blob.ok_or(Broken::Protocol("a blob is not hex of 43 to 407 bytes"))?;
    let nonce_offset = job.nonce_offset.unwrap_or(USUAL_NONCE_OFFSET);
    if nonce_offset
        .checked_add(NONCE_LEN)
        .is_none_or(|end| end > blob.len())
    {
        return Err(Broken::Protocol("a nonce_offset lies outside the blob"));
    }
    let seed = hash(&job.seed_hash).ok_or(Broken::Protocol("a seed_hash is not 64 hex digits"))?;
    Ok(WireJob {
        job_id: job.job_id,
        algo,
        blob,
        nonce_offset,
        target: target_from_hex(&job.target).ok_or(Broken::Protocol(
            "a target is not 8 or 16 hex digits, or is zero",
        ))?,
        seed,
        next_seed: job.next_seed_hash.as_str().and_then(hash),
        height: job.height.as_u64(),
    })
}

/// 64 hex digits.
fn hash(text: &str) -> Option<Hash> {
    let mut hash = [0; 32];
    hex::decode_to_slice(text, &mut hash).ok()?;
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse_line(line: &Value) -> Result<PoolMessage, Broken> {
        parse(
            line.to_string().as_bytes(),
            &["rx/0".to_owned(), "rx/opensy".to_owned()],
        )
    }

    #[test]
    fn work_of_both_kinds_of_chains_is_told_on() {
        let (seed, blob) = ("0f".repeat(32), "00".repeat(80));
        let monero = json!({"blob": blob, "job_id": "1", "target": "285c8f02", "height": 9,
            "seed_hash": seed, "next_seed_hash": ""});
        let login = parse_line(
            &json!({"id": 1, "error": null, "result": {"id": "s", "job": monero, "status": "OK"}}),
        );
        let Ok(PoolMessage::LoggedIn { job, .. }) = login else {
            panic!("{login:?}")
        };
        let expected = MinerJob {
            algo: "rx/0".to_owned(),
            height: Some(9),
            difficulty: 100,
            seed: [15; 32],
            next_seed: None,
        };
        assert_eq!(job.summary(), expected);
        let opensy = json!({
            "blob": blob, "job_id": "1", "target": "ffffffffffffff7f", "algo": "rx/opensy",
            "seed_hash": seed, "next_seed_hash": seed,
            "nonce_offset": 76, "height": "nine",
        });
        let pushed = parse_line(&json!({"jsonrpc": "2.0", "method": "job", "params": opensy}));
        let Ok(PoolMessage::Job(job)) = pushed else {
            panic!("{pushed:?}")
        };
        let expected = MinerJob {
            algo: "rx/opensy".to_owned(),
            height: None,
            difficulty: 2,
            seed: [15; 32],
            next_seed: Some([15; 32]),
        };
        assert_eq!(job.summary(), expected);
        let other = json!({"blob": blob, "job_id": "1", "target": "285c8f02", "algo": "kawpow",
            "seed_hash": seed});
        let refused = parse_line(&json!({"jsonrpc": "2.0", "method": "job", "params": other}));
        assert!(
            matches!(&refused, Err(Broken::Algo(algo)) if algo == "kawpow"),
            "{refused:?}"
        );
    }

    #[test]
    fn a_refusal_is_the_login_s_alone() {
        let refusal = |id: u64| {
            parse_line(&json!({"id": id, "error": {"code": -1, "message": "no such wallet"}}))
        };
        assert!(
            matches!(refusal(1), Ok(PoolMessage::LoginRefused(reason)) if reason == "no such \
                                                                                     wallet")
        );
        assert!(
            matches!(
                refusal(2),
                Ok(PoolMessage::Answer {
                    id: 2,
                    refusal: Some(_)
                })
            ),
            "a share was refused"
        );
    }
}
