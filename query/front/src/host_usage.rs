//! How busy the machine is, as whoever runs the server can tell.

/// Asks the machine. Called at an interval, from one place, and may take a moment.
pub trait HostMonitor: Send + Sync {
    /// What is in use now, since the last reading where that matters.
    fn usage(&self) -> HostUsage;
}

/// Percentages; `None` where the machine does not tell.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct HostUsage {
    /// Of all cores together.
    pub cpu: Option<f64>,
    /// Of memory, without what could be freed at once.
    pub memory: Option<f64>,
    /// Of the disk that holds the data folder.
    pub disk: Option<f64>,
}
