//! What was credited and taken back for one block, and the entry that each step makes.

use super::PayoutFact;
use crate::payment::entry::{Account, Entry};

/// The sums of a block, atomic units.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct BlockSums {
    pub(super) reward: Option<i128>,
    credited: i128,
    pub(super) matured: i128,
}

impl BlockSums {
    /// A block that matured as a whole.
    pub(super) fn whole(reward: i128) -> Self {
        Self {
            reward: Some(reward),
            credited: reward,
            matured: reward,
        }
    }

    /// Adds one row of the account `name`; the entry that it makes, or nothing when its step does
    /// not exist.
    pub(super) fn add(&mut self, row: &PayoutFact, name: &str) -> Option<Entry> {
        let (immature, mature) = (
            Account::from_name(name, false),
            Account::from_name(name, true),
        );
        let (debit, credit) = match (row.step.as_str(), row.was_mature) {
            ("credited", _) => {
                self.credited += row.amount;
                (Account::Coinbase, immature)
            }
            ("matured", _) => {
                self.matured += row.amount;
                (immature, mature)
            }
            ("reversed", false) => {
                self.credited -= row.amount;
                (immature, Account::Coinbase)
            }
            ("reversed", true) => {
                self.credited -= row.amount;
                self.matured -= row.amount;
                (mature, Account::Coinbase)
            }
            _ => return None,
        };
        Some(Entry::new(debit, credit, row.amount))
    }

    /// What is wrong with the sums after this row, if anything: never more than the reward, and
    /// nothing matures before everything is credited.
    pub(super) fn complaint(&self, row: &PayoutFact) -> Option<String> {
        let Self {
            credited, matured, ..
        } = *self;
        let reward = self.reward.unwrap_or_default();
        let whole = row.step != "matured" || credited == reward;
        let fits = credited >= 0 && matured >= 0 && credited <= reward && matured <= credited;
        (!whole || !fits).then(|| {
            format!(
                "block {} has the reward {reward}, credited {credited}, matured {matured} \
                 atomic units",
                row.block
            )
        })
    }
}

/// A hash of 64 digits in half the space; `None` for what would not be the same again.
pub(super) fn hash_bytes(hash: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(hash, &mut bytes).ok()?;
    hash.bytes()
        .all(|digit| !digit.is_ascii_uppercase())
        .then_some(bytes)
}
