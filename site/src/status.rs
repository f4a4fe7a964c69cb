//! What the controller shows of itself: the last decision, the state behind it, and how disk,
//! connection and channels are.

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value, json};

use crate::control::machine::MachinePhase;
use crate::control::{DecisionRecord, Site};
use crate::entry::Memory;
use crate::event_list::EventList;
use crate::forward::ForwardState;
use crate::history::History;
use crate::moment::Moment;
use crate::request::SignalReading;

mod detail;

/// Decisions that changed something, and that are kept in memory.
const RECENT: usize = 200;

/// The controller at a moment.
#[derive(Debug, Clone)]
pub struct Status {
    /// When the last step was.
    pub at: Moment,
    /// Site and policy.
    pub site: Arc<Site>,
    /// What it remembers.
    pub memory: Arc<Memory>,
    /// The last decision.
    pub decision: Arc<DecisionRecord>,
    /// The last reading of each signal.
    pub signals: Arc<Vec<SignalReading>>,
    /// Decisions that changed something, the newest first.
    pub recent: Arc<Vec<Arc<DecisionRecord>>>,
    /// Scored curtailments, the newest first.
    pub events: Arc<EventList>,
    /// Power against the target over time.
    pub history: Arc<History>,
    /// Why the journal is not written; nothing while it is.
    pub disk_trouble: Option<String>,
    /// Trips, orders and what was given to signals are on the disk.
    pub is_durable: bool,
    /// How far facts have come, where there is a connection.
    pub forward: Option<ForwardState>,
    /// Whether a step came in time.
    pub loop_s: f64,
}

/// One machine, as it is shown.
#[derive(Debug, Clone, Serialize)]
struct MachineShown<'a> {
    name: &'a str,
    model: &'a str,
    phase: MachinePhase,
    is_low: bool,
    since_s: f64,
    power_w: Option<f64>,
    power_age_s: f64,
    rated_w: f64,
    efficiency_j_th: Option<f64>,
    hashrate_ths: f64,
    chip_c: Option<f64>,
    is_busy: bool,
    is_failing: bool,
    is_out_of_use: bool,
    feeder: Option<&'a str>,
}

impl Status {
    /// Remembers a decision.
    pub fn remember(
        recent: &Arc<Vec<Arc<DecisionRecord>>>,
        decision: &Arc<DecisionRecord>,
    ) -> Arc<Vec<Arc<DecisionRecord>>> {
        if decision.is_routine() {
            return recent.clone();
        }
        let older = recent.iter().take(RECENT - 1).cloned();
        Arc::new(std::iter::once(decision.clone()).chain(older).collect())
    }

    /// `GET /api/v1/site`: everything that the page shows at a glance.
    pub fn summary(&self, now: Moment) -> Value {
        let decision = &*self.decision;
        let state = &self.memory.state;
        let winner = decision.verdict.cap(&decision.caps);
        let losers = decision.verdict.losers.iter();
        let losers: Vec<_> = losers.filter_map(|at| decision.caps.get(*at)).collect();
        let input = |name: &str| {
            let found = decision.inputs.iter().find(|input| input.source == name);
            found.map(|input| {
                json!({"value": input.value,
                    "age_s": age_s(now.elapsed_ms, input.at_ms)})
            })
        };
        let mut summary = json!({
            "site": self.site.plan.name,
            "at_us": self.at.utc_us,
            "age_s": age_s(now.elapsed_ms, self.at.elapsed_ms),
            "loop_s": self.loop_s,
            "state": decision.after.power,
            "thermal": decision.after.thermal,
            "authority": decision.after.authority,
            "reason": decision.reason,
            "target_kw": decision.verdict.target_kw,
            "design_kw": self.site.plan.design_kw,
            "measured_kw": decision.measured_kw,
            "quality": decision.quality,
            "deadline_in_s": decision.deadline_ms.map(|at| signed_s(now.elapsed_ms, at)),
            "winner": winner,
            "losers": losers,
            "temperature_c": input("temperature/control"),
            "temperature_highest_c": input("temperature/highest"),
            "humidity_pct": input("humidity"),
            "machines": decision.machines,
            "fans_on": decision.fans_on,
            "fans_wanted": decision.fans_wanted,
            "fans": self.site.plan.fans.len(),
            "signals": self.signals.iter().map(|reading| json!({
                "name": reading.source, "class": reading.class, "value": reading.value,
                "age_s": age_s(now.elapsed_ms, reading.read_at.elapsed_ms)})).collect::<Vec<_>>(),
            "inputs": state.inputs,
            "override": state.authority.overrides.first(),
            "overrides": state.authority.overrides,
            "lockouts": state.authority.lockouts,
            "trips": state.trips.latches,
            "alarms": state.notices.standing,
            "policy": decision.policy,
            "plan": decision.plan,
            "is_clock_doubtful": decision.is_clock_doubtful,
            "disk_trouble": self.disk_trouble,
            "durable": self.is_durable,
            "supervision": state.supervision,
            "start_hold": state.authority.start_hold,
            "facts": self.forward,
            "commands_open": self.memory.commands.open().count(),
        });
        if let (Value::Object(all), Value::Object(detail)) = (&mut summary, self.detail(now)) {
            all.extend(detail);
        }
        summary
    }

