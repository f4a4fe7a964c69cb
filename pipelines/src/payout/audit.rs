//! The audit of a block: its window and every amount computed again from the tables alone, and each
//! difference named.
//!
//! Nothing is believed that can be computed. It reads committed files where they lie, needs no
//! server, and writes nothing.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use datafusion::prelude::{col, lit};
use headframe_schemas::stream::payouts::{Frozen, Payout};
use headframe_schemas::stream::windows::WindowRow;
use headframe_sinks::{DataFile, Lake, Snapshot, SnapshotReader};

use super::course::{Courses, Due, Step};
use super::freeze::{self, Found};
use super::search::{self, End};
use super::tables::Tables;
use super::{merkle, seal};
use crate::fault::PipelineFault;
use crate::payment::payer::now_us;

mod files;
pub mod proof;
pub mod replay;

/// Said where the whole table is missing, which retention does not do to a pool that still gets
/// shares.
const NO_SHARES: &str =
    "shares: there is no share at all; the table is gone, or this is not its folder";

/// What an audit found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Differences: what is not as it should be.
    pub differences: Vec<String>,
    /// What could not be checked, or not yet.
    pub unchecked: Vec<String>,
    /// What was looked at and found right.
    pub notes: Vec<String>,
}

impl Report {
    /// Whether everything was looked at and is right.
    pub fn is_fine(&self) -> bool {
        self.differences.is_empty() && self.unchecked.is_empty()
    }

    fn differ(&mut self, difference: String) {
        self.differences.push(difference);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.notes
            .iter()
            .try_for_each(|note| writeln!(f, "  {note}"))?;
        self.unchecked
            .iter()
            .try_for_each(|what| writeln!(f, "NOT CHECKED: {what}"))?;
        self.differences
            .iter()
            .try_for_each(|difference| writeln!(f, "DIFFERENCE: {difference}"))?;
        match (self.differences.len(), self.unchecked.len()) {
            (0, 0) => write!(f, "everything agrees"),
            (0, _) => write!(f, "incomplete: what was checked shows no difference"),
            (1, _) => write!(f, "1 difference"),
            (count, _) => write!(f, "{count} differences"),
        }
    }
}

/// What the tables say of one block.
struct Said {
    dues: Vec<Due>,
    windows: Vec<WindowRow>,
    payouts: Vec<Payout>,
}

/// Audits one block. `trusted` is the pool's public key as the auditor knows it, in hex; without it
/// the key in the rows is taken.
///
/// The error says that the tables cannot be read at all; a file of them that cannot be read is a
/// difference.
pub async fn block(
    lake: &Lake,
    hash: &str,
    trusted: Option<&str>,
) -> Result<Report, PipelineFault> {
    let tables = Tables::open(lake);
    let mut report = Report::default();
    let looked = Looked {
        blocks: newest(lake, &tables.blocks).await?,
        windows: newest(lake, &tables.windows).await?,
        payouts: newest(lake, &tables.payouts).await?,
    };
    newest(lake, &tables.shares).await?;
    for (snapshot, column) in [
        (&looked.blocks, "hash"),
        (&looked.windows, "block_hash"),
        (&looked.payouts, "block_hash"),
    ] {
        files::check(snapshot, column, hash, &mut report).await;
    }
    if report.differences.is_empty()
        && let Err(error) = compute(&tables, &looked, hash, trusted, &mut report).await
    {
        report.differ(error.to_string());
    }
    if !report.differences.is_empty() {
        // A file that was changed may be the cause, also one that seems to have nothing to do with
        // the block.
        for snapshot in [
            looked.blocks,
            looked.windows,
            looked.payouts,
            tables.shares.refresh().await?,
        ] {
            files::intact(&snapshot, snapshot.files.iter(), &mut report).await;
        }
    }
    Ok(report)
}

