//! What the server says: results, errors and pushed jobs, each one line.
//!
//! XMRig crashes on an error without a string message, ignores a result that is not an object, takes a push with an
//! integer id for an answer, and reconnects on certain words. All lines are made here, so that none can be wrong.

use serde_json::{Value, json};

use crate::chain::USUAL_NONCE_OFFSET;
use crate::job::Job;

/// Said to a command before login. XMRig reconnects on it, which is right: it must log in.
pub const UNAUTHENTICATED: &str = "Unauthenticated";

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
pub fn login(id: &Value, session: &str, first: &Job, algo: &str) -> String {
    let mut extensions = vec!["algo", "keepalive"];
    if first.fixed_byte.is_some() {
        extensions.push("nicehash");
    }
    result(id, &json!({"id": session, "job": job(first, algo), "extensions": extensions, "status": "OK"}))
}

/// A new job, pushed. It has no id at the top level.
pub fn push(next: &Job, algo: &str) -> String {
    line(&json!({"jsonrpc": "2.0", "method": "job", "params": job(next, algo)}))
}

/// A job's fields.
pub fn job(job: &Job, algo: &str) -> Value {
    let mut fields = json!({
        "job_id": job.id,
        "blob": hex::encode(job.blob()),
        "target": job.difficulty.target_hex(),
        "algo": algo,
        "height": job.template.height(),
        "seed_hash": hex::encode(job.template.seed()),
    });
    // Stock miners do not read it; they are not let in where it would matter.
    if job.template.nonce_offset() != USUAL_NONCE_OFFSET {
        fields["nonce_offset"] = json!(job.template.nonce_offset());
    }
    fields
}

fn line(value: &Value) -> String {
    let mut line = value.to_string();
    line.push('\n');
    line
}