    /// `GET /api/v1/site/machines`.
    pub fn machines(&self, now: Moment) -> Value {
        let plans = self.site.plan.machines.iter();
        let shown = plans.zip(&self.memory.state.machines).map(|(plan, state)| {
            let shown = MachineShown {
                name: &plan.name,
                model: &plan.model,
                phase: state.phase,
                is_low: state.low_since_ms.is_some(),
                since_s: age_s(now.elapsed_ms, state.since_ms),
                power_w: state.power_w,
                power_age_s: age_s(now.elapsed_ms, state.power_ms),
                rated_w: plan.power_w,
                efficiency_j_th: plan.efficiency_j_th,
                hashrate_ths: plan.hashrate_ths,
                chip_c: state.chip_c,
                is_busy: state.is_busy,
                is_failing: state.fails(),
                is_out_of_use: state.is_out_of_use,
                feeder: plan.feeder.as_deref(),
            };
            json!(shown)
        });
        json!({"machines": shown.collect::<Vec<_>>()})
    }

    /// `GET /api/v1/site/history`: at most [`crate::history::MOST_SAMPLES`] samples, the oldest
    /// first.
    pub fn history(&self) -> Value {
        json!({"samples": self.history.samples()})
    }

    /// `GET /api/v1/site/events`: at most so many scored curtailments, the newest first, before an
    /// id where one is given; none when there is no such id.
    pub fn events(&self, before: Option<&str>, most: usize) -> Option<Value> {
        let all = self.events.events();
        let from = match before {
            None => 0,
            Some(id) => 1 + all.iter().position(|one| one.id == id)?,
        };
        let shown = all.get(from..).unwrap_or_default().iter().take(most);
        let shown: Vec<Value> = shown.map(|one| json!(**one)).collect();
        Some(json!({"events": shown, "kept": all.len()}))
    }

    /// `GET /api/status` of the old controller: the main numbers.
    pub fn legacy_status(&self, now: Moment) -> Value {
        let decision = &*self.decision;
        let value = |name: &str| {
            let found = decision.inputs.iter().find(|input| input.source == name);
            found.and_then(|input| input.value)
        };
        let level = self.signals.iter().map(|reading| json!(reading.value));
        let counts = decision.machines;
        json!({
            "status": decision.after.power,
            "timestamp": now.utc_us as f64 / 1e6,
            "age_s": age_s(now.elapsed_ms, self.at.elapsed_ms),
            "power_signal": level.collect::<Vec<_>>(),
            "temperature": value("temperature/control"),
            "humidity": value("humidity"),
            "power_kw": decision.measured_kw,
            "target_kw": decision.verdict.target_kw,
            "miners_on": counts.running,
            "miners_off": counts.stopped,
            "fans_on": decision.fans_on,
            "reason": decision.reason,
            "alerts": self.memory.state.notices.standing,
        })
    }

    /// `GET /api/state` of the old controller: everything that it remembers.
    pub fn legacy_state(&self) -> Value {
        json!({"state": self.memory.state, "decision": *self.decision})
    }
}

fn age_s(now_ms: u64, at_ms: u64) -> f64 {
    now_ms.saturating_sub(at_ms) as f64 / 1_000.0
}

/// Seconds until a moment; negative when it is over.
fn signed_s(now_ms: u64, at_ms: u64) -> f64 {
    (at_ms as f64 - now_ms as f64) / 1_000.0
}
