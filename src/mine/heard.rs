//! What a pool says, read for the person who watches: refusals, heights, difficulties, and the seeds that memory is needed for.
//!
//! The miner judges every line itself. Nothing here refuses anything; what is not understood is not shown.

use headframe_stratum::chain::Hash;
use headframe_stratum::difficulty::target_from_hex;
use serde_json::Value;

/// The miner's login has this number.
const LOGIN: u64 = 1;
/// Characters of a pool's words that are shown.
const MAX_WORDS: usize = 300;

/// A line from the pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// The login was taken, and this is the first work.
    LoggedIn(Job),
    /// It was not, in the pool's words.
    Refused(String),
    /// New work.
    Job(Job),
    /// Anything else.
    Other,
}

/// Work, as far as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// The algorithm's name; `rx/0` when the pool does not say.
    pub algo: String,
    /// The block to be found, if the pool says.
    pub height: Option<u64>,
    /// Hashes that a share costs.
    pub difficulty: u64,
    /// What RandomX needs a memory for.
    pub seed: Option<Hash>,
    /// The same of the next epoch, if the pool says.
    pub next_seed: Option<Hash>,
}

/// Reads a line.
pub fn read(line: &[u8]) -> Heard {
    let Ok(said) = serde_json::from_slice::<Value>(line) else { return Heard::Other };
    if said["id"].as_u64() == Some(LOGIN) {
        return match said["error"]["message"].as_str() {
            Some(reason) => Heard::Refused(shown(reason)),
            None => job(&said["result"]["job"]).map_or(Heard::Other, Heard::LoggedIn),
        };
    }
    match said["method"].as_str() {
        Some("job") => job(&said["params"]).map_or(Heard::Other, Heard::Job),
        _ => Heard::Other,
    }
}

fn job(value: &Value) -> Option<Job> {
    let target = target_from_hex(value["target"].as_str()?)?;
    Some(Job {
        algo: shown(value["algo"].as_str().unwrap_or("rx/0")),
        height: value["height"].as_u64(),
        difficulty: u64::MAX / target,
        seed: value["seed_hash"].as_str().and_then(hash),
        next_seed: value["next_seed_hash"].as_str().and_then(hash),
    })
}

/// 64 hex digits.
fn hash(text: &str) -> Option<Hash> {
    let mut hash = [0; 32];
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (place, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * place..2 * place + 2)?, 16).ok()?;
    }
    Some(hash)
}

/// A stranger's words must not steer the terminal that they are shown on.
fn shown(words: &str) -> String {
    words.chars().take(MAX_WORDS).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn said(value: &Value) -> Heard {
        read(value.to_string().as_bytes())
    }

    #[test]
    fn work_of_both_kinds_of_chains_is_read() {
        let seed = "0f".repeat(32);
        let monero = json!({"blob": "00", "job_id": "1", "target": "285c8f02", "height": 9, "seed_hash": seed, "next_seed_hash": ""});
        let job = Job { algo: "rx/0".to_owned(), height: Some(9), difficulty: 100, seed: Some([15; 32]), next_seed: None };
        assert_eq!(said(&json!({"id": 1, "error": null, "result": {"id": "s", "job": monero, "status": "OK"}})), Heard::LoggedIn(job));
        let opensy =
            json!({"blob": "00", "job_id": "1", "target": "ffffffffffffff7f", "algo": "rx/opensy", "seed_hash": seed, "nonce_offset": 76});
        let job = Job { algo: "rx/opensy".to_owned(), height: None, difficulty: 2, seed: Some([15; 32]), next_seed: None };
        assert_eq!(said(&json!({"jsonrpc": "2.0", "method": "job", "params": opensy})), Heard::Job(job));
    }

    #[test]
    fn a_refusal_is_the_login_s_alone_and_cannot_steer_a_terminal() {
        let refusal = |id: u64| said(&json!({"id": id, "error": {"code": -1, "message": "no\u{1b}[2J such wallet"}}));
        assert_eq!(refusal(1), Heard::Refused("no [2J such wallet".to_owned()));
        assert_eq!(refusal(2), Heard::Other, "a share was refused");
        for other in ["", "no json", "[]", "{}", r#"{"id":1}"#, r#"{"method":"job","params":{"target":"00000000"}}"#] {
            assert_eq!(read(other.as_bytes()), Heard::Other, "{other}");
        }
    }
}
