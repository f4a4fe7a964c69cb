//! What a worker reports of itself.

/// What a worker says now and then.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Heartbeat {
    /// Hashes a second since the last one.
    pub hashrate_hs: f64,
    /// Threads that hash.
    pub threads_active: u32,
    /// Leases by epoch, with how many nonces of each were searched.
    pub searched: Vec<(u64, u64)>,
    /// The processor's temperature, where it can be read.
    pub temperature_c: Option<f64>,
    /// How busy the machine's processors are, percent.
    pub cpu_pct: Option<f64>,
    /// The last command it has seen; 0 when none.
    pub command_id: u64,
    /// Why it does not obey it; empty when it does.
    pub command_refusal: String,
}
