//! Signals that tell a process to end.

use tokio::signal::unix::{SignalKind, signal};

/// Waits for Ctrl-C or SIGTERM; the name of the one that came.
pub async fn stop_signal() -> &'static str {
    let Ok(mut term) = signal(SignalKind::terminate()) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => "SIGINT",
        _ = term.recv() => "SIGTERM",
    }
}
