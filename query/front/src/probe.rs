//! A question about the health of something outside: does NATS answer, can the tables be read.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use serde_json::{Map, Value, json};

/// The longest a probe may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Asks one thing.
#[async_trait]
pub trait Probe: Send + Sync {
    /// What is asked, e.g. `nats`, `storage`, `pipeline shares`.
    fn name(&self) -> &str;
    /// Whether all is well, or what is wrong or missing.
    async fn check(&self) -> Result<(), String>;
    /// What should be known although all is well.
    async fn note(&self) -> Option<String> {
        None
    }
}

/// What the probes have to say beside their answers, each with its name.
pub async fn notes(probes: &[Arc<dyn Probe>]) -> Vec<String> {
    let said = join_all(probes.iter().map(|probe| async move {
        let note = tokio::time::timeout(PATIENCE, probe.note())
            .await
            .ok()
            .flatten()?;
        Some(format!("{}: {note}", probe.name()))
    }));
    said.await.into_iter().flatten().collect()
}

/// Asks every probe at once. True when all is well; the JSON has one entry a probe, `ok` or what is
/// wrong.
pub async fn ask(probes: &[Arc<dyn Probe>]) -> (bool, Value) {
    let answers = join_all(probes.iter().map(|probe| async move {
        let answer = tokio::time::timeout(PATIENCE, probe.check()).await;
        (
            probe.name(),
            answer.unwrap_or_else(|_| Err(format!("no answer within {} s", PATIENCE.as_secs()))),
        )
    }))
    .await;
    let well = answers.iter().all(|(_, answer)| answer.is_ok());
    let checks: Map<String, Value> = answers
        .into_iter()
        .map(|(name, answer)| {
            (
                name.to_owned(),
                json!(answer.err().unwrap_or_else(|| "ok".to_owned())),
            )
        })
        .collect();
    (well, Value::Object(checks))
}
