//! What a signal is expected to read in one mode: a level, how much it varies, and how much of a
//! deviation stays until the next sample.
//!
//! Deviations of meters and machines follow each other: a high one is followed by a high one. Taken
//! one by one they would look like a drift. They are therefore modelled as an autoregressive
//! process of order one, `r(t) = φ·r(t-1) + e(t)`, and it is the innovation `e` that detectors
//! judge ("whitening"; Box and Jenkins, 1970).

use serde::{Deserialize, Serialize};

use super::season::Season;

/// Deviations larger than so many standard deviations are cut before they are learnt (Huber, 1964),
/// so that a few outliers do not widen the band.
const CUT: f64 = 3.0;
/// A deviation from the season of more standard deviations is load that begins early or late.
const EDGE: f64 = 4.0;
/// What cutting takes from the variance of a normal distribution is given back.
const CUT_CORRECTION: f64 = 1.005;
/// Samples before anything is cut.
const FIRST_SAMPLES: u32 = 30;
/// Samples before single readings are judged.
const STEP_SAMPLES: u32 = 60;
/// Time before single readings are judged, in microseconds: two hours.
const STEP_US: i64 = 7_200_000_000;
/// Samples before drifts are judged.
const DRIFT_SAMPLES: u32 = 300;
/// Time before drifts are judged, in microseconds: a day.
const DRIFT_US: i64 = 86_400_000_000;
/// How far the level reaches back, in microseconds: a week.
const LEVEL_US: i64 = 7 * DRIFT_US;
/// How far variances reach back, in microseconds: three days.
const SPREAD_US: i64 = 3 * DRIFT_US;
/// Samples that both reach back at the least.
const LEAST_MEMORY: f64 = 200.0;
/// The smallest standard deviation, in parts of the largest value that was learnt.
const LEAST_SPREAD: f64 = 5e-4;
const LARGEST_PHI: f64 = 0.995;
/// Innovations whose sum is one look at the long run.
const BLOCK: u32 = 32;
/// Blocks that the long-run variance reaches back.
const BLOCKS: f64 = 64.0;
/// One block counts for at most so much: a drift that begins must not hide itself.
const LARGEST_BLOCK: f64 = 6.0;
/// A long-run variance below this is that of independent innovations, as well as it can be known.
const LONG_RUN_NOISE: f64 = 1.25;

/// The baseline of a signal in one mode.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Baseline {
    samples: u32,
    learnt_us: i64,
    #[serde(with = "super::bits")]
    level: f64,
    /// Of deviations.
    #[serde(with = "super::bits")]
    variance: f64,
    /// Between a deviation and the next.
    #[serde(with = "super::bits")]
    covariance: f64,
    /// Of innovations.
    #[serde(with = "super::bits")]
    innovation: f64,
    /// The value before.
    #[serde(with = "super::bits")]
    last: f64,
    /// When it was read; 0 when there is none.
    last_time: i64,
    /// The sum of a block of innovations.
    #[serde(with = "super::bits")]
    block_sum: f64,
    block_samples: u32,
    /// The variance of the sums of blocks, in parts of what independent innovations would have.
    #[serde(with = "super::bits")]
    long_run: f64,
    blocks: u32,
}

/// How far a reading is from what was expected.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Residual {
    /// What was expected.
    pub expected: f64,
    /// The reading less that.
    pub deviation: f64,
    /// The standard deviation of readings around what is expected.
    pub spread: f64,
    /// What the reading before does not explain of the deviation, in standard deviations.
    pub innovation: f64,
    /// The same in standard deviations of the long run, where innovations still follow each other.
    pub long_run: f64,
    /// Whether enough is known to judge single readings.
    pub sees_steps: bool,
    /// Whether enough is known to judge drifts.
    pub sees_drift: bool,
}

impl Baseline {
    /// How far a reading is from the baseline. `scale` is the largest value the signal had,
    /// `interval_us` the usual time between two samples.
    pub fn residual(
        &self,
        season: &Season,
        time: i64,
        value: f64,
        scale: f64,
        interval_us: i64,
    ) -> Residual {
        let range = season.range(time);
        let deviation = range.outside(value - self.level);
        let floor = (LEAST_SPREAD * scale).max(f64::MIN_POSITIVE);
        let spread = self.variance.sqrt().max(floor);
        let gap = time - self.last_time;
        let (innovation, deviation_of) = match self.last_time {
            0 => (deviation, spread),
            _ => {
                let phi = self.phi(gap, interval_us);
                let before = season.range(self.last_time).outside(self.last - self.level);
                // Over a gap less is explained, up to nothing.
                let usual = self.phi(interval_us, interval_us);
                let widened = (1.0 - phi * phi) / (1.0 - usual * usual);
                let own = (self.innovation * widened.max(1.0)).sqrt().max(floor);
                (deviation - phi * before, own)
            }
        };
        let innovation = innovation / deviation_of;
        Residual {
            expected: value - deviation,
            deviation,
            spread,
            innovation,
            long_run: innovation / self.long_run_factor().sqrt(),
            sees_steps: self.samples >= STEP_SAMPLES && self.learnt_us >= STEP_US,
            sees_drift: self.samples >= DRIFT_SAMPLES && self.learnt_us >= DRIFT_US,
        }
    }

