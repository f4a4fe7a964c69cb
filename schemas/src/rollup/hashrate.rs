//! Hashrate from accepted difficulty: per worker, per miner and per pool.
//!
//! A share of difficulty `d` stands for `d` expected hashes, so `hashrate = Σd / seconds`. Shares
//! arrive as a Poisson process, so the standard error of that estimate is about `hashrate / √n` for
//! `n` accepted shares.

use crate::column::{Column, Kind, Unit};
use crate::rollup::{Measure, Rollup, TIERS, Tier, View, window_columns, window_sql};
use crate::stream::{Stream, shares::Shares};

/// Windows of accepted and rejected work.
pub struct HashrateRollup;

const KEYS: &[Column] = &[
    Column::new("pool", Kind::Text, "The pool."),
    Column::new("miner", Kind::Text, "The account that is paid."),
    Column::new("worker", Kind::Text, "The worker."),
];

const MEASURES: &[Measure] = &[
    Measure::sum(
        "accepted_shares",
        Kind::Int,
        Unit::Count,
        "Accepted shares.",
    ),
    Measure::sum(
        "stale_shares",
        Kind::Int,
        Unit::Count,
        "Shares for a job that was over.",
    ),
    Measure::sum(
        "rejected_shares",
        Kind::Int,
        Unit::Count,
        "Shares refused for any other reason.",
    ),
    Measure::sum(
        "accepted_difficulty",
        Kind::Decimal,
        Unit::Hashes,
        "Sum of the difficulty of accepted shares.",
    ),
    Measure::sum(
        "rejected_difficulty",
        Kind::Decimal,
        Unit::Hashes,
        "Sum of the difficulty of all other shares.",
    ),
    Measure::sum(
        "late_shares",
        Kind::Int,
        Unit::Count,
        "Shares stored more than 10 s after they happened.",
    ),
    // Rows of before it existed have null, which adds as much as no solo share does.
    Measure::sum(
        "solo_difficulty",
        Kind::Decimal,
        Unit::Hashes,
        "What of accepted_difficulty was mined solo.",
    ),
];

const SUMS: &str = "\
  sum(CASE WHEN outcome = 'accepted' THEN 1 ELSE 0 END) AS accepted_shares,
  sum(CASE WHEN outcome = 'stale' THEN 1 ELSE 0 END) AS stale_shares,
  sum(CASE WHEN outcome IN ('accepted', 'stale') THEN 0 ELSE 1 END) AS rejected_shares,
  CAST(sum(CAST(CASE WHEN outcome = 'accepted' THEN difficulty ELSE 0 END AS DECIMAL(20,0)))
    AS DECIMAL(38,0)) AS accepted_difficulty,
  CAST(sum(CAST(CASE WHEN outcome = 'accepted' THEN 0 ELSE difficulty END AS DECIMAL(20,0)))
    AS DECIMAL(38,0)) AS rejected_difficulty,
  sum(CASE WHEN CAST(ingest_time AS BIGINT) - 10000000 > CAST(event_time AS BIGINT)
    THEN 1 ELSE 0 END) AS late_shares,
  CAST(sum(CAST(CASE WHEN outcome = 'accepted' AND solo THEN difficulty ELSE 0 END
    AS DECIMAL(20,0))) AS DECIMAL(38,0)) AS solo_difficulty";

impl Rollup for HashrateRollup {
    fn family(&self) -> &'static str {
        "hashrate"
    }
    fn doc(&self) -> &'static str {
        "Partial sums of accepted and rejected work per worker and window; add them up by bin and \
         key."
    }
    fn stream(&self) -> &'static dyn Stream {
        &Shares
    }
    fn keys(&self) -> &'static [Column] {
        KEYS
    }
    fn measures(&self) -> &'static [Measure] {
        MEASURES
    }
    fn finest_sql(&self) -> String {
        self.grouped_sql(TIERS[0], KEYS.len(), SUMS)
    }
    fn sums_sql(&self) -> Option<&'static str> {
        Some(SUMS)
    }
    fn views(&self) -> Vec<View> {
        let levels = [
            ("hashrate", 3, "worker"),
            ("miner_hashrate", 2, "miner"),
            ("pool_hashrate", 1, "pool"),
        ];
        levels
            .iter()
            .flat_map(|level| {
                TIERS
                    .iter()
                    .map(|tier| view(level.0, level.1, level.2, *tier))
            })
            .collect()
    }
}

fn view(prefix: &str, keys: usize, level: &str, tier: Tier) -> View {
    let names: Vec<&str> = KEYS[..keys].iter().map(|column| column.name).collect();
    let keys_sql = names.join(", ");
    let sums: Vec<String> = MEASURES.iter().map(Measure::merge_sql).collect();
    let sql = format!(
        "SELECT {window}, {keys_sql}, {names}, \
         CAST(accepted_difficulty AS DOUBLE) / {seconds} AS hashrate_hs, \
         CASE WHEN accepted_shares > 0 THEN CAST(accepted_difficulty AS DOUBLE) / {seconds} \
         / sqrt(accepted_shares) END AS hashrate_stderr_hs \
         FROM (SELECT bin, {keys_sql}, {sums} FROM partials WHERE tier = '{tier}' \
         GROUP BY bin, {keys_sql})",
        window = window_sql(tier),
        names = MEASURES
            .iter()
            .map(|measure| measure.column.name)
            .collect::<Vec<_>>()
            .join(", "),
        sums = sums.join(", "),
        seconds = tier.seconds,
        tier = tier.name,
    );
    let mut columns = window_columns();
    columns.extend_from_slice(&KEYS[..keys]);
    columns.extend(MEASURES.iter().map(|measure| measure.column));
    columns.push(
        Column::new(
            "hashrate_hs",
            Kind::Float,
            "Accepted difficulty over the window's seconds.",
        )
        .unit(Unit::HashesPerSecond),
    );
    columns.push(
        Column::new(
            "hashrate_stderr_hs",
            Kind::Float,
            "Standard error of hashrate_hs: itself over the root of accepted_shares.",
        )
        .unit(Unit::HashesPerSecond),
    );
    View {
        name: format!("{prefix}_{}", tier.name),
        doc: format!(
            "Hashrate per {level} in windows of {}, from accepted difficulty.",
            tier.name
        ),
        sql,
        columns,
        keys,
    }
}
