//! Reading what the next block of a pool will want before there is one, so that neither a start nor
//! rows that came or were rewritten since the last block make its window wait.

use futures::{StreamExt, TryStreamExt, stream};
use headframe_sinks::{SinkError, Snapshot};

use super::cache::ScanCache;
use super::group_sums::Total;
use super::walk::Segment;
use super::{AHEAD, WindowScanner, may_have_blocks};
use crate::payout::lifecycle::RowPosition;
use crate::payout::{Scheme, ShareSet, ShareWork, WalkStep};

/// Behind every share.
const NEWEST: RowPosition = RowPosition {
    seq: i64::MAX,
    row: i64::MAX,
};
/// Segments that are read at a time: nobody waits for them, and another core stays free.
const AT_ONCE: usize = 1;

impl WindowScanner {
    /// Remembers what a block of this set would want if it were found now. It changes no answer,
    /// only how much of it must be read; whoever drops it loses nothing that was read.
    pub async fn read_ahead(
        &self,
        shares: &Snapshot,
        set: &ShareSet,
        scheme: &dyn Scheme,
        wanted: u128,
    ) -> Result<(), SinkError> {
        let cache = &self.begin_scan();
        let mut walk = scheme.walk(wanted);
        let winning_share = ShareWork {
            miner: "",
            difficulty: 0,
            network_difficulty: 1,
            is_block: true,
        };
        if let WalkStep::Take(_) = walk.take_share(&winning_share) {
            let mut segments = Box::pin(self.segments(cache, shares, set, NEWEST, AT_ONCE));
            while let Some(segment) = segments.try_next().await? {
                let Segment::Sum(_, group_sums) = segment else {
                    break;
                };
                let mut total = Total::default();
                group_sums.iter().for_each(|sums| total.add(sums.total));
                if total.shares > 0 && !walk.take_segment(total.weight, total.has_blocks) {
                    break;
                }
            }
        }
        cache.end_scan(set);
        read_block_bounds(cache, shares).await
    }
}

/// Reads between which the hashes of blocks lie, of each file that has any.
async fn read_block_bounds(cache: &ScanCache, shares: &Snapshot) -> Result<(), SinkError> {
    let files: Vec<_> = shares
        .files
        .iter()
        .filter(|file| may_have_blocks(file) && !cache.knows_block_bounds(file))
        .cloned()
        .collect();
    let no_hash = "";
    let mut read = Box::pin(
        stream::iter(files)
            .map(|file| async move { cache.groups_with_hash(shares, &file, no_hash).await })
            .buffered(AHEAD),
    );
    while read.try_next().await?.is_some() {}
    Ok(())
}