    /// Remembers a reading without learning from it.
    pub fn pass(&mut self, time: i64, value: f64) {
        (self.last, self.last_time) = (value, time);
    }

    /// Learns from a reading, and remembers it.
    pub fn learn(
        &mut self,
        season: &Season,
        residual: &Residual,
        time: i64,
        value: f64,
        interval_us: i64,
    ) {
        self.samples = self.samples.saturating_add(1);
        if self.samples == 1 {
            self.level = value;
            return self.pass(time, value);
        }
        let range = season.range(time);
        let from_level = value - self.level;
        let limit = match self.samples {
            0..=FIRST_SAMPLES => f64::MAX,
            _ => CUT * residual.spread,
        };
        let gap = time - self.last_time;
        self.learnt_us += gap.clamp(0, 5 * interval_us.max(1));
        self.learn_spread(season, residual, (time, value), interval_us);
        let to_level = (from_level - range.middle).clamp(-limit, limit);
        self.level += self.gain(LEVEL_US, interval_us) * to_level;
        self.pass(time, value);
    }

    /// How far a value is from the level alone; `None` before the first sample.
    pub fn above_level(&self, value: f64) -> Option<f64> {
        (self.samples > 0).then_some(value - self.level)
    }

    /// Takes a shift of the level as the new normal.
    pub fn accept(&mut self, shift: f64) {
        self.level += shift;
    }

    fn learn_spread(
        &mut self,
        season: &Season,
        residual: &Residual,
        (time, value): (i64, f64),
        interval_us: i64,
    ) {
        let gap = time - self.last_time;
        let gain = self.gain(SPREAD_US, interval_us);
        let limit = match self.samples {
            0..=FIRST_SAMPLES => f64::MAX,
            _ => CUT * residual.spread,
        };
        // Within the hours' span nothing is judged, but noise is noise there, too.
        let most = EDGE * residual.spread;
        let noise = |time: i64, value: f64| {
            let noise = season.range(time).noise(value - self.level, most);
            noise.clamp(-limit, limit)
        };
        let (now, before) = (noise(time, value), noise(self.last_time, self.last));
        self.variance += gain * (CUT_CORRECTION * now * now - self.variance);
        // Only neighbours tell how much stays until the next sample.
        if gap > 0 && 2 * gap <= 3 * interval_us.max(1) {
            self.covariance += gain * (CUT_CORRECTION * now * before - self.covariance);
            let innovation = now - self.phi(gap, interval_us) * before;
            let most = match self.samples {
                0..=FIRST_SAMPLES => f64::MAX,
                _ => CUT * self.innovation.sqrt().max(f64::MIN_POSITIVE),
            };
            let cut = innovation.clamp(-most, most);
            self.innovation += gain * (CUT_CORRECTION * cut * cut - self.innovation);
            self.learn_long_run(residual.innovation);
        }
    }

    /// The variance of sums of [`BLOCK`] innovations (Bartlett's estimate of the long-run variance
    /// from the means of batches).
    fn learn_long_run(&mut self, innovation: f64) {
        if self.samples < STEP_SAMPLES {
            return;
        }
        self.block_sum += innovation.clamp(-CUT, CUT);
        self.block_samples += 1;
        if self.block_samples == BLOCK {
            let square = (self.block_sum * self.block_sum / f64::from(BLOCK)).min(LARGEST_BLOCK);
            self.blocks = self.blocks.saturating_add(1);
            let gain = (1.0 / f64::from(self.blocks)).max(1.0 / BLOCKS);
            self.long_run += gain * (square - self.long_run);
            (self.block_sum, self.block_samples) = (0.0, 0);
        }
    }

    fn long_run_factor(&self) -> f64 {
        (self.long_run / LONG_RUN_NOISE).max(1.0)
    }

    /// How much of a deviation stays over a gap.
    fn phi(&self, gap: i64, interval_us: i64) -> f64 {
        if self.variance <= 0.0 || gap <= 0 {
            return 0.0;
        }
        let phi = (self.covariance / self.variance).clamp(0.0, LARGEST_PHI);
        phi.powf((gap as f64 / interval_us.max(1) as f64).max(1.0))
    }

    /// What one sample weighs in a mean that reaches back so far.
    fn gain(&self, reach_us: i64, interval_us: i64) -> f64 {
        let memory = reach_us as f64 / interval_us.max(1) as f64;
        let samples = f64::from(self.samples.max(1));
        1.0 / samples.min(memory.max(LEAST_MEMORY))
    }
}
