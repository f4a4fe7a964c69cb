//! Hashrate over time.

use crate::answers::described::answer_type;
use crate::time_series::TimeSeries;

answer_type! {
    /// Hashrate over time.
    HashrateAnswer {
        /// Where it begins, seconds since 1970.
        from_s: i64,
        /// Where it ends, seconds since 1970.
        to_s: i64,
        /// Seconds from point to point; between those that are further apart there was nothing.
        step_s: i64,
        /// The points, the oldest first.
        points: Vec<HashratePoint>,
    }
}

answer_type! {
    /// A point of a hashrate over time.
    HashratePoint {
        /// Where its step begins, seconds since 1970.
        at_s: i64,
        /// The mean of the step, hashes a second.
        hashrate_hs: f64,
    }
}

answer_type! {
    /// Hashrate of a day of each worker of a miner, or of the hardest working ones.
    WorkerHashratesAnswer {
        /// The miner's name.
        miner: String,
        /// The workers, by name.
        workers: Vec<WorkerHashrate>,
    }
}

answer_type! {
    /// Hashrate of a day of a worker.
    WorkerHashrate {
        /// The worker's name.
        worker: String,
        /// Where it begins, seconds since 1970.
        from_s: i64,
        /// Where it ends, seconds since 1970.
        to_s: i64,
        /// Seconds from point to point; between those that are further apart there was nothing.
        step_s: i64,
        /// The points, the oldest first.
        points: Vec<HashratePoint>,
        /// The same as a small drawing in SVG.
        drawing: String,
    }
}

impl From<&TimeSeries> for HashrateAnswer {
    fn from(series: &TimeSeries) -> Self {
        let points = series.points.iter();
        let points = points.map(|(at_s, hashrate_hs)| HashratePoint {
            at_s: *at_s,
            hashrate_hs: *hashrate_hs,
        });
        Self {
            from_s: series.from_s,
            to_s: series.to_s,
            step_s: series.step_s,
            points: points.collect(),
        }
    }
}
