//! What was hashed a second over the last hour, a point each twenty seconds, for lines in tables.

use std::collections::VecDeque;

use super::Cluster;

/// Seconds from point to point.
pub const STEP_S: i64 = 20;
const STEP_MS: u64 = 20_000;
/// Points that are kept.
const POINTS: usize = 180;
/// Seconds that they are about.
pub const HISTORY_S: i64 = 3_600;

/// Hashrate at some time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HashratePoint {
    /// Seconds ago.
    pub age_s: i64,
    /// Hashes a second.
    pub hashrate_hs: f64,
}

/// Points, the oldest first. Single precision is more than a line shows.
#[derive(Debug, Clone, Default)]
pub(super) struct HashrateHistory {
    points: VecDeque<(u32, f32)>,
}

impl HashrateHistory {
    fn push(&mut self, step: u32, hashrate_hs: f64) {
        self.points.push_back((step, hashrate_hs as f32));
        while self.points.len() > POINTS {
            self.points.pop_front();
        }
    }

    fn points(&self, now_ms: u64) -> Vec<HashratePoint> {
        let point = |(step, rate): &(u32, f32)| HashratePoint {
            age_s: i64::try_from(now_ms.saturating_sub(u64::from(*step) * STEP_MS) / 1_000)
                .unwrap_or(i64::MAX),
            hashrate_hs: f64::from(*rate),
        };
        let points = self.points.iter().map(point);
        points.filter(|point| point.age_s <= HISTORY_S).collect()
    }
}

impl Cluster {
    /// Notes what every worker hashes, once in each step of the clock.
    pub(super) fn sample_hashrates(&mut self, now_ms: u64) {
        let step = u32::try_from(now_ms / STEP_MS).unwrap_or(u32::MAX);
        if self.sampled_step == Some(step) {
            return;
        }
        self.sampled_step = Some(step);
        for worker in self.workers.values_mut() {
            // What came and has not said anything yet is not known.
            if !worker.online || worker.has_reported() {
                worker.history.push(step, worker.last.hashrate_hs);
            }
        }
        let mut online = self
            .workers
            .values()
            .filter(|worker| worker.online)
            .peekable();
        let is_known = online.peek().is_none() || online.any(|worker| worker.has_reported());
        if is_known {
            let all = self.summary(now_ms).hashrate_hs;
            self.history.push(step, all);
        }
    }

    /// What all workers said that they hash, the oldest point first.
    pub fn hashrate_history(&self, now_ms: u64) -> Vec<HashratePoint> {
        self.history.points(now_ms)
    }

    /// The same of each worker.
    pub fn worker_histories(&self, now_ms: u64) -> Vec<(String, Vec<HashratePoint>)> {
        let workers = self.workers.iter();
        workers
            .map(|(name, worker)| (name.to_string(), worker.history.points(now_ms)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::ClusterPolicy;

    #[test]
    fn a_history_has_a_point_each_step_and_an_hour_of_them() {
        let mut cluster = Cluster::new(ClusterPolicy::default(), 0);
        for half in 0..10_000 {
            cluster.tick(half * 500);
        }
        let now = 9_999 * 500;
        let points = cluster.hashrate_history(now);
        assert_eq!(points.len(), POINTS);
        assert!(points.is_sorted_by(|one, next| one.age_s == next.age_s + STEP_S));
        assert!(cluster.worker_histories(now).is_empty());
        // After a long sleep what is older than an hour is not shown.
        assert!(cluster.hashrate_history(now + 7_200_000).is_empty());
    }
}
