//! Which refused logins get a row and a line of their own, so that "why can't this miner connect?"
//! has an answer and a flood of refusals fills neither the stream nor the log.
//!
//! Pure. Each address has a small budget of rows, and all addresses together have one; a line takes
//! a row and a budget of its own. What is left out is counted, and the next row and the next line
//! say how many that were. When none follows, [`RefusalLog::overdue`] asks for one that says so.

use super::addresses::ClientAddress;
use crate::lru_map::LruMap;
use crate::token_bucket::{Bucket, Rate};

/// Rows of one address: five at once, then one a minute.
pub const ROWS_OF_ADDRESS: Rate = Rate {
    per_s: 1.0 / 60.0,
    burst: 5.0,
};
/// Rows of all addresses together.
pub const ROWS: Rate = Rate {
    per_s: 1.0,
    burst: 120.0,
};
/// Lines of the log.
pub const LINES: Rate = Rate {
    per_s: 0.2,
    burst: 20.0,
};
/// How long something may be left out before a row or a line of its own says so.
pub const OVERDUE_MS: u64 = 60_000;
/// Addresses whose budget is remembered.
const REMEMBERED: usize = 65_536;

/// What a refusal leaves behind: a row, a line, both or neither. Each says how many refusals before
/// it have none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RefusalTrace {
    /// Write a row; so many refusals since the last one have none.
    pub row: Option<u64>,
    /// Write a line; so many refusals since the last one have none.
    pub line: Option<u64>,
}

/// What is left out of one output, and since when.
#[derive(Debug, Clone, Copy, Default)]
struct LeftOut {
    count: u64,
    since_ms: u64,
}

impl LeftOut {
    fn one_more(&mut self, now_ms: u64) {
        if self.count == 0 {
            self.since_ms = now_ms;
        }
        self.count += 1;
    }

    fn take(&mut self) -> u64 {
        std::mem::take(&mut self.count)
    }

    fn take_overdue(&mut self, now_ms: u64) -> Option<u64> {
        let overdue = self.count > 0 && now_ms.saturating_sub(self.since_ms) >= OVERDUE_MS;
        overdue.then(|| self.take())
    }
}

/// The budgets and what was left out.
#[derive(Debug)]
pub struct RefusalLog {
    by_address: LruMap<ClientAddress, Bucket>,
    rows: Bucket,
    lines: Bucket,
    without_row: LeftOut,
    without_line: LeftOut,
}

impl RefusalLog {
    /// Nothing was refused yet.
    pub fn new(now_ms: u64) -> Self {
        Self {
            by_address: LruMap::new(REMEMBERED),
            rows: Bucket::full(ROWS, now_ms),
            lines: Bucket::full(LINES, now_ms),
            without_row: LeftOut::default(),
            without_line: LeftOut::default(),
        }
    }

    /// A login from this address was refused.
    pub fn refused(&mut self, address: ClientAddress, now_ms: u64) -> RefusalTrace {
        let own = self
            .by_address
            .entry(&address, || Bucket::full(ROWS_OF_ADDRESS, now_ms));
        // The common budget pays only for what an address may write, so that one address cannot
        // use it up.
        let row = own.take(ROWS_OF_ADDRESS, 1.0, now_ms) && self.rows.take(ROWS, 1.0, now_ms);
        let line = row && self.lines.take(LINES, 1.0, now_ms);
        let mut trace = RefusalTrace::default();
        if row {
            trace.row = Some(self.without_row.take());
        } else {
            self.without_row.one_more(now_ms);
        }
        if line {
            trace.line = Some(self.without_line.take());
        } else {
            self.without_line.one_more(now_ms);
        }
        trace
    }

    /// What was left out a minute ago and has not been told since.
    pub fn overdue(&mut self, now_ms: u64) -> RefusalTrace {
        RefusalTrace {
            row: self.without_row.take_overdue(now_ms),
            line: self.without_line.take_overdue(now_ms),
        }
    }
}
