//! What the site draws: by its meter, or by the sum of its machines and what was learned of the
//! rest when the meter is lost.

use serde::{Deserialize, Serialize};

use super::health::{Health, Inputs};
use super::machine::MachineState;
use super::observation::{MeterReading, rounded};
use super::output::Output;
use super::site_plan::Site;
use crate::notice::Severity;

/// Added to an estimate, so that the real power is rather less.
const ESTIMATE_MARGIN: f64 = 1.05;
/// How much a reading changes what was learned of the auxiliaries.
const LEARNING_SHARE: f64 = 0.05;
/// Readings of the last minute, for the ramp.
const RISE_OVER_MS: u64 = 60_000;
const SAMPLES: usize = 16;

/// How good a number is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quality {
    /// By the site meter.
    Measured,
    /// By the sum of machines and what was learned of the rest, and five per cent more.
    Estimated,
}

/// What is remembered of the meter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metering {
    /// Its last reading.
    pub last: Option<MeterReading>,
    /// What is neither machine nor fan fault: learned while the meter works.
    pub auxiliary_kw: f64,
    /// Samples at or below the target, in a row.
    pub samples_below: u32,
    /// Since when power is above the dead-band.
    pub above_since_ms: Option<u64>,
    recent: Vec<(u64, f64)>,
}

/// The site's power as a step sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SitePower {
    /// Kilowatts.
    pub kw: f64,
    /// How good that is.
    pub quality: Quality,
    /// A reading came since the last step, or it is estimated anew.
    pub is_new: bool,
    /// How much it rose within the last minute.
    pub rise_kw: f64,
}

impl Metering {
    /// Nothing was read.
    pub fn new(auxiliary_kw: f64) -> Self {
        Self {
            last: None,
            auxiliary_kw,
            samples_below: 0,
            above_since_ms: None,
            recent: Vec::new(),
        }
    }

    /// Takes a reading in.
    pub fn read(&mut self, reading: Option<MeterReading>, inputs: &mut Inputs) -> bool {
        let Some(reading) = reading.filter(|reading| reading.kw.is_finite()) else {
            return false;
        };
        inputs.read("meter/site", reading.at);
        let is_new = self.last.is_none_or(|last| reading.at > last.at);
        if is_new {
            self.last = Some(reading);
        }
        is_new
    }

    /// The site's power at a time.
    pub fn assess(
        &mut self,
        site: &Site,
        machines: &[MachineState],
        inputs: &Inputs,
        is_new: bool,
        output: &mut Output,
    ) -> SitePower {
        let plans = &site.plan.machines;
        let sum_w: f64 = machines
            .iter()
            .zip(plans)
            .map(|(one, plan)| one.believed_w(plan))
            .sum();
        let sum_kw = sum_w / 1_000.0;
        let is_fit = !matches!(
            inputs.health("meter/site"),
            Health::Stale | Health::Failed | Health::Bypassed
        );
        let (kw, quality) = match self.last {
            Some(last) if is_fit => {
                if is_new {
                    let rest = (last.kw - sum_kw).max(0.0);
                    let change = LEARNING_SHARE * (rest - self.auxiliary_kw);
                    self.auxiliary_kw = rounded(self.auxiliary_kw + change);
                }
                (last.kw, Quality::Measured)
            }
            _ => {
                let kw = (sum_kw + self.auxiliary_kw) * ESTIMATE_MARGIN;
                (rounded(kw), Quality::Estimated)
            }
        };
        if quality == Quality::Estimated && site.plan.has_site_meter && self.last.is_some() {
            output.alarm(
                Severity::Warning,
                "meter/estimated",
                "the site's power is estimated",
                "The site meter is lost: machines and what was learned of the rest stand for it, \
                 with five per cent more. Reports say ESTIMATED. Look at the meter.",
            );
        }
        SitePower {
            kw,
            quality,
            is_new: is_new || quality == Quality::Estimated,
            rise_kw: self.rise(output.now.elapsed_ms, kw),
        }
    }

    fn rise(&mut self, now_ms: u64, kw: f64) -> f64 {
        self.recent
            .retain(|(at_ms, _)| now_ms.saturating_sub(*at_ms) <= RISE_OVER_MS);
        let lowest = self.recent.iter().map(|(_, kw)| *kw).fold(kw, f64::min);
        if self.recent.len() == SAMPLES {
            self.recent.remove(0);
        }
        self.recent.push((now_ms, kw));
        kw - lowest
    }

    /// Counts samples at or below a target, and how long power has been above the dead-band.
    pub fn compare(&mut self, power: SitePower, target_kw: f64, band_kw: f64, now_ms: u64) {
        if power.is_new {
            self.samples_below = match power.kw <= target_kw {
                true => self.samples_below.saturating_add(1),
                false => 0,
            };
        }
        self.above_since_ms = match power.kw > target_kw + band_kw {
            true => self.above_since_ms.or(Some(now_ms)),
            false => None,
        };
    }
}
