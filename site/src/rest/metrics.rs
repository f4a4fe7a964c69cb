//! Numbers for Prometheus.

use std::fmt::Write as _;

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use headframe_query_front::QueryError;

use super::Routes;
use crate::control::decision::MachineCounts;
use crate::control::power::PowerRegion;

pub(super) fn routes() -> Router<Routes> {
    Router::new().route("/metrics", get(metrics))
}

const REGIONS: [PowerRegion; 10] = [
    PowerRegion::Boot,
    PowerRegion::SelfTest,
    PowerRegion::HoldOff,
    PowerRegion::Restoring,
    PowerRegion::Running,
    PowerRegion::Notice,
    PowerRegion::Curtailing,
    PowerRegion::Curtailed,
    PowerRegion::Tripped,
    PowerRegion::Lockout,
];

struct Text(String);

impl Text {
    fn gauge(&mut self, name: &str, help: &str, values: &[(String, f64)]) {
        // Writing into a string does not fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} gauge");
        for (labels, value) in values {
            let _ = writeln!(self.0, "{name}{labels} {value}");
        }
    }

    fn one(&mut self, name: &str, help: &str, value: Option<f64>) {
        if let Some(value) = value {
            self.gauge(name, help, &[(String::new(), value)]);
        }
    }
}

impl Text {
    fn machines(&mut self, counts: MachineCounts) {
        let machines = [
            ("running", counts.running),
            ("stopping", counts.stopping),
            ("stopped", counts.stopped),
            ("starting", counts.starting),
            ("stuck", counts.stuck),
            ("unknown", counts.unknown),
        ];
        let machines = machines.map(|(phase, count)| {
            let labels = format!("{{phase=\"{phase}\"}}");
            (labels, f64::from(count))
        });
        self.gauge(
            "headframe_site_machines",
            "Machines by what they do.",
            &machines,
        );
    }
}

async fn metrics(State(routes): State<Routes>) -> Result<Response, QueryError> {
    let status = routes.current()?;
    let decision = &status.decision;
    let now = routes.clock.now();
    let mut text = Text(String::new());
    let mut states = Vec::new();
    for region in REGIONS {
        let name = serde_json::to_value(region).unwrap_or_default();
        let name = name.as_str().unwrap_or_default();
        let is_now = f64::from(u8::from(decision.after.power == region));
        states.push((format!("{{state=\"{name}\"}}"), is_now));
    }
    text.gauge(
        "headframe_site_state",
        "1 for what the site does about its power.",
        &states,
    );
    let measured = Some(decision.measured_kw);
    text.one("headframe_site_power_kw", "What the site draws.", measured);
    let target = Some(decision.verdict.target_kw);
    text.one(
        "headframe_site_target_kw",
        "The most that it may draw.",
        target,
    );
    text.machines(decision.machines);
    let fans = Some(decision.fans_on as f64);
    text.one("headframe_site_fans_on", "Fans that run.", fans);
    let temperature = decision
        .inputs
        .iter()
        .find(|input| input.source == "temperature/control");
    let celsius = temperature.and_then(|input| input.value);
    text.one(
        "headframe_site_temperature_c",
        "The temperature that decides.",
        celsius,
    );
    let age_s = Some(now.ms_since(status.at) as f64 / 1_000.0);
    text.one(
        "headframe_site_step_age_seconds",
        "Since the last step.",
        age_s,
    );
    let open = Some(status.memory.commands.open().count() as f64);
    text.one(
        "headframe_site_commands_open",
        "Commands that are not done.",
        open,
    );
    let trips = Some(status.memory.state.trips.latches.len() as f64);
    text.one("headframe_site_trips", "Trips that stand.", trips);
    let disk = Some(f64::from(u8::from(status.disk_trouble.is_some())));
    text.one(
        "headframe_site_disk_trouble",
        "1 while the journal is not written.",
        disk,
    );
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], text.0).into_response())
}
