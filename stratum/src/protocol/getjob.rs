//! `getjob`: asked by old miners that do not wait for pushed jobs; the answer is the current job
//! itself.

use serde_json::Value;

use super::answer;
use crate::work::job::Job;

/// The method's name.
pub const METHOD: &str = "getjob";

/// The answer.
pub fn answer(id: &Value, job: &Job, algo: &str) -> String {
    answer::current(id, job, algo)
}
