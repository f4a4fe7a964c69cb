//! PROP: the work since the pool's last block.
//!
//! Simple and well known, and open to pool hopping: early shares of a round are worth more than
//! late ones.

use super::{Scheme, SchemeWalk, ShareWork, WalkStep};

/// Proportional.
pub struct Prop;

struct Round {
    begun: bool,
}

impl Scheme for Prop {
    fn name(&self) -> &'static str {
        "prop"
    }
    fn doc(&self) -> &'static str {
        "Pays the work since the pool's block before, by work; the share that made that block \
        belongs to its own round."
    }
    fn walk(&self, _: u128) -> Box<dyn SchemeWalk> {
        Box::new(Round { begun: false })
    }
}

impl SchemeWalk for Round {
    fn take_share(&mut self, share: &ShareWork<'_>) -> WalkStep {
        if self.begun && share.is_block {
            return WalkStep::End;
        }
        self.begun = true;
        WalkStep::Take(share.weight())
    }

    fn take_segment(&mut self, _: u128, blocks: bool) -> bool {
        self.begun && !blocks
    }
}
