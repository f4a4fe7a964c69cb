//! Huge pages: RandomX reads its memory at random, so that small pages cost it a good part of its
//! speed.

use async_trait::async_trait;
use headframe_stratum::randomx::page_report::PageReport;
use headframe_stratum::randomx::pages as randomx_pages;
use headframe_stratum::randomx::plan::{self, CACHE, DATASET};
use headframe_stratum::randomx::system_memory::available;
use headframe_stratum::randomx::{Mode, RandomxSettings};

use super::{Check, CheckContext, Finding};
use crate::service::host_usage;

/// Bytes of one page, as RandomX asks for them.
const PAGE: u64 = 2 << 20;
/// A machine's scratchpad: one a thread.
const SCRATCHPAD: u64 = 2 << 20;
/// Bytes taken to see which pages RandomX would get.
const PROBED: usize = 64 << 20;
const TRANSPARENT: &str = "/sys/kernel/mm/transparent_hugepage/enabled";

pub struct HugePages;

#[async_trait]
impl Check for HugePages {
    fn name(&self) -> &'static str {
        "huge pages"
    }

    async fn run(&self, context: &CheckContext) -> Vec<Finding> {
        let Some(pool) = context.pool() else {
            return Vec::new();
        };
        let transparent = std::fs::read_to_string(TRANSPARENT).unwrap_or_default();
        let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let free = host_usage::kib(&meminfo, "HugePages_Free").unwrap_or(0);
        let mode = plan::choose_mode(pool.randomx.mode, available()).mode;
        let needed = pages(mode, pool.verify_threads as u64);
        let offer = Offer {
            free,
            transparent: chosen(&transparent),
            probe: randomx_pages::probe(PROBED),
        };
        vec![judge(&pool.randomx, needed, &offer)]
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

/// What the kernel offers.
struct Offer<'a> {
    /// Reserved pages of 2 MiB that are free.
    free: u64,
    /// The setting of transparent ones.
    transparent: &'a str,
    /// What memory taken as RandomX takes it really lay in.
    probe: PageReport,
}

fn judge(settings: &RandomxSettings, needed: u64, offer: &Offer<'_>) -> Finding {
    let Offer {
        free,
        transparent,
        probe,
    } = offer;
    let found = format!(
        "{free} reserved ones are free, {needed} may be used; transparent ones are set to \
         {transparent}; RandomX would get {probe}"
    );
    if !settings.huge_pages {
        return Finding::warn(
            found,
            "set stratum.randomx.huge_pages = true if shares are to be verified faster",
        );
    }
    let reserve = format!("`sysctl vm.nr_hugepages={needed}` as root, best at boot");
    match (*free >= needed, probe.is_slow()) {
        (true, _) | (_, false) => Finding::ok(found),
        (false, true) if matches!(*transparent, "always" | "madvise") => Finding::warn(
            found,
            format!("memory is too scattered for transparent ones; reserve them: {reserve}"),
        ),
        (false, true) => Finding::warn(
            found,
            format!(
                "`echo madvise > {TRANSPARENT}` as root, or {reserve}; until then RandomX is a \
                 third slower"
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    fn probed(small: u64, transparent: u64) -> PageReport {
        PageReport {
            small,
            transparent,
            ..PageReport::default()
        }
    }

    #[test]
    fn the_kernel_s_setting_is_read() {
        assert_eq!(
            [
                chosen("always [madvise] never\n"),
                chosen("[always] madvise never"),
                chosen("")
            ],
            ["madvise", "always", "unknown"]
        );
        assert_eq!([pages(Mode::Light, 2), pages(Mode::Full, 2)], [258, 1_299]);
    }

    #[test]
    fn small_pages_are_found_and_the_cure_is_named() {
        let judged = |huge_pages, free, transparent, probe| {
            let settings = RandomxSettings {
                huge_pages,
                ..RandomxSettings::default()
            };
            let offer = Offer {
                free,
                transparent,
                probe,
            };
            judge(&settings, 258, &offer)
        };
        let (small, huge) = (probed(64 << 20, 0), probed(0, 64 << 20));
        for (finding, verdict) in [
            (judged(true, 258, "never", small), Verdict::Ok),
            (judged(true, 0, "madvise", huge), Verdict::Ok),
            (judged(true, 257, "never", small), Verdict::Warn),
            (judged(true, 0, "madvise", small), Verdict::Warn),
            (judged(false, 999, "always", huge), Verdict::Warn),
        ] {
            assert_eq!(finding.verdict, verdict, "{finding:?}");
        }
        let never = format!("{:?}", judged(true, 0, "never", small));
        assert!(
            never.contains("echo madvise") && never.contains("vm.nr_hugepages=258"),
            "{never}"
        );
    }
}
