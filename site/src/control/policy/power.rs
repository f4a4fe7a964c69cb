//! Region R1 of the policy: delays, deadlines and dead-bands of the site's power.

use serde::{Deserialize, Serialize};

/// Numbers of the site's power.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PowerPolicy {
    /// After so long without fresh safety inputs the self-test says that it is degraded.
    pub self_test_s: u64,
    /// From a start or reset to the first machine that is started.
    pub restart_delay_s: u64,
    /// Up to so much longer, by chance, so that sites do not start together.
    pub restart_jitter_s: u64,
    /// After a start an estimate of the site's power is not acted on for so long, at most half of
    /// the time to a deadline; never in an emergency.
    pub read_first_s: u64,
    /// Restoring ends after so long, whatever has not started.
    pub restore_limit_s: u64,
    /// A machine, and the site, stay off for at least so long.
    pub min_off_s: u64,
    /// A release counts when it has stood for so long.
    pub release_stable_s: u64,
    /// So many samples in a row at or below the target prove it.
    pub proof_samples: u32,
    /// At this share of the time to the deadline, commands go another way.
    pub escalate_share: f64,
    /// So long before the program's limit everything is done.
    pub deadline_margin_s: u64,
    /// Kept free below the target, per cent of the design power.
    pub margin_pct: f64,
    /// The noise of the site meter; at least so much is kept free below the target.
    pub meter_noise_kw: f64,
    /// Above the target by so much, per cent of the design power, is drift …
    pub drift_pct: f64,
    /// … or by so many kilowatts, whichever is more …
    pub drift_kw: f64,
    /// … when it lasts so long.
    pub drift_s: u64,
    /// Machines are started again within an event when power is so far below the target, per cent
    /// of the design power; only when `is_energy_paid`.
    pub readmit_below_pct: f64,
    /// The contract pays for what is consumed up to the cap.
    pub is_energy_paid: bool,
    /// The limit of the energy allocation, as power.
    pub allocation_limit_kw: Option<f64>,
    /// The share of the allocation that may be used.
    pub allocation_share: f64,
}

impl Default for PowerPolicy {
    fn default() -> Self {
        Self {
            self_test_s: 120,
            restart_delay_s: 300,
            restart_jitter_s: 60,
            read_first_s: 15,
            restore_limit_s: 1_800,
            min_off_s: 600,
            release_stable_s: 120,
            proof_samples: 2,
            escalate_share: 0.5,
            deadline_margin_s: 30,
            margin_pct: 0.3,
            meter_noise_kw: 1.0,
            drift_pct: 1.0,
            drift_kw: 5.0,
            drift_s: 30,
            readmit_below_pct: 1.0,
            is_energy_paid: false,
            allocation_limit_kw: None,
            allocation_share: 0.95,
        }
    }
}

impl PowerPolicy {
    /// Kilowatts kept free below the target of a site of such a design power.
    pub fn margin_kw(&self, design_kw: f64) -> f64 {
        (self.margin_pct / 100.0 * design_kw).max(self.meter_noise_kw)
    }

    /// Kilowatts above the target that are drift.
    pub fn drift_band_kw(&self, design_kw: f64) -> f64 {
        (self.drift_pct / 100.0 * design_kw).max(self.drift_kw)
    }
}
