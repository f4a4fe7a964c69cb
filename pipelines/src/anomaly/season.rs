//! What an hour of the day and of the week adds to a signal's level.
//!
//! Each bin holds what its hour was on the last three days or weeks, and counts as the median of
//! them: one bad day does not move it, and what comes back every day is learnt on the second. It is
//! therefore learnt while an anomaly is open, too. How much of the profile counts follows from the
//! data: where the bins differ no more than noise makes them differ, the profile weighs nothing
//! (the positive-part estimator of James and Stein, 1961). What is expected is any value of the
//! hours around the sample, so that a change to summer time, or load that follows a local clock, is
//! no anomaly.

use serde::{Deserialize, Serialize};

/// An hour in microseconds.
const HOUR_US: i64 = 3_600_000_000;
const DAY_BINS: usize = 24;
const WEEK_BINS: usize = 168;
/// 1970-01-01 was a Thursday; the first bin of the week is Monday's first hour.
const FIRST_HOUR: i64 = 72;
/// Days or weeks that a bin reaches back.
const VISITS: usize = 3;
/// The week counts where its hours differ from their bins by less than this part of what those of
/// the day do.
const WEEK_BETTER: f32 = 0.8;
/// An hour that differs from its bin by more than so many standard deviations is cut.
const CUT: f32 = 3.0;
/// Comparisons before anything is cut.
const FIRST_COMPARED: u16 = 24;
/// The profile counts when its bins differ by this much more than by noise.
const SIGNIFICANT: f64 = 2.0;
/// Samples of an hour that make its mean worth learning.
const LEAST_SAMPLES: u32 = 3;

/// The profile of one signal.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Season {
    day: Profile,
    week: Profile,
    /// The hour that is being summed, in hours since 1970.
    hour: i64,
    #[serde(with = "super::bits")]
    sum: f64,
    count: u32,
}

/// What a profile expects around a time.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct SeasonRange {
    /// At the time itself, between the middles of two hours.
    pub middle: f64,
    /// The hour before, this one and the next.
    hours: [f64; 3],
}

impl SeasonRange {
    /// How far a deviation from the level is outside of what these hours span.
    pub fn outside(&self, from_level: f64) -> f64 {
        let least = self.hours.into_iter().fold(self.middle, f64::min);
        let most = self.hours.into_iter().fold(self.middle, f64::max);
        from_level - from_level.clamp(least, most)
    }

    /// How far it is from the middle; where that is more than noise can be, from the nearest hour:
    /// what is left when load begins early or late.
    pub fn noise(&self, from_level: f64, most: f64) -> f64 {
        let from_middle = from_level - self.middle;
        if from_middle.abs() <= most {
            return from_middle;
        }
        let differences = self.hours.map(|hour| from_level - hour);
        let nearer = |best: f64, next: f64| if next.abs() < best.abs() { next } else { best };
        differences.into_iter().fold(from_middle, nearer)
    }
}

impl Season {
    /// What the hour adds to the level, now and within an hour.
    pub fn range(&self, time: i64) -> SeasonRange {
        if self.profile().weight == 0.0 {
            return SeasonRange::default();
        }
        let hour = time.div_euclid(HOUR_US);
        SeasonRange {
            middle: self.at(time),
            hours: [self.bin(hour - 1), self.bin(hour), self.bin(hour + 1)],
        }
    }

    /// Takes in how far a sample is from the level alone.
    pub fn learn(&mut self, time: i64, deviation: f64) {
        let hour = time.div_euclid(HOUR_US);
        if hour != self.hour {
            if self.count >= LEAST_SAMPLES {
                let mean = self.sum / f64::from(self.count);
                let day = (self.hour + FIRST_HOUR).rem_euclid(DAY_BINS as i64) as usize;
                let week = (self.hour + FIRST_HOUR).rem_euclid(WEEK_BINS as i64) as usize;
                self.day.learn(day, DAY_BINS, mean);
                self.week.learn(week, WEEK_BINS, mean);
            }
            (self.hour, self.sum, self.count) = (hour, 0.0, 0);
        }
        self.sum += deviation;
        self.count += 1;
    }

    /// The profile between the middles of two hours.
    fn at(&self, time: i64) -> f64 {
        let place = time - HOUR_US / 2;
        let hour = place.div_euclid(HOUR_US);
        let part = place.rem_euclid(HOUR_US) as f64 / HOUR_US as f64;
        (1.0 - part) * self.bin(hour) + part * self.bin(hour + 1)
    }

    fn bin(&self, hour: i64) -> f64 {
        let profile = self.profile();
        let bins = profile.hours.len().max(1) as i64;
        let index = (hour + FIRST_HOUR).rem_euclid(bins) as usize;
        profile.value(index) * f64::from(profile.weight)
    }

    /// The one that knows the hours better: the week, where it is known and the day is worse.
    fn profile(&self) -> &Profile {
        let is_better = self.week.noise < WEEK_BETTER * self.day.noise;
        match self.week.weight > 0.0 && (is_better || self.day.weight == 0.0) {
            true => &self.week,
            false => &self.day,
        }
    }
}

/// The hours of a cycle.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
struct Profile {
    /// Empty until the first hour is over.
    hours: Vec<[f32; VISITS]>,
    visits: Vec<u8>,
    /// The mean square by which an hour differs from its bin.
    noise: f32,
    compared: u16,
    /// How much of the profile counts, from 0 to 1.
    weight: f32,
}

impl Profile {
    /// The median of what the hour was.
    fn value(&self, index: usize) -> f64 {
        let (Some([a, b, c]), Some(visits)) = (self.hours.get(index), self.visits.get(index))
        else {
            return 0.0;
        };
        f64::from(match visits {
            0 => 0.0,
            1 => *a,
            2 => 0.5 * (a + b),
            _ => a.min(*b).max(a.max(*b).min(*c)),
        })
    }

    fn learn(&mut self, index: usize, bins: usize, value: f64) {
        if self.hours.len() != bins {
            (self.hours, self.visits) = (vec![[0.0; VISITS]; bins], vec![0; bins]);
        }
        let difference = (value - self.value(index)) as f32;
        let visits = f32::from(self.visits[index]);
        if visits > 0.0 {
            // A bin of n hours adds its own noise to that of the hour.
            let mut own = difference * difference * visits / (visits + 1.0);
            if self.compared >= FIRST_COMPARED {
                own = own.min(CUT * CUT * self.noise);
            }
            self.compared = self.compared.saturating_add(1).min(4 * bins as u16);
            self.noise += (own - self.noise) / f32::from(self.compared);
        }
        let hours = &mut self.hours[index];
        hours.rotate_right(1);
        hours[0] = value as f32;
        self.visits[index] = (self.visits[index] + 1).min(VISITS as u8);
        self.weight = self.significance() as f32;
    }

    /// How much of the profile is not noise.
    fn significance(&self) -> f64 {
        let bins = self.hours.len();
        let visited = self.visits.iter().filter(|visits| **visits >= 2).count();
        if visited * 10 < bins * 9 {
            return 0.0;
        }
        let visits: f64 = self.visits.iter().map(|visits| f64::from(*visits)).sum();
        let power: f64 = (0..bins).map(|index| self.value(index).powi(2)).sum();
        let (visits, power) = (visits / bins as f64, power / bins as f64);
        let by_noise = f64::from(self.noise) / visits;
        match power > SIGNIFICANT * by_noise {
            true => 1.0 - by_noise / power,
            false => 0.0,
        }
    }
}
