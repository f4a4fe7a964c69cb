//! RandomX: does this machine compute the published hashes, and how fast.

use async_trait::async_trait;
use headframe_stratum::randomx::vectors;

use super::{Check, CheckContext, Finding};

pub struct RandomX;

#[async_trait]
impl Check for RandomX {
    fn name(&self) -> &'static str {
        "randomx"
    }

    async fn run(&self, context: &CheckContext) -> Vec<Finding> {
        if context.pool().is_none() && context.is_configured() {
            return Vec::new();
        }
        let broken = |reason: String| {
            let todo = "do not mine with this build: build it anew on this machine, and have its \
                        memory tested if that does not help";
            Finding::fail(reason, todo)
        };
        let looked = tokio::task::spawn_blocking(vectors::check).await;
        vec![match looked {
            Ok(Ok(per_hash)) => {
                let rate = 1.0 / per_hash.as_secs_f64().max(1e-9);
                Finding::ok(format!(
                    "{} published hashes are right; one thread in light mode takes {:.1} ms a \
                     hash, {rate:.0} shares a second",
                    vectors::COUNT,
                    per_hash.as_secs_f64() * 1e3
                ))
            }
            Ok(Err(reason)) => broken(reason.to_string()),
            Err(_) => broken("the library broke down while hashing".to_owned()),
        }]
    }
}
