//! The air of the virtual site: `C dT/dt = P - K (T - T_outside)`, with the heat `P` of all
//! machines and `K` of walls and running fans, solved exactly over a step.

use serde::{Deserialize, Serialize};

use crate::moment::Moment;

/// What a container is like.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ContainerConfig {
    /// Joules that warm it by a degree.
    pub capacity_j_k: f64,
    /// Watts a degree through its walls and leaks.
    pub walls_w_k: f64,
    /// Watts a degree of a fan.
    pub fan_w_k: f64,
    /// The mean of the day outside.
    pub outside_c: f64,
    /// How far the day swings.
    pub swing_c: f64,
    /// Humidity outside.
    pub humidity_pct: f64,
    /// Inside at the start.
    pub initial_c: f64,
}

impl Default for ContainerConfig {
    fn default() -> Self {
        Self {
            capacity_j_k: 2.5e7,
            walls_w_k: 15_000.0,
            fan_w_k: 9_000.0,
            outside_c: 12.0,
            swing_c: 5.0,
            humidity_pct: 60.0,
            initial_c: 24.0,
        }
    }
}

/// Its air.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Container {
    /// Inside.
    pub inside_c: f64,
    /// Outside.
    pub outside_c: f64,
    /// Inside.
    pub humidity_pct: f64,
}

impl Container {
    /// As at the start.
    pub fn new(config: &ContainerConfig) -> Self {
        Self {
            inside_c: config.initial_c,
            outside_c: config.outside_c,
            humidity_pct: config.humidity_pct,
        }
    }

    /// Lets time pass.
    pub fn advance(
        &mut self,
        config: &ContainerConfig,
        heat_w: f64,
        fans: usize,
        now: Moment,
        dt_s: f64,
    ) {
        let day = (now.utc_us.rem_euclid(86_400_000_000)) as f64 / 86_400e6;
        // The warmest hour is 15:00.
        let angle = (day - 15.0 / 24.0) * std::f64::consts::TAU;
        self.outside_c = config.outside_c + config.swing_c * angle.cos();
        let loss_w_k = config.walls_w_k + fans as f64 * config.fan_w_k;
        let steady_c = self.outside_c + heat_w / loss_w_k;
        let decay = (-loss_w_k * dt_s / config.capacity_j_k).exp();
        self.inside_c = steady_c + (self.inside_c - steady_c) * decay;
        // Air that is warmed takes up no water: its relative humidity falls.
        let drier = 1.5 * (self.inside_c - self.outside_c);
        self.humidity_pct = (config.humidity_pct - drier).clamp(5.0, 99.0);
    }
}
