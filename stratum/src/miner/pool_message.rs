//! What a pool says, read as strictly as XMRig reads it.

use serde::Deserialize;
use serde_json::Value;

use super::broken::Broken;
use super::event::MinerJob;
use crate::protocol::lease;
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
    LoggedIn {
        session: String,
        job: PoolJob,
        /// Whether it wants to hear from silent miners.
        keepalive: bool,
        /// Whether the last byte of each nonce is the pool's.
        nicehash: bool,
        /// Whether it leases further jobs.
        leases: bool,
    },
    LoginRefused(String),
    Job(PoolJob),
    Answer {
        id: u64,
        refusal: Option<String>,
    },
    /// Further jobs that were asked for.
    Leased {
        id: u64,
        jobs: Vec<PoolJob>,
    },
    /// The pool wants the miner elsewhere.
    Reconnect {
        address: String,
    },
    /// Something that miners need not know.
    Unknown,
}

/// A job, decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolJob {
    /// The pool's name of it.
    pub job_id: String,
    /// The algorithm's name; `rx/0` when the pool does not say.
    pub algo: String,
    /// What is hashed.
    pub blob: Vec<u8>,
    /// Where the nonce goes; always inside the blob.
    pub nonce_offset: usize,
    /// The top 64 bits of a solution are below it.
    pub target: u64,
    /// What RandomX needs a memory for.
    pub seed: Hash,
    /// The seed of the next epoch, if the pool says.
    pub next_seed: Option<Hash>,
    /// The block to be found, if the pool says.
    pub height: Option<u64>,
    /// Hashes that a block costs, if the pool says.
    pub network_difficulty: Option<u64>,
    /// Whether only the first three bytes of the nonce are the miner's.
    pub nicehash: bool,
}

impl PoolJob {
    /// The last byte of the nonce where it is the pool's, else zero.
    pub fn fixed_byte(&self) -> u8 {
        let byte = self.blob.get(self.nonce_offset + NONCE_LEN - 1);
        byte.copied().unwrap_or(0)
    }

    /// What is told of it.
    pub fn summary(&self) -> MinerJob {
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
    /// These are only told on, so that odd ones are no reason to stop mining.
    #[serde(default)]
    next_seed_hash: Value,
    #[serde(default)]
    height: Value,
    #[serde(default)]
    network_difficulty: Value,
}

#[derive(Deserialize)]
struct Login {
    id: String,
    job: Job,
    #[serde(default)]
    extensions: Value,
}

#[derive(Deserialize)]
struct Leases {
    jobs: Vec<Job>,
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
    match line.method.as_deref() {
        Some("client.reconnect") => Ok(reconnect(&line.params)),
        // XMRig only writes a line about them.
        Some(_) => Ok(PoolMessage::Unknown),
        None => Err(Broken::Protocol("a line is neither an answer nor a job")),
    }
}

/// Only the exact shape moves a miner: two strings, of which the second is a port.
fn reconnect(params: &Value) -> PoolMessage {
    let words: Vec<&str> = params
        .as_array()
        .into_iter()
        .flatten()
        .map_while(Value::as_str)
        .collect();
    match words[..] {
        [host, port] if !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0) => {
            PoolMessage::Reconnect {
                address: format!("{host}:{port}"),
            }
        }
        _ => PoolMessage::Unknown,
    }
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
            let extensions: Vec<&str> = login
                .extensions
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect();
            let nicehash = extensions.contains(&"nicehash");
            let mut job = decode(login.job, algos)?;
            job.nicehash |= nicehash;
            Ok(PoolMessage::LoggedIn {
                session: login.id,
                job,
                keepalive: extensions.contains(&"keepalive"),
                leases: extensions.contains(&lease::METHOD),
                nicehash,
            })
        }
        (_, None) if !line.result.is_object() => Err(Broken::Protocol("a result is not an object")),
        (id, None) if line.result.get("jobs").is_some() => Ok(PoolMessage::Leased {
            id,
            jobs: leased(line.result, algos)?,
        }),
        (id, refusal) => Ok(PoolMessage::Answer { id, refusal }),
    }
}

/// The jobs of an answer to `lease`, no more than were asked for in one.
fn leased(result: Value, algos: &[String]) -> Result<Vec<PoolJob>, Broken> {
    let leases: Leases = serde_json::from_value(result)
        .map_err(|_| Broken::Protocol("a leased job lacks a field"))?;
    let jobs = leases.jobs.into_iter().take(lease::MOST);
    jobs.map(|job| decode(job, algos)).collect()
}

fn decode(job: Job, algos: &[String]) -> Result<PoolJob, Broken> {
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
    let nonce = blob.get(nonce_offset..nonce_offset + NONCE_LEN);
    let nicehash = nonce.is_some_and(|nonce| nonce.iter().any(|byte| *byte != 0));
    Ok(PoolJob {
        job_id: job.job_id,
        algo,
        nicehash,
        blob,
        nonce_offset,
        target: target_from_hex(&job.target).ok_or(Broken::Protocol(
            "a target is not 8 or 16 hex digits, or is zero",
        ))?,
        seed,
        next_seed: job.next_seed_hash.as_str().and_then(hash),
        height: job.height.as_u64(),
        network_difficulty: job.network_difficulty.as_u64(),
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
    fn the_pool_s_byte_is_known_by_its_place_or_by_the_extension() {
        let job = |nonce: &str| {
            let blob = format!("{}{nonce}{}", "00".repeat(39), "00".repeat(33));
            json!({"blob": blob, "job_id": "1", "target": "285c8f02", "seed_hash": "0f".repeat(32)})
        };
        let login = |nonce: &str, extensions: Value| {
            let line = json!({"id": 1, "result": {"id": "s", "job": job(nonce),
                "extensions": extensions}});
            match parse_line(&line) {
                Ok(PoolMessage::LoggedIn { job, keepalive, .. }) => {
                    (job.nicehash, job.fixed_byte(), keepalive)
                }
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(login("00000000", json!(["algo"])), (false, 0, false));
        assert_eq!(login("000000ab", json!(["keepalive"])), (true, 0xab, true));
        assert_eq!(login("00000000", json!(["nicehash", 7])), (true, 0, false));
    }

    #[test]
    fn only_the_exact_shape_moves_a_miner() {
        let moved = |params: Value| {
            let line = json!({"jsonrpc": "2.0", "method": "client.reconnect", "params": params});
            match parse_line(&line) {
                Ok(PoolMessage::Reconnect { address }) => Some(address),
                Ok(PoolMessage::Unknown) => None,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(moved(json!(["a", "1"])).as_deref(), Some("a:1"));
        for odd in [
            json!([]),
            json!(["a"]),
            json!(["a", 1]),
            json!(["a", "0"]),
            json!(["", "1"]),
            json!(["a", "1", "2"]),
            json!("a:1"),
        ] {
            assert_eq!(moved(odd.clone()), None, "{odd}");
        }
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
