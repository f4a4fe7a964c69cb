//! The demo's status line.

use std::pin::pin;
use std::time::{Duration, Instant};

use headframe_coopmine::status_line::print_status;
use headframe_stratum::StatsHandle;
use headframe_stratum::miner::MinerHandle;
use tokio::time::MissedTickBehavior;

use super::{Running, progress, stages};

/// How often the line is renewed, and after how long an answer in it counts as old.
const EVERY: Duration = Duration::from_secs(1);
/// After answers, nothing is asked for so many times as long as they took: the line is not to take
/// the processor from what it tells of.
const PAUSE_FACTOR: u32 = 4;
const OLD_AFTER: Duration = Duration::from_secs(10);

/// A line each second about the pool and the miner, with what SQL and the mine answered last: on a
/// busy machine their answers take seconds.
pub async fn print_lines(running: &Running, stats: &StatsHandle, miner: &MinerHandle) {
    let mut before = (Instant::now(), miner.stats().hashes);
    let mut seconds = tokio::time::interval(EVERY);
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    seconds.tick().await;
    let mut last: Option<Answers> = None;
    let mut next = pin!(Answers::next(running, stats, EVERY));
    loop {
        tokio::select! {
            answers = &mut next => {
                let pause = EVERY.max(answers.took * PAUSE_FACTOR);
                last = Some(answers);
                next.set(Answers::next(running, stats, pause));
            }
            _ = seconds.tick() => {
                let pool = stats.snapshot();
                let hashes = miner.stats().hashes;
                let rate = (hashes - before.1) as f64 / before.0.elapsed().as_secs_f64();
                before = (Instant::now(), hashes);
                let answers = match (&last, pool.unready) {
                    (Some(answers), unready) => answers.describe(unready),
                    (None, Some(why)) => why,
                    (None, None) => "SQL has not answered yet".to_owned(),
                };
                print_status(&format!(
                    "height {} · shares {} · blocks {} · {rate:.0} H/s · {answers}",
                    pool.height, pool.accepted, pool.blocks_accepted,
                ));
            }
        }
    }
}

/// What SQL and the mine answered for the status line.
struct Answers {
    at: Instant,
    took: Duration,
    sql: String,
    mine: String,
    next_step: String,
}

impl Answers {
    /// The answers to be had next, which are asked for after a pause.
    async fn next(running: &Running, stats: &StatsHandle, pause: Duration) -> Self {
        tokio::time::sleep(pause).await;
        let http = running.service.http;
        let sent_at = Instant::now();
        let sql = match stages::shares(http).await {
            Ok((rows, why)) => {
                let fresh = why.map_or_else(
                    || "all that JetStream has".to_owned(),
                    |why| format!("incomplete: {why}"),
                );
                format!(
                    "{rows} rows in SQL, {fresh}, in {} ms",
                    sent_at.elapsed().as_millis()
                )
            }
            Err(error) => format!("no answer in SQL: {error:#}"),
        };
        let next_step = match progress::next_step(http, stats.snapshot().height).await {
            Ok(step) => step,
            Err(error) => format!("no answer in SQL: {error:#}"),
        };
        Self {
            sql,
            mine: running.site.status().await,
            next_step,
            took: sent_at.elapsed(),
            at: Instant::now(),
        }
    }

    /// In a status line of a pool that may have a reason to be unready.
    fn describe(&self, unready: Option<String>) -> String {
        let waits_for = unready.as_ref().unwrap_or(&self.next_step);
        let line = format!("{} · {} · {waits_for}", self.sql, self.mine);
        match self.at.elapsed() {
            age if age > OLD_AFTER => {
                format!("{line} · answered {} s ago", age.as_secs())
            }
            _ => line,
        }
    }
}
