//! The limit of open files: each miner is one, and a process that runs out refuses miners.

use async_trait::async_trait;
use headframe_stratum::defence::descriptors::RESERVE;

use super::{Check, CheckContext, Finding};

pub struct Files;

#[async_trait]
impl Check for Files {
    fn name(&self) -> &'static str {
        "open files"
    }

    async fn run(&self, context: &CheckContext) -> Vec<Finding> {
        let Some((soft, hard)) = std::fs::read_to_string("/proc/self/limits")
            .ok()
            .as_deref()
            .and_then(limits)
        else {
            return vec![Finding::warn(
                "/proc/self/limits does not tell the limit",
                "see that `ulimit -n` is above the miners you expect",
            )];
        };
        let sessions = context.pool().map_or(0, |pool| pool.max_sessions as u64);
        vec![judge(soft, hard, sessions)]
    }
}

fn judge(soft: u64, hard: u64, sessions: u64) -> Finding {
    let needed = sessions + RESERVE;
    let found = format!(
        "{} may be open (at most {}); {needed} are needed for {sessions} miners",
        shown(soft),
        shown(hard)
    );
    match (soft >= needed, hard >= needed) {
        (true, _) => Finding::ok(found),
        // A pool raises its own limit as far as it may.
        (false, true) if sessions > 0 => Finding::ok(found + "; the pool raises its own limit"),
        (false, true) => Finding::warn(
            found,
            format!(
                "`ulimit -n {needed}` in the shell that starts it, or LimitNOFILE={needed} in the \
                 service"
            ),
        ),
        (false, false) => {
            let fits = hard.saturating_sub(RESERVE);
            let todo = format!(
                "LimitNOFILE={needed} in the service, `ulimit -Hn {needed}` as root; or set \
                 stratum.max_sessions to {fits} or less"
            );
            Finding::fail(found, todo)
        }
    }
}

fn shown(limit: u64) -> String {
    if limit == u64::MAX {
        "any number".to_owned()
    } else {
        limit.to_string()
    }
}

/// (soft, hard) out of `/proc/self/limits`.
fn limits(text: &str) -> Option<(u64, u64)> {
    let line = text
        .lines()
        .find(|line| line.starts_with("Max open files"))?;
    let mut words = line.split_whitespace().skip(3);
    let mut next = || match words.next()? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    };
    Some((next()?, next()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn the_kernel_s_table_is_read() {
        let text = "Limit                     Soft Limit           Hard Limit           Units     \
                    \n\
                    Max open files            1024                 unlimited            files     \
                    \n";
        assert_eq!(limits(text), Some((1024, u64::MAX)));
        assert_eq!(
            limits("Max open files            many                 10            files"),
            None
        );
    }

    #[test]
    fn each_miner_needs_a_file() {
        let verdict = |soft, hard, sessions| judge(soft, hard, sessions).verdict;
        assert_eq!(verdict(20_000, 20_000, 15_000), Verdict::Ok);
        assert_eq!(verdict(1_024, 20_000, 15_000), Verdict::Ok);
        assert_eq!(verdict(256, 20_000, 0), Verdict::Warn);
        assert_eq!(verdict(1_024, 4_096, 15_000), Verdict::Fail);
        assert_eq!(verdict(1_024, 4_096, 0), Verdict::Ok);
        assert!(
            judge(1_024, 4_096, 15_000)
                .todo
                .is_some_and(|todo| todo.contains("max_sessions to 3584"))
        );
    }
}
