//! Every reason to draw less, as caps for the arbiter.

use super::arbiter::{Cap, DEFAULT, OVERRIDE};
use super::authority::AuthorityState;
use super::health::Inputs;
use super::observation::rounded;
use super::order::Scope;
use super::requests::{Demand, Demands};
use super::site_plan::Site;
use super::thermal::ThermalState;
use super::trip::TripState;

/// What caps are made of.
pub struct Reasons<'a> {
    /// People's orders.
    pub authority: &'a AuthorityState,
    /// Trips that stand.
    pub trips: &'a TripState,
    /// The air.
    pub thermal: &'a ThermalState,
    /// How far inputs can be trusted.
    pub inputs: &'a Inputs,
    /// Fans that are faulty.
    pub fan_faults: usize,
    /// What signals ask.
    pub demands: &'a Demands,
    /// The time.
    pub now_ms: u64,
}

/// All caps, those for the whole site and those for a part.
pub fn post(site: &Site, reasons: &Reasons<'_>) -> Vec<Cap> {
    let design_kw = site.plan.design_kw;
    let mut caps = Vec::with_capacity(4);
    for lockout in &reasons.authority.lockouts {
        let reason = format!("locked out by {}: {}", lockout.by, lockout.reason);
        caps.push(cap(0, 0.0, lockout.scope.clone(), reason, "lockout"));
    }
    for (cause, latch) in &reasons.trips.latches {
        let reason = format!("tripped: {}", latch.detail);
        caps.push(cap(1, 0.0, Scope::Site, reason, cause.as_str()));
    }
    if let Some((share, reason)) = reasons
        .thermal
        .lost_share(&site.policy.thermal, reasons.now_ms)
    {
        caps.push(cap(
            2,
            share * design_kw,
            Scope::Site,
            reason,
            "temperature",
        ));
    }
    let lost = TripState::lost_share(&site.policy.trips, reasons.inputs, reasons.now_ms);
    if let Some((share, reason)) = lost {
        caps.push(cap(2, share * design_kw, Scope::Site, reason, "interlock"));
    }
    let fans = &site.policy.fans;
    if reasons.fan_faults >= fans.faults_for_cap as usize {
        let reason = format!("{} fans are faulty", reasons.fan_faults);
        caps.push(cap(
            2,
            fans.fault_cap_share * design_kw,
            Scope::Site,
            reason,
            "fans",
        ));
    }
    caps.extend(reasons.demands.now.iter().map(of_demand));
    let power = &site.policy.power;
    if let Some(limit_kw) = power.allocation_limit_kw {
        let kw = power.allocation_share * limit_kw;
        let reason = format!("the energy allocation is {limit_kw} kW");
        caps.push(cap(4, kw, Scope::Site, reason, "allocation"));
    }
    for manual in &reasons.authority.overrides {
        let reason = format!("{} ordered it: {}", manual.by, manual.reason);
        let scope = manual.scope.clone();
        let mut posted = cap(OVERRIDE, manual.cap_kw, scope, reason, &manual.by);
        posted.expires_us = Some(manual.until_us);
        caps.push(posted);
    }
    let reason = "the site's design power".to_owned();
    caps.push(cap(DEFAULT, design_kw, Scope::Site, reason, "design"));
    caps
}

fn cap(level: u8, kw: f64, scope: Scope, reason: String, source: &str) -> Cap {
    Cap {
        level,
        // Read back from the journal bit for bit.
        kw: rounded(kw),
        scope,
        reason,
        expires_us: None,
        source: source.to_owned(),
        deadline_ms: None,
        asked_at: None,
        event: None,
    }
}

fn of_demand(demand: &Demand) -> Cap {
    Cap {
        level: demand.class.level(),
        kw: rounded(demand.cap_kw),
        scope: Scope::Site,
        reason: demand.reason.clone(),
        expires_us: demand.ends_at_us,
        source: demand.source.clone(),
        deadline_ms: Some(demand.deadline_ms),
        asked_at: Some(demand.asked_at),
        event: demand.event.clone(),
    }
}

/// Machines that caps for a part of the site switch off, by their place.
///
/// A cap of 0 switches off all of it. One above 0 switches off as many machines as it takes for the
/// others, by rated power, and the standby of those that are off to be no more than the cap; which,
/// follows from the plan alone, so that readings do not make machines take turns: those that only
/// safety stops stay on first, then those with the highest weight, then the most efficient.
pub fn forbidden(site: &Site, caps: &[Cap]) -> Vec<bool> {
    let mut off = vec![false; site.plan.machines.len()];
    for cap in caps {
        let own: Vec<usize> = match &cap.scope {
            Scope::Site => continue,
            Scope::Machine(name) => site.machine(name).into_iter().collect(),
            Scope::Feeder(name) => {
                let feeder = site.feeder(name);
                let is_own = |at: &usize| feeder.is_some() && site.feeder_of(*at) == feeder;
                (0..off.len()).filter(is_own).collect()
            }
        };
        for at in machines_beyond_cap(site, own, cap.kw) {
            off[at] = true;
        }
    }
    off
}

/// Those of these machines for which a cap has no power left.
fn machines_beyond_cap(site: &Site, mut own: Vec<usize>, cap_kw: f64) -> Vec<usize> {
    if cap_kw <= 0.0 {
        return own;
    }
    let plans = &site.plan.machines;
    let joules = |at: usize| plans[at].efficiency_j_th.unwrap_or(f64::INFINITY);
    own.sort_by(|a, b| {
        let (one, other) = (&plans[*a], &plans[*b]);
        let first = other.is_mandatory_run.cmp(&one.is_mandatory_run);
        first
            .then(other.sla_weight.total_cmp(&one.sla_weight))
            .then(joules(*a).total_cmp(&joules(*b)))
            .then(a.cmp(b))
    });
    let standby_w: f64 = own.iter().map(|at| plans[*at].standby_w).sum();
    let mut left_w = cap_kw * 1_000.0 - standby_w;
    own.retain(|at| {
        let more_w = plans[*at].power_w - plans[*at].standby_w;
        let fits = more_w <= left_w;
        if fits {
            left_w -= more_w;
        }
        !fits
    });
    own
}
