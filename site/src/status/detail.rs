//! What the page draws beside the main numbers: feeders with what hangs on them, fans with their
//! thresholds, sensors, and what an order would bring.

use serde_json::{Value, json};

use super::Status;
use crate::control::arbiter::{self, Cap, OVERRIDE};
use crate::control::decision::MachineCounts;
use crate::control::machine::MachineState;
use crate::control::order::Scope;
use crate::control::selection;
use crate::moment::Moment;

impl Status {
    /// The part of the summary that drawings and forms are made of. Moments of the state are on the
    /// clock of `now_ms`.
    pub(super) fn detail(&self, now: Moment) -> Value {
        let state = &self.memory.state;
        let authority = &self.site.policy.authority;
        let sensors = state.thermal.sensors.iter();
        let sensors = sensors.map(
            |(name, sensor)| json!({"name": name, "kind": sensor.kind, "celsius": sensor.celsius}),
        );
        json!({
            "now_ms": now.elapsed_ms,
            "groups": self.groups(),
            "auxiliary_kw": state.metering.auxiliary_kw,
            "fan_list": self.fan_list(),
            "limits": self.limits(),
            "sensors": sensors.collect::<Vec<_>>(),
            "reset_in_s": self.reset_in_s(now),
            "override_default_s": authority.override_default_s,
            "override_max_s": authority.override_max_s,
            "debug": state.authority.debug,
            "prepared": self.prepared(),
            "simulated": self.decision.simulated,
        })
    }

    /// What an announced event will stop.
    fn prepared(&self) -> Option<Value> {
        let prepared = self.memory.state.prepared.as_ref()?;
        let plans = prepared.machines.iter();
        let plans = plans.filter_map(|at| self.site.plan.machines.get(*at as usize));
        Some(json!({
            "source": prepared.source,
            "starts_at_us": prepared.starts_at_us,
            "cap_kw": prepared.cap_kw,
            "kw": prepared.kw,
            "machines": plans.map(|plan| &plan.name).collect::<Vec<_>>(),
        }))
    }

    /// What hangs on each feeder, in the plan's order, and what hangs on none.
    fn groups(&self) -> Vec<Value> {
        let plan = &self.site.plan;
        let feeders = plan.feeders.iter().enumerate();
        let mut groups: Vec<Value> = feeders
            .map(|(at, feeder)| {
                let state = self.memory.state.feeders.get(at);
                let mut group = self.group(Some(at));
                group["feeder"] = json!(feeder.name);
                group["limit_kw"] = json!(feeder.limit_kw());
                group["is_closed"] = json!(state.and_then(|state| state.is_closed));
                group["is_opened"] = json!(state.is_some_and(|one| one.opened_ms.is_some()));
                group
            })
            .collect();
        if (0..plan.machines.len()).any(|at| self.site.feeder_of(at).is_none()) {
            groups.push(self.group(None));
        }
        groups
    }

    fn group(&self, feeder: Option<usize>) -> Value {
        let plans = self.site.plan.machines.iter();
        let all = plans.zip(&self.memory.state.machines).enumerate();
        let own: Vec<_> = all
            .filter(|(at, _)| self.site.feeder_of(*at) == feeder)
            .map(|(_, pair)| pair)
            .collect();
        let states: Vec<MachineState> = own.iter().map(|(_, state)| **state).collect();
        let kw = |watts: f64| watts / 1_000.0;
        json!({
            "feeder": null,
            "kw": kw(own.iter().map(|(plan, state)| state.believed_w(plan)).sum()),
            "rated_kw": kw(own.iter().map(|(plan, _)| plan.power_w).sum()),
            "machines": MachineCounts::new(&states),
        })
    }

    /// Every fan with the temperatures at which it starts and stops.
    fn fan_list(&self) -> Vec<Value> {
        let policy = &self.site.policy.fans;
        let fans = self.memory.state.fans.fans.iter().enumerate();
        fans.map(|(at, fan)| {
            json!({"fan": at + 1, "is_on": fan.is_on, "is_read": fan.is_read,
                "is_faulty": fan.is_faulty, "is_deaf": fan.is_deaf, "watts": fan.watts,
                "on_c": policy.on_c(at + 1), "off_c": policy.off_c(at + 1)})
        })
        .collect()
    }

    /// Temperatures at which something happens.
    fn limits(&self) -> Value {
        let (thermal, trips) = (&self.site.policy.thermal, &self.site.policy.trips);
        json!({"cold_c": thermal.cold_c, "warm_c": thermal.warm_c, "hot_c": thermal.hot_c,
            "critical_c": thermal.critical_c, "trip_c": trips.trip_c,
            "trip_at_once_c": trips.trip_at_once_c})
    }

    /// Seconds until trips can be reset; none while a cause is there or nothing is tripped.
    fn reset_in_s(&self, now: Moment) -> Option<f64> {
        let clear_s = self.site.policy.trips.clear_s as f64;
        let mut longest_s = None;
        for latch in self.memory.state.trips.latches.values() {
            let clear_for_s = super::age_s(now.elapsed_ms, latch.clear_since_ms?);
            let left_s = (clear_s - clear_for_s).max(0.0);
            longest_s = Some(longest_s.map_or(left_s, |longest: f64| longest.max(left_s)));
        }
        longest_s
    }

    /// What an override of the whole site would bring, as of the last step: the target, what holds
    /// it there, and the machines that would be stopped for it.
    pub fn preview_override(&self, cap_kw: f64, now: Moment) -> Value {
        let (site, decision) = (&*self.site, &*self.decision);
        let mut caps: Vec<Cap> = decision.caps.clone();
        caps.retain(|cap| cap.level != OVERRIDE || cap.scope != Scope::Site);
        caps.push(Cap {
            level: OVERRIDE,
            kw: cap_kw,
            scope: Scope::Site,
            reason: "this override".to_owned(),
            expires_us: None,
            source: "preview".to_owned(),
            deadline_ms: None,
            asked_at: None,
            event: None,
        });
        let verdict = arbiter::decide(&caps, site.plan.design_kw);
        let machines = &self.memory.state.machines;
        let excess_kw = decision.measured_kw - (verdict.target_kw - site.margin_kw());
        let level = verdict.cap(&caps).map_or(OVERRIDE, |cap| cap.level);
        let chosen = match excess_kw > 0.0 {
            true => {
                let wanted = selection::SelectionGoal {
                    excess_w: excess_kw * 1_000.0,
                    level,
                    may_trim: true,
                    now_ms: now.elapsed_ms,
                };
                selection::select(site, machines, wanted)
            }
            false => selection::Chosen::default(),
        };
        let (stops, lows) = (&chosen.stops, &chosen.lows);
        let plan = |at: &usize| &site.plan.machines[*at];
        let gain_w = |at: &usize| selection::gain_w(&machines[*at], plan(at));
        json!({
            "target_kw": verdict.target_kw,
            "winner": verdict.cap(&caps),
            "stops": stops.iter().map(|at| &plan(at).name).collect::<Vec<_>>(),
            "lows": lows.iter().map(|at| &plan(at).name).collect::<Vec<_>>(),
            "stops_kw": stops.iter().map(gain_w).sum::<f64>() / 1_000.0,
            "stops_ths": stops.iter().map(|at| plan(at).hashrate_ths).sum::<f64>(),
        })
    }
}
