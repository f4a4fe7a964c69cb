//! What a worker without a coordinator tells whoever watches it, on standard output.

use std::sync::Arc;
use std::time::{Duration, Instant};

use headframe_stratum::miner::{MinerEvent, MinerHandle, MinerJob, MinerStats};
use headframe_stratum::randomx::page_report::PageReport;
use headframe_stratum::randomx::{Mode, Seeds, pages};
use tokio::sync::mpsc;

use super::StandaloneError;
use crate::status_line::{print_line, print_status};

/// Between status lines.
const STATUS: Duration = Duration::from_secs(10);
/// Characters of a pool's words that are shown.
const MAX_WORDS: usize = 300;

/// What is shown, and what is known for it.
pub(super) struct Show {
    seeds: Arc<Seeds>,
    handle: MinerHandle,
    /// The work in hand; none without a login.
    job: Option<MinerJob>,
    /// Whether the pool has ever let us in; before that a refusal for good is the end, because it
    /// is most likely a mistyped login.
    admitted: bool,
    /// The mode whose pages of memory were shown.
    pages_of: Option<Mode>,
}

impl Show {
    pub(super) fn new(seeds: Arc<Seeds>, handle: MinerHandle) -> Self {
        Self {
            seeds,
            handle,
            job: None,
            admitted: false,
            pages_of: None,
        }
    }

    /// What was mined since then, in one line.
    pub(super) fn end(&self, started: Instant) {
        print_line(&summary(&self.handle.stats(), started.elapsed()));
    }

    /// Tells what happens, and a status line now and then, for ever or until the first login is
    /// refused for good.
    pub(super) async fn run(
        &mut self,
        mut events: mpsc::Receiver<MinerEvent>,
    ) -> Result<(), StandaloneError> {
        let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + STATUS, STATUS);
        let mut before = (Instant::now(), 0);
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Some(event) => self.hear(event)?,
                    // The miner itself has ended, which its task tells.
                    None => std::future::pending().await,
                },
                _ = ticks.tick() => {
                    let stats = self.handle.stats();
                    let rate = (stats.hashes - before.1) as f64 / before.0.elapsed().as_secs_f64();
                    before = (Instant::now(), stats.hashes);
                    print_status(&status(rate, &stats, self.job.as_ref()));
                    self.show_pages();
                }
            }
        }
    }

    fn hear(&mut self, event: MinerEvent) -> Result<(), StandaloneError> {
        match event {
            MinerEvent::LoggedIn { pool, job } => {
                print_line(&format!(
                    "logged in at {pool}: {} at difficulty {}",
                    shown(&job.algo),
                    job.difficulty
                ));
                self.admitted = true;
                self.work(job);
            }
            MinerEvent::Job(job) => self.work(job),
            MinerEvent::Refused {
                pool,
                reason,
                for_good,
            } => {
                let said = format!("the pool {pool} refused the login: {}", shown(&reason));
                if for_good && !self.admitted {
                    return Err(StandaloneError::Refused(said));
                }
                print_line(&format!("{said}; trying again"));
                self.job = None;
            }
            MinerEvent::Lost { pool, reason } => {
                print_line(&format!(
                    "no connection to {pool}: {}; trying again",
                    shown(&reason)
                ));
                self.job = None;
            }
        }
        Ok(())
    }

    fn work(&mut self, job: MinerJob) {
        self.seeds.request(job.seed, job.next_seed);
        self.job = Some(job);
    }

    /// Says once which pages RandomX got for its cache, and once more when it has its dataset.
    fn show_pages(&mut self) {
        let Some(seed) = self.job.as_ref().map(|job| job.seed) else {
            return;
        };
        let mode = if self.seeds.is_full(&seed) {
            Mode::Full
        } else {
            Mode::Light
        };
        if !self.seeds.is_prepared(&seed) || self.pages_of == Some(mode) {
            return;
        }
        self.pages_of = Some(mode);
        let pages = pages::report();
        print_line(&format!("RandomX has {pages}"));
        if pages.is_slow() {
            let advice = PageReport::advice();
            print_line(&format!(
                "small pages cost about a third of the speed; {advice}"
            ));
        }
    }
}

/// What was mined, in one line.
fn summary(stats: &MinerStats, length: Duration) -> String {
    let unanswered = match stats.unanswered {
        0 => String::new(),
        count => format!(", {count} not answered"),
    };
    format!(
        "{} hashes in {} s, {} shares accepted, {} rejected{unanswered}",
        stats.hashes,
        length.as_secs(),
        stats.accepted,
        stats.rejected
    )
}

fn status(rate: f64, stats: &MinerStats, job: Option<&MinerJob>) -> String {
    let place = match job {
        Some(job) => {
            let height = job
                .height
                .map(|height| format!(" · height {height}"))
                .unwrap_or_default();
            format!("difficulty {}{height}", job.difficulty)
        }
        None => "no connection".to_owned(),
    };
    format!(
        "{rate:.1} H/s · accepted {} · rejected {} · {place}",
        stats.accepted, stats.rejected
    )
}

/// A stranger's words must not steer the terminal that they are shown on.
fn shown(words: &str) -> String {
    words
        .chars()
        .take(MAX_WORDS)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_s_words_cannot_steer_a_terminal() {
        assert_eq!(shown("no\u{1b}[2J such wallet"), "no [2J such wallet");
        assert_eq!(shown(&"x".repeat(1_000)).len(), MAX_WORDS);
    }

    #[test]
    fn the_status_line_says_what_is_known() {
        let stats = MinerStats {
            accepted: 3,
            rejected: 1,
            ..MinerStats::default()
        };
        let length = Duration::from_secs(9);
        assert_eq!(
            summary(&stats, length),
            "0 hashes in 9 s, 3 shares accepted, 1 rejected"
        );
        let unanswered = MinerStats {
            unanswered: 2,
            ..stats.clone()
        };
        assert!(summary(&unanswered, length).ends_with("1 rejected, 2 not answered"));
        assert_eq!(
            status(12.34, &stats, None),
            "12.3 H/s · accepted 3 · rejected 1 · no connection"
        );
        let job = MinerJob {
            algo: "rx/0".to_owned(),
            height: Some(7),
            difficulty: 50,
            seed: [0; 32],
            next_seed: None,
        };
        assert!(status(0.0, &stats, Some(&job)).ends_with("difficulty 50 · height 7"));
        assert!(
            status(
                0.0,
                &stats,
                Some(&MinerJob {
                    height: None,
                    ..job
                })
            )
            .ends_with("difficulty 50")
        );
    }
}
