//! A stream that a live statement reads: how much of it the answer holds, and whether there is
//! more.
//!
//! An answer over one miner's rows is made again for those alone. It would otherwise show how often
//! others send rows: `SELECT now()` has another answer each time that it is asked.

use std::sync::Arc;

use tokio::sync::watch;

use crate::access::OwnRows;
use crate::live::tail::{LiveTail, TailRows};

/// A stream and how much of it an answer holds.
pub(super) struct StreamRead {
    pub(super) tail: Arc<dyn LiveTail>,
    pub(super) changes: watch::Receiver<u64>,
    /// Every row up to here is in the answer, or is not meant.
    pub(super) through: i64,
    /// The rows that are meant, where not everybody's are.
    pub(super) own: Option<OwnRows>,
}

/// What a stream holds that an answer has not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    /// No row that is meant.
    Nothing,
    /// Rows that are meant.
    Rows,
    /// Rows that are in the tables only, by now: they may be meant or not.
    InTables,
}

impl StreamRead {
    /// What the stream holds that the answer has not read. A stream whose tail cannot be read has
    /// nothing.
    pub(super) fn news(&mut self) -> News {
        self.changes.borrow_and_update();
        let Some(own) = &self.own else {
            let held = self.tail.newer_than(i64::MAX);
            return match held.is_ok_and(|held| held.through > self.through) {
                true => News::Rows,
                false => News::Nothing,
            };
        };
        let Ok(held) = self.tail.newer_than(self.through) else {
            return News::Nothing;
        };
        let TailRows {
            batches,
            after,
            through,
            ..
        } = held;
        // Rows that do not say whose they are count, so that none is missed.
        let is_meant = |batch| own.mask(batch).map_or(true, |mask| mask.true_count() > 0);
        if batches.iter().any(is_meant) {
            return News::Rows;
        }
        if after > self.through {
            return News::InTables;
        }
        self.through = self.through.max(through);
        News::Nothing
    }

    /// The stream's name.
    pub(super) fn name(&self) -> &'static str {
        self.tail.stream().name()
    }
}
