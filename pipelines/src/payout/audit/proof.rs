//! The proof that a miner is in a block's window: a small file that anyone can check without the
//! tables and without a network.

use datafusion::prelude::{col, lit};
use headframe_schemas::stream::payouts::FrozenWindow;
use headframe_schemas::stream::windows::WindowRow;
use headframe_sinks::Lake;
use serde::{Deserialize, Serialize};

use crate::fault::PipelineFault;
use crate::payout::freeze;
use crate::payout::lifecycle::StepKind;
use crate::payout::merkle::{self, Sibling};
use crate::payout::tables::PayoutTables;
use crate::signature;

/// What a proof file holds. Wide numbers are text, which every JSON reader keeps exact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    /// 1.
    pub version: u32,
    /// The pool.
    pub pool: String,
    /// 64 hex digits.
    pub block_hash: String,
    /// Block height.
    pub height: i64,
    /// The row's place in the window.
    pub position: i64,
    /// The address.
    pub miner: String,
    /// 2⁶⁴ is a block's work.
    pub weight: String,
    /// A count.
    pub shares: i64,
    /// Atomic units.
    pub amount_atomic: String,
    /// From the row to the root: each neighbour's hash, and on which side it stands.
    pub steps: Vec<Neighbour>,
    /// The terms the pool signed.
    pub scheme: String,
    /// Thousandths of a block.
    pub window_milli: i64,
    /// Hundredths of a percent.
    pub fee_bp: i64,
    /// Atomic units.
    pub reward_atomic: String,
    /// 2⁶⁴ is a block's work.
    pub total_weight: String,
    /// Shares in the window.
    pub window_shares: i64,
    /// Rows of the window.
    pub miners: i64,
    /// 64 hex digits.
    pub merkle_root: String,
    /// 128 hex digits.
    pub signature: String,
    /// 64 hex digits.
    pub public_key: String,
}

/// One step to the root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Neighbour {
    /// It stands before.
    Left(String),
    /// It stands behind.
    Right(String),
}

/// Makes the proof of a miner in a block from the tables; the reason says why there is none.
pub async fn make(
    lake: &Lake,
    hash: &str,
    miner: &str,
) -> Result<Result<Proof, String>, PipelineFault> {
    let tables = PayoutTables::open(lake);
    let (windows, payouts) = (
        tables.windows.refresh().await?,
        tables.payouts.refresh().await?,
    );
    let filter = col("block_hash")
        .eq(lit(hash))
        .and(col("step").eq(lit(StepKind::Frozen.as_str())));
    let stated = tables.payout_rows(&payouts, Some(filter)).await?;
    let rows = tables.window_rows(&windows, hash).await?;
    for payout in stated.into_iter().map(|stated| stated.payout) {
        let Some(frozen) = payout.frozen else {
            continue;
        };
        let rows: Vec<WindowRow> = rows
            .iter()
            .filter(|row| row.pool == payout.pool)
            .cloned()
            .collect();
        let Some(place) = rows.iter().position(|row| row.miner == miner) else {
            continue;
        };
        let steps = merkle::proof(&freeze::leaves(&rows), place).unwrap_or_default();
        return Ok(build(&rows[place], frozen, steps));
    }
    Ok(Err(format!(
        "miner {miner} is not in a frozen window of block {hash}"
    )))
}

fn build(row: &WindowRow, frozen: FrozenWindow, steps: Vec<Sibling>) -> Result<Proof, String> {
    let neighbour = |step| match step {
        Sibling::Left(hash) => Neighbour::Left(hash),
        Sibling::Right(hash) => Neighbour::Right(hash),
    };
    let proof = Proof {
        version: 1,
        pool: row.pool.clone(),
        block_hash: row.block_hash.clone(),
        height: row.height,
        position: row.position,
        miner: row.miner.clone(),
        weight: row.weight.to_string(),
        shares: row.shares,
        amount_atomic: row.amount_atomic.to_string(),
        steps: steps.into_iter().map(neighbour).collect(),
        scheme: frozen.scheme,
        window_milli: frozen.window_milli,
        fee_bp: frozen.fee_bp,
        reward_atomic: frozen.reward_atomic.to_string(),
        total_weight: frozen.total_weight.to_string(),
        window_shares: frozen.shares,
        miners: frozen.miners,
        merkle_root: frozen.merkle_root.unwrap_or_default(),
        signature: frozen.signature,
        public_key: frozen.public_key,
    };
    // A proof that does not hold is of use to nobody.
    check(&proof, &row.miner, None).map(|()| proof)
}

/// Checks a proof with nothing else at hand; the reason says what is wrong. `trusted` is the pool's
/// public key as the reader knows it.
pub fn check(proof: &Proof, miner: &str, trusted: Option<&str>) -> Result<(), String> {
    if proof.version != 1 {
        return Err(format!(
            "the proof has version {}; this program knows 1",
            proof.version
        ));
    }
    if proof.miner != miner {
        return Err(format!("the proof is of miner {}", proof.miner));
    }
    if let Some(trusted) =
        trusted.filter(|trusted| !trusted.eq_ignore_ascii_case(&proof.public_key))
    {
        return Err(format!(
            "the proof is signed by key {}, not by the trusted key {trusted}",
            proof.public_key
        ));
    }
    let row = WindowRow {
        event_time: 0,
        pool: proof.pool.clone(),
        block_hash: proof.block_hash.clone(),
        height: proof.height,
        position: proof.position,
        miner: proof.miner.clone(),
        weight: parse_wide("weight", &proof.weight)?,
        shares: proof.shares,
        amount_atomic: parse_wide("amount_atomic", &proof.amount_atomic)?,
    };
    let steps: Vec<Sibling> = proof
        .steps
        .iter()
        .map(|step| match step {
            Neighbour::Left(hash) => Sibling::Left(hash.clone()),
            Neighbour::Right(hash) => Sibling::Right(hash.clone()),
        })
        .collect();
    let root = merkle::root_from_proof(&merkle::leaf(&freeze::leaf_text(&row)), &steps);
    if root != proof.merkle_root {
        return Err(format!(
            "the row leads to the root {root}, the pool signed {}",
            proof.merkle_root
        ));
    }
    let frozen = signed_terms(proof)?;
    let statement = freeze::statement(&proof.pool, &proof.block_hash, proof.height, &frozen);
    match signature::verify(&proof.public_key, &statement, &proof.signature) {
        true => Ok(()),
        false => Err(format!(
            "the signature is not that of key {}",
            proof.public_key
        )),
    }
}

/// The terms that the pool signed, as the proof names them.
fn signed_terms(proof: &Proof) -> Result<FrozenWindow, String> {
    Ok(FrozenWindow {
        scheme: proof.scheme.clone(),
        window_milli: proof.window_milli,
        fee_bp: proof.fee_bp,
        reward_atomic: parse_wide("reward_atomic", &proof.reward_atomic)?,
        total_weight: parse_wide("total_weight", &proof.total_weight)?,
        shares: proof.window_shares,
        miners: proof.miners,
        winning_seq: None,
        winning_row: None,
        edge_seq: None,
        edge_row: None,
        merkle_root: Some(proof.merkle_root.clone()),
        signature: String::new(),
        public_key: String::new(),
    })
}

fn parse_wide(name: &str, text: &str) -> Result<i128, String> {
    text.parse()
        .map_err(|error| format!("{name} is {text:?}: {error}"))
}
