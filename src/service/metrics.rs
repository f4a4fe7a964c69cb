//! The recorder behind `/metrics`.

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

/// Buckets of every histogram of times.
const SECONDS: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// Records what `/metrics` shows; times as histograms, which can be added up over processes. `None`
/// when this process has a recorder already, as a second service in one test has.
pub fn install_recorder() -> Option<PrometheusHandle> {
    let times = Matcher::Suffix("_seconds".to_owned());
    PrometheusBuilder::new()
        .set_buckets_for_metric(times, &SECONDS)
        .ok()?
        .install_recorder()
        .ok()
}
