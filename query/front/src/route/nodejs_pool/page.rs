//! The pages of lists.

use serde::Deserialize;
use serde_json::Value;

/// A page of a list.
#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    page: Option<i64>,
    limit: Option<i64>,
}

impl Page {
    const SIZES: &[i64] = &[15, 50, 100];

    pub(super) fn limit(self) -> usize {
        let wanted = self.limit.filter(|limit| Self::SIZES.contains(limit));
        wanted.unwrap_or(15) as usize
    }

    /// Rows before it.
    pub(super) fn skipped(self) -> usize {
        self.page.unwrap_or(0).clamp(0, 1_000) as usize * self.limit()
    }

    /// The rows of the page.
    pub(super) fn cut(self, rows: impl Iterator<Item = Value>) -> Value {
        rows.skip(self.skipped()).take(self.limit()).collect()
    }
}
