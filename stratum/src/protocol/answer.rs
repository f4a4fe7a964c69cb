//! What the server says: results, errors and pushed jobs, each one line.
//!
//! XMRig crashes on an error without a string message, ignores a result that is not an object,
//! takes a push with an integer id for an answer, and reconnects on certain words. All lines are
//! made here, so that none can be wrong.

use serde_json::{Value, json};
use std::fmt::Write;

use crate::work::job::Job;
use crate::work::template::USUAL_NONCE_OFFSET;

/// Said to a command before login. XMRig reconnects on it, which is right: it must log in.
pub const UNAUTHENTICATED: &str = "Unauthenticated";

/// The extension of a pool that leases further jobs.
pub const LEASES: &str = "lease";

/// Bytes of a job's line, about.
const JOB_LEN: usize = 512;

/// A good answer; `result` must be an object.
pub fn result(id: &Value, result: &Value) -> String {
    line(&json!({"id": id, "jsonrpc": "2.0", "error": null, "result": result}))
}

/// A refusal.
pub fn error(id: &Value, message: &str) -> String {
    line(&json!({"id": id, "jsonrpc": "2.0", "error": {"code": -1, "message": message}}))
}

/// A credited share.
pub fn share_ok(id: &Value) -> String {
    result(id, &json!({"status": "OK"}))
}

/// A good login. A login answer without a job counts as a failure at the miner.
/// `leases` says that the miner asked whether there are any.
pub fn login(id: &Value, session: &str, first: &Job, algo: &str, leases: bool) -> String {
    let extensions = match (first.fixed_byte, leases) {
        (Some(_), _) => json!(["algo", "keepalive", "nicehash"]),
        (None, true) => json!(["algo", "keepalive", LEASES]),
        (None, false) => json!(["algo", "keepalive"]),
    };
    let job = job(first, algo);
    let session = json!(session);
    format!(
        "{{\"id\":{id},\"jsonrpc\":\"2.0\",\"error\":null,\"result\":{{\"id\":{session},\"job\":{job},\"extensions\":{extensions},\"status\":\"OK\"}}}}\n"
    )
}

/// The current job, asked for.
pub fn current(id: &Value, current: &Job, algo: &str) -> String {
    format!(
        "{{\"id\":{id},\"jsonrpc\":\"2.0\",\"error\":null,\"result\":{}}}\n",
        job(current, algo)
    )
}

/// A new job, pushed. It has no id at the top level.
pub fn push(next: &Job, algo: &str) -> String {
    let mut line = String::with_capacity(JOB_LEN);
    line.push_str("{\"jsonrpc\":\"2.0\",\"method\":\"job\",\"params\":");
    write_job(&mut line, next, algo);
    line.push_str("}\n");
    line
}

/// A job's fields, as JSON text.
pub(super) fn job(job: &Job, algo: &str) -> String {
    let mut text = String::with_capacity(JOB_LEN);
    write_job(&mut text, job, algo);
    text
}

/// Written by hand, because a new block has it written for every miner at the same moment. Nothing
/// in it needs escaping: numbers, hex, and the name of an algorithm.
fn write_job(text: &mut String, job: &Job, algo: &str) {
    let height = job.template.height();
    // Writing into a string does not fail.
    let _ = write!(
        text,
        "{{\"algo\":\"{algo}\",\"height\":{height},\"job_id\":\"{}\",\"blob\":\"",
        job.id()
    );
    push_hex(text, &job.blob());
    let _ = write!(
        text,
        "\",\"target\":\"{}\",\"seed_hash\":\"",
        job.difficulty.target_hex()
    );
    push_hex(text, &job.template.seed());
    // CoopMine counts blocks by it.
    let network = job.template.network_difficulty();
    let _ = write!(text, "\",\"network_difficulty\":{network}");
    // Stock miners do not read it; they are not let in where it would matter.
    if job.template.nonce_offset() != USUAL_NONCE_OFFSET {
        let _ = write!(text, ",\"nonce_offset\":{}", job.template.nonce_offset());
    }
    text.push('}');
}

fn push_hex(text: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    text.extend(
        bytes
            .iter()
            .flat_map(|byte| {
                [
                    DIGITS[usize::from(byte >> 4)],
                    DIGITS[usize::from(byte & 15)],
                ]
            })
            .map(char::from),
    );
}

fn line(value: &Value) -> String {
    let mut line = value.to_string();
    line.push('\n');
    line
}
