//! NATS: the binary that will be started, or the server that is to be used, and whether its version
//! will do.

use std::time::Duration;

use async_trait::async_trait;
use headframe_ingest::{Nats, find_nats_server};
use tokio::process::Command;

use super::{Check, CheckContext, Finding};

/// The first series whose JetStream can sync every write.
const OLDEST: (u32, u32) = (2, 10);
/// The series this program is tested with.
const TESTED: (u32, u32) = (2, 15);
const PATIENCE: Duration = Duration::from_secs(5);

pub struct NatsServer;

#[async_trait]
impl Check for NatsServer {
    fn name(&self) -> &'static str {
        "nats-server"
    }

    async fn run(&self, context: &CheckContext) -> Vec<Finding> {
        let config = &context.config;
        if config.managed_nats || !context.is_configured() {
            return vec![binary().await];
        }
        vec![match Nats::connect(&config.nats).await {
            Ok(nats) => {
                let version = nats.client.server_info().version;
                match nats.js.query_account().await {
                    Ok(_) => judge(&config.nats.url, &version),
                    Err(error) => Finding::fail(
                        format!(
                            "{} runs {version}, but its JetStream does not answer: {error}",
                            config.nats.url
                        ),
                        "start it with JetStream, and let this account use it",
                    ),
                }
            }
            Err(error) => Finding::fail(
                error.to_string(),
                "start it, or set managed_nats = true to have one started",
            ),
        }]
    }
}

async fn binary() -> Finding {
    let path = match find_nats_server() {
        Ok(path) => path,
        Err(error) => {
            return Finding::fail(
                error.to_string(),
                "`make run` and deploy/setup.sh install one",
            );
        }
    };
    let output = Command::new(&path)
        .arg("--version")
        .kill_on_drop(true)
        .output();
    let shown = path.display().to_string();
    match tokio::time::timeout(PATIENCE, output).await {
        Ok(Ok(said)) => judge(&shown, &String::from_utf8_lossy(&said.stdout)),
        Ok(Err(error)) => Finding::fail(
            format!("{shown} does not run: {error}"),
            "put one there that is made for this machine",
        ),
        Err(_) => Finding::fail(
            format!("{shown} does not tell its version"),
            "put a real nats-server there",
        ),
    }
}

fn judge(whose: &str, said: &str) -> Finding {
    let Some(version) = read(said) else {
        return Finding::warn(
            format!(
                "{whose} does not tell a version that can be read: {:?}",
                said.trim()
            ),
            "see that it is 2.10 or newer",
        );
    };
    let found = format!("{whose} is version {}.{}", version.0, version.1);
    match version {
        old if old < OLDEST => Finding::fail(
            found,
            format!(
                "use {}.{} or newer: older ones cannot sync every write",
                OLDEST.0, OLDEST.1
            ),
        ),
        other if other < TESTED => Finding::warn(
            found,
            format!(
                "{}.{} is what this program is tested with",
                TESTED.0, TESTED.1
            ),
        ),
        _ => Finding::ok(found),
    }
}

/// The first two numbers of a text like `nats-server: v2.15.1`.
fn read(said: &str) -> Option<(u32, u32)> {
    let begin = said.find(|letter: char| letter.is_ascii_digit())?;
    let mut numbers = said[begin..].split('.').map(|part| part.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn versions_are_read_and_judged() {
        assert_eq!(read("nats-server: v2.15.1\n"), Some((2, 15)));
        assert_eq!(
            [read("2.9.10"), read("dev"), read("v2")],
            [Some((2, 9)), None, None]
        );
        let verdicts =
            ["2.9.10", "2.10.0", "2.15.1", "3.0.0", "?"].map(|said| judge("x", said).verdict);
        use Verdict::{Fail, Ok, Warn};
        assert_eq!(verdicts, [Fail, Warn, Ok, Ok, Warn]);
    }
}
