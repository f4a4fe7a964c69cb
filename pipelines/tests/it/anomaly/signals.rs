//! Signals of a site without a fault: a level, noise that follows itself, and load that follows a
//! clock.

use headframe_pipelines::anomaly::Bounds;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Between two samples, in seconds.
pub const INTERVAL_S: i64 = 120;
/// Samples of a day.
pub const DAY: i64 = 86_400 / INTERVAL_S;
/// When every signal begins: a Monday, 2026-03-02T00:00:00Z, in microseconds.
pub const START_US: i64 = 1_772_409_600_000_000;

/// What a signal follows beside noise.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Shape {
    /// Nothing.
    Flat,
    /// The sun: so much up at noon and down at midnight.
    Daily(f64),
    /// A tariff: this part of the level from 16 to 20 o'clock on weekdays.
    Tariff(f64),
}

/// A signal: its level, its noise and its shape.
#[derive(Debug, Clone, Copy)]
pub struct Signal {
    pub name: &'static str,
    pub quantity: &'static str,
    pub level: f64,
    /// The standard deviation of the noise, in the unit of the level.
    pub spread: f64,
    /// How much of the noise stays until the next sample.
    pub phi: f64,
    pub shape: Shape,
    pub rated: Option<f64>,
}

const fn flat(
    name: &'static str,
    quantity: &'static str,
    level: f64,
    spread: f64,
    phi: f64,
) -> Signal {
    Signal {
        name,
        quantity,
        level,
        spread,
        phi,
        shape: Shape::Flat,
        rated: None,
    }
}

/// A machine's own figure of its hashrate, 2 % noise.
pub const HASHRATE: Signal = flat("hashrate", "hashrate_hs", 100e12, 2e12, 0.5);
/// The main meter of a site of 1 MW, 0.35 % noise.
pub const SITE_POWER: Signal = flat("site power", "power_w", 1e6, 3_500.0, 0.6);
/// What the main meter shows beyond the sum of the meters behind it: the noise of the load itself
/// is in both.
pub const BALANCE: Signal = flat("site balance", "power_w", 8_000.0, 1_500.0, 0.6);
/// Nine fans of 1.1 kW, 1 % noise.
pub const FANS: Signal = flat("fans", "power_w", 9_900.0, 99.0, 0.5);
/// Air that is cooled, 0.3 °C noise.
pub const AIR: Signal = flat("cooled air", "temperature_c", 28.0, 0.3, 0.7);
/// Humidity of that air.
pub const HUMIDITY: Signal = flat("humidity", "humidity_pct", 45.0, 1.0, 0.7);
/// Efficiency of a machine that is rated at 30 J/TH, 3 % noise.
pub const EFFICIENCY: Signal = Signal {
    rated: Some(30.0),
    ..flat("efficiency", "efficiency_j_th", 30.0, 0.9, 0.5)
};
/// Air outside, by day and night.
pub const OUTSIDE: Signal = Signal {
    shape: Shape::Daily(5.0),
    ..flat("outside air", "temperature_c", 15.0, 0.3, 0.7)
};
/// A site that draws 70 % from 16 to 20 o'clock on weekdays, and nobody said so.
pub const TARIFF_SITE: Signal = Signal {
    shape: Shape::Tariff(0.7),
    ..flat("site with tariff", "power_w", 1e6, 3_500.0, 0.6)
};

/// Every signal.
pub const ALL: &[Signal] = &[
    HASHRATE,
    SITE_POWER,
    BALANCE,
    FANS,
    AIR,
    HUMIDITY,
    EFFICIENCY,
    OUTSIDE,
    TARIFF_SITE,
];

impl Signal {
    pub fn bounds(&self) -> Bounds {
        Bounds::from_quantity(self.quantity)
    }

    /// The value without noise at a sample, on a clock that is ahead by so many hours.
    pub fn clean(&self, sample: i64, ahead_h: i64) -> f64 {
        let seconds = sample * INTERVAL_S + ahead_h * 3_600;
        let (hour, day) = (
            seconds.rem_euclid(86_400) as f64 / 3_600.0,
            seconds / 86_400,
        );
        match self.shape {
            Shape::Flat => self.level,
            Shape::Daily(swing) => self.level - swing * (hour / 24.0 * std::f64::consts::TAU).cos(),
            Shape::Tariff(part) => {
                let is_dear = (16.0..20.0).contains(&hour) && day % 7 < 5;
                if is_dear {
                    part * self.level
                } else {
                    self.level
                }
            }
        }
    }
}

/// Noise of a seed.
pub struct Noise {
    random: StdRng,
    phi: f64,
    value: f64,
}

impl Noise {
    pub fn new(phi: f64, seed: u64) -> Self {
        let mut noise = Self {
            random: StdRng::seed_from_u64(seed),
            phi,
            value: 0.0,
        };
        noise.value = noise.normal();
        noise
    }

    /// The next of an autoregressive process of variance 1.
    pub fn next(&mut self) -> f64 {
        let innovation = self.normal() * (1.0 - self.phi * self.phi).sqrt();
        self.value = self.phi * self.value + innovation;
        self.value
    }

    pub fn random(&mut self) -> &mut StdRng {
        &mut self.random
    }

    /// Box and Muller, 1958.
    fn normal(&mut self) -> f64 {
        let (radius, angle): (f64, f64) = (self.random.random(), self.random.random());
        (-2.0 * (1.0 - radius).ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
    }
}
