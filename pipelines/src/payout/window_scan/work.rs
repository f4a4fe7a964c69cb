//! What scans have read, by how: the price of a window, whatever machine it runs on.

use std::sync::atomic::{AtomicU64, Ordering};

/// Rows that scans have read so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ScanWork {
    /// Rows of which one column was read, to find a block's share or a place.
    pub searched: u64,
    /// Rows that were read one by one with all their columns.
    pub walked: u64,
    /// Rows that were only added up.
    pub summed: u64,
}

impl ScanWork {
    /// What came to it since an earlier moment.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            searched: self.searched - earlier.searched,
            walked: self.walked - earlier.walked,
            summed: self.summed - earlier.summed,
        }
    }
}

/// Counts the rows while they are read.
#[derive(Debug, Default)]
pub struct WorkCounter {
    searched: AtomicU64,
    walked: AtomicU64,
    summed: AtomicU64,
}

impl WorkCounter {
    /// So far.
    pub fn get(&self) -> ScanWork {
        ScanWork {
            searched: self.searched.load(Ordering::Relaxed),
            walked: self.walked.load(Ordering::Relaxed),
            summed: self.summed.load(Ordering::Relaxed),
        }
    }

    /// Counts rows that were searched.
    pub fn search(&self, rows: usize) {
        self.searched.fetch_add(rows as u64, Ordering::Relaxed);
    }

    /// Counts rows that were walked.
    pub fn walk(&self, rows: usize) {
        self.walked.fetch_add(rows as u64, Ordering::Relaxed);
    }

    /// Counts rows that were added up.
    pub fn sum(&self, rows: usize) {
        self.summed.fetch_add(rows as u64, Ordering::Relaxed);
    }
}
