//! What an allocation is used to at a moment, from what was measured.

use headframe_schemas::period::{Period, Zone};
use headframe_schemas::stream::allocation_usage::AllocationUsage;

use crate::energy::level::{Level, Thresholds, exhausted_at};

/// The time over which the demand is the mean, seconds.
pub const DEMAND_S: f64 = 900.0;
/// Of the demand's time so much must be covered.
const DEMAND_COVERED: f64 = 0.5;

/// Whom an allocation is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SubjectKind {
    /// A pool.
    Pool,
    /// A site.
    Site,
    /// An operator: the sum of its pools.
    Operator,
}

impl SubjectKind {
    /// Its name in the registry and in the stream.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pool => "pool",
            Self::Site => "site",
            Self::Operator => "operator",
        }
    }
}

/// Power and energy that somebody may draw.
#[derive(Debug, Clone, PartialEq)]
pub struct Allocation {
    /// Its id; of a pool's own limits `pool.` and the pool.
    pub name: String,
    /// Whom it is for.
    pub kind: SubjectKind,
    /// Whom it is for.
    pub subject: String,
    /// Pools or sites whose energy is added up.
    pub members: Vec<String>,
    /// By whose calendar periods are counted.
    pub zone: Zone,
    /// The most power, watts.
    pub power_w: Option<f64>,
    /// The most energy in a period, watt-hours.
    pub energy_wh: Option<f64>,
    /// The period.
    pub period: Period,
}

/// What was measured of some pool or site.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct EnergyMeasurement {
    /// Energy of the 15 minutes before, watt-hours.
    pub recent_wh: f64,
    /// Seconds of them that are covered.
    pub recent_s: f64,
    /// Energy of the period until now, watt-hours.
    pub used_wh: f64,
    /// Seconds of it that are covered.
    pub used_s: f64,
    /// Mean power in the median hour of the last 24, watts.
    pub usual_w: Option<f64>,
}

/// Of what rows it was computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sources {
    /// The last sequence of `energy`.
    pub energy_seq: i64,
    /// The last sequence of `registry`.
    pub registry_seq: i64,
}

/// What an allocation is used to at a moment, microseconds since 1970; `before` is what it was last
/// said to be used to. `measured` has an entry for each of its members that measured anything.
/// `None` for moments that no calendar has.
pub fn usage(
    allocation: &Allocation,
    measured: &[EnergyMeasurement],
    before: Option<&AllocationUsage>,
    at_us: i64,
    thresholds: &Thresholds,
    sources: Sources,
) -> Option<AllocationUsage> {
    let (period_start, period_end) = allocation.period.around(at_us, allocation.zone)?;
    // Nothing added up is a negative zero.
    let sum = |of: fn(&EnergyMeasurement) -> f64| measured.iter().map(of).sum::<f64>() + 0.0;
    // Covered is as much as of the least covered member: an absent one covers nothing.
    let least = |of: fn(&EnergyMeasurement) -> f64| match measured.len() < allocation.members.len()
    {
        true => 0.0,
        false => measured.iter().map(of).fold(f64::INFINITY, f64::min),
    };
    let covered = |seconds: f64| if seconds.is_finite() { seconds } else { 0.0 };
    let demand_covered_s = covered(least(|one| one.recent_s));
    let demand_w = (demand_covered_s >= DEMAND_S * DEMAND_COVERED).then(|| {
        let mean_w = |one: &EnergyMeasurement| one.recent_wh * 3_600.0 / one.recent_s;
        measured.iter().map(mean_w).sum::<f64>()
    });
    let used_wh = sum(|one| one.used_wh);
    let usual_w = measured.iter().map(|one| one.usual_w).sum::<Option<f64>>();
    // Where nothing is allowed, anything is far too much, and still a number.
    let part = |value: f64, limit: f64| value / limit.max(1e-6) * 100.0;
    let power_pct = demand_w
        .zip(allocation.power_w)
        .map(|(w, most)| part(w, most));
    let energy_pct = allocation.energy_wh.map(|most| part(used_wh, most));
    let level = |old: Option<&String>, pct: Option<f64>| {
        let old = old
            .and_then(|name| Level::parse(name))
            .unwrap_or(Level::Normal);
        old.next(pct, thresholds).name().to_owned()
    };
    // A new period begins with nothing used.
    let same_period = before.filter(|before| before.period_start == period_start);
    Some(AllocationUsage {
        event_time: at_us,
        allocation: allocation.name.clone(),
        subject_kind: allocation.kind.name().to_owned(),
        subject: allocation.subject.clone(),
        demand_w,
        demand_covered_s,
        power_limit_w: allocation.power_w,
        power_pct,
        power_level: allocation.power_w.map(|_| {
            level(
                before.and_then(|before| before.power_level.as_ref()),
                power_pct,
            )
        }),
        period_start,
        period_end,
        used_wh,
        covered_s: covered(least(|one| one.used_s)),
        energy_limit_wh: allocation.energy_wh,
        energy_pct,
        energy_level: allocation.energy_wh.map(|_| {
            level(
                same_period.and_then(|before| before.energy_level.as_ref()),
                energy_pct,
            )
        }),
        exhausted_at: allocation
            .energy_wh
            .and_then(|most| exhausted_at(at_us, period_end, used_wh, most, usual_w)),
        energy_seq: sources.energy_seq,
        registry_seq: sources.registry_seq,
    })
}

/// Whether a row must be written: at each quarter of an hour, whenever a level is another, and when
/// there is a demand again.
pub fn is_worth_writing(now: &AllocationUsage, before: Option<&AllocationUsage>) -> bool {
    let Some(before) = before else { return true };
    if now.event_time <= before.event_time {
        return false;
    }
    now.event_time % (DEMAND_S as i64 * 1_000_000) == 0
        || now.demand_w.is_some() && before.demand_w.is_none()
        || now.power_level != before.power_level
        || now.energy_level != before.energy_level
}
