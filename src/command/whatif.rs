//! `headframe whatif`: the blocks of a time paid on other terms, and who would have got more or
//! less; and the curtailments of a site under another policy.

use anyhow::{Context as _, anyhow, bail};
use arrow::compute::kernels::cast_utils::string_to_timestamp_nanos;
use headframe_pipelines::payout;
use headframe_pipelines::payout::audit::replay::{Comparison, Policy, replay};
use headframe_schemas::column::{EARLIEST_EVENT_US, LATEST_EVENT_US};
use headframe_schemas::stream::blocks::{MAX_FEE_BP, MAX_WINDOW_MILLI};
use headframe_site::command_line::WhatIf as SiteWhatIf;

use super::Command;
use super::audit::Tables;

/// Pay past blocks on other terms, on paper, and show who gains and loses.
#[derive(Debug, clap::Parser)]
#[command(name = "whatif", args_conflicts_with_subcommands = true)]
pub struct Whatif {
    #[command(subcommand)]
    of_site: Option<OfSite>,
    /// pplns, prop or solo.
    scheme: Option<String>,
    /// The PPLNS window in blocks, at most three decimals.
    #[arg(long, default_value = "2", value_parser = milli)]
    window: i64,
    /// The pool's part: hundredths of a percent (50bp) or percent (0.5%).
    #[arg(long, default_value = "0bp", value_parser = basis_points)]
    fee: u16,
    /// Blocks found from this time on, e.g. 2026-03-01 or 2026-03-01T12:00:00Z.
    #[arg(long, value_parser = time)]
    from: Option<i64>,
    /// Blocks found before this time.
    #[arg(long, value_parser = time)]
    to: Option<i64>,
    /// Miners shown: those whose amounts change most.
    #[arg(long, default_value_t = 50)]
    limit: usize,
    #[command(flatten)]
    tables: Tables,
}

/// What else can be tried on paper.
#[derive(Debug, clap::Subcommand)]
enum OfSite {
    /// Replay recorded curtailments of a site under another policy.
    Curtail(SiteWhatIf),
}

impl Command for Whatif {
    async fn run(self) -> anyhow::Result<()> {
        if let Some(OfSite::Curtail(whatif)) = self.of_site {
            return Box::pin(whatif.run()).await;
        }
        let name = self.scheme.unwrap_or_default();
        let scheme = payout::find(&name).ok_or_else(|| {
            let names: Vec<&str> = payout::ALL.iter().map(|scheme| scheme.name()).collect();
            anyhow!(
                "there is no scheme {name:?}; there are {}, and `curtail` for a site",
                names.join(", ")
            )
        })?;
        let policy = Policy {
            scheme,
            window_milli: self.window,
            fee_bp: self.fee,
        };
        let (from, to) = (
            self.from.unwrap_or(EARLIEST_EVENT_US),
            self.to.unwrap_or(LATEST_EVENT_US),
        );
        if from >= to {
            bail!("--from must be before --to");
        }
        let comparison = replay(&self.tables.open()?, policy, from, to)
            .await
            .context("replaying history")?;
        print!("{}", page(&comparison, self.limit));
        Ok(())
    }
}

/// The comparison as a table; the largest changes first.
fn page(comparison: &Comparison, limit: usize) -> String {
    let mut text = format!("{} blocks", comparison.blocks);
    let left_out: usize = comparison.skipped.values().map(Vec::len).sum();
    if left_out > 0 {
        text.push_str(&format!("; {left_out} more are left out"));
    }
    let mut lines: Vec<(&str, u128, u128)> = comparison
        .miners
        .iter()
        .map(|(miner, (was, would))| (miner.as_str(), *was, *would))
        .collect();
    lines.sort_by_key(|(miner, was, would)| (std::cmp::Reverse(was.abs_diff(*would)), *miner));
    let (gain, lose) = (
        lines.iter().filter(|line| line.2 > line.1).count(),
        lines.iter().filter(|line| line.2 < line.1).count(),
    );
    text.push_str(&format!(
        "; {gain} miners gain, {lose} lose, {} stay\n",
        lines.len() - gain - lose
    ));
    for (why, hashes) in &comparison.skipped {
        let shown = hashes
            .iter()
            .take(limit)
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(", ");
        let more = if hashes.len() > limit { ", ..." } else { "" };
        text.push_str(&format!("left out, because {why}: {shown}{more}\n"));
    }
    let shown = lines.len().min(limit);
    lines.truncate(shown);
    lines.push(("fee", comparison.fee.0, comparison.fee.1));
    let width = lines
        .iter()
        .map(|line| line.0.len())
        .max()
        .unwrap_or(0)
        .max(7);
    text.push_str(&format!(
        "{:width$} {:>24} {:>24} {:>24}\n",
        "account", "was", "would be", "change"
    ));
    for (account, was, would) in lines {
        let sign = if would >= was { "+" } else { "-" };
        text.push_str(&format!(
            "{account:width$} {was:>24} {would:>24} {:>24}\n",
            format!("{sign}{}", was.abs_diff(would))
        ));
    }
    text
}