/// The newest version of a table. Where its log cannot be read, the error names the entry that is
/// to blame.
async fn newest(lake: &Lake, table: &SnapshotReader) -> Result<Arc<Snapshot>, PipelineFault> {
    let error = match table.refresh().await {
        Ok(snapshot) => return Ok(snapshot),
        Err(error) => error,
    };
    let name = &table.table().name;
    match files::broken_entries(&lake.table(name)).await.as_slice() {
        [] => Err(error.into()),
        broken => Err(PipelineFault::plan("reading the log", name)(format!(
            "{} cannot be read: {error}",
            broken.join(", ")
        ))),
    }
}

/// The versions of the tables that are audited.
struct Looked {
    blocks: Arc<Snapshot>,
    windows: Arc<Snapshot>,
    payouts: Arc<Snapshot>,
}

async fn compute(
    tables: &Tables,
    looked: &Looked,
    hash: &str,
    trusted: Option<&str>,
    report: &mut Report,
) -> Result<(), PipelineFault> {
    let mut courses = Courses::default();
    let rows = tables.block_rows(&looked.blocks, None).await?;
    let dues: Vec<Due> = rows
        .iter()
        .flat_map(|row| courses.next(row))
        .filter(|due| due.block.hash == hash)
        .collect();
    if rows.iter().all(|row| row.hash != hash) {
        report.differ(format!("blocks: there is no block {hash}"));
    } else if dues.is_empty()
        && rows
            .iter()
            .any(|row| row.hash == hash && row.scheme.is_some())
    {
        report.differ(
            "blocks: its rows carry terms, but no complete ones with a reward: it cannot be paid"
                .to_owned(),
        );
    } else if dues.is_empty() {
        report
            .notes
            .push("its rows in blocks carry no terms: it is not paid by this program".to_owned());
    }
    let stated = tables
        .payout_rows(&looked.payouts, Some(col("block_hash").eq(lit(hash))))
        .await?;
    let windows = tables.window_rows(&looked.windows, hash).await?;
    let mut pools: Vec<String> = dues.iter().map(|due| due.block.pool.clone()).collect();
    pools.extend(
        stated
            .iter()
            .map(|row| row.payout.pool.clone())
            .chain(windows.iter().map(|row| row.pool.clone())),
    );
    pools.sort();
    pools.dedup();
    for pool in pools {
        let said = Said {
            dues: dues
                .iter()
                .filter(|due| due.block.pool == pool)
                .cloned()
                .collect(),
            windows: windows
                .iter()
                .filter(|row| row.pool == pool)
                .cloned()
                .collect(),
            payouts: stated
                .iter()
                .map(|row| row.payout.clone())
                .filter(|row| row.pool == pool)
                .collect(),
        };
        of_pool(tables, &said, trusted, report).await?;
    }
    Ok(())
}

async fn of_pool(
    tables: &Tables,
    said: &Said,
    trusted: Option<&str>,
    report: &mut Report,
) -> Result<(), PipelineFault> {
    let Some(due) = said.dues.iter().find(|due| due.step == Step::Frozen) else {
        if !said.payouts.is_empty() || !said.windows.is_empty() {
            let (windows, payouts) = (said.windows.len(), said.payouts.len());
            report.differ(format!("windows has {windows} rows and payouts {payouts} of this block, to which no row of blocks leads"));
        }
        return Ok(());
    };
    let frozen: Vec<&Payout> = said
        .payouts
        .iter()
        .filter(|row| row.step == Step::Frozen.word())
        .collect();
    let frozen = match frozen.as_slice() {
        [] if said.windows.is_empty() && said.payouts.is_empty() => {
            return unfrozen(tables, due, said, report).await;
        }
        [] => {
            report.differ("payouts: the row of the frozen window is missing".to_owned());
            return Ok(());
        }
        [row] => *row,
        rows => {
            report.differ(format!(
                "payouts: {} rows say that the window was frozen; there must be one",
                rows.len()
            ));
            return Ok(());
        }
    };
    let Some(terms) = &frozen.frozen else {
        report.differ("payouts: the row of the frozen window is not complete".to_owned());
        return Ok(());
    };
    signed(due, terms, said, trusted, report);
    window(tables, due, terms, said, report).await?;
    steps(said, report);
    Ok(())
}

