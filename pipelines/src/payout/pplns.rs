//! PPLNS: the last N blocks' worth of work before and with the winning share, whatever blocks lie
//! in between.
//!
//! Work is measured against the network's difficulty at each share's own job, so that neither a
//! retarget nor a pool's lucky or unlucky streak makes it worth while to come and go.

use super::{Scheme, SchemeWalk, ShareWork, WalkStep};

/// Pay per last N shares, by work.
pub struct Pplns;

struct Window {
    left: u128,
}

impl Scheme for Pplns {
    fn name(&self) -> &'static str {
        "pplns"
    }
    fn doc(&self) -> &'static str {
        "Pays the work before the block up to N times what a block costs; the share at the edge \
        is trimmed, a window that is not full is shared out whole."
    }
    fn walk(&self, window: u128) -> Box<dyn SchemeWalk> {
        Box::new(Window { left: window })
    }
}

impl SchemeWalk for Window {
    fn take_share(&mut self, share: &ShareWork<'_>) -> WalkStep {
        let weight = share.weight();
        if weight >= self.left {
            return WalkStep::Last(std::mem::take(&mut self.left));
        }
        self.left -= weight;
        WalkStep::Take(weight)
    }

    fn take_segment(&mut self, weight: u128, _: bool) -> bool {
        let whole = weight < self.left;
        if whole {
            self.left -= weight;
        }
        whole
    }
}
