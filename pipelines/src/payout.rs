//! Payouts: which shares a found block pays, and how much each miner gets, to the last atomic unit.
//!
//! Everything here is a function of rows, in integers, so that anyone with the tables gets the same
//! figures. A scheme walks back from the winning share and says what each share weighs; [`split`]
//! adds up a miner's weights and divides the reward.

use std::collections::BTreeMap;

pub mod audit;
pub mod divide;
pub mod freeze;
pub mod lifecycle;
pub mod merkle;
pub mod pplns;
pub mod prop;
pub mod solo;
pub mod tables;
pub mod window_scan;

/// One in fixed point: a weight of `ONE` is the work that a block costs on average.
pub const ONE: u128 = 1 << 64;

/// What one share weighs at most, 65536 blocks: far beyond any honest share, and so little that the
/// sum over 2⁴⁶ shares still fits into the 38 digits of its column.
pub const MAX_WEIGHT: u128 = ONE << 16;

/// An accepted share, as the schemes see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShareWork<'a> {
    /// Who is paid.
    pub miner: &'a str,
    /// Hashes the job was worth.
    pub difficulty: u64,
    /// Hashes a block cost when the job was given; 0 counts as 1.
    pub network_difficulty: u128,
    /// Whether the share made a block.
    pub is_block: bool,
}

impl ShareWork<'_> {
    /// ⌊difficulty · 2⁶⁴ ÷ network difficulty⌋: the share of an average block that this work is, at
    /// most [`MAX_WEIGHT`].
    pub fn weight(&self) -> u128 {
        ((u128::from(self.difficulty) << 64) / self.network_difficulty.max(1)).min(MAX_WEIGHT)
    }
}

/// The shares that a window can be made of: of one pool, and either of its miners who mine solo or
/// of all others. No share is in both, so that no window holds any of the other's work.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ShareSet {
    /// The pool.
    pub pool: String,
    /// Whether they are those that were mined solo.
    pub solo: bool,
}

impl ShareSet {
    /// The shares of a pool that its scheme is for.
    pub fn of_pool(pool: &str) -> Self {
        Self {
            pool: pool.to_owned(),
            solo: false,
        }
    }

    /// The shares of a pool that were mined solo.
    pub fn solo_of(pool: &str) -> Self {
        Self {
            pool: pool.to_owned(),
            solo: true,
        }
    }
}

/// What a scheme says to one share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WalkStep {
    /// It weighs this much; the next older one is wanted.
    Take(u128),
    /// It weighs this much and is the last one.
    Last(u128),
    /// It does not count, nor does any older one.
    End,
}

/// A walk back from a winning share.
pub trait SchemeWalk: Send {
    /// The next older accepted share of the set; the first one is the winning share itself.
    fn take_share(&mut self, share: &ShareWork<'_>) -> WalkStep;

    /// Takes many next older shares at once if each of them would be taken whole, and says whether
    /// it did. `weight` is the sum of their weights; `blocks` says whether any may have made a
    /// block.
    fn take_segment(&mut self, weight: u128, blocks: bool) -> bool;
}

/// How a reward is shared out.
pub trait Scheme: Sync {
    /// Its name in the configuration and in rows.
    fn name(&self) -> &'static str;
    /// One sentence for the users.
    fn doc(&self) -> &'static str;
    /// A walk that begins at the winning share. `window` is the amount of work wanted, [`ONE`]
    /// being a block's.
    fn walk(&self, window: u128) -> Box<dyn SchemeWalk>;
}

/// Every scheme.
pub const ALL: &[&dyn Scheme] = &[&pplns::Pplns, &prop::Prop, &solo::Solo];

/// The scheme of this name.
pub fn find(name: &str) -> Option<&'static dyn Scheme> {
    ALL.iter().copied().find(|scheme| scheme.name() == name)
}

/// A block's window: each miner's weight, in the order of the addresses' bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Window {
    /// Miner and weight; no weight is zero.
    pub weights: BTreeMap<String, u128>,
    /// Miner and shares that count, the trimmed one included; also of miners whose shares weigh
    /// nothing.
    pub counts: BTreeMap<String, u64>,
    /// Shares that count, the trimmed one included.
    pub shares: u64,
}

impl Window {
    /// Adds shares of one miner.
    pub fn add(&mut self, miner: &str, weight: u128, shares: u64) {
        self.shares += shares;
        match self.counts.get_mut(miner) {
            Some(count) => *count += shares,
            None => drop(self.counts.insert(miner.to_owned(), shares)),
        }
        match self.weights.get_mut(miner) {
            Some(sum) => *sum += weight,
            None if weight == 0 => {}
            None => drop(self.weights.insert(miner.to_owned(), weight)),
        }
    }
}

/// Walks back from the winning share. `newest_first` begins with it and has accepted shares of one
/// [`ShareSet`] only.
pub fn window<'a>(
    scheme: &dyn Scheme,
    wanted: u128,
    newest_first: impl IntoIterator<Item = ShareWork<'a>>,
) -> Window {
    let mut walk = scheme.walk(wanted);
    let mut window = Window::default();
    for share in newest_first {
        let (weight, last) = match walk.take_share(&share) {
            WalkStep::Take(weight) => (weight, false),
            WalkStep::Last(weight) => (weight, true),
            WalkStep::End => break,
        };
        window.add(share.miner, weight, 1);
        if last {
            break;
        }
    }
    window
}

/// What everybody gets of one reward, atomic units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// The pool's part.
    pub fee: u128,
    /// Miner and amount, in the order of the addresses' bytes; an amount may be zero.
    pub amounts: Vec<(String, u128)>,
}

/// Shares a reward out. An empty window (no accepted share at all) leaves everything to the pool.
pub fn split(window: &Window, reward: u128, fee_bp: u16) -> Split {
    let fee = divide::scaled(reward, u128::from(fee_bp.min(10_000)), 10_000);
    let weights: Vec<u128> = window.weights.values().copied().collect();
    let amounts = divide::divide(reward - fee, &weights);
    if amounts.is_empty() {
        return Split {
            fee: reward,
            amounts: Vec::new(),
        };
    }
    Split {
        fee,
        amounts: window.weights.keys().cloned().zip(amounts).collect(),
    }
}
