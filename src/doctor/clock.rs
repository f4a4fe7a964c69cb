//! The clock: windows of hashrate are cut by it, and a block with a wrong time is refused.

use std::time::Duration;

use async_trait::async_trait;
use tokio::process::Command;

use super::{Check, CheckContext, Finding, monerod};

/// A clock before this was never set: 2026-01-01.
const BUILT_S: u64 = 1_767_225_600;
/// The daemon tells whole seconds, so less is not a difference.
const CLOSE_S: i64 = 2;
const FAR_S: i64 = 60;

pub struct Clock;

#[async_trait]
impl Check for Clock {
    fn name(&self) -> &'static str {
        "clock"
    }

    async fn run(&self, context: &CheckContext) -> Vec<Finding> {
        let mut findings = vec![synchronised(monerod::now_s(), kept_by_ntp().await)];
        let Some(pool) = context.pool() else {
            return findings;
        };
        let infos = monerod::infos(pool).await;
        findings.extend(
            infos
                .iter()
                .filter_map(|info| Some(beside_daemon(info.asked_s, info.clock_s?))),
        );
        findings
    }
}

/// Whether systemd says that the clock is kept by NTP.
async fn kept_by_ntp() -> Option<bool> {
    let output = Command::new("timedatectl")
        .args(["show", "--property", "NTPSynchronized", "--value"])
        .kill_on_drop(true)
        .output();
    let answer = tokio::time::timeout(Duration::from_secs(2), output)
        .await
        .ok()?
        .ok()?;
    match String::from_utf8_lossy(&answer.stdout).trim() {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
}

fn synchronised(now_s: u64, by_ntp: Option<bool>) -> Finding {
    if now_s < BUILT_S {
        return Finding::fail(
            "it is set to a time before this program was made",
            "set it, and keep it by NTP (systemd-timesyncd or chrony)",
        );
    }
    match by_ntp {
        Some(true) => Finding::ok("it is kept by NTP"),
        Some(false) => Finding::warn(
            "it is not kept by NTP",
            "`timedatectl set-ntp true`, or run chrony",
        ),
        None => Finding::warn(
            "nobody here tells whether it is kept by NTP",
            "see that the host or a service keeps it",
        ),
    }
}

fn beside_daemon(ours_s: u64, theirs_s: u64) -> Finding {
    let apart = ours_s as i64 - theirs_s as i64;
    let todo = "keep both machines by NTP; one of the two clocks is wrong";
    match apart.abs() {
        ..=CLOSE_S => Finding::ok("it agrees with the daemon's to the second"),
        apart_s if apart_s <= FAR_S => {
            Finding::warn(format!("it is {apart} s ahead of the daemon's"), todo)
        }
        _ => Finding::fail(format!("it is {apart} s ahead of the daemon's"), todo),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn wrong_clocks_are_named() {
        assert_eq!(synchronised(1_000, Some(true)).verdict, Verdict::Fail);
        assert_eq!(
            [Some(true), Some(false), None].map(|ntp| synchronised(BUILT_S, ntp).verdict),
            [Verdict::Ok, Verdict::Warn, Verdict::Warn]
        );
        let verdicts =
            [100, 102, 98, 103, 40, 39, 5_000].map(|ours| beside_daemon(ours, 100).verdict);
        use Verdict::{Fail, Ok, Warn};
        assert_eq!(verdicts, [Ok, Ok, Ok, Warn, Warn, Fail, Fail]);
    }
}
