//! The best choice of machines for a target, known only afterwards: the most efficient first.

use crate::control::decision::DecisionRecord;
use crate::control::site_plan::SitePlan;
use crate::score::Event;

/// The highest hashrate of machines that draw at most so much, those that wait included.
///
/// Machines are taken by terahashes a watt that they add; the last one in part, so that no real
/// choice is better.
pub fn best_hashrate_ths(plan: &SitePlan, mining_kw: f64) -> f64 {
    let standby_w: f64 = plan.machines.iter().map(|one| one.standby_w).sum();
    let mut left_w = mining_kw * 1_000.0 - standby_w;
    let mut machines: Vec<(f64, f64)> = plan
        .machines
        .iter()
        .map(|one| (one.hashrate_ths, (one.power_w - one.standby_w).max(1.0)))
        .collect();
    machines.sort_by(|a, b| (b.0 / b.1).total_cmp(&(a.0 / a.1)));
    let mut sum_ths = 0.0;
    for (ths, watts) in machines {
        if left_w <= 0.0 {
            break;
        }
        sum_ths += ths * (left_w / watts).min(1.0);
        left_w -= watts;
    }
    sum_ths
}

/// Terahash-hours below the best choice, from the deadline to the release.
pub fn lost_ths_h(event: &Event, decisions: &[DecisionRecord], plan: &SitePlan) -> f64 {
    // A decision stands until the next: those that are kept lie minutes or seconds apart.
    let ends = decisions.iter().skip(1).map(|next| next.at);
    let ends = ends.chain([event.released_at]);
    let (mut rest_kwh, mut done_ths_h, mut hours) = (0.0, 0.0, 0.0);
    for (decision, end) in decisions.iter().zip(ends) {
        let (from, to) = (decision.at.max(event.deadline), end.min(event.released_at));
        let length = to.ms_since(from) as f64 / 3_600_000.0;
        rest_kwh += (decision.measured_kw - decision.mining_kw) * length;
        done_ths_h += decision.hashrate_ths * length;
        hours += length;
    }
    if hours <= 0.0 {
        return 0.0;
    }
    let best_ths = best_hashrate_ths(plan, event.target_kw - rest_kwh / hours);
    (best_ths * hours - done_ths_h).max(0.0)
}
