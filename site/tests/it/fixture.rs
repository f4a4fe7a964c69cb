//! What the tests stand on: a clock, a server of their own on loopback, and waiting for a fact.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use headframe_site::actuate::Clock;
use headframe_site::moment::Moment;

/// How long a fact may take.
pub const PATIENCE: Duration = Duration::from_secs(240);

/// A clock that runs so many times as fast as ours.
pub fn clock(speed: f64) -> Clock {
    let start = Instant::now();
    let utc = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Arc::new(move || {
        let passed = start.elapsed().as_secs_f64() * speed;
        Moment {
            elapsed_ms: 1_000_000 + (passed * 1e3) as u64,
            utc_us: utc.as_micros() as i64 + (passed * 1e6) as i64,
        }
    })
}

/// Now, by our clock.
pub fn now() -> Moment {
    clock(1.0)()
}

/// Serves these routes on a free port of loopback until the test ends; its address.
pub async fn serve(routes: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, routes).await });
    format!("http://{address}")
}

/// Waits until something is so.
pub async fn until<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
