//! Memory: enough for RandomX in the mode that is asked for, and for the queries.

use async_trait::async_trait;
use headframe_stratum::randomx::Mode;
use headframe_stratum::randomx::plan::{self, CACHE, DATASET, ModeChoice, ModeSetting};
use headframe_stratum::randomx::system_memory::available;

use super::{Check, CheckContext, Finding};
use crate::config::Role;

const MIB: u64 = 1 << 20;
/// Code, connections, batches on their way.
const OTHERS: u64 = 256 * MIB;

pub struct Memory;

#[async_trait]
impl Check for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    async fn run(&self, context: &CheckContext) -> Vec<Finding> {
        let Some(free) = available() else {
            return vec![Finding::warn(
                "the system does not tell how much there is",
                "see that there are some GiB",
            )];
        };
        let queries = if context.runs(Role::Query) {
            context.config.query.memory_mib as u64 * MIB
        } else {
            0
        };
        let choice = context
            .pool()
            .map(|pool| plan::choose_mode(pool.randomx.mode, Some(free)));
        let insists = context
            .pool()
            .is_some_and(|pool| pool.randomx.mode == ModeSetting::Full);
        vec![judge(free, queries, choice.as_ref(), insists)]
    }
}

/// The present seed and the next one; where memory allows, both have a dataset at a change of
/// epoch.
fn seeds(choice: &ModeChoice) -> u64 {
    match choice.mode {
        Mode::Light => 2 * CACHE,
        Mode::Full => 2 * CACHE + DATASET,
    }
}

fn judge(free: u64, queries: u64, choice: Option<&ModeChoice>, insists: bool) -> Finding {
    let needed = OTHERS + queries + choice.map_or(0, seeds);
    let mode = choice
        .map(|choice| {
            format!(
                "; shares are verified in {} mode: {}",
                choice.mode.as_str(),
                choice.reason
            )
        })
        .unwrap_or_default();
    let found = format!(
        "{} MiB are free, {} MiB may be needed{mode}",
        free / MIB,
        needed / MIB
    );
    let todo = match insists {
        true => "set stratum.randomx.mode = \"auto\", or add memory",
        false => "lower query.memory_mib, or add memory",
    };
    match (free >= needed + needed / 4, free >= needed) {
        (true, _) => Finding::ok(found),
        (false, true) => Finding::warn(found, todo),
        (false, false) => Finding::fail(found, todo),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn too_little_is_named_with_what_to_do() {
        let choice = |wish, free| plan::choose_mode(wish, Some(free));
        let gib = |count: u64| count << 30;
        let verdict = |wish, free| {
            judge(
                free,
                gib(1),
                Some(&choice(wish, free)),
                wish == ModeSetting::Full,
            )
            .verdict
        };
        use Verdict::{Fail, Ok, Warn};
        assert_eq!(
            [gib(8), gib(4), gib(2)].map(|free| verdict(ModeSetting::Full, free)),
            [Ok, Warn, Fail]
        );
        assert_eq!(
            [gib(8), gib(3), gib(1)].map(|free| verdict(ModeSetting::Auto, free)),
            [Ok, Ok, Fail]
        );
        let finding = judge(
            gib(2),
            gib(1),
            Some(&choice(ModeSetting::Full, gib(2))),
            true,
        );
        assert!(
            finding
                .todo
                .is_some_and(|todo| todo.contains("stratum.randomx.mode"))
                && finding.found.contains("full mode")
        );
    }
}
