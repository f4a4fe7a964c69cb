//! Every reason to draw less, as caps for the arbiter.

use super::arbiter::{Cap, DEFAULT, OVERRIDE};
use super::authority::AuthorityState;
use super::order::Scope;
use super::requests::{Demand, Demands};
use super::site_plan::Site;
use super::thermal::ThermalState;
use super::trip::TripState;
use crate::request::SignalClass;

/// What caps are made of.
pub struct Reasons<'a> {
    /// People's orders.
    pub authority: &'a AuthorityState,
    /// Trips that stand.
    pub trips: &'a TripState,
    /// The air.
    pub thermal: &'a ThermalState,
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
    if let Some(manual) = &reasons.authority.manual {
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
        kw,
        scope,
        reason,
        expires_us: None,
        source: source.to_owned(),
        deadline_ms: None,
    }
}

fn of_demand(demand: &Demand) -> Cap {
    Cap {
        level: match demand.class {
            SignalClass::Mandatory => 3,
            SignalClass::Contract => 4,
            SignalClass::Economic => 6,
        },
        kw: demand.cap_kw,
        scope: Scope::Site,
        reason: demand.reason.clone(),
        expires_us: demand.ends_at_us,
        source: demand.source.clone(),
        deadline_ms: Some(demand.deadline_ms),
    }
}

/// Machines that a cap for a part of the site switches off, by their place.
pub fn forbidden(site: &Site, caps: &[Cap]) -> Vec<bool> {
    let mut off = vec![false; site.plan.machines.len()];
    for cap in caps.iter().filter(|cap| cap.kw <= 0.0) {
        match &cap.scope {
            Scope::Site => {}
            Scope::Machine(name) => {
                if let Some(at) = site.machine(name) {
                    off[at] = true;
                }
            }
            Scope::Feeder(name) => {
                let feeder = site.feeder(name);
                for (at, is_off) in off.iter_mut().enumerate() {
                    *is_off |= feeder.is_some() && site.feeder_of(at) == feeder;
                }
            }
        }
    }
    off
}
