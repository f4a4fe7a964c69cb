//! The fine trim: a few machines in their low power mode in place of the last one that would stop,
//! where that fits the target closer.

use super::{SelectionGoal, compare, gain_w, is_candidate, is_exempt};
use crate::control::machine::{MachinePhase, MachineState};
use crate::control::site_plan::{MachinePlan, Site};

/// Watts that the low power mode of a machine brings; none where it has none, or is in it already.
fn low_gain_w(machine: &MachineState, plan: &MachinePlan) -> Option<f64> {
    let low_w = plan.low_power_w?;
    let is_normal = machine.phase == MachinePhase::Running && machine.low_since_ms.is_none();
    let gain_w = machine.believed_w(plan) - low_w;
    (is_normal && gain_w > 0.0).then_some(gain_w)
}

/// The machines to set to low power in place of the last of `stops`, which are enough together;
/// none where stopping it fits closer.
pub(super) fn low_power_in_place_of_last(
    site: &Site,
    machines: &[MachineState],
    wanted: SelectionGoal,
    stops: &[usize],
) -> Option<Vec<usize>> {
    let plans = &site.plan.machines;
    let (last, others) = stops.split_last()?;
    let stopped_w = |at: &usize| gain_w(&machines[*at], &plans[*at]);
    let left_w = wanted.excess_w - others.iter().map(stopped_w).sum::<f64>();
    let mut candidates: Vec<(usize, f64)> = (0..machines.len())
        .filter(|at| !others.contains(at))
        .filter(|at| is_candidate(&machines[*at], &plans[*at], wanted.level))
        .filter(|at| !is_exempt(&machines[*at], &plans[*at], wanted.now_ms))
        .filter_map(|at| Some((at, low_gain_w(&machines[at], &plans[at])?)))
        .collect();
    candidates.sort_by(|(a, _), (b, _)| compare(site, machines, *a, *b));
    let lows = fewest_that_suffice(candidates, left_w, site.policy.dispatch.trim_at_most)?;
    let low_w: f64 = lows.iter().map(|(_, gain_w)| gain_w).sum();
    (low_w < stopped_w(last)).then(|| lows.into_iter().map(|(at, _)| at).collect())
}

/// The first of the candidates until one more is enough, and that one by best fit; none when more
/// than `most` would be taken.
fn fewest_that_suffice(
    mut candidates: Vec<(usize, f64)>,
    mut left_w: f64,
    most: usize,
) -> Option<Vec<(usize, f64)>> {
    let mut taken = Vec::new();
    while taken.len() < most && !candidates.is_empty() {
        let enough = candidates.iter().enumerate();
        let enough = enough.filter(|(_, (_, gain_w))| *gain_w >= left_w);
        if let Some((place, _)) = enough.min_by(|(_, one), (_, two)| one.1.total_cmp(&two.1)) {
            taken.push(candidates.remove(place));
            return Some(taken);
        }
        let first = candidates.remove(0);
        left_w -= first.1;
        taken.push(first);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::fewest_that_suffice;

    #[test]
    fn as_few_as_are_enough_and_the_last_by_best_fit() {
        let candidates = || vec![(4, 900.0), (2, 1_000.0), (7, 950.0), (1, 800.0)];
        let taken = |left_w: f64, most: usize| {
            let taken = fewest_that_suffice(candidates(), left_w, most);
            taken.map(|all| all.into_iter().map(|(at, _)| at).collect::<Vec<_>>())
        };
        assert_eq!(taken(850.0, 3), Some(vec![4]));
        assert_eq!(taken(920.0, 3), Some(vec![7]));
        assert_eq!(taken(1_800.0, 3), Some(vec![4, 7]));
        assert_eq!(taken(2_600.0, 3), Some(vec![4, 2, 1]));
        assert_eq!(taken(2_600.0, 2), None);
        assert_eq!(taken(100.0, 0), None);
        assert_eq!(fewest_that_suffice(Vec::new(), 100.0, 3), None);
    }
}
