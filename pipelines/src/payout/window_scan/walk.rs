//! The walk back from a block's share: whole segments while they fit, then one share at a time.

use std::ops::Range;
use std::sync::Arc;

use headframe_sinks::{BATCH_ROWS, RowGroup, SinkError};

use super::cache::ScanCache;
use super::group_sums::{GroupSums, Total, sum_rows};
use super::miner_sums::MinerSums;
use super::ordered_shares::{self, OrderedShares};
use super::work::WorkCounter;
use super::{END_ROWS, locked};
use crate::payout::freeze::FoundWindow;
use crate::payout::lifecycle::RowPosition;
use crate::payout::{SchemeWalk, ShareSet, WalkStep};

/// A segment of row groups, as it was read.
pub enum Segment {
    /// Added up.
    Sum(Vec<RowGroup>, Vec<Arc<GroupSums>>),
    /// Row by row, because the window ends in it and its row groups overlap.
    Rows(OrderedShares),
    /// A row group in order that the window ends in.
    End {
        /// The newest rows of the window, one by one.
        newest: OrderedShares,
        /// The row group, a single one.
        groups: Vec<RowGroup>,
        /// How many of its first rows come before those.
        older: usize,
        /// What these add up to.
        sums: Arc<GroupSums>,
    },
}

/// A walk on its way.
pub struct WindowWalk<'a> {
    cache: &'a ScanCache,
    work: &'a WorkCounter,
    set: &'a ShareSet,
    walk: Box<dyn SchemeWalk>,
    /// Where it begins and ends; its miners are in `sums` until the end.
    found: FoundWindow,
    sums: MinerSums,
    /// The oldest segment that was taken whole, or the rows of it that were.
    oldest: Option<(Vec<RowGroup>, Option<Range<usize>>)>,
}

impl<'a> WindowWalk<'a> {
    /// A walk that has taken nothing yet.
    pub fn new(
        cache: &'a ScanCache,
        work: &'a WorkCounter,
        set: &'a ShareSet,
        walk: Box<dyn SchemeWalk>,
    ) -> Self {
        Self {
            cache,
            work,
            set,
            walk,
            found: FoundWindow::default(),
            sums: MinerSums::default(),
            oldest: None,
        }
    }

    /// The window, when there is no older segment or it is complete.
    pub async fn finish(mut self) -> Result<FoundWindow, SinkError> {
        // Where the oldest shares that count were only added up, that segment tells where the
        // window begins.
        if let Some((groups, rows)) = self.oldest.take() {
            self.found.edge = first_place(&groups, rows, self.set, self.work).await?;
        }
        Ok(FoundWindow {
            window: self.sums.window(&locked(&self.cache.names)),
            ..self.found
        })
    }

    /// Takes the next older segment; true when the window is complete.
    pub async fn take(&mut self, segment: Segment) -> Result<bool, SinkError> {
        match segment {
            Segment::Rows(rows) => Ok(self.walk_rows(&rows)),
            Segment::Sum(groups, group_sums) => self.take_sums(groups, None, &group_sums).await,
            Segment::End {
                newest,
                groups,
                older,
                sums,
            } => {
                if self.walk_rows(&newest) {
                    return Ok(true);
                }
                self.take_sums(groups, Some(0..older), &[sums]).await
            }
        }
    }

    /// Takes row groups, or some rows of a single one, that were added up.
    async fn take_sums(
        &mut self,
        groups: Vec<RowGroup>,
        rows: Option<Range<usize>>,
        group_sums: &[Arc<GroupSums>],
    ) -> Result<bool, SinkError> {
        let mut total = Total::default();
        group_sums.iter().for_each(|sums| total.add(sums.total));
        if total.shares == 0 {
            return Ok(false);
        }
        if self.walk.take_segment(total.weight, total.has_blocks) {
            group_sums.iter().for_each(|sums| self.sums.add_all(sums));
            self.oldest = Some((groups, rows));
            return Ok(false);
        }
        match (groups.as_slice(), group_sums) {
            ([group], [sums]) if group.is_ordered() && !sums.chunks.is_empty() => {
                let end = rows.map_or(group.rows(), |rows| rows.end);
                self.take_chunks(group, end, &sums.chunks).await
            }
            _ => {
                let shares =
                    ordered_shares::read_share_rows(&groups, rows, self.set, self.work, |_| true);
                Ok(self.walk_rows(&shares.await?))
            }
        }
    }

