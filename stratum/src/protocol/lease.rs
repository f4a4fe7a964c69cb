//! `lease`: more jobs on the current template, each with an extranonce of its own, for a miner that
//! is many machines.
//!
//! It is this pool's own extension. A miner that asks for it in its login is told that it is there;
//! others never hear of it.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Command, answer};
use crate::work::job::Job;

/// The method's name, and the extension's.
pub const METHOD: &str = answer::LEASES;
/// Jobs in one answer: a line of them stays well below what miners read.
pub const MOST: usize = 64;

#[derive(Deserialize)]
struct Params {
    count: usize,
}

pub(super) fn parse(params: Value) -> Command {
    match serde_json::from_value::<Params>(params) {
        Ok(params) if (1..=MOST).contains(&params.count) => Command::Lease(params.count),
        _ => Command::Unusable("lease needs params with a count of 1 to 64"),
    }
}

/// The answer.
pub fn answer<'a>(id: &Value, jobs: impl Iterator<Item = &'a Job>, algo: &str) -> String {
    let jobs: Vec<String> = jobs.map(|job| answer::job(job, algo)).collect();
    let jobs = jobs.join(",");
    format!(
        "{{\"id\":{id},\"jsonrpc\":\"2.0\",\"error\":null,\"result\":{{\"jobs\":[{jobs}],\"status\":\"OK\"}}}}\n"
    )
}

/// A request, as a miner sends it.
pub fn request(id: u64, session: &str, count: usize) -> Value {
    json!({"id": id, "jsonrpc": "2.0", "method": METHOD,
        "params": {"id": session, "count": count}})
}
