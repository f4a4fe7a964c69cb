//! Where all open blocks stand on the chain, in few questions.
//!
//! A pool of a busy chain has a thousand open blocks, and a daemon takes a fifth of a second for an
//! answer when it is busy. But blocks that were on the best chain together are each other's
//! ancestors: while the newest of them is on it, the older ones are, too, that much deeper. So the
//! newest are asked first, until one stands; what stood with it needs no question.

use futures::stream::{StreamExt, iter};
use std::collections::{BTreeMap, BTreeSet};

use super::open_blocks::BlockKey;
use crate::chain::{Chain, ChainError, ChainPosition};

/// Questions under way at once: few enough that templates and found blocks do not wait behind them.
const AT_ONCE: usize = 4;

/// Lost answers after which the rest is asked another time: the daemon is away, and each question
/// would wait for its timeout.
const MAX_FAILURES: usize = 8;

/// What the last look found.
#[derive(Debug, Default)]
pub(crate) struct BlockPositions {
    /// Blocks that were on the best chain of one and the same tip.
    together: BTreeSet<BlockKey>,
}

impl BlockPositions {
    /// The positions of these blocks, newest first, as far as the daemon answers: one lost answer
    /// of a thousand must not hide the others. The first error comes beside them.
    pub(super) async fn ask(
        &mut self,
        chain: &dyn Chain,
        blocks: &[BlockKey],
    ) -> (BTreeMap<BlockKey, ChainPosition>, Option<ChainError>) {
        let mut positions = BTreeMap::new();
        if blocks.is_empty() {
            return (positions, None);
        }
        let outcome = self.ask_into(&mut positions, chain, blocks).await;
        if outcome.is_err() {
            self.together.clear();
        }
        (positions, outcome.err())
    }

    async fn ask_into(
        &mut self,
        positions: &mut BTreeMap<BlockKey, ChainPosition>,
        chain: &dyn Chain,
        blocks: &[BlockKey],
    ) -> Result<(), ChainError> {
        let before = chain.tip().await?.hash;
        let mut anchor: Option<(u64, u64)> = None;
        let (known, unknown): (Vec<BlockKey>, Vec<BlockKey>) =
            blocks.iter().partition(|key| self.together.contains(*key));
        for key in known {
            let position = match anchor {
                Some((height, confirmations)) => ChainPosition::Best {
                    confirmations: confirmations.saturating_add(height.saturating_sub(key.height)),
                },
                None => chain.position(key.hash, key.height).await?,
            };
            if let (None, ChainPosition::Best { confirmations }) = (anchor, position) {
                anchor = Some((key.height, confirmations));
            }
            positions.insert(key, position);
        }
        let mut answers = iter(unknown)
            .map(|key| async move { (key, chain.position(key.hash, key.height).await) })
            .buffered(AT_ONCE);
        let mut failures = Vec::new();
        while let Some((key, answer)) = answers.next().await {
            match answer {
                Ok(position) => {
                    positions.insert(key, position);
                }
                Err(error) => failures.push(error),
            }
            if failures.len() == MAX_FAILURES {
                break;
            }
        }
        if let Some(error) = failures.into_iter().next() {
            return Err(error);
        }
        // Only answers about one chain say that blocks are each other's ancestors.
        self.together = if chain.tip().await?.hash == before {
            let best = positions
                .iter()
                .filter(|(_, position)| matches!(position, ChainPosition::Best { .. }));
            best.map(|(key, _)| *key).collect()
        } else {
            BTreeSet::new()
        };
        Ok(())
    }
}