    /// Takes as many chunks of a row group in order as fit, newest first, and walks those that do
    /// not.
    async fn take_chunks(
        &mut self,
        group: &RowGroup,
        end: usize,
        chunks: &[Total],
    ) -> Result<bool, SinkError> {
        let mut whole: Option<Range<usize>> = None;
        let mut complete = false;
        for (index, chunk) in chunks
            .iter()
            .enumerate()
            .rev()
            .filter(|(_, chunk)| chunk.shares > 0)
        {
            let rows = index * BATCH_ROWS..((index + 1) * BATCH_ROWS).min(end);
            if self.walk.take_segment(chunk.weight, chunk.has_blocks) {
                // Neighbours are read at once, for what lies before them must be skipped.
                let last = whole
                    .take_if(|newer| newer.start == rows.end)
                    .map_or(rows.end, |newer| newer.end);
                self.add_rows(group, whole.replace(rows.start..last))
                    .await?;
                self.oldest = Some((vec![group.clone()], Some(rows)));
                continue;
            }
            complete = self.walk_rows(
                &ordered_shares::read_share_rows(
                    std::slice::from_ref(group),
                    Some(rows),
                    self.set,
                    self.work,
                    |_| true,
                )
                .await?,
            );
            if complete {
                break;
            }
        }
        self.add_rows(group, whole).await?;
        Ok(complete)
    }

    async fn add_rows(
        &mut self,
        group: &RowGroup,
        rows: Option<Range<usize>>,
    ) -> Result<(), SinkError> {
        if let Some(rows) = rows {
            let sums = sum_rows(group, rows, self.set, &self.cache.names, self.work);
            self.sums.add_all(&sums.await?);
        }
        Ok(())
    }

    fn walk_rows(&mut self, rows: &OrderedShares) -> bool {
        let numbers: Vec<u32> = {
            let mut names = locked(&self.cache.names);
            rows.names().map(|name| names.id_of(name)).collect()
        };
        for (place, number, share) in rows.newest_first() {
            let (weight, last) = match self.walk.take_share(&share) {
                WalkStep::Take(weight) => (weight, false),
                WalkStep::Last(weight) => (weight, true),
                WalkStep::End => return true,
            };
            self.found.newest.get_or_insert(place);
            self.found.edge = Some(place);
            self.oldest = None;
            if let Some(number) = numbers.get(number) {
                self.sums.add(*number, weight, 1);
            }
            if last {
                return true;
            }
        }
        false
    }
}

/// The place of the oldest share of the set in row groups, or in some rows of a single one.
async fn first_place(
    groups: &[RowGroup],
    rows: Option<Range<usize>>,
    set: &ShareSet,
    work: &WorkCounter,
) -> Result<Option<RowPosition>, SinkError> {
    let read = |groups, rows| ordered_shares::read_share_rows(groups, rows, set, work, |_| true);
    let [group] = groups else {
        return Ok(read(groups, rows).await?.first());
    };
    if !group.is_ordered() {
        return Ok(read(groups, rows).await?.first());
    }
    // It is nearly always among the first; more rows each time, for each time costs a look.
    let mut rest = rows.unwrap_or(0..group.rows());
    let mut step = END_ROWS;
    while !rest.is_empty() {
        let end = rest.end.min(rest.start + step);
        let first = read(groups, Some(rest.start..end)).await?.first();
        if first.is_some() {
            return Ok(first);
        }
        (rest.start, step) = (end, step * 8);
    }
    Ok(None)
}
