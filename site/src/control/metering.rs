//! What the site draws: by its meter, or by the sum of its machines and what was learned of the
//! rest when the meter is lost.

use serde::{Deserialize, Serialize};

use super::health::{Health, Inputs};
use super::machine::{MachinePhase, MachineState};
use super::observation::{MeterReading, rounded};
use super::output::Output;
use super::site_plan::Site;
use crate::notice::Severity;

/// Added to an estimate, so that the real power is rather less.
const ESTIMATE_MARGIN: f64 = 1.05;
/// How much a reading changes what was learned of the auxiliaries.
const LEARNING_SHARE: f64 = 0.05;
/// A meter that says less than this share of what running machines say of themselves is wrong: no
/// machine measures itself so badly.
const PLAUSIBLE_SHARE: f64 = 0.8;
/// From this share on it is believed again.
const BELIEVED_SHARE: f64 = 0.95;
/// So many such readings in a row, and people are told.
const IMPLAUSIBLE_READINGS: u32 = 2;
/// A meter that says more than this many times what machines and auxiliaries explain is doubted.
const SURPRISING_FACTOR: f64 = 1.25;
/// And by more than this share of the design power.
const SURPRISING_SHARE: f64 = 0.05;
/// A meter that is read more seldom is believed at once: a second reading comes too late.
const DOUBTED_PERIOD_S: u64 = 10;
/// What was learned of the rest follows the median of so many readings.
const RESTS: usize = 5;
/// A rest above this share of the design power is no rest, unless the plan says as much.
const REST_SHARE: f64 = 0.25;
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
    /// Readings in a row that were below what running machines draw.
    #[serde(default)]
    implausible: u32,
    /// Readings in a row that were far above what machines and the rest explain.
    #[serde(default)]
    surprising: u32,
    /// What the last readings left when the machines are taken off, while none of them changed.
    #[serde(default)]
    rests_kw: Vec<f64>,
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
            implausible: 0,
            surprising: 0,
            rests_kw: Vec::new(),
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
        inputs: &mut Inputs,
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
        if is_new {
            self.compare_with_machines(site, machines, inputs);
            self.compare_with_expected(site, sum_kw);
        }
        let is_believed = self.implausible == 0;
        // One reading far too high is waited out; a second one holds, since power may be there.
        let is_doubted = self.surprising == 1;
        let is_fit = is_believed
            && !is_doubted
            && !matches!(
                inputs.health("meter/site"),
                Health::Stale | Health::Failed | Health::Bypassed
            );
        let (kw, quality) = match self.last {
            Some(last) if is_fit => {
                if is_new {
                    self.learn(site, machines, last.kw - sum_kw);
                }
                (last.kw, Quality::Measured)
            }
            _ => {
                let kw = (sum_kw + self.auxiliary_kw) * ESTIMATE_MARGIN;
                (rounded(kw), Quality::Estimated)
            }
        };
        let is_lost = quality == Quality::Estimated && site.plan.has_site_meter;
        if is_lost && self.last.is_some() && (is_believed || self.is_surely_wrong()) {
            output.alarm(
                Severity::Warning,
                "meter/estimated",
                "the site's power is estimated",
                "The site meter is lost or wrong: machines and what was learned of the rest stand \
                 for it, with five per cent more. Reports say ESTIMATED. Look at the meter.",
            );
        }
        SitePower {
            kw,
            quality,
            is_new: is_new || quality == Quality::Estimated,
            rise_kw: self.rise(output.now.elapsed_ms, kw),
        }
    }

    /// Learns what is neither machine nor faulty: from the median of the last readings, so that a
    /// wrong one teaches nothing, while no machine changes, so that neither the meter nor the
    /// machines are ahead of the other, and never from more than the site can have.
    fn learn(&mut self, site: &Site, machines: &[MachineState], rest_kw: f64) {
        use MachinePhase as P;
        let is_changing = |one: &MachineState| {
            matches!(
                one.phase,
                P::Stopping | P::Starting | P::Lowering | P::Raising
            )
        };
        if rest_kw > most_rest_kw(site) || machines.iter().any(is_changing) {
            return;
        }
        if self.rests_kw.len() == RESTS {
            self.rests_kw.remove(0);
        }
        self.rests_kw.push(rounded(rest_kw.max(0.0)));
        if self.rests_kw.len() < RESTS {
            return;
        }
        let mut sorted = self.rests_kw.clone();
        sorted.sort_by(f64::total_cmp);
        let change = LEARNING_SHARE * (sorted[RESTS / 2] - self.auxiliary_kw);
        self.auxiliary_kw = rounded(self.auxiliary_kw + change);
    }

    /// Counts readings that are far above what is known to draw power.
    fn compare_with_expected(&mut self, site: &Site, sum_kw: f64) {
        let Some(last) = self.last else { return };
        let expected_kw = sum_kw + self.auxiliary_kw.max(site.plan.auxiliary_kw) + fans_kw(site);
        let most_kw = (SURPRISING_FACTOR * expected_kw)
            .max(expected_kw + SURPRISING_SHARE * site.plan.design_kw);
        let is_read_often = site.policy.health.meter_period_s <= DOUBTED_PERIOD_S;
        self.surprising = match is_read_often && last.kw > most_kw {
            true => self.surprising.saturating_add(1),
            false => 0,
        };
    }

    /// A meter below what the machines that run say of themselves proves nothing: mounted the wrong
    /// way, of another circuit, or broken. Machines that were ordered to stop or to start do not
    /// count until it was wrong once, and no reading that is newer than the meter's ever does.
    fn compare_with_machines(
        &mut self,
        site: &Site,
        machines: &[MachineState],
        inputs: &mut Inputs,
    ) {
        let Some(last) = self.last else { return };
        // Machines that stop make a wrong meter look better while they still draw power.
        let counts_all = self.implausible > 0;
        let running = machines.iter().filter(|one| {
            let is_known_then = one.power_ms <= last.at.elapsed_ms;
            (counts_all || one.phase == MachinePhase::Running) && is_known_then
        });
        let running_w: f64 = running.filter_map(|one| one.power_w).sum();
        let running_kw = running_w / 1_000.0;
        let noise_kw = site.policy.power.meter_noise_kw.max(0.0);
        // It is believed again only when it says about as much as they do.
        let least_kw = match self.implausible {
            0 => PLAUSIBLE_SHARE * running_kw - noise_kw,
            _ => BELIEVED_SHARE * running_kw,
        };
        self.implausible = match last.kw < least_kw {
            true => self.implausible.saturating_add(1),
            false => 0,
        };
        let fault = self.is_surely_wrong().then(|| {
            format!(
                "It says {:.1} kW, and the machines that run say {running_kw:.1} kW of themselves. \
                 It is not used; an estimate from the machines is. Look whether it is mounted the \
                 right way, and measures the whole site.",
                last.kw
            )
        });
        inputs.fault("meter/site", fault);
    }

    fn is_surely_wrong(&self) -> bool {
        self.implausible >= IMPLAUSIBLE_READINGS
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

fn fans_kw(site: &Site) -> f64 {
    site.plan.fans.iter().map(|fan| fan.watts).sum::<f64>() / 1_000.0
}

/// The most that can be neither machine nor wrong reading, in kilowatts: what the plan lists, what
/// its machines leave of the design power, or a share of it.
fn most_rest_kw(site: &Site) -> f64 {
    let plan = &site.plan;
    let machines_w: f64 = plan.machines.iter().map(|machine| machine.power_w).sum();
    (plan.auxiliary_kw + fans_kw(site))
        .max(plan.design_kw - machines_w / 1_000.0)
        .max(REST_SHARE * plan.design_kw)
}
