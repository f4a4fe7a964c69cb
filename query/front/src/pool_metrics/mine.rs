//! The figures of a mine: what is registered, what pools and sites draw and used, and how much of
//! their allocations that is.

use super::{Exposition, number, text};
use crate::clock::now_us;
use crate::error::QueryError;
use crate::registry::{Registry, ResourcePage};
use crate::reports::{EnergyWindows, Reports, Row};
use headframe_schemas::resource;
use headframe_schemas::sql_view::energy::{POOLS, SITES};

const HOUR_US: i64 = 3_600_000_000;
const PAGE: usize = 1_000;

/// The figures of one round.
#[derive(Default)]
pub(super) struct MineFigures {
    /// Kinds of the registry, and how many there are of each.
    registered: Vec<(&'static str, usize)>,
    /// `pool` or `site`, and the power of each.
    power: Vec<(&'static str, Vec<Row>)>,
    /// The same, and the energy of its whole hours of the last 24.
    energy: Vec<(&'static str, Vec<Row>)>,
    allocations: Vec<Row>,
}

/// Asks for them; of a mine without pools and sites only what is registered.
pub(super) async fn collect(
    reports: &dyn Reports,
    registry: &dyn Registry,
) -> Result<MineFigures, QueryError> {
    let registered: Vec<(&str, usize)> = resource::ALL
        .iter()
        .map(|&kind| (kind.name, count(registry, kind)))
        .collect();
    let mut figures = MineFigures {
        registered,
        ..MineFigures::default()
    };
    let places = ["pools", "sites"];
    let mut counts = figures.registered.iter();
    if !counts.any(|(kind, count)| places.contains(kind) && *count > 0) {
        return Ok(figures);
    }
    let to_us = now_us().div_euclid(HOUR_US) * HOUR_US;
    for of in [&POOLS, &SITES] {
        let rows = reports.power_now(of, None).await?;
        figures.power.push((of.name, rows));
        let day = EnergyWindows {
            of,
            id: None,
            spans: vec![(to_us - 24 * HOUR_US, to_us)],
            from_us: to_us - 24 * HOUR_US,
            to_us,
        };
        figures.energy.push((of.name, reports.energy(&day).await?));
    }
    figures.allocations = reports.allocation_usage().await?;
    Ok(figures)
}

fn count(registry: &dyn Registry, kind: &'static resource::Resource) -> usize {
    let mut page = ResourcePage {
        limit: PAGE,
        ..ResourcePage::default()
    };
    let mut count = 0;
    loop {
        let (found, has_more) = registry.page(kind, &page);
        count += found.len();
        match found.last() {
            Some(last) if has_more => page.after.clone_from(&last.id),
            _ => return count,
        }
    }
}

/// Their lines.
pub(super) fn render(page: &mut Exposition, figures: &MineFigures) {
    let name = "headframe_registered";
    page.family(name, "gauge", "Resources of the registry by kind.");
    for (kind, count) in &figures.registered {
        page.line(name, &[("kind", *kind)], *count as f64);
    }
    let name = "headframe_energy_power_watts";
    let help = "Power of a pool or site in its newest minute of the last 15.";
    by_subject(page, (name, help), &figures.power, "power_w");
    let name = "headframe_energy_last_24h_watt_hours";
    let help = "Energy of a pool or site in the last 24 whole hours.";
    by_subject(page, (name, help), &figures.energy, "energy_wh");
    for (name, help, column) in [
        (
            "headframe_allocation_power_percent",
            "Mean power of 15 minutes in hundredths of what is allocated.",
            "power_pct",
        ),
        (
            "headframe_allocation_energy_percent",
            "Energy of the period in hundredths of what is allocated.",
            "energy_pct",
        ),
    ] {
        page.family(name, "gauge", help);
        for row in &figures.allocations {
            let labels =
                ["allocation", "subject_kind", "subject"].map(|key| (key, label(row, key)));
            if let Some(value) = number(row, column) {
                page.line(name, &labels, value);
            }
        }
    }
}

fn by_subject(
    page: &mut Exposition,
    (name, help): (&str, &str),
    rows: &[(&'static str, Vec<Row>)],
    column: &str,
) {
    page.family(name, "gauge", help);
    for (of, rows) in rows {
        for row in rows {
            if let Some(value) = number(row, column) {
                page.line(name, &[("of", *of), ("id", label(row, "id"))], value);
            }
        }
    }
}

fn label<'a>(row: &'a Row, key: &str) -> &'a str {
    row.get(key).map_or("", text)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn row(value: Value) -> Vec<Row> {
        value.as_object().cloned().into_iter().collect()
    }

    #[test]
    fn figures_of_a_mine_are_lines_and_what_is_not_known_has_none() {
        let figures = MineFigures {
            registered: vec![("pools", 2), ("machines", 300)],
            power: vec![("pool", row(json!({"id": "p\"1", "power_w": 1_500.5})))],
            energy: vec![("site", row(json!({"id": "north", "energy_wh": null})))],
            allocations: row(json!({"allocation": "pool.p1", "subject_kind": "pool",
                "subject": "p1", "power_pct": 81.5, "energy_pct": null})),
        };
        let mut page = Exposition::default();
        render(&mut page, &figures);
        let page = page.finish();
        let lines: Vec<&str> = page.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            lines,
            [
                "headframe_registered{kind=\"pools\"} 2",
                "headframe_registered{kind=\"machines\"} 300",
                "headframe_energy_power_watts{of=\"pool\",id=\"p\\\"1\"} 1500.5",
                "headframe_allocation_power_percent{allocation=\"pool.p1\",\
                 subject_kind=\"pool\",subject=\"p1\"} 81.5",
            ]
        );
    }
}