/// Whether a window of which no table says anything should have been frozen by now.
async fn unfrozen(
    tables: &Tables,
    due: &Due,
    said: &Said,
    report: &mut Report,
) -> Result<(), PipelineFault> {
    let (block, shares) = (&due.block, tables.shares.refresh().await?);
    if shares.files.is_empty() {
        report.differ(NO_SHARES.to_owned());
    }
    // Between a block and its maturity lie hours.
    let matured = said.dues.iter().any(|due| due.step == Step::Matured);
    let late = now_us().saturating_sub(block.ingest_time) > 2 * search::PATIENCE_US;
    let end = tables
        .searcher
        .end(&shares, &block.pool, &block.hash, block.ingest_time)
        .await?;
    match (end, said.dues.last().map(|due| due.step.word())) {
        (End::Unknown, _) if !matured => report
            .unchecked
            .push("its window is not frozen: shares do not tell yet where it ends".to_owned()),
        (_, Some(step)) if matured || late => {
            report.differ(format!(
                "windows and payouts say nothing of it, though by blocks it is to be {step}: its window was never frozen, or is gone"
            ));
        }
        _ => report
            .unchecked
            .push("its window is not frozen yet".to_owned()),
    }
    Ok(())
}

/// The root is that of the rows, the signature that of the statement, the terms those of the block.
fn signed(due: &Due, frozen: &Frozen, said: &Said, trusted: Option<&str>, report: &mut Report) {
    let block = &due.block;
    let root = merkle::root(&freeze::leaves(&said.windows));
    match root == frozen.merkle_root {
        true => report.notes.push(format!(
            "root {} over {} rows",
            root.as_deref().unwrap_or("none"),
            said.windows.len()
        )),
        false => report.differ(format!(
            "windows: the root over its {} rows is {}, payouts says {}",
            said.windows.len(),
            root.as_deref().unwrap_or("none"),
            frozen.merkle_root.as_deref().unwrap_or("none")
        )),
    }
    let statement = freeze::statement(&block.pool, &block.hash, block.height, frozen);
    if !seal::is_signed(&frozen.public_key, &statement, &frozen.signature) {
        report.differ(format!(
            "payouts: the signature of the frozen window is not that of key {}",
            frozen.public_key
        ));
    }
    match trusted {
        Some(key) if !key.eq_ignore_ascii_case(&frozen.public_key) => {
            report.differ(format!(
                "payouts: the window is signed by key {}, not by the trusted key {key}",
                frozen.public_key
            ));
        }
        Some(_) => report.notes.push("signed by the trusted key".to_owned()),
        None => report.notes.push(format!(
            "signed by key {}; compare it with the one the pool publishes",
            frozen.public_key
        )),
    }
    let Some(paid) = block.paid() else { return };
    let terms = |name: &str, found: String, wanted: String| {
        (found != wanted).then(|| {
            format!("payouts: the frozen window's {name} is {found}, blocks says {wanted}")
        })
    };
    let wrong = [
        terms(
            "scheme",
            frozen.scheme.clone(),
            paid.scheme.name().to_owned(),
        ),
        terms(
            "window_milli",
            frozen.window_milli.to_string(),
            paid.window_milli.to_string(),
        ),
        terms("fee_bp", frozen.fee_bp.to_string(), paid.fee_bp.to_string()),
        terms(
            "reward_atomic",
            frozen.reward_atomic.to_string(),
            paid.reward.to_string(),
        ),
    ];
    wrong
        .into_iter()
        .flatten()
        .for_each(|difference| report.differ(difference));
}

