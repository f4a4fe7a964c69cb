//! Hashrate over time, from windows of accepted difficulty.

use serde_json::json;

use crate::pool_queries::rows;
use crate::pool_queries::span::{now_s, rfc3339};
use headframe_query_front::QueryError;
use headframe_query_front::QueryService;
use headframe_query_front::reports::{ChartSpan, HashrateOf, TimeSeries};

/// Hashrate of a pool, of all pools or of a miner over a span that ends now.
pub async fn series(
    service: &QueryService,
    of: &HashrateOf,
    span: &ChartSpan,
) -> Result<TimeSeries, QueryError> {
    let now = now_s();
    let to_s = now as i64;
    let from_s = (to_s.div_euclid(span.step_s) + 1 - span.steps) * span.step_s;
    let (view, column, name) = match of {
        HashrateOf::Pool(pool) => ("pool_hashrate", "pool", pool.as_deref()),
        HashrateOf::Miner(miner) => ("miner_hashrate", "miner", Some(miner.as_str())),
    };
    // A window's start is a number of microseconds.
    let step_us = span.step_s * 1_000_000;
    let sql = format!(
        "SELECT CAST(window_start AS BIGINT) / {step_us} AS step, \
         CAST(sum(accepted_difficulty) AS DOUBLE) AS work FROM {view}_{tier} WHERE window_start \
         >= $1 AND ($2 IS NULL OR {column} = $2) GROUP BY 1 ORDER BY 1 LIMIT {steps}",
        tier = span.tier,
        steps = span.steps,
    );
    let found = rows(service, sql, json!([rfc3339(from_s), name])).await?;
    let steps = found
        .iter()
        .filter_map(|row| Some((row.get("step")?.as_i64()?, row.get("work")?.as_f64()?)));
    Ok(TimeSeries {
        from_s,
        to_s,
        step_s: span.step_s,
        points: points(steps, span.step_s, now),
    })
}

/// The rate of each step from the first that has work until now. A step without work is a rate of
/// nought. The present step is as long as it has lasted; while that is less than half it is left
/// out, unless all the work is in it: a miner sees its first shares at once.
pub(super) fn points(
    steps: impl Iterator<Item = (i64, f64)>,
    step_s: i64,
    now: f64,
) -> Vec<(i64, f64)> {
    let present = (now as i64).div_euclid(step_s);
    let lasted = now - (present * step_s) as f64;
    let mut steps = steps.peekable();
    let is_first = steps.peek().is_some_and(|(step, _)| *step == present);
    let end = match is_first || lasted * 2.0 >= step_s as f64 {
        true => present,
        false => present - 1,
    };
    let mut points: Vec<(i64, f64)> = Vec::new();
    for (step, work) in steps.filter(|(step, _)| *step <= end) {
        let seconds = match step == present {
            true => lasted.max(1.0),
            false => step_s as f64,
        };
        fill(&mut points, step, step_s);
        points.push((step * step_s, work / seconds));
    }
    fill(&mut points, end + 1, step_s);
    points
}

/// Adds the steps without work between the last point and this step.
fn fill(points: &mut Vec<(i64, f64)>, until: i64, step_s: i64) {
    while let Some((last, _)) = points.last()
        && last + step_s < until * step_s
    {
        let next = last + step_s;
        points.push((next, 0.0));
    }
}

#[cfg(test)]
mod tests {
    use super::points;

    fn rates(steps: &[(i64, f64)], now: f64) -> Vec<(i64, f64)> {
        points(steps.iter().copied(), 60, now)
    }

    #[test]
    fn steps_without_work_are_nought_and_the_present_one_is_as_long_as_it_lasted() {
        let steps = [(10, 600.0), (13, 60.0), (14, 90.0)];
        let past = [(600, 10.0), (660, 0.0), (720, 0.0), (780, 1.0)];
        // Half a minute into the present step, and a second into it.
        let present = [&past[..], &[(840, 3.0)]].concat();
        assert_eq!(rates(&steps, 870.0), present);
        assert_eq!(rates(&steps, 841.0), past);
        // A pool's first step is shown from its first second on.
        assert_eq!(rates(&steps[2..], 841.0), [(840, 90.0)]);
        assert_eq!(rates(&steps[2..], 842.0), [(840, 45.0)]);
        // Long after the last work.
        let later = rates(&steps[..1], 721.0);
        assert_eq!(later, [(600, 10.0), (660, 0.0)]);
        assert_eq!(rates(&[], 870.0), []);
    }
}
