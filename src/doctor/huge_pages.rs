//! Huge pages: RandomX reads its memory at random, so that small pages cost it a good part of its
//! speed.

use async_trait::async_trait;
use headframe_stratum::randomx::plan::{self, CACHE, DATASET};
use headframe_stratum::randomx::system_memory::available;
use headframe_stratum::randomx::{Mode, RandomxSettings};

use super::{Check, Finding, Patient};
use crate::system::host_usage;

/// Bytes of one page, as RandomX asks for them.
const PAGE: u64 = 2 << 20;
/// A machine's scratchpad: one a thread.
const SCRATCHPAD: u64 = 2 << 20;
const TRANSPARENT: &str = "/sys/kernel/mm/transparent_hugepage/enabled";

pub struct HugePages;

#[async_trait]
impl Check for HugePages {
    fn name(&self) -> &'static str {
        "huge pages"
    }

    async fn look(&self, patient: &Patient) -> Vec<Finding> {
        let Some(pool) = patient.pool() else {
            return Vec::new();
        };
        let transparent = std::fs::read_to_string(TRANSPARENT).unwrap_or_default();
        let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let free = host_usage::kib(&meminfo, "HugePages_Free").unwrap_or(0);
        let mode = plan::choose_mode(pool.randomx.mode, available()).mode;
        vec![judge(
            &pool.randomx,
            pages(mode, pool.verify_threads as u64),
            free,
            chosen(&transparent),
        )]
    }
}

/// Pages for the present seed and the next one's cache.
fn pages(mode: Mode, threads: u64) -> u64 {
    let dataset = if mode == Mode::Full { DATASET } else { 0 };
    (2 * CACHE + dataset + threads * SCRATCHPAD).div_ceil(PAGE)
}

/// The word in brackets.
fn chosen(setting: &str) -> &str {
    setting
        .split_once('[')
        .and_then(|(_, rest)| rest.split_once(']'))
        .map_or("unknown", |(word, _)| word)
}

fn judge(settings: &RandomxSettings, need: u64, free: u64, transparent: &str) -> Finding {
    let found =
        format!("{free} are free, {need} may be used; transparent ones are set to {transparent}");
    let reserve = format!("`sysctl vm.nr_hugepages={need}` as root, best at boot");
    match (settings.huge_pages, free >= need) {
        (true, true) => Finding::ok(found),
        (true, false) => Finding::warn(
            found,
            format!("{reserve}; until then ordinary pages are used"),
        ),
        (false, _) if transparent == "always" => Finding::ok(found),
        (false, true) => Finding::warn(found, "set stratum.randomx.huge_pages = true to use them"),
        (false, false) => Finding::warn(
            found,
            format!(
                "{reserve}, and stratum.randomx.huge_pages = true, if shares are to be verified faster"
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn the_kernel_s_setting_is_read_and_judged() {
        assert_eq!(
            [
                chosen("always [madvise] never\n"),
                chosen("[always] madvise never"),
                chosen("")
            ],
            ["madvise", "always", "unknown"]
        );
        assert_eq!([pages(Mode::Light, 2), pages(Mode::Full, 2)], [258, 1_299]);
        let judged = |huge_pages, free, transparent| {
            judge(
                &RandomxSettings {
                    huge_pages,
                    ..RandomxSettings::default()
                },
                258,
                free,
                transparent,
            )
            .verdict
        };
        assert_eq!(
            [judged(true, 258, "never"), judged(true, 257, "always")],
            [Verdict::Ok, Verdict::Warn]
        );
        assert_eq!(
            [
                judged(false, 0, "always"),
                judged(false, 0, "madvise"),
                judged(false, 999, "never")
            ],
            [Verdict::Ok, Verdict::Warn, Verdict::Warn]
        );
    }
}