/// The window is found again in `shares` and compared row by row.
async fn window(
    tables: &Tables,
    due: &Due,
    frozen: &Frozen,
    said: &Said,
    report: &mut Report,
) -> Result<(), PipelineFault> {
    let Some(paid) = due.block.paid() else {
        return Ok(());
    };
    let shares = tables.shares.refresh().await?;
    let oldest = shares
        .files
        .iter()
        .filter_map(|file| file.seq_range())
        .map(|range| range.0)
        .min();
    let gone = frozen
        .edge_seq
        .zip(oldest)
        .filter(|(edge, oldest)| edge < oldest);
    match gone {
        _ if shares.files.is_empty() => report.differ(NO_SHARES.to_owned()),
        Some((edge, oldest)) => report.unchecked.push(format!(
            "the weights: the window begins at seq {edge} of shares, of which nothing before {oldest} is kept; amounts were checked against the frozen weights"
        )),
        None => {}
    }
    if gone.is_some() || shares.files.is_empty() {
        let weights = said
            .windows
            .iter()
            .map(|row| (row.miner.clone(), u128::try_from(row.weight).unwrap_or(0)))
            .collect();
        let counts = said
            .windows
            .iter()
            .map(|row| (row.miner.clone(), u64::try_from(row.shares).unwrap_or(0)))
            .collect();
        let window = super::Window {
            weights,
            counts,
            shares: u64::try_from(frozen.shares).unwrap_or(0),
        };
        compare(
            &freeze::windows(&due.block, &paid, &window),
            &said.windows,
            report,
        );
        return Ok(());
    }
    let found = match again(tables, &shares, due).await {
        Ok(Some(found)) => found,
        Ok(None) => {
            report.differ(
                "shares: the share that made the block is not there, nor any later one".to_owned(),
            );
            return Ok(());
        }
        Err(error) => {
            report.differ(format!("shares: {error}"));
            return Ok(());
        }
    };
    let read = found
        .edge
        .zip(found.newest)
        .map_or((i64::MAX, i64::MIN), |(edge, newest)| {
            (edge.seq, newest.seq)
        });
    let reaches = |file: &&Arc<DataFile>| {
        file.seq_range()
            .is_none_or(|range| range.0 <= read.1 && range.1 >= read.0)
    };
    files::intact(&shares, shares.files.iter().filter(reaches), report).await;
    let rows = freeze::windows(&due.block, &paid, &found.window);
    let place = |seq: Option<i64>, row: Option<i64>| {
        seq.zip(row)
            .map(|(seq, row)| super::course::Place { seq, row })
    };
    for (what, here, there) in [
        (
            "newest",
            found.newest,
            place(frozen.winning_seq, frozen.winning_row),
        ),
        (
            "oldest",
            found.edge,
            place(frozen.edge_seq, frozen.edge_row),
        ),
    ] {
        if here != there {
            report.differ(format!(
                "shares: the {what} share of the window stands at {here:?}, payouts says {there:?}"
            ));
        }
    }
    let total: u128 = found.window.weights.values().sum();
    if i128::try_from(total) != Ok(frozen.total_weight)
        || i64::try_from(found.window.shares) != Ok(frozen.shares)
    {
        let (shares, weight) = (found.window.shares, frozen.total_weight);
        report.differ(format!(
            "shares: {shares} shares weigh {total}, payouts says {} shares and {weight}",
            frozen.shares
        ));
    }
    compare(&rows, &said.windows, report);
    report.notes.push(format!(
        "{} shares of {} miners weighed again",
        found.window.shares,
        rows.len()
    ));
    Ok(())
}

/// The window of a block as `shares` tells it now; `None` when it does not.
async fn again(
    tables: &Tables,
    shares: &Arc<Snapshot>,
    due: &Due,
) -> Result<Option<Found>, PipelineFault> {
    let block = &due.block;
    let Some(paid) = block.paid() else {
        return Ok(None);
    };
    let end = tables
        .searcher
        .end(shares, &block.pool, &block.hash, block.ingest_time)
        .await?;
    Ok(match end {
        End::Unknown => None,
        End::Before(_) | End::Nothing if paid.scheme.name() == "solo" => {
            Some(freeze::finder(block))
        }
        End::Nothing => Some(Found::default()),
        End::Winner(place) | End::Before(place) => Some(
            tables
                .searcher
                .window(shares, &block.pool, place, paid.scheme, paid.window())
                .await?,
        ),
    })
}