/// A decimal number as its thousandths, exactly.
fn milli(text: &str) -> Result<i64, String> {
    let milli = scaled(text, 3).filter(|milli| (1..=MAX_WINDOW_MILLI).contains(milli));
    milli.ok_or_else(|| {
        format!(
            "{text:?} is no window; write blocks with at most three decimals, 0.001 to {}",
            MAX_WINDOW_MILLI / 1_000
        )
    })
}

fn basis_points(text: &str) -> Result<u16, String> {
    let points = match (text.strip_suffix("bp"), text.strip_suffix('%')) {
        (Some(points), _) => scaled(points, 0),
        (None, Some(percent)) => scaled(percent, 2),
        (None, None) => None,
    };
    let points = points
        .filter(|points| (0..=MAX_FEE_BP).contains(points))
        .and_then(|points| u16::try_from(points).ok());
    points.ok_or_else(|| {
        format!("{text:?} is no fee; write hundredths of a percent as 50bp, or percent as 0.5%")
    })
}

/// A decimal number times ten to the power of `digits`; `None` when it has more decimals or is no
/// number.
fn scaled(text: &str, digits: usize) -> Option<i64> {
    let (whole, part) = text.trim().split_once('.').unwrap_or((text.trim(), ""));
    let plain = |text: &str| text.chars().all(|c| c.is_ascii_digit());
    if whole.is_empty() || part.len() > digits || !plain(whole) || !plain(part) {
        return None;
    }
    format!("{whole}{part:0<digits$}").parse().ok()
}

/// Microseconds since 1970.
fn time(text: &str) -> Result<i64, String> {
    let nanos = string_to_timestamp_nanos(text)
        .map_err(|error| format!("{error}; write 2026-03-01 or 2026-03-01T12:00:00Z"))?;
    Ok(nanos.div_euclid(1_000))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn numbers_are_read_exactly_or_not_at_all() {
        assert_eq!(
            (milli("1.5"), milli("2"), milli("0.001")),
            (Ok(1_500), Ok(2_000), Ok(1))
        );
        assert_eq!(
            (
                basis_points("50bp"),
                basis_points("0.5%"),
                basis_points("100%")
            ),
            (Ok(50), Ok(50), Ok(10_000))
        );
        for wrong in ["0", "1.0005", "", ".5", "-1", "1e3", "1000.001"] {
            assert!(milli(wrong).is_err(), "{wrong}");
        }
        for wrong in ["50", "0.5bp", "0.005%", "101%", "bp"] {
            assert!(basis_points(wrong).is_err(), "{wrong}");
        }
        assert_eq!(time("2026-03-01"), Ok(1_772_323_200_000_000));
        assert!(time("yesterday").is_err());
    }

    #[test]
    fn the_largest_changes_come_first_and_the_fee_last() {
        let miners = [("a", (100, 90)), ("b", (50, 80)), ("c", (7, 7))]
            .map(|(miner, both)| (miner.to_owned(), both));
        let comparison = Comparison {
            blocks: 2,
            skipped: [("they are gone", vec!["ab".to_owned()])].into(),
            fee: (3, 0),
            miners: miners.into(),
        };
        let page = page(&comparison, 2);
        let first: Vec<&str> = page
            .lines()
            .filter_map(|line| line.split_whitespace().next())
            .collect();
        assert_eq!(first, ["2", "left", "account", "b", "a", "fee"]);
        assert!(
            page.contains("left out, because they are gone: ab\n"),
            "{page}"
        );
        assert!(
            page.starts_with("2 blocks; 1 more are left out")
                && page.contains("1 miners gain, 1 lose, 1 stay"),
            "{page}"
        );
        assert!(page.contains("+30") && page.contains("-10"), "{page}");
    }
}