/// Row by row: what was computed, and what `windows` says.
fn compare(wanted: &[WindowRow], found: &[WindowRow], report: &mut Report) {
    let mut there = grouped(found, |row| &row.miner);
    for row in wanted {
        match there.remove(row.miner.as_str()).unwrap_or_default().as_slice() {
            [] => report.differ(format!(
                "windows: the row of miner {} is missing (weight {}, {} atomic units)",
                row.miner, row.weight, row.amount_atomic
            )),
            [other] if *other == row => {}
            [other] => report.differ(format!(
                "windows: miner {} has position {}, weight {}, {} shares, {} atomic units; computed are {}, {}, {}, {}",
                row.miner,
                other.position,
                other.weight,
                other.shares,
                other.amount_atomic,
                row.position,
                row.weight,
                row.shares,
                row.amount_atomic
            )),
            rows => report.differ(format!("windows: miner {} has {} rows; there must be one", row.miner, rows.len())),
        }
    }
    for row in there.into_values().flatten() {
        report.differ(format!(
            "windows: miner {} has {} atomic units and no share in the window",
            row.miner, row.amount_atomic
        ));
    }
}

/// Every step that is due is said once, with the amounts of the window, and no other.
fn steps(said: &Said, report: &mut Report) {
    let amounts: Vec<(String, i128)> = said
        .windows
        .iter()
        .map(|row| (row.miner.clone(), row.amount_atomic))
        .collect();
    let mut stated: Vec<&Payout> = said
        .payouts
        .iter()
        .filter(|row| row.step != Step::Frozen.word())
        .collect();
    let mut waiting = 0;
    for due in said.dues.iter().filter(|due| due.step != Step::Frozen) {
        let Some(paid) = due.block.paid() else {
            continue;
        };
        let wanted = freeze::moves(due, paid.reward, &amounts);
        let of_step = |row: &&Payout| {
            row.step == due.step.word()
                && (row.cause_seq, row.cause_row) == (due.cause.seq, due.cause.row)
        };
        let (here, rest): (Vec<&Payout>, Vec<&Payout>) = stated.into_iter().partition(of_step);
        stated = rest;
        if here.is_empty() {
            waiting += 1;
            continue;
        }
        if waiting > 0 {
            report.differ(format!(
                "payouts: a step before {} at {}/{} is missing",
                due.step.word(),
                due.cause.seq,
                due.cause.row
            ));
        }
        let step = format!(
            "{} (blocks {}/{})",
            due.step.word(),
            due.cause.seq,
            due.cause.row
        );
        report.notes.push(format!("{step}: {} rows", here.len()));
        let mut there = grouped(here, |row| row.account.as_deref().unwrap_or_default());
        for row in &wanted {
            let account = row.account.as_deref().unwrap_or_default();
            match there.remove(account).unwrap_or_default().as_slice() {
                [] => report.differ(format!("payouts: {step}: the row of {account} is missing")),
                [other] if *other == row => {}
                [other] => report.differ(format!(
                    "payouts: {step}: {account} gets {} atomic units, the window says {}",
                    other.amount_atomic.unwrap_or_default(),
                    row.amount_atomic.unwrap_or_default()
                )),
                rows => report.differ(format!(
                    "payouts: {step}: {account} has {} rows; there must be one",
                    rows.len()
                )),
            }
        }
        for row in there.into_values().flatten() {
            let account = row.account.as_deref().unwrap_or_default();
            report.differ(format!(
                "payouts: {step}: {account} gets {} atomic units and is not in the window",
                row.amount_atomic.unwrap_or_default()
            ));
        }
    }
    if waiting > 0 {
        report.unchecked.push(format!(
            "{waiting} steps that follow from blocks, which payouts does not state yet"
        ));
    }
    for row in stated {
        let (account, amount) = (
            row.account.as_deref().unwrap_or_default(),
            row.amount_atomic.unwrap_or_default(),
        );
        report.differ(format!(
            "payouts: {} of {amount} atomic units to {account} follows from no row of blocks",
            row.step
        ));
    }
}

/// Rows by a name they carry.
fn grouped<'a, T>(
    rows: impl IntoIterator<Item = &'a T>,
    name: impl Fn(&'a T) -> &'a str,
) -> HashMap<&'a str, Vec<&'a T>> {
    let mut groups: HashMap<&str, Vec<&T>> = HashMap::new();
    for row in rows {
        groups.entry(name(row)).or_default().push(row);
    }
    groups
}
